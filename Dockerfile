# The image of the operator. The base needs Python 3.11 or later with venv:
#   docker build --build-arg PYTHON_IMAGE=python:3.11-slim -t modelinstance-operator:0.2.0 .
ARG PYTHON_IMAGE=python:3.11-slim

FROM ${PYTHON_IMAGE} AS build
WORKDIR /src
COPY requirements/runtime.txt requirements/build.txt ./requirements/
RUN python3 -m venv /build \
 && /build/bin/python -m pip install --no-cache-dir --require-hashes -r requirements/build.txt \
 && python3 -m venv /app \
 && /app/bin/python -m pip install --no-cache-dir --require-hashes -r requirements/runtime.txt
COPY pyproject.toml README.md LICENSE ./
COPY operator ./operator
RUN /build/bin/python -m hatchling build -t wheel -d /wheels \
 && /app/bin/python -m pip install --no-cache-dir --no-deps /wheels/*.whl \
 && /app/bin/python -m pip uninstall --yes pip setuptools \
 && /app/bin/modelinstance --version

FROM ${PYTHON_IMAGE}
LABEL org.opencontainers.image.title="modelinstance-operator" \
      org.opencontainers.image.description="A live registry of running model-serving instances" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /app /app
ENV PATH=/app/bin:/usr/local/bin:/usr/bin:/bin PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 65532:65532
EXPOSE 8080
ENTRYPOINT ["modelinstance"]
CMD ["run", "--host=0.0.0.0"]
