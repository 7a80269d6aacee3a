"""What is going to happen, made from a seed before anything starts: the same seed, the same plan.

The plan goes by what would be so if every request succeeded. During faults many do not, so a step
may find things otherwise; then it is refused, and that is part of the test.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from random import Random

MODELS = ("m0", "m1", "m2")
STEP_SECONDS = 0.35
"""The mean time from one step to the next."""
RETURN_CHANCE = 0.6
"""How often something that is out is brought back when its turn comes."""
FIRST_FAULT_SECONDS = 6.0
FAULT_SECONDS = (0.5, 6.0)
CALM_SECONDS = (10.0, 18.0)
"""From the end of a fault to the next: long enough to recover, and to be judged again."""
SECOND_FAULT_CHANCE = 0.35


class Kind(StrEnum):
    """How a worker is listed and how it says that it lives."""

    ANNOTATING = "annotating"
    CALLING = "calling"
    REGISTERING = "registering"


KINDS = (Kind.ANNOTATING, Kind.ANNOTATING, Kind.CALLING, Kind.REGISTERING, Kind.REGISTERING)
"""The workers of each model."""


@dataclass(frozen=True, slots=True)
class Worker:
    """One worker, and the resource that stands for it."""

    name: str
    model: str
    kind: Kind


class Verb(StrEnum):
    """What is done to a worker or to its resource."""

    CREATE = "create"
    CREATE_HEARD = "create with a heartbeat"
    CREATE_HELD = "create with a finalizer"
    RELEASE = "take the finalizer away"
    TOUCH = "label"
    EDIT = "change the weight"
    MOVE = "change host and port"
    DISABLE = "disable"
    SPARE = "set to draining"
    ACTIVATE = "activate"
    DELETE = "delete"
    RECREATE = "delete and create"
    SILENCE = "silence"
    SPEAK = "speak again"
    DRAIN = "drain"
    UNDRAIN = "undrain"
    DEREGISTER = "deregister"
    REGISTER = "register"


class Blow(StrEnum):
    """What befalls the API server and its etcd, or the operator and its line to them."""

    APISERVER_KILLED = "API server killed"
    APISERVER_STOPPED = "API server stopped"
    APISERVER_PAUSED = "API server paused"
    ETCD_KILLED = "etcd killed"
    ETCD_STOPPED = "etcd stopped"
    ETCD_PAUSED = "etcd paused"
    OPERATOR_KILLED = "operator killed"
    OPERATOR_STOPPED = "operator stopped"
    OPERATOR_PAUSED = "operator paused"
    LINE_CUT = "connections cut"
    LINE_DOWN = "connections cut and refused"
    LINE_STALLED = "connections stalled"
    LINE_STALLED_OPEN = "open connections stalled"
    HISTORY_LOST = "connections down, and history lost"


BEHIND = (
    Blow.APISERVER_KILLED, Blow.APISERVER_STOPPED, Blow.APISERVER_PAUSED,
    Blow.ETCD_KILLED, Blow.ETCD_STOPPED, Blow.ETCD_PAUSED,
)  # fmt: skip
BEFORE = (
    Blow.OPERATOR_KILLED, Blow.OPERATOR_STOPPED, Blow.OPERATOR_PAUSED,
    Blow.LINE_CUT, Blow.LINE_DOWN, Blow.LINE_STALLED, Blow.LINE_STALLED_OPEN,
)  # fmt: skip
"""One of each may come at the same time."""
ALONE = (Blow.HISTORY_LOST, Blow.HISTORY_LOST)
"""What befalls both; a watch cannot go on afterwards from where it was."""


@dataclass(frozen=True, slots=True)
class Step:
    """A verb at a time in seconds since the beginning; ``number`` is unique."""

    at: float
    worker: Worker
    verb: Verb
    number: int


@dataclass(frozen=True, slots=True)
class Fault:
    """A blow, and for how many seconds."""

    at: float
    lasts: float
    blow: Blow


@dataclass(frozen=True, slots=True)
class Schedule:
    """The whole plan; it is over when its steps and faults are."""

    seed: int
    seconds: float
    workers: tuple[Worker, ...]
    steps: tuple[Step, ...]
    faults: tuple[Fault, ...]

    def __str__(self) -> str:
        faults = ", ".join(f"{fault.blow} at {fault.at:.1f} s" for fault in self.faults)
        return (
            f"seed {self.seed}, {self.seconds:g} s: {len(self.workers)} workers, "
            f"{len(self.steps)} steps, {len(self.faults)} faults ({faults})\n"
            f"to repeat it: make chaos SEED={self.seed} SECONDS={self.seconds:g}"
        )


@dataclass(slots=True)
class _Planned:
    """How a worker would be if every request succeeded."""

    worker: Worker
    exists: bool = True
    held: bool = False
    released: bool = True
    active: bool = True
    speaks: bool = True
    drained: bool = False
    left: bool = False


def make_schedule(seed: int, seconds: float) -> Schedule:
    """The plan of that seed. All workers are listed and heard when it begins."""
    random = Random(seed)
    workers = tuple(
        Worker(f"{model}-{kind}-{position}", model, kind)
        for model in MODELS
        for position, kind in enumerate(KINDS)
    )
    return Schedule(
        seed, seconds, workers, tuple(_steps(random, workers, seconds)),
        tuple(_faults(random, seconds)),
    )  # fmt: skip


def _steps(random: Random, workers: tuple[Worker, ...], seconds: float) -> Iterator[Step]:
    planned = [_Planned(worker) for worker in workers]
    at, number = 0.0, 0
    while (at := at + random.expovariate(1 / STEP_SECONDS)) < seconds:
        number += 1
        chosen = random.choice(planned)
        returns = _returns(chosen)
        back = returns and random.random() < RETURN_CHANCE
        verb = random.choice(returns if back or not chosen.exists else _others(chosen))
        _follow(chosen, verb)
        yield Step(at, chosen.worker, verb, number)


def _returns(planned: _Planned) -> list[Verb]:
    """What brings back what is out."""
    kind = planned.worker.kind
    if not planned.released:
        return [Verb.RELEASE]
    if not planned.exists:
        if kind is Kind.REGISTERING:
            return [Verb.SPEAK]
        return [Verb.CREATE, Verb.CREATE_HEARD, Verb.CREATE_HELD]
    found: list[Verb] = []
    if not planned.active:
        found.append(Verb.ACTIVATE)
    if not planned.speaks:
        found.append(Verb.SPEAK)
    if planned.drained:
        found.append(Verb.UNDRAIN)
    if planned.left:
        found.append(Verb.REGISTER if kind is Kind.REGISTERING else Verb.MOVE)
    return found


def _others(planned: _Planned) -> list[Verb]:
    """What else can be done to what is there."""
    found = [Verb.TOUCH, Verb.EDIT, Verb.DISABLE, Verb.SPARE, Verb.DELETE, Verb.DRAIN]
    found += [Verb.DEREGISTER, Verb.SILENCE, Verb.SILENCE]
    if planned.worker.kind is not Kind.REGISTERING:
        found += [Verb.MOVE, Verb.RECREATE]
    return found


def _follow(planned: _Planned, verb: Verb) -> None:
    registering = planned.worker.kind is Kind.REGISTERING
    if verb in {Verb.CREATE, Verb.CREATE_HEARD, Verb.CREATE_HELD, Verb.RECREATE, Verb.REGISTER}:
        planned.exists = planned.active = True
        planned.drained = planned.left = False
        planned.held = verb is Verb.CREATE_HELD
        planned.speaks = planned.speaks or verb is Verb.REGISTER
    elif verb is Verb.DELETE:
        planned.exists, planned.released = False, not planned.held
        planned.speaks = planned.speaks and not registering
    elif verb is Verb.RELEASE:
        planned.held, planned.released = False, True
    elif verb is Verb.MOVE:
        planned.drained = planned.left = False
    elif verb in {Verb.DISABLE, Verb.SPARE, Verb.ACTIVATE}:
        planned.active = verb is Verb.ACTIVATE
    elif verb in {Verb.SILENCE, Verb.SPEAK}:
        planned.speaks = verb is Verb.SPEAK
        planned.exists = planned.exists or registering
    elif verb in {Verb.DRAIN, Verb.UNDRAIN}:
        planned.drained = verb is Verb.DRAIN
    elif verb is Verb.DEREGISTER:
        planned.left = True
        planned.speaks = planned.speaks and not registering


def _faults(random: Random, seconds: float) -> Iterator[Fault]:
    at = FIRST_FAULT_SECONDS
    while at < seconds:
        both = random.random() < SECOND_FAULT_CHANCE
        lanes = [BEHIND, BEFORE] if both else [random.choice((BEHIND, (*BEFORE, *ALONE)))]
        end = at
        for lane in lanes:
            begins, lasts = at + random.uniform(0.0, 2.0), random.uniform(*FAULT_SECONDS)
            yield Fault(begins, lasts, random.choice(lane))
            end = max(end, begins + lasts)
        at = end + random.uniform(*CALM_SECONDS)
