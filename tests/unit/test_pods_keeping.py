"""What is written for pods where the API server, or what stands before it, answers oddly."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest
from kubernetes_asyncio import client

from modelinstance.cluster.access import Access
from modelinstance.cluster.client import ClusterClient, ClusterError
from modelinstance.cluster.pods import PodClient
from modelinstance.cluster.registration import RegistrationWriter
from modelinstance.cluster.translate import RawObject, observe, pod_instance_body
from modelinstance.enrolment import ClusterEnrolment
from modelinstance.outbound.getter import Getter
from modelinstance.outbound.guard import Guard
from modelinstance.outbound.networks import Networks
from modelinstance.podkeeping.complaints import MAX_SAID, Complaints
from modelinstance.podkeeping.gates import Gates
from modelinstance.podkeeping.instances import Instances
from modelinstance.podkeeping.keeper import PodKeeper
from modelinstance.podkeeping.names import NameReader
from modelinstance.registry.health.pods import Gate, PodFacts
from modelinstance.registry.instance import InstanceKey
from modelinstance.registry.intake.podbook import PodBook
from modelinstance.registry.intake.podspecs import MAX_ALIASES, Names, instance_of
from modelinstance.registry.intake.registrations import Pod, Registered, Registration
from modelinstance.registry.intake.workers import Workers
from modelinstance.registry.mirror.mirror import Mirror
from modelinstance.registry.records.records import Records
from modelinstance.registry.tallies import Tallies
from modelinstance.registry.telling.events import EventBook
from unit.builders import TIMEOUT, spec, sync
from unit.pods import GATE, condition, facts, pod_json

NO_OBJECTS: list[Any] = [None, "a page of a proxy", {}, {"metadata": {}}, {"metadata": "x"}, []]


class Server(PodClient):
    """Keeps ModelInstances, and answers all else with ``answer``."""

    def __init__(self, answer: Any = None, *, strips_owners: bool = False) -> None:
        super().__init__(Access())
        self.answer = answer
        self.strips_owners = strips_owners
        self.version = 10
        self.kept: dict[str, RawObject] = {}
        self.applied = 0
        self.meanwhile: Callable[[], None] = lambda: None

    async def _send(self, *_: object) -> Any:
        self.meanwhile()
        return self.answer

    async def get(self, key: InstanceKey) -> RawObject:
        if key.name not in self.kept:
            raise ClusterError("GET", "not found", 404, kind="modelinstances")
        return self.kept[key.name]

    async def apply(self, body: RawObject, field_manager: str) -> RawObject:
        self.applied += 1
        self.version += 1
        metadata = {
            **body["metadata"], "uid": "r", "resourceVersion": str(self.version),
            "creationTimestamp": "2026-03-01T12:00:00Z",
        }  # fmt: skip
        if self.strips_owners:
            del metadata["ownerReferences"]
        self.kept[metadata["name"]] = {**body, "metadata": metadata}
        return self.kept[metadata["name"]]


class Room:
    """What keeps pods' resources, in front of a server."""

    def __init__(self, records: Records, server: Server) -> None:
        self.server = server
        self.mirror = Mirror(records)
        sync(self.mirror, version=1)
        self.book = PodBook(records, ("",))
        self.book.end_list("", ())
        self.writes: Counter[tuple[str, str]] = Counter()
        self.events = EventBook(records, registry=lambda: None, counts=Counter())
        self.complaints = Complaints(self.events)
        getter = Getter(Guard(Networks()))
        self.names = NameReader(getter, self.book, lambda pod: self.instances.look(pod.key))
        self.gates = Gates(server, self.mirror, self.book, self.writes)
        self.instances = Instances(
            server, self.mirror, self.book, names=self.names, complaints=self.complaints,
            writes=self.writes,
        )  # fmt: skip
        self.book.on_change(self.look)

    def look(self, key: InstanceKey) -> None:
        pod = self.book.get(key)
        if pod is not None:
            self.names.look(pod)
        self.instances.look(key)
        self.gates.look(key)

    def take(self, pod: PodFacts) -> PodFacts:
        self.book.take(pod)
        return pod


@pytest.mark.parametrize("answer", NO_OBJECTS)
@pytest.mark.parametrize("call", ["get", "apply", "gate", "list"])
async def test_what_is_no_object_is_a_failure_like_others(call: str, answer: Any) -> None:
    page = {"items": [answer], "metadata": {"resourceVersion": "7"}}
    server, wanted = Server(page if call == "list" else answer), instance_of(facts())
    calls: dict[str, Callable[[], Awaitable[object]]] = {
        "get": lambda: ClusterClient.get(server, wanted.key),
        "apply": lambda: ClusterClient.apply(server, pod_instance_body(wanted, None), "manager"),
        "gate": lambda: server.set_gate(facts(), Gate(True, "PodReady")),
        "list": lambda: server.list_pods(""),
    }
    with pytest.raises(ClusterError, match="not one of an API server"):
        await calls[call]()


async def test_a_version_that_is_none_is_a_failure_like_others() -> None:
    with pytest.raises(ClusterError, match="not one of an API server"):
        await Server({"items": [], "metadata": {"resourceVersion": "x"}}).list_pods("")


@pytest.mark.parametrize("details", ["x", {"causes": "x"}, {"causes": ["x"]}, {"causes": None}])
async def test_an_error_with_odd_details_is_a_failure_like_others(details: object) -> None:
    async def refuse(_: object) -> None:
        error = client.ApiException(status=502, reason="Bad Gateway")
        error.body = json.dumps({"message": "no", "details": details}).encode()
        raise error

    api_client = ClusterClient(AccessToNowhere())
    with pytest.raises(ClusterError, match="HTTP 502: no"):
        await api_client._send("a call", refuse)
    await api_client.close()


class AccessToNowhere(Access):
    """Gives a client that nobody uses."""

    async def client(self) -> client.ApiClient:
        return client.ApiClient(client.Configuration())


async def test_where_the_owner_is_taken_out_it_is_not_written_without_end(
    records: Records,
) -> None:
    room = Room(records, Server(strips_owners=True))
    room.take(facts())
    for _ in range(5):
        await room.instances.write()
    assert room.server.applied == 1
    assert room.writes == {("instance", "conflict"): 1}


async def test_the_names_that_an_engine_said_count_once_they_are_written(
    records: Records,
) -> None:
    room = Room(records, Server())
    pod = room.take(facts(settings={"discover-names": "true"}))
    assert await room.instances.write()
    record = records.get(pod.key)
    assert record is not None
    assert not record.verdict.ready
    room.names._names[pod.uid] = Names("base")
    room.look(pod.key)
    assert not record.verdict.ready
    assert await room.instances.write()
    await room.instances.write()
    assert records.select("base") is record


class Keeping:
    """All that keeps pods, and what takes in registrations, in front of a server."""

    def __init__(self, records: Records, server: Server) -> None:
        self.server = server
        self.mirror = Mirror(records)
        self.events = EventBook(records, registry=lambda: None, counts=Counter())
        self.keeper = PodKeeper(
            server, self.mirror, Tallies(), Getter(Guard(Networks())), events=self.events,
            scopes=("",),
        )  # fmt: skip
        self.enrolment = ClusterEnrolment(
            Workers(records), self.mirror, RegistrationWriter(server),
            default_namespace="prod", remove_after=lambda: 3600.0,
        )  # fmt: skip
        self.enrolment.on_known.append(self.keeper.registered)

    def list_all(self, *pods: PodFacts) -> None:
        """See all that is there."""
        sync(self.mirror, *map(observe, self.server.kept.values()), version=self.server.version)
        self.keeper.pods_listed("", pods, 1, 0)

    async def register(self, *aliases: str, **fields: Any) -> Registered:
        """An agent in the pod p registers; its weight and labels are its own."""
        said = spec(host="10.1.0.1", aliases=frozenset(aliases), weight=7.0)
        fields = {"pod": Pod("p", "uid-p"), "labels": {"tier": "gold"}, **fields}
        return await self.enrolment.register(Registration("prod", said, **fields))

    async def written(self) -> dict[str, Any]:
        """The spec of the pod's resource, once all is written."""
        while await self.keeper._instances.write():
            pass
        found: dict[str, Any] = self.server.kept["p"]["spec"]
        return found

    async def aliases(self) -> list[str]:
        """The aliases of the pod's resource, once all is written."""
        found: list[str] = (await self.written()).get("aliases", [])
        return found


@pytest.fixture
async def keeping(records: Records) -> Keeping:
    """A pod with an alias of its own has its resource."""
    made = Keeping(records, Server())
    made.list_all(facts(settings={"aliases": "mine"}))
    assert await made.aliases() == ["mine"]
    return made


async def test_the_names_that_an_agent_tells_are_those_of_the_pods_instance(
    records: Records, keeping: Keeping
) -> None:
    record = (await keeping.register("lora")).record
    assert record.key == facts().key
    assert await keeping.aliases() == ["lora", "mine"]
    assert records.select("lora") is records.select("mine") is record
    assert record.spec.weight == 1.0, "the rest is what the pod says"
    assert "tier" not in record.labels

    keeping.keeper.pod_changed(facts(settings={"aliases": "ours"}, version=2))
    assert await keeping.aliases() == ["lora", "ours"]
    await keeping.register("other", "ours")
    assert await keeping.aliases() == ["other", "ours"]
    applied = keeping.server.applied
    await keeping.register("other", "ours")
    assert await keeping.aliases() == ["other", "ours"]
    assert keeping.server.applied == applied, "nothing is written for the same names"
    await keeping.register()
    assert await keeping.aliases() == ["ours"]
    assert len(records) == 1


async def test_the_names_that_an_agent_told_outlive_a_restart(keeping: Keeping) -> None:
    await keeping.register("lora")
    assert await keeping.aliases() == ["lora", "mine"]
    applied = keeping.server.applied
    again = Keeping(Records(TIMEOUT), keeping.server)
    again.list_all(facts(settings={"aliases": "mine"}))
    assert await again.aliases() == ["lora", "mine"]
    assert keeping.server.applied == applied
    again.keeper.pod_changed(facts(settings={"aliases": "ours"}, version=2))
    assert await again.aliases() == ["lora", "ours"]
    await again.register()
    assert await again.aliases() == ["ours"]


async def test_an_alias_that_its_owner_takes_back_is_not_taken_for_one_that_was_told(
    keeping: Keeping,
) -> None:
    keeping.keeper.pod_changed(facts(version=2))
    assert await keeping.aliases() == []
    again = Keeping(Records(TIMEOUT), keeping.server)
    again.list_all(facts(settings={"aliases": "mine"}, version=3))
    assert await again.aliases() == ["mine"]


async def test_what_an_agent_tells_before_all_is_listed_is_not_lost(keeping: Keeping) -> None:
    again = Keeping(Records(TIMEOUT), keeping.server)
    held = await again.register("early")
    assert not held.stored
    again.list_all(facts(settings={"aliases": "mine"}))
    await again.enrolment._write_held()
    assert await again.aliases() == ["early", "mine"]

    again = Keeping(Records(TIMEOUT), keeping.server)
    sync(again.mirror, *map(observe, keeping.server.kept.values()), version=99)
    await again.register("later")  # the pods are yet to be listed
    again.list_all(facts(settings={"aliases": "mine"}))
    assert await again.aliases() == ["later", "mine"]


async def test_another_pods_agent_and_one_that_the_pod_outlived_tell_nothing(
    keeping: Keeping,
) -> None:
    await keeping.register("lora", pod=Pod("q", "uid-q"))
    assert await keeping.aliases() == ["mine"]
    await keeping.register("lora", pod=None)
    assert await keeping.aliases() == ["lora", "mine"]
    keeping.keeper.pod_deleted(facts().key, "uid-p", False)
    await keeping.register("late")
    assert keeping.keeper._names.told("uid-p") is None


@pytest.mark.parametrize("settings", [{"aliases": "mine"}, {"discover-names": "true"}])
async def test_a_pod_that_has_lost_its_address_asks_for_nothing(
    settings: dict[str, str], keeping: Keeping
) -> None:
    again = Keeping(Records(TIMEOUT), keeping.server)
    again.list_all(facts(settings=settings, address=""))
    assert await again.aliases() == ["mine"], "its resource is left as it is"


async def test_an_engine_that_is_asked_for_its_names_is_not_told_of(keeping: Keeping) -> None:
    keeping.keeper.pod_changed(facts(settings={"discover-names": "true"}, version=2))
    await keeping.register("lora")
    assert await keeping.aliases() == []


async def test_names_that_are_too_many_are_told_of(keeping: Keeping) -> None:
    await keeping.register(*(f"lora-{number:02}" for number in range(MAX_ALIASES)))
    shown = await keeping.aliases()
    assert len(shown) == MAX_ALIASES
    assert "mine" in shown
    notes = [note for note in keeping.events.plan(9) if note.subject.kind == "Pod"]
    assert [note.reason for note in notes] == ["AliasesLeftOut"]
    assert "left out: lora-15" in notes[0].message


async def test_an_answer_for_the_gate_does_not_bring_back_what_has_gone_or_lost_the_label(
    records: Records,
) -> None:
    shown = pod_json(gates=(GATE,), conditions=[condition("ContainersReady")])
    server = Server()
    room = Room(records, server)
    pod = room.take(facts(gated=True))
    del shown["metadata"]["labels"]["modelinstance.dev/model"]
    server.answer = shown
    await room.gates.write()
    assert room.book.get(pod.key) == pod, "the watch tells that the label is gone"
    shown["metadata"]["labels"]["modelinstance.dev/model"] = "vicuna"

    room = Room(records, server)
    room.take(pod)
    server.meanwhile = lambda: room.book.drop(pod.key, pod.uid)
    await room.gates.write()
    assert len(room.book) == 0


async def test_what_is_known_to_have_been_said_of_a_pod_is_bounded(records: Records) -> None:
    room = Room(records, Server())
    pod = replace(facts(), uid="u")
    for number in range(10 * MAX_SAID):
        room.complaints.say(pod, "InstanceRefused", f"request {number} is denied")
    assert len(room.complaints._said["u"]) == MAX_SAID
    (first, *_) = room.events.plan(1)
    assert (first.subject.kind, first.subject.uid, first.warning) == ("Pod", "u", True)
