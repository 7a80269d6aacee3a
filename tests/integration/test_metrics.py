"""The metrics and the log of a running operator, and callers who try to write into them."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator

import pytest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

import debian
from modelinstance.metrics.exposition import MAX_MODELS, OTHER_MODELS
from support.cluster import Cluster
from support.operator_process import OperatorProcess
from support.waiting import eventually

MARK = "zxq"
"""In every string that a caller makes up here, and nowhere else."""
ODD = [
    f'{MARK}"}} 1',
    f"{MARK}\\",
    f'\\n{MARK}\\"',
    f"# HELP {MARK} x",
    f'a{{{MARK}="b"}} 2 # {{trace_id="c"}} 3',
    f"{MARK}/ünï@cödé:\U0001f600",
    f"{MARK}\u2028\u0085\u202e\u009b31m",
]
"""Model names that the CRD allows."""
HOSTILE = [
    *ODD,
    f"{MARK}\nmodelinstance_models 1",
    f"{MARK}\r\n2026-01-01 00:00:00,000 WARNING modelinstance: all is lost",
    f"\x1b[2J\x1b]0;{MARK}\x07",
    f"{MARK}\x00\x7f",
    f"{MARK}%(asctime)s{{}}%s%n",
]
"""What a caller may send besides."""
LOG_LINE = re.compile(
    r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} [A-Z]+ +[\w.]+: [^\x00-\x1f\x7f-\x9f]+"
)


@pytest.fixture
def oddities(cluster: Cluster, operator: OperatorProcess) -> OperatorProcess:
    """An operator that knows instances with odd names, healthy ones."""
    for number, name in enumerate(ODD):
        cluster.create(
            f"odd-{number}", modelName=name, aliases=[f"{name}!"],
            beat=HOSTILE[-1 - number], heartbeat={"required": False},
        )  # fmt: skip
    eventually(lambda: all(operator.selects(name) for name in ODD))
    return operator


def promtool(*arguments: str, text: str) -> str:
    """What Prometheus' own tool has to say to a text."""
    program = debian.find("promtool", "prometheus")
    done = subprocess.run(
        [program.path, *arguments],
        input=text.encode(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    return done.stdout.decode() + (f"ended with {done.returncode}" if done.returncode else "")


def samples(operator: OperatorProcess) -> Iterator[Sample]:
    """All samples of all metrics."""
    for family in text_string_to_metric_families(operator.get("/metrics").text):
        yield from family.samples


def series(operator: OperatorProcess) -> set[tuple[str, tuple[tuple[str, str], ...]]]:
    """Every series by its name and labels."""
    return {(sample.name, tuple(sorted(sample.labels.items()))) for sample in samples(operator)}


def molest(operator: OperatorProcess, text: str) -> None:
    """Send a text wherever a caller can put one."""
    http, quoted = operator.http, "".join(f"%{byte:02X}" for byte in text.encode())
    for method, path in [
        ("GET", "/api/v1/instances/{}/{}"),
        ("DELETE", "/api/v1/instances/{}/{}"),
        ("POST", "/api/v1/instances/{}/{}/drain"),
        ("PATCH", "/{}"),
    ]:
        http.request(method, path.format(quoted, quoted), headers={"x-request-id": quoted})
    for path in ("models", "instances", "select"):
        for query in (
            {"model": text}, {"namespace": text}, {"selector": text}, {"policy": text},
            {"exclude": text, "model": text}, {"key": text, "model": text}, {text: text},
        ):  # fmt: skip
            operator.get(f"/api/v1/{path}", **query)
    for path in ("instances", "heartbeats"):
        for body in ({text: text}, {"model": text, "host": text, "port": text}, text, [text]):
            http.post(f"/api/v1/{path}", json=body)
        http.post(f"/api/v1/{path}", content=text.encode(), headers={"content-type": MARK})


def test_promtool_finds_nothing_to_say(oddities: OperatorProcess) -> None:
    for text in HOSTILE:
        molest(oddities, text)
    metrics = oddities.get("/metrics")
    assert metrics.headers["content-type"].startswith("text/plain; version=")
    assert promtool("check", "metrics", text=metrics.text) == ""


def test_promtool_would_say_something() -> None:
    assert "counter" in promtool("check", "metrics", text="# TYPE a_b counter\na_b 1\n")


def models(operator: OperatorProcess) -> set[str]:
    """The models that have a label."""
    return {labels["model"] for sample in samples(operator) if "model" in (labels := sample.labels)}


def test_a_model_is_a_label_as_it_is_named(oddities: OperatorProcess) -> None:
    assert models(oddities) == set(ODD)


def test_what_callers_make_up_is_in_no_metric_and_adds_no_series(
    operator: OperatorProcess,
) -> None:
    for text in HOSTILE:
        molest(operator, text)
    operator.get("/metrics")
    before = series(operator)
    for number, text in enumerate(HOSTILE):
        molest(operator, f"{text}-{number}")
        for path in ("/api/v1/select?model={}", "/{}", "/api/v1/instances/{}/{}"):
            for other in range(20):
                operator.get(path.format(f"{MARK}-{number}-{other}", other))
    assert series(operator) == before
    assert MARK not in operator.get("/metrics").text


def test_models_beyond_the_largest_share_a_label(
    cluster: Cluster, operator: OperatorProcess
) -> None:
    count = MAX_MODELS + 10
    for number in range(count):
        cluster.create(f"i-{number}", modelName=f"m-{number}", heartbeat={"required": False})
    eventually(lambda: operator.metric("models") == count)
    shown = models(operator)
    assert len(shown) == MAX_MODELS + 1
    assert OTHER_MODELS in shown
    values = [each.value for each in samples(operator) if each.name == "modelinstance_instances"]
    assert sum(values) == count


def test_a_log_line_is_a_line_and_nobody_else_writes_one(oddities: OperatorProcess) -> None:
    for text in HOSTILE:
        molest(oddities, text)
    lines = oddities.log().rstrip("\n").split("\n")
    assert [line for line in lines if not LOG_LINE.fullmatch(line)] == []
    assert "all is lost" not in oddities.log()
