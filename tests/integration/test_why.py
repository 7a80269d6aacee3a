"""`modelinstance why` on a running operator: what it says is what is so."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from support.cluster import Cluster
from support.operator_process import OperatorProcess, Start
from support.waiting import eventually

TIMEOUT_SECONDS = 2
OTHER = "confidential"
"""A namespace that goes before the default one, where two are of the same age."""


def why(
    operator: OperatorProcess,
    key: str,
    *flags: str,
    status: int = 0,
    token_file: Path | None = None,
) -> tuple[str, str]:
    """Type the command; returns what is on standard output and standard error."""
    env = {**os.environ, "MODELINSTANCE_REGISTRY": str(operator.http.base_url)}
    if token_file is not None:
        env["MODELINSTANCE_TOKEN_FILE"] = str(token_file)
    done = subprocess.run(
        [sys.executable, "-m", "modelinstance", "why", key, *flags],
        env=env, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == status, done.stderr
    return done.stdout, done.stderr


def explained(operator: OperatorProcess, key: str) -> Any:
    """What the command gives programs to read."""
    return json.loads(why(operator, key, "--output=json")[0])


def decides(explanation: Any) -> tuple[str, str]:
    """The check that decides, and what it sees."""
    [found] = [check for check in explanation["checks"] if check["result"] == "decides"]
    return found["check"], found["evidence"]


def test_it_says_what_a_person_would_find_out(cluster: Cluster, operator: OperatorProcess) -> None:
    cluster.create("a", timeout=TIMEOUT_SECONDS)
    eventually(lambda: operator.phase("a") == "Starting")
    out, _ = why(operator, "default/a")
    assert out.startswith("default/a is Starting: AwaitingFirstHeartbeat\n")
    assert "AwaitingFirstHeartbeat: nothing was heard of this incarnation\n" in out
    assert "What would change it:\n  - a heartbeat\n" in out

    cluster.beat("a")
    eventually(lambda: cluster.phase("a") == "Unhealthy")
    said = explained(operator, "default/a")
    assert said == operator.get("/api/v1/instances/default/a/why").json() | {
        name: said[name] for name in ("sinceSeconds", "checks", "instance", "evidence")
    }
    check, evidence = decides(said)
    assert check == "heartbeat"
    assert evidence.startswith("last heartbeat ")
    assert evidence.endswith(" s ago; it is silent, and nothing is to expire")
    assert said["evidence"]["falls"] == 1

    cluster.patch("a", {"spec": {"heartbeat": {"timeoutSeconds": 600}}})
    cluster.beat("a")
    eventually(lambda: operator.phase("a") == "Healthy")
    check, evidence = decides(explained(operator, "default/a"))
    assert check == "heartbeat"
    assert " s ago by annotation, expires in " in evidence
    assert evidence.endswith(" s of a current view unless heard")


def test_a_holder_in_another_namespace_is_hidden(
    cluster: Cluster, operator: OperatorProcess
) -> None:
    cluster.add_namespace(OTHER)
    cluster.create("hush", namespace=OTHER, host="one.example", beat="0")
    eventually(lambda: operator.phase("hush", OTHER) == "Healthy")
    cluster.create("a", host="one.example", beat="0")
    cluster.create("b", host="one.example", beat="0", modelName="m2")
    cluster.create("c", host="one.example", beat="0", modelName="m2")
    eventually(lambda: operator.phase("a") == "Conflicted")
    eventually(lambda: {operator.phase("b"), operator.phase("c")} == {"Healthy", "Conflicted"})
    out, _ = why(operator, "default/a")
    assert "AddressConflict: a ModelInstance in another namespace holds its model" in out
    assert "hush" not in out
    assert OTHER not in out
    loser, holder = ("c", "b") if operator.phase("b") == "Healthy" else ("b", "c")
    said = explained(operator, f"default/{loser}")
    assert decides(said)[1] == f"ModelInstance {holder} holds its model, host and port"


def test_an_unknown_one_is_told_with_one_like_it(
    cluster: Cluster, operator: OperatorProcess
) -> None:
    cluster.create("vicuna-0")
    eventually(lambda: operator.phase("vicuna-0"))
    out, err = why(operator, "default/vicuna-1", status=1)
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith("modelinstance: there is no instance default/vicuna-1 in http://")
    assert err.endswith("; write default/vicuna-0\n")


def test_it_sends_the_token_of_its_file(
    cluster: Cluster, start_operator: Start, tmp_path: Path
) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text("of-a-person", encoding="utf-8")
    operator = start_operator(cluster, f"--access-token-file={tokens}")
    operator.http.headers["Authorization"] = "Bearer of-a-person"
    cluster.create("a")
    eventually(lambda: operator.phase("a"))
    _, err = why(operator, "default/a", status=1)
    assert "HTTP 401" in err
    assert err.endswith("; name a file with a token that it takes: --token-file FILE\n")
    out, _ = why(operator, "default/a", token_file=tokens)
    assert out.startswith("default/a is Starting")


def test_what_is_from_memory_is_told_first(own_cluster: Cluster, start_operator: Start) -> None:
    operator = start_operator(own_cluster, "--resync-interval=1")
    own_cluster.create("a", beat="0", timeout=30)
    eventually(lambda: operator.phase("a") == "Healthy")
    own_cluster.plane.kill_apiserver()
    eventually(lambda: operator.readyz()["view"]["stale"])
    out, _ = why(operator, "default/a")
    assert out.startswith("The registry's view of the cluster is not current: it was last proven ")
    assert "\n\ndefault/a is Healthy: HeartbeatReceived\n" in out
    found = re.search(r"\n  view +decides +HeartbeatReceived: the view (.*)\n", out)
    assert found is not None
    assert found[1].startswith("of the cluster, through which its heartbeats come, is not current")
    assert ", once the cluster can be seen again\n" in out
    own_cluster.plane.start_apiserver()
