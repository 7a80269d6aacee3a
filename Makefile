# Everything a person or CI does with this repository. `make help` lists it.
SHELL := /bin/bash
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
BENCH_VENV := .venv-bench
BENCH_STAMP := $(BENCH_VENV)/.installed
JOBS ?= 3
ROUTERS_VENV := .venv-routers
ROUTERS_STAMP := $(ROUTERS_VENV)/.installed
COMPILE := $(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes --upgrade --quiet \
	--no-emit-index-url --no-emit-find-links --custom-compile-command "make lock"
export PYTHONPATH := tools
export PYTHONDONTWRITEBYTECODE := 1

.PHONY: help
help: ## Show this help
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(STAMP): requirements/dev.txt pyproject.toml
	@echo "==> Installing the dependencies into $(VENV) (about a minute the first time)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed; name one with PYTHON=...")'
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "==> Installing python3-venv"; apt-get update -qq && apt-get install -y -qq python3-venv >/dev/null; }
	@$(PYTHON) -m venv --clear $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

.PHONY: install
install: $(STAMP) ## Make the virtual environment

.PHONY: binaries
binaries: $(STAMP) ## Get etcd, kube-apiserver and kubectl (built once, about 4 minutes)
	@$(BIN)/python -m controlplane build

.PHONY: chart-tools
chart-tools: $(STAMP) ## Get helm, kubeconform and helm-unittest (built once, about 2 minutes)
	@$(BIN)/python -m charttools build

.PHONY: demo
demo: binaries ## Show the whole idea on a real API server (KEEP=1 leaves it up)
	@$(BIN)/python -m demo $(if $(KEEP),--keep)

.PHONY: test
test: binaries chart-tools $(ROUTERS_STAMP) ## Run all tests but for the end-to-end ones
	@$(BIN)/python -m pytest --numprocesses=$(JOBS) --dist=loadfile $(ARGS)

.PHONY: chaos
chaos: binaries ## Break everything at random for longer than make test does (SEED, SECONDS=600)
	@CHAOS_SEED=$(or $(SEED),$(shell date +%s)) CHAOS_SECONDS=$(or $(SECONDS),600) \
		$(BIN)/python -m pytest tests/chaos/test_chaos.py --capture=no $(ARGS)

.PHONY: e2e
e2e: binaries chart-tools ## Install the chart in a real cluster and use it (KUBECONFIG, or a node of its own)
	@$(BIN)/python -m rig $(ARGS)

.PHONY: lint
lint: $(STAMP) ## Run ruff, mypy --strict, import-linter and hadolint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	PYTHONPATH=operator $(BIN)/lint-imports --no-cache
	$(BIN)/hadolint Dockerfile tests/e2e/fixtures/*Dockerfile

.PHONY: generate
generate: chart-tools ## Write the generated files anew
	@$(BIN)/python -m generate

.PHONY: verify
verify: chart-tools ## Check that the generated files are up to date
	@$(BIN)/python -m generate --check

.PHONY: lock
lock: $(STAMP) ## Pin the dependencies anew, with hashes
	$(COMPILE) pyproject.toml -o requirements/runtime.txt
	$(COMPILE) pyproject.toml --group dev -o requirements/dev.txt
	$(COMPILE) --group build -o requirements/build.txt
	$(COMPILE) benchmarks/peers/requirements.in --constraint requirements/runtime.txt --excludes benchmarks/peers/excludes.txt -o requirements/bench.txt
	$(COMPILE) tests/routers/requirements.in -o requirements/routers.txt

$(BENCH_STAMP): requirements/bench.txt
	@echo "==> Installing what the endpoint is compared with into $(BENCH_VENV) (about half a minute the first time)"
	@$(PYTHON) -m venv --clear $(BENCH_VENV)
	@$(BENCH_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements/bench.txt
	@touch $@

$(ROUTERS_STAMP): requirements/routers.txt
	@echo "==> Installing the routers that the tests feed into $(ROUTERS_VENV) (about a minute the first time)"
	@$(PYTHON) -m venv --clear $(ROUTERS_VENV)
	@$(ROUTERS_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements/routers.txt
	@touch $@

.PHONY: bench
bench: $(STAMP) $(if $(filter endpoint_%,$(NAME)),$(BENCH_STAMP),binaries) ## Run one benchmark, for example NAME=registry_costs
	@PYTHONPATH=tools:tests $(BIN)/python benchmarks/$(NAME).py $(ARGS)

.PHONY: clean
clean: ## Remove what was made in the repository (the cached binaries stay)
	rm -rf $(VENV) $(BENCH_VENV) $(ROUTERS_VENV) dist build .mypy_cache .pytest_cache .ruff_cache .hypothesis
