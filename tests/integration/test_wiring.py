"""What the operator is made of, and what it takes for granted of kopf."""

from __future__ import annotations

import asyncio
import dataclasses
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import httpx
import kopf
import pytest

from modelinstance import EmbeddedModelRegistry, ModelInstance, api, cli
from modelinstance.app import Operator
from modelinstance.cluster.access import Access
from modelinstance.cluster.watch import EventDesk, build_handlers, without_finalizers
from modelinstance.http.access import OpenAccess
from modelinstance.settings import Settings

KUBECONFIG = """
apiVersion: v1
kind: Config
current-context: here
clusters: [{name: here, cluster: {server: "https://127.0.0.1:1"}}]
users: [{name: me, user: {token: none}}]
contexts: [{name: here, context: {cluster: here, user: me}}]
"""


async def answered(operator: Operator) -> dict[str, Any]:
    """What the operator's endpoint answers for an instance that was put into its registry."""
    await operator.registry.register_instance(ModelInstance("m", "10.0.0.5", 8000))
    transport = httpx.ASGITransport(operator.endpoint.app)
    async with httpx.AsyncClient(transport=transport, base_url="http://operator") as client:
        response = await client.get("/api/v1/select", params={"model": "m"})
    assert response.status_code == 200
    answer: dict[str, Any] = response.json()
    return answer


async def test_the_operator_runs_the_registry_class_that_users_import() -> None:
    operator = Operator(Settings("default", heartbeat_timeout=7), OpenAccess())
    assert type(operator.registry) is EmbeddedModelRegistry
    assert operator.registry.heartbeat_timeout_secs == 7
    assert operator.desk.mirror.records is operator.registry.records
    assert (await answered(operator))["address"] == "http://10.0.0.5:8000"
    assert [i.host for i in operator.registry.registry["m"]] == ["10.0.0.5"]


def test_so_does_the_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    answers: list[dict[str, Any]] = []

    async def look(self: Operator, listener: socket.socket, stop: asyncio.Event) -> None:
        assert type(self.registry) is EmbeddedModelRegistry
        assert listener.getsockname()[0] == "127.0.0.1", "the default is not open to the network"
        answers.append(await answered(self))

    monkeypatch.setattr(Operator, "run", look)
    (tmp_path / "config").write_text(KUBECONFIG, encoding="utf-8")
    flags = ["--port=0", f"--kubeconfig={tmp_path / 'config'}"]
    monkeypatch.setattr(sys, "argv", ["modelinstance", "run", *flags])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert not ended.value.code
    assert [answer["model"] for answer in answers] == ["m"]


# -- kopf ----------------------------------------------------------------------------------------


class NoDesk:
    """Takes all that is handed over, and forgets it."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_: None


async def no_tick() -> None:
    """Nothing is written."""


@pytest.fixture
def handlers() -> kopf.OperatorRegistry:
    """The handlers of a run, connected to nothing."""
    return build_handlers(
        Access(),
        cast("EventDesk", NoDesk()),
        lambda method, *arguments: method(*arguments),
        no_tick,
        run=1,
        namespace="home",
    )


def test_kopf_keeps_timers_where_the_finalizer_is_taken_from_them() -> None:
    registry = kopf.OperatorRegistry()

    @kopf.timer("example.com", "v1", "things", registry=registry, interval=1)
    async def tick(**_: Any) -> None:
        """Nothing is done."""

    (before,) = registry._spawning.get_all_handlers()
    assert before.requires_finalizer, "kopf has changed: is `without_finalizers` needed still?"
    without_finalizers(registry)
    (after,) = registry._spawning.get_all_handlers()
    assert after.requires_finalizer is False
    assert dataclasses.replace(after, requires_finalizer=True) == before


def test_there_are_no_handlers_for_which_kopf_writes_to_objects(
    handlers: kopf.OperatorRegistry,
) -> None:
    assert not handlers._changing.get_all_handlers(), "annotations and finalizers"
    assert not handlers._indexing.get_all_handlers(), "a start that grows with the square"
    assert not handlers._webhooks.get_all_handlers()
    assert {handler.id for handler in handlers._watching.get_all_handlers()} == {
        "mirror",
        "settings",
    }
    (timer,) = handlers._spawning.get_all_handlers()
    assert (timer.id, timer.requires_finalizer) == ("statuses", False)


async def test_the_timer_ends_with_the_object_that_it_runs_on(
    handlers: kopf.OperatorRegistry,
) -> None:
    """kopf itself would go on for ever: only the finalizer, which there is none of, stops it."""
    (timer,) = handlers._spawning.get_all_handlers()
    (follow,) = (h for h in handlers._watching.get_all_handlers() if h.id == "settings")
    assert timer.when is not None

    async def happens(kind: str | None, uid: str, version: int) -> set[str]:
        """The uids of the objects that have a timer after an event."""
        metadata = {
            "name": api.REGISTRY_NAME, "namespace": "home", "uid": uid,
            "resourceVersion": str(version),
        }  # fmt: skip
        shown = {"metadata": metadata, "spec": {}}
        await cast("Any", follow.fn)(event={"type": kind, "object": shown})
        when = cast("Callable[..., bool]", timer.when)
        return {u for u in ("1", "2") if when(name=api.REGISTRY_NAME, namespace="home", uid=u)}

    assert await happens(None, "1", 10) == {"1"}
    assert await happens("MODIFIED", "1", 11) == {"1"}
    assert await happens("DELETED", "1", 12) == set()
    assert await happens("ADDED", "2", 13) == {"2"}
    assert await happens("MODIFIED", "1", 9) == {"2"}, "an old event came late"
    assert await happens("DELETED", "1", 12) == {"2"}
    assert not cast("Callable[..., bool]", timer.when)(name="other", namespace="home", uid="2")
    assert not cast("Callable[..., bool]", timer.when)(
        name=api.REGISTRY_NAME, namespace="elsewhere", uid="2"
    )
