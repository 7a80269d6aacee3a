"""The manifests of ``examples/``, as they are but for the engines, which are stand-ins."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from e2e.cluster import POD_START_SECONDS, ROOT, RealCluster, Release
from e2e.people import ENGINE, STRICT, Town, instance
from support.waiting import eventually

EXAMPLES = ROOT / "examples"
OWN_IMAGE = "modelinstance-operator:"
HOME, USERS = "modelinstance-system", "e2e-examples"
QWEN, SMOLLM, BASEMENT = "Qwen/Qwen2.5-0.5B-Instruct", "smollm", "llama-70b"
ALIASES = ["small", "default"]
ADAPTER = "qwen-sql"
NAMES = {"vllm": [QWEN, ADAPTER], "llama-server": [SMOLLM, *ALIASES]}
"""What each engine answers to, by the name of its container."""
USER = {"runAsNonRoot": True, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}}
MASTER_KEY = "sk-change-me"
FOLLOWS_SECONDS = 10
"""The export's 2 s and LiteLLM's own, and some requests."""
SOME = 20
"""So many requests that two engines that take part do not seem to be one by chance."""
AGENT_SECONDS = 20
"""The agent's failure threshold, three periods of 5 s, and one more."""

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def town(cluster: RealCluster, image: str) -> Iterator[Town]:
    """The chart where the examples look for it, and their namespace with a router in it."""
    with cluster.clean(HOME, USERS):
        for name in (HOME, USERS):
            cluster.kubectl("create", "namespace", name)
        release = Release(cluster, HOME, "modelinstance")
        release.install(*release.of_image(image))
        town = Town(cluster, release, USERS, image)
        cluster.kubectl("create", "configmap", "engine", "-n", USERS, f"--from-file={ENGINE}")
        town.add_router()
        yield town


def manifests(town: Town, name: str) -> list[dict[str, Any]]:
    """An example with stand-ins for its engines; the rest of it is as it is."""
    found = list(yaml.safe_load_all((EXAMPLES / name).read_text(encoding="utf-8")))
    for manifest in found:
        if manifest["kind"] == "Deployment":
            pod = manifest["spec"]["template"]["spec"]
            volume = {"name": "engine", "configMap": {"name": "engine"}}
            pod["volumes"] = [*pod.get("volumes", ()), volume]
            for container in [*pod.get("initContainers", ()), *pod["containers"]]:
                if container["image"].startswith(OWN_IMAGE):
                    container["image"] = town.image
                elif container["name"] in NAMES:
                    _stand_in(container, town.image)
    return found


def _stand_in(container: dict[str, Any], image: str) -> None:
    """Replace what is in an engine's container, and what it needs of a machine."""
    port = container["ports"][0]["containerPort"]
    container |= {
        "image": image,
        "command": ["python", "/engine/engine.py"],
        "args": [
            "--host=0.0.0.0", f"--port={port}", "--name=$(POD_NAME)",
            *(f"--model={name}" for name in NAMES[container["name"]]),
        ],
        "env": [
            {"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}
        ],
        "resources": {},
        "securityContext": {**STRICT, **USER},
    }  # fmt: skip
    mounts = container.get("volumeMounts", [])
    container["volumeMounts"] = [*mounts, {"name": "engine", "mountPath": "/engine"}]


def apply(town: Town, *found: dict[str, Any]) -> None:
    town.cluster.kubectl("apply", "-n", USERS, "-f", "-", stdin=yaml.safe_dump_all(found))


def instances(town: Town, model: str) -> list[dict[str, Any]]:
    """What the registry says of a model, by way of the router."""
    items: list[dict[str, Any]] = town.get(f"/api/v1/instances?model={model}")[1]["items"]
    return items


def healthy(town: Town, model: str, reason: str) -> set[str]:
    """The names of the instances that may be called, which all have that reason."""
    ready = [found for found in instances(town, model) if found["healthy"]]
    assert all(found["reason"] == reason for found in ready), ready
    return {found["name"] for found in ready}


def rolled_out(town: Town, name: str) -> None:
    town.cluster.kubectl("rollout", "status", f"deployment/{name}", "-n", USERS, "--timeout=300s")


def switch(town: Town, pod: str, container: str, port: int, **wanted: Any) -> None:
    """Switch the behaviour of a stand-in, from within its own pod."""
    script = (
        "import sys, urllib.request as r; r.urlopen(r.Request(sys.argv[1], "
        "data=sys.argv[2].encode(), method='PUT'))"
    )
    town.cluster.kubectl(
        "exec", pod, "-c", container, "-n", USERS, "--", "python", "-c", script,
        f"http://127.0.0.1:{port}/control", json.dumps(wanted),
    )  # fmt: skip


def described(town: Town, name: str) -> str:
    return town.cluster.kubectl("describe", "modelinstance", name, "-n", USERS)


def ends(town: Town, name: str, model: str) -> None:
    """Delete a Deployment: its instances go with its pods."""
    town.cluster.kubectl("delete", "deployment", name, "-n", USERS, "--wait=false")
    eventually(lambda: not healthy(town, model, ""), POD_START_SECONDS)
    eventually(lambda: not instances(town, model), 20)


def test_every_example_is_tried_here() -> None:
    tried = Path(__file__).read_text(encoding="utf-8")
    for path in EXAMPLES.glob("*.yaml"):
        assert f'"{path.name}"' in tried, path.name


def test_vllm_with_the_agent(town: Town) -> None:
    apply(town, *manifests(town, "vllm-with-agent.yaml"))
    rolled_out(town, "qwen")
    pods = healthy(town, QWEN, "HeartbeatReceived")
    assert len(pods) == 2, "a rollout ends when all of its pods are routable"
    assert town.complete(QWEN) in {(200, pod) for pod in pods}
    eventually(lambda: town.complete(ADAPTER) in {(200, pod) for pod in pods})
    eventually(lambda: all(found["load"] is not None for found in instances(town, QWEN)))

    sick, *_ = sorted(pods)
    switch(town, sick, "vllm", 8000, faults={"/v1/completions": {"status": 500},
                                             "/health": {"status": 503}})  # fmt: skip
    eventually(lambda: healthy(town, QWEN, "HeartbeatReceived") == pods - {sick}, AGENT_SECONDS)
    eventually(lambda: "The worker says: " in described(town, sick))
    eventually(lambda: "GET /health" in described(town, sick))
    switch(town, sick, "vllm", 8000, faults={})
    eventually(lambda: healthy(town, QWEN, "HeartbeatReceived") == pods, AGENT_SECONDS)
    ends(town, "qwen", QWEN)


def test_a_plain_labelled_deployment(town: Town) -> None:
    apply(town, *manifests(town, "labelled-deployment.yaml"))
    rolled_out(town, "smollm")
    pods = healthy(town, SMOLLM, "PodReady")
    assert len(pods) == 2
    for name in (SMOLLM, *ALIASES):
        assert town.complete(name) in {(200, pod) for pod in pods}
    assert town.cluster.instance(pods.pop(), USERS)["metadata"]["ownerReferences"][0]["kind"] == (
        "Pod"
    )
    ends(town, "smollm", SMOLLM)


def test_a_static_endpoint(town: Town) -> None:
    """The stand-in is in the cluster; nothing but its address tells."""
    model = BASEMENT
    town.add_engine("basement", model)
    address = town.cluster.get("pod", "basement", USERS)["status"]["podIP"]
    (manifest,) = manifests(town, "static-endpoint.yaml")
    manifest["spec"]["host"] = address
    apply(town, manifest)
    name = manifest["metadata"]["name"]
    town.cluster.kubectl("wait", "--for=condition=Ready", f"mi/{name}", "-n", USERS)
    assert town.complete(model) == (200, "basement")

    period, failures = (manifest["spec"]["probe"][key]
                        for key in ("periodSeconds", "failureThreshold"))  # fmt: skip
    switch(town, "basement", "python", 8000, faults={"/health": {"status": 503}})
    eventually(lambda: not healthy(town, model, "ProbeSucceeded"), period * failures * 1.2)
    eventually(lambda: "HTTP 503" in described(town, name))
    switch(town, "basement", "python", 8000, faults={})
    eventually(lambda: town.complete(model) == (200, "basement"), period * 1.2)
    town.cluster.kubectl("delete", "mi", name, "-n", USERS)


def test_litellm_in_front(town: Town, routers_image: str) -> None:
    """LiteLLM itself, from the package; what it calls are stand-ins. No request may fail."""
    for name in ("vicuna-0", "vicuna-1"):
        town.add_engine(name, "vicuna")
        address = town.cluster.get("pod", name, USERS)["status"]["podIP"]
        apply(town, instance(name, USERS, modelName="vicuna", host=address,
                             heartbeat={"required": False}))  # fmt: skip
    eventually(lambda: len(healthy(town, "vicuna", "HeartbeatNotRequired")) == 2)
    found = manifests(town, "litellm.yaml")
    (deployment,) = (each for each in found if each["kind"] == "Deployment")
    pod = deployment["spec"]["template"]["spec"]
    pod["containers"][0] |= {"image": routers_image, "securityContext": {**STRICT, **USER}}
    apply(town, *found)
    rolled_out(town, "litellm")
    seen: list[tuple[int, str]] = []

    def answering() -> set[str]:
        for _ in range(SOME):
            try:
                seen.append(town.chat("http://litellm", "vicuna", MASTER_KEY))
            except AssertionError as error:  # to be counted, where `eventually` would go on
                seen.append((0, str(error)))
        return {name for _, name in seen[-SOME:]}

    eventually(lambda: answering() == {"vicuna-0", "vicuna-1"}, FOLLOWS_SECONDS)
    seen.clear()  # the Service knows its pod
    town.cluster.edit("vicuna-0", USERS, rotation="Draining")
    eventually(lambda: answering() == {"vicuna-1"}, FOLLOWS_SECONDS)
    town.cluster.kubectl("delete", "mi,pod", "vicuna-0", "-n", USERS)
    assert answering() == {"vicuna-1"}
    assert {status for status, _ in seen} == {200}, seen
    restarts = "jsonpath={.items[*].status.containerStatuses[*].restartCount}"
    of = "--selector=app.kubernetes.io/name=litellm"
    assert town.cluster.kubectl("get", "pods", of, "-n", USERS, "-o", restarts).strip() == "0"
    for kinds, name in (("deployment,service,configmap,secret", "litellm"), ("mi,pod", "vicuna-1")):
        town.cluster.kubectl("delete", kinds, name, "-n", USERS, "--wait=false")
