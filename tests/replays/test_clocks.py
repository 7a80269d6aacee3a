"""A clock is an hour ahead or behind, here or at a sender: only what passes meanwhile counts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event, Thread

from support.cluster import Cluster
from support.faulty_operator import with_wall_clock
from support.operator_process import OperatorProcess, Start
from support.replay import Proof, replay
from support.waiting import eventually, stays
from support.workers import Workers

TIMEOUT_SECONDS = 4
LOOK_SECONDS = 2.0
"""For how long each of our times is looked at: some of them are less than one before for long."""
RESYNC = "--resync-interval=2"
HOUR = 3600.0


@replay(without="own-time")
def test_our_clock_goes_an_hour_forward_and_back(
    cluster: Cluster, start_operator: Start, proof: Proof, tmp_path: Path
) -> None:
    """Nobody expires, nobody is revived, and a restart amid of it changes nothing."""
    ahead = tmp_path / "seconds-ahead"
    operator = start_operator(cluster, RESYNC, **with_wall_clock(ahead))
    cluster.create("beats", timeout=TIMEOUT_SECONDS, modelName="beats")
    cluster.create("has-time", beat="1", timeout=int(HOUR / 2), modelName="has-time")
    cluster.create("mute", beat="1", timeout=1, modelName="mute")
    over_http = operator.register(model="over-http")["name"]
    phases = {
        "beats": "Healthy", "has-time": "Healthy", "mute": "Unhealthy", over_http: "Healthy",
    }  # fmt: skip
    with Workers(cluster, "beats"):
        eventually(lambda: cluster.phases() == phases)
        mark = cluster.audit_mark()
        with proof:
            for seconds in (HOUR, 0.0, -HOUR, 0.0, HOUR):
                ahead.write_text(str(seconds), encoding="utf-8")
                stays(lambda: _check(operator, phases), LOOK_SECONDS)
            assert operator.stop() == 0
            operator = start_operator(cluster, RESYNC, **with_wall_clock(ahead))
            for seconds in (HOUR, 0.0, -HOUR):
                ahead.write_text(str(seconds), encoding="utf-8")
                stays(lambda: _check(operator, phases), LOOK_SECONDS)
            assert not [e for e in cluster.writes(mark) if e.resource == "modelinstances/status"]
            assert operator.metric("expiries_total") == 0
            cluster.beat("mute")
            eventually(lambda: operator.metric("expiries_total") == 1, within=2)  # so it was heard
            assert operator.phase("mute") == "Unhealthy"


@replay(without="any-new-value")
def test_a_sender_has_another_time_of_day(
    cluster: Cluster, start_operator: Start, proof: Proof
) -> None:
    operator = start_operator(cluster, RESYNC)
    for name in ("ahead", "behind", "set-back"):
        cluster.create(name, timeout=TIMEOUT_SECONDS, modelName=name)
    phases = dict.fromkeys(("ahead", "behind", "set-back"), "Healthy")
    set_back = Event()

    def set_back_by_an_hour() -> float:
        return -HOUR if set_back.is_set() else 0.0

    with (
        _beating(cluster, "behind", lambda: -HOUR),
        _beating(cluster, "set-back", set_back_by_an_hour),
    ):
        with _beating(cluster, "ahead", lambda: HOUR):
            eventually(lambda: _check(operator, phases))
            set_back.set()
            with proof:
                stays(lambda: _check(operator, phases), 2.5 * TIMEOUT_SECONDS)
        if proof.left_out is None:
            eventually(lambda: operator.selects("ahead") is None, within=TIMEOUT_SECONDS)
            assert operator.selects("behind") == "behind"
            assert operator.selects("set-back") == "set-back"


def _check(operator: OperatorProcess, phases: dict[str, str]) -> bool:
    assert {shown["name"]: shown["phase"] for shown in operator.instances().values()} == phases
    return True


@contextmanager
def _beating(cluster: Cluster, name: str, ahead: Callable[[], float]) -> Iterator[None]:
    """Let an instance beat with the time of a clock that is so many seconds ahead."""
    enough = Event()

    def beat() -> None:
        while not enough.wait(0.4):
            shown = datetime.now(UTC) + timedelta(seconds=ahead())
            cluster.beat(name, shown.strftime("%Y-%m-%dT%H:%M:%S.%fZ"))

    sender = Thread(target=beat, name=name)
    sender.start()
    try:
        yield
    finally:
        enough.set()
        sender.join()
