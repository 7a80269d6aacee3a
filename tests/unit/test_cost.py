"""What a call costs does not depend on the instances of other models.

Counted are the function calls that Python makes, which is the same on every machine.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest

from modelinstance import EmbeddedModelRegistry, ModelInstance
from modelinstance.registry.mirror.mirror import Mirror
from modelinstance.registry.records.records import Records
from unit.builders import TIMEOUT, key, put, spec
from unit.clock import FakeClock
from unit.costs import calls_of

FEW, MANY = 100, 10_000


def filled(others: int) -> Records:
    """Records with one healthy vicuna and that many healthy ones of other models."""
    clock = FakeClock()
    records = Records(TIMEOUT, clock=clock, random=Random(1))
    for number in range(others):
        other = put(records, str(number), model_name=f"model-{number % 50}", port=1 + number)
        records.beat(other)
    records.beat(put(records))
    records.select("vicuna")
    clock.advance(0.5)
    return records


@pytest.fixture(scope="module")
def few() -> Records:
    return filled(FEW)


@pytest.fixture(scope="module")
def many() -> Records:
    return filled(MANY)


def vicuna(records: Records) -> None:
    record = records.get(key())
    assert record is not None
    records.beat(record)


def drain_and_return(records: Records) -> None:
    record = records.get(key())
    assert record is not None
    records.set_deregistered(record, deregistered=True)
    records.set_deregistered(record, deregistered=False)


def come_and_go(records: Records) -> None:
    put(records, "new", port=70_000, model_name="new")
    records.remove(key("new"))


@pytest.mark.parametrize(
    "action",
    [
        lambda records: records.select("vicuna"),
        vicuna,
        lambda records: records.expire(),
        lambda records: records.totals(),
        lambda records: list(records.named("vicuna")),
        lambda records: list(records.named("nobody")),
        lambda records: records.at(spec().address),
        drain_and_return,
        come_and_go,
        lambda records: records.put(key(), "uid-of-vicuna-0", spec(weight=2.0), created=0.0),
    ],
    ids=[
        "select", "beat", "expire", "totals", "named", "unknown", "at", "decide", "come and go",
        "edit",
    ],
)  # fmt: skip
def test_a_call_costs_the_same_with_many_others(
    few: Records, many: Records, action: Callable[[Records], object]
) -> None:
    action(few)
    action(many)
    assert calls_of(lambda: action(few)) == calls_of(lambda: action(many))


def test_a_look_at_the_clock_costs_the_same_with_many_others(few: Records, many: Records) -> None:
    mirrors = Mirror(few), Mirror(many)
    costs = [calls_of(mirror.attend) for mirror in mirrors]
    assert costs[0] == costs[1]


def test_a_call_of_the_class_costs_the_same_with_many_others() -> None:
    costs = []
    for others in (FEW, MANY):
        registry = EmbeddedModelRegistry(clock=FakeClock())
        for number in range(others):
            registry.sync_register_instance(ModelInstance(f"m-{number % 50}", "h", 1 + number))
        mine = ModelInstance("vicuna", "h", 65_000)

        def use(registry: EmbeddedModelRegistry = registry, mine: ModelInstance = mine) -> None:
            registry.sync_register_instance(mine)
            registry.sync_send_heartbeat(mine)
            registry.sync_select_one_health_instance("vicuna")
            registry.sync_get_all_instances("vicuna", healthy_only=True)
            registry.sync_deregister_instance(mine)

        use()
        costs.append(calls_of(use))
    assert costs[0] == costs[1]
