"""One router that is kept, where the router is a list in memory."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from modelinstance.client.connection import Connection
from modelinstance.client.following import Follower
from modelinstance.client.watching import Instance, Snapshot
from modelinstance.feed import keeper as module
from modelinstance.feed.feeding import _MixWarning
from modelinstance.feed.keeper import Keeper
from modelinstance.feed.routers import RouterError, Worker
from modelinstance.feed.state import State

SOON = 5.0
A = Instance(
    namespace="n", name="a", model="m", aliases=(), host="10.0.0.1", port=1,
    address="http://10.0.0.1:1", weight=1.0, healthy=True, phase="Healthy", reason="PodReady",
    incarnation="0123456789abcdef",
)  # fmt: skip
B = replace(A, name="b", address="http://10.0.0.2:1")
DRAINED = replace(A, healthy=False, phase="Draining", reason="DrainRequested")


class ListRouter:
    """A router that takes what it is asked for at once, unless a test says otherwise."""

    name = "list=router"

    def __init__(self, *urls: str) -> None:
        self.urls = set(urls)
        self.engines: dict[str, str] = {}
        """What each engine says that it serves; it is asked when it is added."""
        self.models: dict[str, str] = {}
        self.added: list[str] = []
        self.before_add: Callable[[str], None] = lambda url: None
        self.takes = True
        self.stuck: asyncio.Event | None = None
        self.cancelled = 0
        self.trouble = ""
        self.refusals = 0
        self.failures = 0
        self.looks = 0
        self.looked = asyncio.Condition()

    async def workers(self) -> Sequence[Worker]:
        async with self.looked:
            self.looks += 1
            self.looked.notify_all()
        if self.trouble:
            raise RouterError(self.trouble)
        return [Worker(url, url, self.models.get(url)) for url in sorted(self.urls)]

    async def add(self, url: str) -> None:
        self.before_add(url)
        self.added.append(url)
        if self.failures:
            self.failures -= 1
            raise RouterError("not healthy yet")
        if self.stuck is not None:
            try:
                await self.stuck.wait()
            except asyncio.CancelledError:
                self.cancelled += 1
                raise
        if self.takes and url not in self.urls:
            self.urls.add(url)
            if url in self.engines:
                self.models[url] = self.engines[url]

    async def remove(self, worker: Worker) -> None:
        if self.refusals:
            self.refusals -= 1
            raise RouterError("not now")
        self.urls.discard(worker.url)

    async def close(self) -> None:
        pass

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait until a condition holds when the router is looked at."""
        async with asyncio.timeout(SOON), self.looked:
            await self.looked.wait_for(condition)

    async def passes(self, times: int = 2) -> None:
        """Wait until it has been looked at so often: all but the last were acted upon."""
        enough = self.looks + times
        await self.until(lambda: self.looks >= enough)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(module, "LOOK_AGAIN_SECONDS", 0.01)
    caplog.set_level(logging.INFO, "modelinstance")


@asynccontextmanager
async def kept(
    router: ListRouter,
    *instances: Instance,
    state: State | None = None,
    hold: float = 0.0,
    durable: bool = False,
    interval: float = 0.02,
) -> AsyncIterator[Callable[..., None]]:
    """A keeper that runs; what is given tells it of other instances."""
    async with Connection("http://unused") as connection:
        follower = Follower(connection, hold=hold)
        keeper = Keeper(
            router, follower, state or State(None), interval=interval, hold=hold, exclusive=False
        )

        def tell(*instances: Instance) -> None:
            told = {each.key: each for each in instances}
            follower._hear(Snapshot(told, fresh=False, durable=durable))

        tell(*instances)
        running = asyncio.create_task(keeper.run())
        try:
            yield tell
        finally:
            running.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await running


def lines(caplog: pytest.LogCaptureFixture, text: str) -> int:
    return sum(text in record.getMessage() for record in caplog.records)


async def test_it_remembers_before_it_asks(tmp_path: Path) -> None:
    path, router = tmp_path / "state.json", ListRouter()
    seen: list[str] = []

    def look(url: str) -> None:
        seen.extend(json.loads(path.read_text("utf-8"))["routers"][router.name])

    router.before_add = look
    async with kept(router, A, state=State(path)) as tell:
        await router.until(lambda: router.urls == {A.address})
        assert seen == [A.address], "a feed that dies now knows of it when it is back"
        tell()
        await router.until(lambda: not router.urls)
        await router.passes()
    assert State(path).owned(router.name) == {A.address}, "the router may yet come to add it"


async def test_what_the_state_file_holds_is_removed_after_the_hold(tmp_path: Path) -> None:
    state, router = State(tmp_path / "state.json"), ListRouter("http://old:1", "http://foreign:1")
    state.own(router.name, {"http://old:1": "m"})
    async with kept(router, A, state=state, hold=2):
        await router.until(lambda: A.address in router.urls)
        assert "http://old:1" in router.urls
        await router.until(lambda: "http://old:1" not in router.urls)
        assert router.urls == {A.address, "http://foreign:1"}
    assert state.owned(router.name) == {A.address}


async def test_what_a_cluster_does_not_list_is_removed_at_once(tmp_path: Path) -> None:
    state, router = State(tmp_path / "state.json"), ListRouter("http://old:1", "http://foreign:1")
    state.own(router.name, {"http://old:1": "m"})
    async with kept(router, A, state=state, hold=3600, durable=True):
        await router.until(lambda: router.urls == {A.address, "http://foreign:1"})


async def test_a_worker_whose_model_has_changed_is_added_anew(
    caplog: pytest.LogCaptureFixture,
) -> None:
    router = ListRouter()
    router.engines = {A.address: "m", B.address: "what the engine calls it"}
    async with kept(router, A, B) as tell:
        await router.until(lambda: router.urls == {A.address, B.address})
        router.engines[A.address] = "new"
        tell(replace(A, model="new"), B)
        await router.until(lambda: router.models[A.address] == "new")
        await router.passes()
    assert router.added == [A.address, B.address, A.address]
    why = "the router takes it for m, and it serves new now"
    assert lines(caplog, f"removed {A.address}: {why}") == 1


async def test_an_address_that_another_model_got_while_the_feed_was_away_is_added_anew(
    tmp_path: Path,
) -> None:
    path, router = tmp_path / "state.json", ListRouter()
    router.engines = {A.address: "m"}
    async with kept(router, A, state=State(path)):
        await router.until(lambda: router.urls == {A.address})
        await router.passes()
    router.engines[A.address] = "new"
    async with kept(router, replace(A, name="heir", model="new"), state=State(path)):
        await router.until(lambda: router.models[A.address] == "new")
        await router.passes()
    assert router.added == [A.address] * 2


async def test_a_worker_that_is_to_be_added_anew_has_to_go_first_and_is_back_soon(
    caplog: pytest.LogCaptureFixture,
) -> None:
    router = ListRouter()
    router.engines = {A.address: "m"}
    async with kept(router, A) as tell:
        await router.until(lambda: router.urls == {A.address})
        await router.passes()
        router.refusals, router.engines[A.address] = 3, "new"
        tell(replace(A, model="new"))
        await router.until(lambda: router.models[A.address] == "new")
    assert lines(caplog, "it could not be removed: not now") == 1
    assert router.added == [A.address] * 2
    router.engines[A.address] = "newer"
    async with kept(router, replace(A, model="new"), interval=3600) as tell:
        await router.passes(1)
        tell(replace(A, model="newer"))
        await router.until(lambda: router.models[A.address] == "newer")


async def test_one_of_two_models_at_an_address_that_goes_is_noticed() -> None:
    heir, router = replace(A, name="0-heir", model="new"), ListRouter()
    router.engines = {A.address: "m"}
    async with kept(router, A) as tell:
        await router.until(lambda: router.urls == {A.address})
        await router.passes()
        router.engines[A.address] = "new"
        tell(heir, A)
        await router.passes()
        assert router.models == {A.address: "m"}, "the registry says that it serves both"
        tell(heir)
        await router.until(lambda: router.models[A.address] == "new")


async def test_a_router_without_models_keeps_its_worker_when_the_model_changes() -> None:
    router = ListRouter()
    async with kept(router, A) as tell:
        await router.until(lambda: router.urls == {A.address})
        tell(replace(A, model="new"))
        await router.passes()
    assert router.added == [A.address]


async def test_a_state_file_that_cannot_be_written_stops_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    router = ListRouter()
    async with kept(router, A, state=State(tmp_path / "no" / "state.json")) as tell:
        await router.until(lambda: router.urls == {A.address})
        await router.passes()
        tell()
        await router.until(lambda: not router.urls)
    assert lines(caplog, "the state file: it cannot be written") == 1


async def test_what_is_not_listed_is_asked_for_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "PATIENCE_SECONDS", 0.1)
    router = ListRouter()
    router.takes = False
    async with kept(router, A):
        await router.until(lambda: len(router.added) > 2)
        router.takes = True
        await router.until(lambda: router.urls == {A.address})
        await router.until(lambda: lines(caplog, f"added {A.address}: n/a is selected"))
    assert lines(caplog, "asked for again") == 1, "it is said once"


async def test_what_has_been_asked_for_is_not_asked_for_at_once_again() -> None:
    router = ListRouter()
    router.takes = False
    async with kept(router, A) as tell:
        for _ in range(20):
            tell(A)
            await router.passes(1)
    assert router.added == [A.address]


async def test_an_addition_that_takes_its_time_holds_up_nothing_and_is_given_up() -> None:
    router = ListRouter(B.address)
    router.stuck = asyncio.Event()
    async with kept(router, A, B) as tell:
        await router.until(lambda: router.added == [A.address])
        tell(A, replace(B, healthy=False, phase="Draining"))
        await router.until(lambda: B.address not in router.urls)
        assert router.cancelled == 0
        tell(DRAINED, B)
        await router.until(lambda: router.cancelled == 1)


async def test_what_comes_late_and_is_not_wanted_any_more_is_removed() -> None:
    router = ListRouter()
    router.takes = False
    async with kept(router, A) as tell:
        await router.until(lambda: router.added == [A.address])
        tell()
        await router.passes()
        router.urls.add(A.address)
        await router.until(lambda: not router.urls)


async def test_what_fails_is_tried_again_and_told_once(caplog: pytest.LogCaptureFixture) -> None:
    router = ListRouter(A.address)
    router.refusals = 3
    async with kept(router, DRAINED):
        await router.until(lambda: not router.urls)
        await router.until(lambda: lines(caplog, "removed"))
    assert lines(caplog, "it could not be removed: not now") == 1
    assert lines(caplog, f"removed {A.address}: n/a is Draining: DrainRequested") == 1


async def test_an_addition_that_fails_is_tried_again_with_the_next_pass(
    caplog: pytest.LogCaptureFixture,
) -> None:
    router = ListRouter()
    router.failures = 3
    async with kept(router, A):
        await router.until(lambda: router.urls == {A.address})
    assert len(router.added) == 4
    assert lines(caplog, "it could not be added: not healthy yet") == 1


async def test_a_router_that_is_away_is_told_once_and_may_have_lost_what_it_took(
    caplog: pytest.LogCaptureFixture,
) -> None:
    router = ListRouter()
    router.takes = False
    async with kept(router, A):
        await router.until(lambda: router.added == [A.address])
        router.trouble, router.takes = "no answer", True
        await router.passes(3)
        router.trouble = ""
        await router.until(lambda: router.urls == {A.address})
    assert lines(caplog, "cannot be kept now: no answer") == 1
    assert lines(caplog, "answers again") == 1


async def test_an_address_with_a_path_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    router = ListRouter()
    async with kept(router, replace(A, address="http://10.0.0.1:1/api")) as tell:
        for _ in range(3):
            tell(replace(A, address="http://10.0.0.1:1/api"))
            await router.passes(1)
    assert router.added == []
    assert lines(caplog, "n/a: it cannot be fed: its address http://10.0.0.1:1/api has a path") == 1


async def test_the_last_ones_are_kept_and_that_is_told(caplog: pytest.LogCaptureFixture) -> None:
    router = ListRouter()
    async with kept(router, A, hold=2) as tell:
        await router.until(lambda: router.urls == {A.address})
        tell(replace(A, healthy=False, phase="Unhealthy", reason="HeartbeatExpired"))
        await router.passes()
        assert router.urls == {A.address}
        await router.until(lambda: not router.urls)
    assert lines(caplog, "n/a stays in use for up to 2 s more") == 1
    assert lines(caplog, f"removed {A.address}: n/a is Unhealthy: HeartbeatExpired") == 1


async def test_models_that_a_router_would_mix_up_are_told_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with Connection("http://unused") as connection:
        follower = Follower(connection, hold=0.0)
        follower.on_change(_MixWarning(follower))
        for instances in ([A], [A, replace(B, model="other")], [A, replace(B, model="other")]):
            follower._hear(Snapshot({each.key: each for each in instances}, fresh=False))
    assert lines(caplog, "instances of 2 models (m, ...)") == 1
