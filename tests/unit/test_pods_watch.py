"""When it is tried again to follow pods, and when they are known to be seen."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from modelinstance.cluster import podwatch
from modelinstance.cluster.access import Access
from modelinstance.cluster.client import ClusterError
from modelinstance.cluster.pods import PodClient
from modelinstance.cluster.podwatch import PodFollower, _delay
from modelinstance.registry.health.pods import PodFacts
from modelinstance.registry.instance import InstanceKey
from unit.pods import pod_json


@pytest.mark.parametrize(
    ("status", "failures", "seconds"),
    [
        (None, 1, 0.5),
        (None, 2, 1.0),
        (None, 10_000, 5.0),
        (403, 1, 2.0),
        (403, 10_000, 60.0),
        (404, 10_000, 60.0),
        (410, 1, 0.5),
    ],
)
def test_the_delay_grows_to_its_most_and_no_further(
    status: int | None, failures: int, seconds: float
) -> None:
    assert _delay(ClusterError("LIST pods", "why", status), failures) == seconds


def test_the_api_server_is_left_alone_for_as_long_as_it_asks() -> None:
    assert _delay(ClusterError("LIST pods", "busy", 429, retry_after=7.0), 1) == 7.0


FORBIDDEN = ClusterError("watch of pods", "HTTP 403: forbidden", 403)
EXPIRED = ClusterError("watch of pods", "HTTP 410: too old", 410)
BOOKMARK = ("BOOKMARK", {"metadata": {"resourceVersion": "9"}})


class Told(PodClient):
    """Answers each watch with what a test wants; after that it hangs."""

    def __init__(self, *watches: Sequence[tuple[str, Any] | ClusterError]) -> None:
        super().__init__(Access())
        self.watches = list(watches)
        self.all_told = asyncio.Event()

    async def list_pods(self, namespace: str) -> tuple[list[Any], int]:
        return [pod_json()], 7

    async def watch_pods(
        self, namespace: str, version: str, seconds: float
    ) -> AsyncIterator[tuple[str, Any]]:
        if not self.watches:
            self.all_told.set()
            await asyncio.Event().wait()
        for each in self.watches.pop(0):
            if isinstance(each, ClusterError):
                raise each
            yield each


class Noted:
    """Notes what is told of the pods of each scope."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def pods_resync_interval(self) -> float:
        return 3600.0

    def pods_list_began(self) -> int:
        return 0

    def pods_listed(self, scope: str, pods: Sequence[PodFacts], version: int, floor: int) -> None:
        self.told.append(f"{scope} listed")

    def pods_seen(self, scope: str) -> None:
        self.told.append(f"{scope} seen")

    def pods_failed(self, scope: str, why: str) -> None:
        self.told.append(f"{scope} failed: {why}")

    def pod_changed(self, facts: PodFacts) -> None:
        self.told.append("changed")

    def pod_deleted(self, key: InstanceKey, uid: str, lives: bool) -> None:
        raise NotImplementedError


@pytest.mark.parametrize(
    ("watch", "told"),
    [
        ([], ["prod seen"]),
        ([BOOKMARK], ["prod seen", "prod seen"]),
        ([("MODIFIED", pod_json())], ["changed", "prod seen", "prod seen"]),
        ([FORBIDDEN], ["prod failed: watch of pods: HTTP 403: forbidden"]),
        ([BOOKMARK, FORBIDDEN], ["prod seen", "prod failed: watch of pods: HTTP 403: forbidden"]),
        ([EXPIRED], ["prod listed"]),
    ],
    ids=["quiet", "bookmark", "event", "refused", "cut", "expired"],
)
async def test_it_is_told_when_pods_are_seen_and_when_they_cannot_be(
    watch: list[tuple[str, Any] | ClusterError], told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(podwatch, "_delay", lambda error, failures: 0.0)
    client, desk = Told(watch), Noted()
    following = asyncio.create_task(PodFollower(client, desk, "prod").run())
    await asyncio.wait_for(client.all_told.wait(), 10)
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)
    assert desk.told == ["prod listed", *told]
