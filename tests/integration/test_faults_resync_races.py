"""Events that come while our own LIST is read: the older answer never undoes the newer news.

Pages hold two objects, and the second one is held back. Resync comes only every ten minutes, so
that nothing repairs what is done wrong here; a LIST is had by deleting the InstanceRegistry.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from support.background import BackgroundLoop
from support.cluster import HOME, Cluster
from support.faulty_operator import with_page_size
from support.operator_process import OperatorProcess, Start
from support.proxy import HoldingProxy
from support.waiting import eventually, stays

PAGE_SIZE = 2
RARELY = ("--resync-interval=600", "--heartbeat-timeout=3600")


def our_pages(method: str, path: str, query: Mapping[str, str]) -> bool:
    return path.endswith("/modelinstances") and query.get("limit") == str(PAGE_SIZE)


def our_second_page(method: str, path: str, query: Mapping[str, str]) -> bool:
    return our_pages(method, path, query) and "continue" in query


class Held:
    """An operator that has read the first page of a LIST and waits for the second."""

    def __init__(
        self, cluster: Cluster, start_operator: Start, background: BackgroundLoop, *, first: bool
    ) -> None:
        self._background = background
        self.proxy = background.enter(HoldingProxy.before(cluster.plane))
        if first:
            hold = background.call(self.proxy.hold, our_second_page)
        self.operator: OperatorProcess = start_operator(
            cluster, *RARELY, server=self.proxy.url, ready=not first, **with_page_size(PAGE_SIZE)
        )
        if not first:
            eventually(lambda: all("status" in each for each in cluster.instances().values()))
            hold = background.call(self.proxy.hold, our_second_page)
            self.ask_for_list(cluster)
        eventually(hold.reached.is_set)
        eventually(lambda: len(self.operator.instances()) == len(cluster.instances()))
        self._lists = self.operator.metric("resyncs_total", result="success")

    @staticmethod
    def ask_for_list(cluster: Cluster) -> None:
        assert cluster.request("DELETE", cluster.registry_path).status_code == 200

    def release(self) -> None:
        """Let the LIST end, and wait until it was taken in."""
        self._background.call(self.proxy.clear)
        lists = self._lists + 1
        eventually(lambda: self.operator.metric("resyncs_total", result="success") >= lists)
        repairs = {
            kind: self.operator.metric("resync_repairs_total", kind=kind)
            for kind in ("added", "changed", "removed")
        }
        assert self.operator.metric("resyncs_total", result="success") == lists, "no other LIST"
        assert repairs["removed"] == 0


@pytest.fixture
def named(cluster: Cluster) -> tuple[str, ...]:
    """Instances: two on the first page, two on the second."""
    names = ("a", "b", "c", "d")
    for name in names:
        cluster.create(name)
    return names


@pytest.fixture(params=["the first LIST", "a later LIST"])
def held(
    request: pytest.FixtureRequest,
    cluster: Cluster,
    named: tuple[str, ...],
    start_operator: Start,
    background: BackgroundLoop,
) -> Held:
    return Held(cluster, start_operator, background, first=request.param == "the first LIST")


def test_an_instance_added_after_the_snapshot_stays(cluster: Cluster, held: Held) -> None:
    for name in ("aa", "z"):  # where its name falls in the pages does not matter
        cluster.create(name, beat="1")
    eventually(lambda: held.operator.phase("aa") == held.operator.phase("z") == "Healthy")
    held.release()
    assert held.operator.phase("aa") == held.operator.phase("z") == "Healthy"


def test_an_instance_deleted_during_the_pagination_stays_gone(cluster: Cluster, held: Held) -> None:
    for name in ("b", "c"):  # one on the page that was read, one on the page to come
        cluster.delete(name)
    eventually(lambda: set(held.operator.instances()) == {"default/a", "default/d"})
    held.release()
    assert set(held.operator.instances()) == {"default/a", "default/d"}


def test_a_name_used_again_during_the_pagination_is_the_new_instance(
    cluster: Cluster, held: Held
) -> None:
    for name in ("b", "c"):
        cluster.delete(name)
        cluster.create(name, beat="1", weight=7)
    eventually(lambda: held.operator.phase("c") == held.operator.phase("b") == "Healthy")
    held.release()
    for name in ("b", "c"):
        shown = held.operator.instances()[f"default/{name}"]
        assert (shown["phase"], shown["weight"]) == ("Healthy", 0.07)


def test_heartbeats_and_edits_during_the_pagination_are_not_undone(
    cluster: Cluster, held: Held
) -> None:
    for name in ("b", "c"):
        cluster.beat(name)
        cluster.patch(name, {"spec": {"weight": 7}})
    for name in ("b", "c"):
        key = f"default/{name}"
        eventually(lambda: held.operator.instances()[key]["weight"] == 0.07)  # noqa: B023
    held.release()
    for name in ("b", "c"):
        shown = held.operator.instances()[f"default/{name}"]
        assert (shown["phase"], shown["weight"]) == ("Healthy", 0.07)
    assert held.operator.metric("resync_repairs_total", kind="changed") == 0


def test_it_is_not_ready_before_the_first_full_list_and_says_why_and_answers(
    cluster: Cluster, named: tuple[str, ...], start_operator: Start, background: BackgroundLoop
) -> None:
    cluster.create("e", beat="1")
    mark = cluster.audit_mark()
    held = Held(cluster, start_operator, background, first=True)
    cluster.beat("a")
    eventually(lambda: held.operator.selects("m") is not None)

    def is_waiting() -> bool:
        answer = held.operator.get("/readyz")
        assert answer.status_code == 503
        assert answer.json()["reason"] == "waiting for the first full LIST: it is under way"
        assert answer.json()["view"]["synced"] is False
        assert held.operator.get("/livez").status_code == 200
        return True

    stays(is_waiting, 1.5)
    assert not [w for w in cluster.writes(mark) if w.resource == "modelinstances/status"]
    held.release()
    assert held.operator.get("/readyz").status_code == 200
    eventually(lambda: cluster.phase("a") == "Healthy")


def test_pages_that_expired_are_read_again_from_the_first(
    cluster: Cluster, named: tuple[str, ...], start_operator: Start, background: BackgroundLoop
) -> None:
    proxy = background.enter(HoldingProxy.before(cluster.plane))
    background.call(proxy.respond, our_second_page, 410)
    operator = start_operator(
        cluster, *RARELY, server=proxy.url, ready=False, **with_page_size(PAGE_SIZE)
    )
    eventually(lambda: "its pages expired" in operator.readyz()["reason"])
    assert operator.get("/readyz").status_code == 503
    first_pages = [r for r in proxy.requests if our_pages(r.method, r.path, r.query)]
    assert len(first_pages) >= 4, "first, second, and again"
    background.call(proxy.clear)
    eventually(lambda: operator.get("/readyz").status_code == 200)
    assert set(operator.instances()) == {f"default/{name}" for name in named}


def test_settings_made_while_the_instanceregistry_is_listed_hold(
    cluster: Cluster, start_operator: Start, background: BackgroundLoop
) -> None:
    """The older answer would bring back the short interval, and with it one more LIST."""
    proxy = background.enter(HoldingProxy.before(cluster.plane))
    cluster.create("a")
    operator = start_operator(cluster, server=proxy.url)

    def our_look_at_the_registry(method: str, path: str, query: Mapping[str, str]) -> bool:
        return path.endswith(f"/namespaces/{HOME}/instanceregistries") and "fieldSelector" in query

    def settle(spec: dict[str, Any]) -> None:
        generation = cluster.patch_registry(spec)["metadata"]["generation"]
        eventually(lambda: cluster.registry()["status"]["observedGeneration"] == generation)

    eventually(cluster.registry)
    settle({"resyncIntervalSeconds": 1})
    hold = background.call(proxy.hold, our_look_at_the_registry, "response")
    eventually(hold.reached.is_set)
    settle({"resyncIntervalSeconds": 600, "heartbeat": {"timeoutSeconds": 1}})
    lists = operator.metric("resyncs_total", result="success")
    background.call(proxy.clear)
    stays(lambda: operator.metric("resyncs_total", result="success") == lists, 3)
    cluster.beat("a")
    accepted = {"channel": "annotation", "result": "accepted"}
    eventually(lambda: operator.metric("heartbeats_total", **accepted) == 1)
    eventually(lambda: operator.phase("a") == "Unhealthy", within=2)
