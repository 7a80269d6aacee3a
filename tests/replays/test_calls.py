"""What calls come to and what beats say differ: each counts for what it tells."""

from __future__ import annotations

from support.cluster import Cluster
from support.faulty_operator import with_probation
from support.operator_process import OperatorProcess, Start
from support.replay import Proof, replay
from support.waiting import eventually, stays
from support.workers import Workers

TIMEOUT_SECONDS = 2
PROBATION_SECONDS = 2.0
RESYNC = "--resync-interval=2"
NAMES = ("a", "b", "c", "d")
LONG_SECONDS = 60


def told(
    operator: OperatorProcess, name: str, outcome: str, *reporters: str, count: int = 3
) -> bool:
    """Let routers report calls of an instance."""
    incarnation = operator.instances()[f"default/{name}"]["incarnation"]
    for reporter in reporters:
        body = {"incarnation": incarnation, "reporter": reporter, "outcome": outcome}
        answer = operator.http.post("/api/v1/reports", json={**body, "count": count})
        assert answer.status_code == 200, answer.text
    return True


def is_shown(operator: OperatorProcess, name: str, phase: str, reason: str) -> bool:
    shown = operator.instances()[f"default/{name}"]
    assert (shown["phase"], shown["reason"]) == (phase, reason)
    return True


def give_time(cluster: Cluster, *names: str) -> None:
    """From now on what they say holds for long, however late it is looked at."""
    for name in names:
        cluster.patch(name, {"spec": {"heartbeat": {"timeoutSeconds": LONG_SECONDS}}})


def create_healthy(cluster: Cluster, operator: OperatorProcess) -> None:
    for name in NAMES:
        cluster.create(name, beat="1")
    eventually(lambda: len(operator.instances(healthy=True)) == len(NAMES))


@replay(without="reports-are-no-beats")
def test_beats_are_late_while_calls_succeed(
    cluster: Cluster, start_operator: Start, proof: Proof
) -> None:
    """Success hides no silence and revives nobody; a late beat is taken at once."""
    operator = start_operator(cluster, RESYNC)
    cluster.create("a", beat="1", timeout=TIMEOUT_SECONDS)
    eventually(operator.instances)

    def succeeds() -> bool:
        return told(operator, "a", "success", "one", "two")

    def is_silent() -> bool:
        return is_shown(operator, "a", "Unhealthy", "HeartbeatExpired")

    with proof:
        eventually(lambda: succeeds() and is_silent(), within=TIMEOUT_SECONDS)
        stays(lambda: succeeds() and is_silent(), TIMEOUT_SECONDS)
        give_time(cluster, "a")
        cluster.beat("a")
        eventually(lambda: operator.selects() == "a", within=1)


@replay(without="ejection")
def test_calls_fail_while_beats_are_fine(
    cluster: Cluster, start_operator: Start, proof: Proof
) -> None:
    """It is out long before it would be silent, and returns by a beat, not by what is reported."""
    operator = start_operator(cluster, RESYNC, **with_probation(PROBATION_SECONDS))
    create_healthy(cluster, operator)
    told(operator, "a", "failure", "one", "two")

    def is_out() -> bool:
        assert operator.selects() in {"b", "c", "d"}
        return is_shown(operator, "a", "Unhealthy", "CallsFailing")

    with proof:
        eventually(is_out, within=0.5)
        eventually(lambda: cluster.condition("a")["reason"] == "CallsFailing")
        stays(
            lambda: told(operator, "a", "success", "one", "two", "three") and is_out(),
            2 * PROBATION_SECONDS,
        )
        cluster.beat("a")
        eventually(lambda: operator.phase("a") == "Healthy", within=1)
        eventually(lambda: cluster.phase("a") == "Healthy")


@replay(without="others-opinions")
def test_calls_of_one_router_alone_fail(
    cluster: Cluster, start_operator: Start, proof: Proof
) -> None:
    """What is wrong is the router, or its way there."""
    operator = start_operator(cluster, RESYNC)
    create_healthy(cluster, operator)
    told(operator, "a", "success", "other", count=1)

    def is_in() -> bool:
        told(operator, "a", "failure", "alone", count=10)
        return is_shown(operator, "a", "Healthy", "HeartbeatReceived")

    with proof:
        stays(is_in, 2)
        told(operator, "a", "failure", "second")
        is_shown(operator, "a", "Unhealthy", "CallsFailing")


@replay(without="half-at-most")
def test_all_calls_time_out(cluster: Cluster, start_operator: Start, proof: Proof) -> None:
    """They are saturated: without any of them there would be nothing to call."""
    operator = start_operator(cluster, RESYNC)
    create_healthy(cluster, operator)

    def serve() -> bool:
        for name in NAMES:
            told(operator, name, "timeout", "one", "two", "three")
        assert operator.selects() is not None, "nobody is left to call"
        assert len(operator.instances(healthy=True)) >= len(NAMES) // 2
        return True

    with proof:
        stays(serve, 2)


@replay(without="silence-guard")
def test_saturation_makes_beats_late_and_calls_time_out(
    cluster: Cluster, start_operator: Start, proof: Proof
) -> None:
    operator = start_operator(cluster, RESYNC, **with_probation(PROBATION_SECONDS))
    for name in NAMES:
        cluster.create(name, timeout=TIMEOUT_SECONDS)
    with Workers(cluster, *NAMES):
        eventually(lambda: len(operator.instances(healthy=True)) == len(NAMES))

    def all_time_out() -> bool:
        for name in NAMES:
            told(operator, name, "timeout", "one", "two")
        return True

    def are_degraded() -> bool:
        shown = operator.instances().values()
        assert {each["reason"] for each in shown} <= {"CorrelatedSilence", "CallsFailing"}
        degraded = [each for each in shown if each["phase"] == "Degraded"]
        assert len(degraded) >= len(NAMES) // 2
        assert operator.selects() in {each["name"] for each in degraded}
        return True

    with proof:
        eventually(lambda: all_time_out() and are_degraded(), within=TIMEOUT_SECONDS)
        stays(lambda: all_time_out() and are_degraded(), 2 * TIMEOUT_SECONDS)
        with Workers(cluster, *NAMES):
            eventually(
                lambda: set(cluster.phases().values()) == {"Healthy"},
                within=PROBATION_SECONDS + TIMEOUT_SECONDS,
            )


@replay(without="waning")
def test_all_are_silent_at_once_and_one_does_not_come_back(
    cluster: Cluster, start_operator: Start, proof: Proof
) -> None:
    """Nobody is stuck after the recovery: neither out, nor in."""
    operator = start_operator(cluster, RESYNC)
    for name in NAMES:
        cluster.create(name, timeout=TIMEOUT_SECONDS)
    with Workers(cluster, *NAMES):
        eventually(lambda: set(cluster.phases().values()) == {"Healthy"})
    eventually(lambda: set(cluster.phases().values()) == {"Degraded"}, TIMEOUT_SECONDS + 1)
    assert {cluster.condition(name, "Degraded")["status"] for name in NAMES} == {"True"}

    def serve() -> bool:
        assert operator.selects() in NAMES
        assert len(operator.instances(healthy=True)) == len(NAMES)
        return True

    stays(serve, 2 * TIMEOUT_SECONDS)
    *living, dead = NAMES
    after = {**dict.fromkeys(living, "Healthy"), dead: "Unhealthy"}
    give_time(cluster, *living)
    with Workers(cluster, *living):
        eventually(lambda: {operator.phase(name) for name in living} == {"Healthy"})
        with proof:
            eventually(lambda: check_phases(cluster, after), within=TIMEOUT_SECONDS + 1)
            assert operator.selects() in living
            stays(lambda: check_phases(cluster, after), TIMEOUT_SECONDS)
            give_time(cluster, dead)
            cluster.beat(dead)
            eventually(lambda: operator.phase(dead) == "Healthy")


def check_phases(cluster: Cluster, phases: dict[str, str]) -> bool:
    assert cluster.phases() == phases
    return True
