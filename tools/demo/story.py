"""The story that the demo tells. Every step is shown, and checked."""

from __future__ import annotations

import json
import shlex
import signal
import sys
from http import HTTPStatus
from typing import Any

from demo.engine import ADAPTER, MODEL, Engine
from demo.stage import HEARTBEAT, HOME, DemoError, Stage, Worker, stop, wait_for

TIMEOUT_SECONDS = 10
INSTANCES = {
    "vicuna-0": ("vicuna", "10.0.0.5"),
    "vicuna-1": ("vicuna", "10.0.0.6"),
    "llama-0": ("meta-llama/Llama-3.1-8B", "10.0.0.7"),
}


class Story:
    """Tells what happens on a stage."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._chapters = 0

    def tell(self) -> None:
        """The whole story; raises `DemoError` at the first thing that is not as said."""
        self._begin()
        self._apply()
        self._beat()
        self._silence()
        self._recover()
        self._lose_all_workers()
        self._delete()
        self._register()
        self._stand_beside()
        self._lose_the_api_server()

    def stay(self) -> None:
        """Leave everything up until Ctrl-C, with lines to try."""
        stage = self._stage
        self._say("Everything stays up until you press Ctrl-C. In another terminal:")
        for line in (
            f"export KUBECONFIG={stage.plane.kubeconfig()}",
            f"alias kubectl={stage.binaries.kubectl}",
            "kubectl get modelinstances --watch",
            "kubectl edit modelinstance vicuna-1      # for example rotation: Draining",
            f"kubectl annotate --overwrite mi vicuna-0 {HEARTBEAT}=$(date -u +%FT%TZ)",
            f"curl -s '{stage.url}/api/v1/select?model=vicuna'",
            f"curl -s {stage.url}/metrics | grep ^modelinstance",
            f"xdg-open {stage.url}/docs",
        ):
            print(f"    {line}")
        sys.stdout.flush()
        signal.sigwait({signal.SIGINT, signal.SIGTERM})

    def end(self) -> None:
        """The end of the story."""
        self._chapter("The operator is told to stop")
        self._check("it ends with status 0", self._stage.stop_operator() == 0)
        self._kubectl("delete", "modelinstances", "--all", "--timeout=10s")
        left = self._stage.plane.kubectl("get", "modelinstances", "-o", "name").stdout
        self._check("without it, resources are deleted at once: nothing holds them", not left)

    # -- the chapters ----------------------------------------------------------------------------

    def _begin(self) -> None:
        self._chapter("Starting etcd and a real kube-apiserver on loopback")
        self._stage.start_cluster()
        self._kubectl("version")
        self._chapter("Starting the operator with the rights of its service account, no more")
        self._stage.start_operator()
        self._wait_summary(instances=0)
        self._kubectl("get", "instanceregistries", "-A")

    def _apply(self) -> None:
        self._chapter("Applying three instances of two models")
        manifests = "---\n".join(_manifest(name) for name in INSTANCES)
        print(_indent(manifests.split("---\n", maxsplit=1)[0] + "# ... and two more"))
        self._kubectl("apply", "-f", "-", stdin=manifests)
        for name in INSTANCES:
            self._wait_phase(name, "Starting")
        self._kubectl("get", "modelinstances")
        self._check("applying is no sign of life: all are Starting, and a router gets none",
                    not self._stage.selected("vicuna", times=1))  # fmt: skip

    def _beat(self) -> None:
        self._chapter("The workers start, and say once a second that they are alive")
        print(f"    $ kubectl annotate --overwrite mi vicuna-0 {HEARTBEAT}=$(date -u +%FT%TZ)")
        for name in INSTANCES:
            self._stage.workers[name] = Worker(self._stage.plane, name)
        for name in INSTANCES:
            self._wait_phase(name, "Healthy")
        self._kubectl("get", "modelinstances")
        self._curl("/api/v1/select", model="vicuna")
        self._check("a router is sent to both instances of vicuna",
                    self._stage.selected("vicuna") == {"vicuna-0", "vicuna-1"})  # fmt: skip

    def _silence(self) -> None:
        self._chapter(f"vicuna-1 falls silent (its timeout is {TIMEOUT_SECONDS} s)")
        self._stage.workers["vicuna-1"].fall_silent()
        self._wait_phase("vicuna-1", "Unhealthy")
        self._kubectl("get", "modelinstances")
        self._why("default/vicuna-1")
        self._check("thirty selections leave it out",
                    self._stage.selected("vicuna") == {"vicuna-0"})  # fmt: skip

    def _recover(self) -> None:
        self._chapter("vicuna-1 recovers")
        self._stage.workers["vicuna-1"].speak()
        self._wait_phase("vicuna-1", "Healthy")
        self._kubectl("wait", "--for=condition=Ready", "modelinstance", "--all")
        self._check("routers are sent to it again", "vicuna-1" in self._stage.selected("vicuna"))

    def _lose_all_workers(self) -> None:
        self._chapter("All three fall silent at once, as when a network is cut")
        for name in INSTANCES:
            self._stage.workers[name].fall_silent()
        for name in INSTANCES:
            self._wait_phase(name, "Degraded")
        self._kubectl("get", "modelinstances")
        self._check("the likelier cause is between them and us: they are selected on",
                    self._stage.selected("vicuna") == {"vicuna-0", "vicuna-1"})  # fmt: skip
        self._chapter("They are heard again")
        for name in INSTANCES:
            self._stage.workers[name].speak()
        for name in INSTANCES:
            self._wait_phase(name, "Healthy")
        self._kubectl("events", "--for", "modelinstance/llama-0")

    def _delete(self) -> None:
        self._chapter("llama-0 is deleted")
        self._stage.workers.pop("llama-0").end()
        self._kubectl("delete", "modelinstance", "llama-0")
        wait_for(
            "the registry to forget it", lambda: self._status("meta-llama/Llama-3.1-8B") == 404
        )
        self._check("a router that asks for its model gets 404",
                    self._status("meta-llama/Llama-3.1-8B") == 404)  # fmt: skip
        self._wait_summary(instances=2)
        self._kubectl("get", "instanceregistries", "-A")

    def _register(self) -> None:
        self._chapter("A worker without any rights in the cluster registers over HTTP")
        worker = {"model": "mistral", "host": "10.0.0.8", "port": 8000}
        registered = self._tell("POST", "/api/v1/instances", worker, expect=201)
        name, beat = registered["name"], {"incarnation": registered["incarnation"]}
        self._wait_phase(name, "Healthy")
        self._kubectl("get", "modelinstance", name)
        self._tell("POST", "/api/v1/heartbeats", {**beat, "load": {"running": 3}}, expect=200)
        self._check("a router is sent to it", self._stage.selected("mistral", times=1) == {name})
        self._tell("POST", f"/api/v1/instances/default/{name}/drain", expect=200)
        self._check("a drain takes it out", not self._stage.selected("mistral", times=1))
        self._tell("DELETE", f"/api/v1/instances/default/{name}", expect=200)
        self._tell("POST", "/api/v1/heartbeats", beat, expect=410)
        self._check("a late heartbeat does not revive it",
                    not self._stage.selected("mistral", times=1))  # fmt: skip
        self._kubectl("wait", "--for=condition=Deregistered", "modelinstance", name)
        self._kubectl("get", "modelinstance", name)

    def _stand_beside(self) -> None:
        self._chapter("An engine that knows nothing of this runs, and an agent beside it")
        engine = Engine()
        arguments, agent = self._stage.start_agent(engine.port)
        print(f"    $ {shlex.join(['modelinstance', *arguments])}")
        wait_for("the engine to be registered", lambda: self._status(MODEL) == HTTPStatus.OK)
        (name,) = wait_for("its name", lambda: self._stage.selected(MODEL, times=1))
        self._wait_phase(name, "Healthy")
        self._curl("/api/v1/select", model=ADAPTER)
        self._check("routers find it by its model and by its LoRA adapter, with its load",
                    self._stage.selected(ADAPTER, times=1) == {name})  # fmt: skip
        self._chapter("Its /health says that all is well, but completions fail")
        engine.broken = True
        self._wait_phase(name, "Unhealthy")
        self._kubectl("get", "mi", name, "-o",
                      "jsonpath={.status.conditions[0].message}{\"\\n\"}")  # fmt: skip
        self._check("no router is sent there", not self._stage.selected(MODEL, times=1))
        engine.broken = False
        self._wait_phase(name, "Healthy")
        self._check("it recovers, and is back", self._stage.selected(MODEL, times=1) == {name})
        self._chapter("The pod ends: the agent drains it first")
        agent.terminate()
        wait_for("the drain", lambda: self._status(MODEL) == HTTPStatus.SERVICE_UNAVAILABLE)
        self._wait_phase(name, "Draining")
        self._kubectl("get", "modelinstance", name)
        self._check("the agent ends with status 0", stop(agent) == 0)
        engine.stop()

    def _lose_the_api_server(self) -> None:
        self._chapter("The API server is killed; routers must not notice")
        self._stage.plane.kill_apiserver()
        grown = 2.0 * TIMEOUT_SECONDS
        wait_for(f"the view to be {grown:g} s old", lambda: self._age() > grown, seconds=60)
        self._curl("/readyz")
        self._curl("/api/v1/select", model="vicuna")
        self._check("after two timeouts without a view, both are still selected from memory",
                    self._stage.selected("vicuna") == {"vicuna-0", "vicuna-1"})  # fmt: skip
        self._chapter("The API server comes back")
        self._stage.plane.start_apiserver()
        wait_for("the view to be current", lambda: self._age() < 1.0, seconds=60)
        self._kubectl("get", "modelinstances")
        phases = {self._stage.phase(name) for name in ("vicuna-0", "vicuna-1")}
        self._check("both are Healthy as before", phases == {"Healthy"})

    # -- telling ---------------------------------------------------------------------------------

    def _chapter(self, title: str) -> None:
        self._chapters += 1
        self._say(f"{self._chapters}. {title}")

    @staticmethod
    def _say(text: str) -> None:
        print(f"\n==> {text}", flush=True)

    def _kubectl(self, *arguments: str, stdin: str | None = None) -> None:
        done = self._stage.plane.kubectl(*arguments, input=stdin, check=False)
        print(f"    $ {shlex.join(['kubectl', *arguments])}")
        print(_indent(done.stdout + done.stderr), flush=True)
        if done.returncode:
            raise DemoError(f"kubectl {arguments[0]} failed")

    def _why(self, instance: str) -> None:
        print(f"    $ modelinstance why {instance} --registry {self._stage.url}")
        print(_indent(self._stage.explain(instance)), flush=True)

    def _curl(self, path: str, **query: str) -> None:
        text = "&".join(f"{key}={value}" for key, value in query.items())
        print(f"    $ curl -s '{self._stage.url}{path}{'?' if text else ''}{text}'")
        print(_indent(json.dumps(self._stage.ask(path, **query)[1], indent=2)), flush=True)

    def _tell(self, method: str, path: str, body: object = None, *, expect: int) -> Any:
        content = ""
        if body is not None:
            content = f" -H 'Content-Type: application/json' -d {shlex.quote(json.dumps(body))}"
        print(f"    $ curl -s -X {method} '{self._stage.url}{path}'{content}")
        status, answer = self._stage.tell(method, path, body)
        print(_indent(f"HTTP {status}\n{json.dumps(answer, indent=2)}"), flush=True)
        if status != expect:
            raise DemoError(f"{method} {path} was answered with {status}, not {expect}")
        return answer

    @staticmethod
    def _check(what: str, holds: bool) -> None:
        if not holds:
            raise DemoError(what)
        print(f"    [ok] {what}", flush=True)

    def _wait_phase(self, name: str, phase: str) -> None:
        wait_for(f"{name} to be {phase}", lambda: self._stage.phase(name) == phase)

    def _wait_summary(self, instances: int) -> None:
        wanted = f"Live {instances}"
        path = "jsonpath={.status.mode} {.status.instances}"
        wait_for(
            "the summary to be written",
            lambda: self._stage.plane.kubectl(
                "get", "instanceregistry", "default", "-n", HOME, "-o", path, check=False
            ).stdout == wanted,
        )  # fmt: skip

    def _status(self, model: str) -> int:
        return self._stage.ask("/api/v1/select", model=model)[0]

    def _age(self) -> float:
        status, answer = self._stage.ask("/readyz")
        if not status:
            raise DemoError(answer["detail"])
        age: float = answer["view"]["ageSeconds"]
        return age


def _manifest(name: str) -> str:
    model, host = INSTANCES[name]
    return f"""apiVersion: modelinstance.dev/v1alpha1
kind: ModelInstance
metadata:
  name: {name}
spec:
  modelName: {model}
  host: {host}
  port: 8000
  heartbeat:
    timeoutSeconds: {TIMEOUT_SECONDS}
"""


def _indent(text: str) -> str:
    return "".join(f"    {line}\n" for line in text.rstrip().splitlines())
