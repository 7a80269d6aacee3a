"""What users of DB-GPT's registry rely on."""

from __future__ import annotations

import asyncio
import dataclasses
import gc
import math
import time
import weakref
from collections.abc import Callable, Coroutine, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any

import pytest

import modelinstance
from modelinstance import (
    EmbeddedModelRegistry,
    ModelInstance,
    ModelRegistry,
    NoHealthyInstanceError,
    RegistryError,
)
from modelinstance.registry.clock import SystemClock
from modelinstance.registry.health.outages import GuardSettings
from modelinstance.registry.health.reasons import Reason
from modelinstance.registry.instance import Rotation
from support.waiting import PATIENCE
from unit.builders import key, put, spec
from unit.clock import START, FakeClock

INTERVAL, TIMEOUT = 5.0, 10.0


@pytest.fixture
def registry(clock: FakeClock) -> EmbeddedModelRegistry:
    return EmbeddedModelRegistry(INTERVAL, TIMEOUT, clock=clock)


def vicuna(port: int = 8000, **fields: Any) -> ModelInstance:
    return ModelInstance("vicuna", "10.0.0.5", port, **fields)


def registered(registry: EmbeddedModelRegistry, port: int = 8000, **fields: Any) -> ModelInstance:
    instance = vicuna(port, **fields)
    assert registry.sync_register_instance(instance) is True
    return instance


def run_checker(registry: EmbeddedModelRegistry, clock: FakeClock, seconds: float) -> None:
    """Let time pass with a checker that looks every second."""
    for _ in range(int(seconds)):
        clock.advance(1.0)
        registry.check()


def reason_of(registry: EmbeddedModelRegistry, instance: ModelInstance) -> Reason:
    record = registry.records.at(instance.address)
    assert record is not None
    return record.verdict.reason


def local(moment: datetime) -> datetime:
    """As DB-GPT shows a moment: in local time, without a zone."""
    return moment.astimezone().replace(tzinfo=None)


@pytest.fixture
def far_west(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A local time zone that is not UTC."""
    monkeypatch.setenv("TZ", "WST+9")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


# -- the package ---------------------------------------------------------------------------------


def test_the_exported_names_are_these() -> None:
    assert sorted(modelinstance.__all__) == [
        "EmbeddedModelRegistry",
        "ImmutableFieldError",
        "ModelInstance",
        "ModelRegistry",
        "NoHealthyInstanceError",
        "RegistryError",
    ]
    assert all(hasattr(modelinstance, name) for name in modelinstance.__all__)


def test_the_registry_is_a_model_registry_and_that_one_is_abstract() -> None:
    assert issubclass(EmbeddedModelRegistry, ModelRegistry)
    assert ModelRegistry.__abstractmethods__ == {
        "register_instance",
        "deregister_instance",
        "get_all_instances",
        "get_all_model_instances",
        "select_one_health_instance",
        "send_heartbeat",
    }


# -- construction --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("built", "interval", "timeout"),
    [
        (EmbeddedModelRegistry(), 60, 120),
        (EmbeddedModelRegistry(7, 9), 7, 9),
        (EmbeddedModelRegistry(7), 7, 120),
        (EmbeddedModelRegistry(heartbeat_timeout_secs=9, heartbeat_interval_secs=7), 7, 9),
        (EmbeddedModelRegistry(heartbeat_timeout_secs=0.5), 60, 0.5),
    ],
)
def test_it_is_built_by_position_or_by_name_outside_of_a_loop(
    built: EmbeddedModelRegistry, interval: float, timeout: float
) -> None:
    assert built.heartbeat_interval_secs == interval
    assert built.heartbeat_timeout_secs == timeout


@pytest.mark.parametrize(
    ("interval", "timeout", "named"),
    [(-1, 120, "heartbeat_interval_secs=-1"), (60, 0, "heartbeat_timeout_secs=0"), (60, -1, "-1")],
)
def test_times_that_make_no_sense_are_refused(interval: float, timeout: float, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        EmbeddedModelRegistry(interval, timeout)


# -- registering ---------------------------------------------------------------------------------


def test_registering_makes_healthy_with_a_beat_of_now(registry: EmbeddedModelRegistry) -> None:
    instance = registered(registry)
    assert instance.healthy is True
    assert instance.last_heartbeat == local(START)


@pytest.mark.usefixtures("far_west")
def test_the_last_heartbeat_is_a_naive_local_time(registry: EmbeddedModelRegistry) -> None:
    beat = registered(registry).last_heartbeat
    assert beat == START.replace(tzinfo=None) - timedelta(hours=9)
    assert beat.tzinfo is None


def test_what_it_came_with_does_not_count(registry: EmbeddedModelRegistry) -> None:
    ancient = datetime(2000, 1, 1)  # noqa: DTZ001 - DB-GPT's times are naive
    instance = registered(registry, healthy=False, last_heartbeat=ancient)
    assert instance.last_heartbeat == local(START)
    assert registry.sync_select_one_health_instance("vicuna") is instance


def test_the_registered_object_is_the_listed_one(registry: EmbeddedModelRegistry) -> None:
    instance = registered(registry)
    (listed,) = registry.sync_get_all_instances("vicuna")
    (of_all,) = registry.sync_get_all_model_instances()
    assert listed is of_all is registry.registry["vicuna"][0] is instance
    assert registry.sync_select_one_health_instance("vicuna") is instance


def test_matching_is_by_model_host_and_port(registry: EmbeddedModelRegistry) -> None:
    registered(registry)
    registered(registry)
    registered(registry, 8001)
    registry.sync_register_instance(ModelInstance("vicuna", "10.0.0.6", 8000))
    registry.sync_register_instance(ModelInstance("llama", "10.0.0.5", 8000))
    assert len(registry.registry["vicuna"]) == 3
    assert len(registry.sync_get_all_model_instances()) == 4


@pytest.mark.parametrize(
    ("one", "same"),
    [("worker.example.com", "Worker.Example.COM."), ("::1", "[::1]"), ("10.0.0.5", " 10.0.0.5 ")],
)
def test_a_host_is_one_host_however_it_is_spelled(
    registry: EmbeddedModelRegistry, one: str, same: str
) -> None:
    for host in (one, same):
        registry.sync_register_instance(ModelInstance("vicuna", host, 8000))
    assert len(registry.registry["vicuna"]) == 1


def test_a_second_registration_refreshes(registry: EmbeddedModelRegistry, clock: FakeClock) -> None:
    first = registered(registry)
    run_checker(registry, clock, TIMEOUT)
    assert first.healthy is False
    second = registered(registry, weight=3.0, prompt_template="vicuna_v1.1")
    assert list(registry.registry["vicuna"]) == [first]
    assert registry.registry["vicuna"][0] is first
    assert (first.healthy, first.last_heartbeat) == (True, local(clock.wall()))
    assert (first.weight, first.prompt_template) == (3.0, "vicuna_v1.1")
    assert second is not first
    record = registry.records.at(first.address)
    assert record is not None
    assert record.spec.weight == 3.0


@pytest.mark.parametrize(
    ("bad", "named"),
    [
        (ModelInstance("", "h", 1), "model_name"),
        (ModelInstance("m", " ", 1), "host"),
        (ModelInstance("m", "h", 0), "port"),
        (ModelInstance("m", "h", 65536), "port"),
        (ModelInstance("m", "h", True), "port"),
        (ModelInstance("m", "h", 1, weight=-1), "weight"),
        (ModelInstance("m", "h", 1, weight=math.inf), "weight"),
        (ModelInstance("m", "h", 1, weight=math.nan), "weight"),
    ],
)
def test_a_bad_field_is_named_and_nothing_is_registered(
    registry: EmbeddedModelRegistry, bad: ModelInstance, named: str
) -> None:
    for call in (registry.sync_register_instance, registry.sync_send_heartbeat):
        with pytest.raises(ValueError, match=f"{named}="):
            call(bad)
    assert registry.sync_get_all_model_instances() == []


def test_an_object_may_be_listed_in_two_registries(clock: FakeClock) -> None:
    one = EmbeddedModelRegistry(INTERVAL, TIMEOUT, clock=clock)
    two = EmbeddedModelRegistry(INTERVAL, TIMEOUT, clock=clock)
    instance = registered(one)
    two.sync_register_instance(instance)
    instance.enabled = False
    for registry in (one, two):
        assert reason_of(registry, instance) is Reason.DISABLED


# -- heartbeats ----------------------------------------------------------------------------------


def test_a_heartbeat_of_an_unknown_instance_registers_it(registry: EmbeddedModelRegistry) -> None:
    instance = vicuna()
    assert registry.sync_send_heartbeat(instance) is True
    assert registry.registry["vicuna"][0] is instance
    assert instance.healthy is True


def test_heartbeats_keep_healthy_and_are_shown(
    registry: EmbeddedModelRegistry, clock: FakeClock
) -> None:
    instance = registered(registry)
    for _ in range(5):
        run_checker(registry, clock, TIMEOUT - 1)
        assert registry.sync_send_heartbeat(vicuna()) is True
        assert instance.last_heartbeat == local(clock.wall())
    assert instance.healthy is True


def test_silence_makes_unhealthy_and_a_heartbeat_healthy_again(
    registry: EmbeddedModelRegistry, clock: FakeClock
) -> None:
    instance = registered(registry)
    run_checker(registry, clock, TIMEOUT)
    assert instance.healthy is False
    assert reason_of(registry, instance) is Reason.HEARTBEAT_EXPIRED
    registry.sync_send_heartbeat(vicuna())
    assert instance.healthy is True


def test_a_late_heartbeat_does_not_revive_a_deregistered_instance(
    registry: EmbeddedModelRegistry, clock: FakeClock
) -> None:
    instance = registered(registry)
    registry.sync_deregister_instance(vicuna())
    assert registry.sync_send_heartbeat(vicuna()) is False
    assert instance.healthy is False
    run_checker(registry, clock, 2 * TIMEOUT)
    assert registry.sync_send_heartbeat(vicuna()) is False
    assert registry.sync_get_all_instances("vicuna", healthy_only=True) == []
    assert registry.sync_register_instance(vicuna()) is True
    assert instance.healthy is True


def test_without_checks_silence_changes_nothing(
    registry: EmbeddedModelRegistry, clock: FakeClock
) -> None:
    instance = registered(registry, check_healthy=False)
    run_checker(registry, clock, 5 * TIMEOUT)
    assert instance.healthy is True
    assert registry.sync_select_one_health_instance("vicuna") is instance


def test_a_process_that_was_stopped_for_long_expires_nothing_at_once(
    registry: EmbeddedModelRegistry, clock: FakeClock
) -> None:
    instance = registered(registry)
    clock.advance(24 * 3600.0)
    registry.check()
    assert registry.sync_select_one_health_instance("vicuna") is instance
    run_checker(registry, clock, TIMEOUT)
    assert instance.healthy is False


# -- deregistering -------------------------------------------------------------------------------


def test_a_deregistered_instance_stays_listed_and_unhealthy(
    registry: EmbeddedModelRegistry,
) -> None:
    instance = registered(registry)
    assert registry.sync_deregister_instance(vicuna()) is True
    assert list(registry.registry["vicuna"]) == [instance]
    assert instance.healthy is False
    assert instance.last_heartbeat == local(START)


def test_deregistering_with_removal_removes(registry: EmbeddedModelRegistry) -> None:
    instance = registered(registry)
    assert registry.sync_deregister_instance(vicuna(remove_from_registry=True)) is True
    assert "vicuna" not in registry.registry
    assert registry.sync_get_all_model_instances() == []
    assert instance.healthy is False


def test_a_removed_object_is_free_and_can_be_registered_again(
    registry: EmbeddedModelRegistry,
) -> None:
    instance = registered(registry)
    registry.sync_deregister_instance(vicuna(remove_from_registry=True))
    instance.port = 9000
    instance.healthy = True
    assert registry.sync_get_all_model_instances() == []
    registry.sync_send_heartbeat(instance)
    assert registry.registry["vicuna"][0] is instance


def test_deregistering_an_unknown_instance_is_no_error(registry: EmbeddedModelRegistry) -> None:
    assert registry.sync_deregister_instance(vicuna()) is True
    assert "vicuna" not in registry.registry


# -- reading -------------------------------------------------------------------------------------


def test_healthy_only_leaves_out_the_unhealthy(registry: EmbeddedModelRegistry) -> None:
    healthy, gone = registered(registry), registered(registry, 8001)
    other = ModelInstance("llama", "h", 1)
    registry.sync_register_instance(other)
    registry.sync_deregister_instance(gone)
    assert registry.sync_get_all_instances("vicuna") == [healthy, gone]
    assert registry.sync_get_all_instances("vicuna", True) == [healthy]
    assert registry.sync_get_all_model_instances() == [healthy, gone, other]
    assert registry.sync_get_all_model_instances(healthy_only=True) == [healthy, other]


@pytest.mark.parametrize(
    "healthy_ones",
    [
        lambda registry: registry.sync_get_all_model_instances(healthy_only=True),
        lambda registry: registry.sync_get_all_instances("vicuna", healthy_only=True),
    ],
    ids=["of all models", "of one model"],
)
def test_healthy_only_does_not_wait_for_the_checker(
    clock: FakeClock, healthy_ones: Callable[[EmbeddedModelRegistry], list[ModelInstance]]
) -> None:
    registry = EmbeddedModelRegistry(10_000, TIMEOUT, clock=clock)
    instance = registered(registry)
    run_checker(registry, clock, TIMEOUT)
    assert instance.healthy is True
    assert healthy_ones(registry) == []
    assert instance.healthy is False


def test_a_selection_does_not_wait_for_the_checker(clock: FakeClock) -> None:
    registry = EmbeddedModelRegistry(10_000, TIMEOUT, clock=clock)
    registered(registry)
    run_checker(registry, clock, TIMEOUT)
    with pytest.raises(NoHealthyInstanceError):
        registry.sync_select_one_health_instance("vicuna")


def test_the_error_of_a_selection_names_the_model(registry: EmbeddedModelRegistry) -> None:
    with pytest.raises(NoHealthyInstanceError, match=r"'meta-llama/Llama-3\.1-8B'"):
        registry.sync_select_one_health_instance("meta-llama/Llama-3.1-8B")
    registry.sync_deregister_instance(registered(registry))
    with pytest.raises(RegistryError, match="'vicuna': 1 registered, none of them healthy"):
        registry.sync_select_one_health_instance("vicuna")


def test_what_is_not_enabled_is_healthy_and_not_selected(
    registry: EmbeddedModelRegistry,
) -> None:
    instance = registered(registry, enabled=False)
    assert instance.healthy is True
    assert registry.sync_get_all_instances("vicuna", healthy_only=True) == [instance]
    with pytest.raises(NoHealthyInstanceError):
        registry.sync_select_one_health_instance("vicuna")
    instance.enabled = True
    assert registry.sync_select_one_health_instance("vicuna") is instance
    instance.enabled = False
    with pytest.raises(NoHealthyInstanceError):
        registry.sync_select_one_health_instance("vicuna")


def test_a_weight_of_zero_is_listed_and_not_selected(registry: EmbeddedModelRegistry) -> None:
    idle, busy = registered(registry, weight=0), registered(registry, 8001, weight=None)
    assert registry.sync_get_all_instances("vicuna", healthy_only=True) == [idle, busy]
    picked = [registry.sync_select_one_health_instance("vicuna") for _ in range(50)]
    assert all(each is busy for each in picked)
    idle.weight, busy.weight = 2.0, 0
    assert registry.sync_select_one_health_instance("vicuna") is idle


def test_instances_converted_to_dicts_have_the_ten_fields(
    registry: EmbeddedModelRegistry,
) -> None:
    instance = registered(registry)
    fields = dataclasses.asdict(registry.sync_select_one_health_instance("vicuna"))
    assert len(fields) == 10
    assert ModelInstance(**fields) == instance
    assert registry.sync_send_heartbeat(ModelInstance(**fields)) is True


# -- the live view -------------------------------------------------------------------------------


def test_the_view_of_a_model_is_live(registry: EmbeddedModelRegistry) -> None:
    view = registry.registry["vicuna"]
    assert len(view) == 0
    assert view == []
    first = registered(registry)
    second = registered(registry, 8001)
    assert view == [first, second]
    assert (view[0], view[-1], view[1:]) == (first, second, [second])
    assert first in view
    assert [each.port for each in view] == [8000, 8001]
    assert repr(view) == repr([first, second])
    registry.sync_deregister_instance(vicuna(remove_from_registry=True))
    assert view == registry.registry["vicuna"] == [second]


def test_the_view_of_all_models_is_a_mapping(registry: EmbeddedModelRegistry) -> None:
    view = registry.registry
    assert isinstance(view, Mapping)
    assert dict(view) == {}
    instance = registered(registry)
    assert (list(view), len(view), "vicuna" in view) == (["vicuna"], 1, True)
    assert {name: list(each) for name, each in view.items()} == {"vicuna": [instance]}
    assert repr(view) == repr({"vicuna": [instance]})


def test_reading_an_unknown_name_adds_nothing(registry: EmbeddedModelRegistry) -> None:
    assert list(registry.registry["nobody"]) == []
    assert registry.sync_get_all_instances("nobody") == []
    with pytest.raises(NoHealthyInstanceError):
        registry.sync_select_one_health_instance("nobody")
    not_even_a_name: Any = 42
    assert "nobody" not in registry.registry
    assert not_even_a_name not in registry.registry
    assert list(registry.registry) == []


def test_get_of_an_unknown_name_gives_the_default(registry: EmbeddedModelRegistry) -> None:
    registry.registry["nobody"]
    assert registry.registry.get("nobody") is None


def test_a_view_may_be_read_while_instances_come_and_go(registry: EmbeddedModelRegistry) -> None:
    for port in range(1, 6):
        registered(registry, port)
    for each in registry.registry["vicuna"]:
        each.remove_from_registry = True
        registry.sync_deregister_instance(each)
    assert list(registry.registry) == []


# -- what callers assign -------------------------------------------------------------------------


def test_healthy_set_by_a_caller_holds_until_the_next_heartbeat(
    registry: EmbeddedModelRegistry,
) -> None:
    instance = registered(registry)
    instance.healthy = False
    assert reason_of(registry, instance) is Reason.SET_BY_CALLER
    with pytest.raises(NoHealthyInstanceError):
        registry.sync_select_one_health_instance("vicuna")
    registry.sync_send_heartbeat(vicuna())
    assert instance.healthy is True
    assert reason_of(registry, instance) is Reason.HEARTBEAT_RECEIVED


def test_healthy_set_by_a_caller_holds_until_the_next_registration(
    registry: EmbeddedModelRegistry,
) -> None:
    instance = registered(registry)
    instance.healthy = False
    registry.sync_register_instance(vicuna())
    assert instance.healthy is True


def test_healthy_set_by_a_caller_holds_until_expiry(
    registry: EmbeddedModelRegistry, clock: FakeClock
) -> None:
    instance = registered(registry)
    run_checker(registry, clock, TIMEOUT)
    instance.healthy = True
    assert reason_of(registry, instance) is Reason.SET_BY_CALLER
    run_checker(registry, clock, TIMEOUT - 1)
    assert registry.sync_select_one_health_instance("vicuna") is instance
    run_checker(registry, clock, INTERVAL)
    assert instance.healthy is False
    assert reason_of(registry, instance) is Reason.HEARTBEAT_EXPIRED


@pytest.mark.parametrize("healthy", [True, False])
def test_what_the_object_says_and_what_is_listed_as_healthy_agree(
    registry: EmbeddedModelRegistry, healthy: bool
) -> None:
    instance = registered(registry)
    registry.sync_deregister_instance(vicuna())
    instance.healthy = healthy
    listed = registry.sync_get_all_instances("vicuna", healthy_only=True)
    assert bool(instance.healthy) is bool(listed)


@pytest.mark.usefixtures("far_west")
def test_a_last_heartbeat_set_into_the_past_makes_it_that_old(
    registry: EmbeddedModelRegistry, clock: FakeClock
) -> None:
    instance = registered(registry)
    instance.last_heartbeat = local(START) - timedelta(seconds=TIMEOUT - 3)
    run_checker(registry, clock, 2)
    assert registry.sync_select_one_health_instance("vicuna") is instance
    run_checker(registry, clock, 1)
    with pytest.raises(NoHealthyInstanceError):
        registry.sync_select_one_health_instance("vicuna")
    assert instance.last_heartbeat == local(START) - timedelta(seconds=TIMEOUT - 3)


@pytest.mark.parametrize("age", [TIMEOUT, 10 * TIMEOUT, None])
def test_the_checker_expires_what_is_set_to_be_too_old(
    registry: EmbeddedModelRegistry, clock: FakeClock, age: float | None
) -> None:
    instance = registered(registry)
    instance.last_heartbeat = None if age is None else local(START) - timedelta(seconds=age)
    run_checker(registry, clock, INTERVAL)
    assert instance.healthy is False


def test_an_age_that_a_caller_set_is_the_age_on_the_monotonic_clock(
    registry: EmbeddedModelRegistry, clock: FakeClock
) -> None:
    instance = registered(registry)
    instance.last_heartbeat = local(START) - timedelta(seconds=4)
    record = registry.records.at(instance.address)
    assert record is not None
    assert record.last_beat_monotonic == clock.monotonic() - 4


def test_a_heartbeat_after_that_counts_again(
    registry: EmbeddedModelRegistry, clock: FakeClock
) -> None:
    instance = registered(registry)
    instance.last_heartbeat = local(START) - timedelta(days=1)
    registry.sync_send_heartbeat(vicuna())
    run_checker(registry, clock, TIMEOUT - 1)
    assert instance.healthy is True


def test_a_last_heartbeat_set_to_later_gives_no_more_than_a_timeout(
    registry: EmbeddedModelRegistry, clock: FakeClock
) -> None:
    instance = registered(registry)
    instance.last_heartbeat = local(START) + timedelta(days=1)
    run_checker(registry, clock, TIMEOUT)
    assert instance.healthy is False


def test_a_recent_last_heartbeat_revives_nobody(
    registry: EmbeddedModelRegistry, clock: FakeClock
) -> None:
    instance = registered(registry)
    run_checker(registry, clock, TIMEOUT)
    instance.last_heartbeat = local(clock.wall())
    assert registry.sync_get_all_instances("vicuna", healthy_only=True) == []


def test_check_healthy_can_be_switched(registry: EmbeddedModelRegistry, clock: FakeClock) -> None:
    instance = registered(registry)
    instance.check_healthy = False
    run_checker(registry, clock, 3 * TIMEOUT)
    assert instance.healthy is True
    instance.check_healthy = True
    assert registry.sync_get_all_instances("vicuna", healthy_only=True) == []


def test_a_bad_weight_is_refused_and_the_object_stays_as_it_was(
    registry: EmbeddedModelRegistry,
) -> None:
    instance = registered(registry, weight=2.0)
    with pytest.raises(ValueError, match="weight=-1"):
        instance.weight = -1
    assert instance.weight == 2.0


def test_assigning_to_an_object_that_is_not_listed_changes_nothing(
    registry: EmbeddedModelRegistry,
) -> None:
    listed, other = registered(registry), vicuna()
    registry.sync_register_instance(other)
    other.healthy = False
    other.enabled = False
    assert registry.sync_select_one_health_instance("vicuna") is listed


# -- records that came otherwise -----------------------------------------------------------------


def test_a_resource_is_listed_as_an_instance(registry: EmbeddedModelRegistry) -> None:
    record = put(registry.records, weight=2.0, heartbeat_required=True)
    registry.records.beat(record)
    (instance,) = registry.sync_get_all_instances("vicuna")
    assert instance == ModelInstance(
        "vicuna", "10.0.0.5", 8000, 2.0, True, True, True, None, local(START), False
    )
    assert registry.sync_select_one_health_instance("vicuna") is instance
    registry.records.set_deregistered(record, deregistered=True)
    assert instance.healthy is False


def test_an_alias_selects_and_is_not_listed(registry: EmbeddedModelRegistry) -> None:
    registry.records.beat(put(registry.records, aliases=frozenset({"chat"})))
    assert registry.sync_select_one_health_instance("chat").model_name == "vicuna"
    assert registry.sync_get_all_instances("chat") == []
    assert list(registry.registry) == ["vicuna"]


@pytest.mark.parametrize(
    "edited",
    [
        spec(host="10.0.0.6"),
        spec(weight=5.0),
        spec(rotation=Rotation.DISABLED),
        spec(heartbeat_required=False),
    ],
    ids=["host", "weight", "rotation", "heartbeat"],
)
def test_a_listed_resource_follows_its_edits(registry: EmbeddedModelRegistry, edited: Any) -> None:
    put(registry.records)
    registry.sync_get_all_instances("vicuna")
    registry.records.put(key(), "uid-of-vicuna-0", edited, created=0.0)
    (instance,) = registry.sync_get_all_instances("vicuna")
    assert (instance.host, instance.weight, instance.enabled, instance.check_healthy) == (
        edited.host,
        edited.weight,
        edited.rotation is Rotation.ACTIVE,
        edited.heartbeat_required,
    )


def test_nothing_is_kept_of_a_resource_that_is_gone(registry: EmbeddedModelRegistry) -> None:
    put(registry.records)
    listed = weakref.ref(registry.sync_get_all_instances("vicuna")[0])
    assert listed() is not None
    registry.records.remove(key())
    gc.collect()
    assert listed() is None


def test_assigning_to_a_listed_resource_keeps_what_else_is_known_of_it(
    registry: EmbeddedModelRegistry,
) -> None:
    record = registry.records.put(
        key(), "u", spec(), created=0.0, labels={"team": "a"}, deleting=True
    )
    (instance,) = registry.sync_get_all_instances("vicuna")
    instance.weight = 2.0
    assert (record.labels, record.deleting, record.spec.weight) == ({"team": "a"}, True, 2.0)


# -- the checker ---------------------------------------------------------------------------------


def test_the_checker_runs_at_its_interval(clock: FakeClock) -> None:
    registry = EmbeddedModelRegistry(4, TIMEOUT, clock=clock)
    instance = registered(registry)
    run_checker(registry, clock, 11)
    assert instance.healthy is True
    run_checker(registry, clock, 1)
    assert instance.healthy is False


def test_with_an_interval_of_zero_the_checker_runs_at_each_deadline(clock: FakeClock) -> None:
    registry = EmbeddedModelRegistry(0, 0.25, clock=clock)
    assert registry.check() == 1.0
    instance = registered(registry)
    assert registry.check() == 0.25
    clock.advance(0.25)
    registry.check()
    assert instance.healthy is False


@pytest.mark.parametrize("interval", [0, 0.5, 60])
def test_the_checker_looks_at_the_clock_at_least_every_second(
    clock: FakeClock, interval: float
) -> None:
    registry = EmbeddedModelRegistry(interval, 120, clock=clock)
    registered(registry)
    for _ in range(20):
        until = registry.check()
        assert 0 < until <= 1.0
        clock.advance(until)


async def eventually(condition: Callable[[], object], within: float) -> None:
    """Wait for a condition that nothing but the checker brings about."""
    deadline = time.monotonic() + within * PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"not within {within} s (times {PATIENCE:g})"
        await asyncio.sleep(0.01)


FIRST_CALLS: dict[str, Callable[[EmbeddedModelRegistry], object]] = {
    "register": lambda registry: registry.register_instance(vicuna()),
    "heartbeat": lambda registry: registry.send_heartbeat(vicuna()),
    "deregister": lambda registry: registry.deregister_instance(vicuna(9)),
    "get all of a model": lambda registry: registry.get_all_instances("vicuna"),
    "get all": lambda registry: registry.get_all_model_instances(),
    "select": lambda registry: registry.select_one_health_instance("vicuna"),
    "sync": lambda registry: registry.sync_get_all_model_instances(),
    "read the view": lambda registry: list(registry.registry["vicuna"]),
}


def backdate(instance: ModelInstance) -> None:
    """Make an instance too old, which only the checker finds out."""
    instance.last_heartbeat = local(SystemClock().wall()) - timedelta(hours=2)


@pytest.mark.parametrize("call", FIRST_CALLS.values(), ids=FIRST_CALLS.keys())
def test_the_checker_starts_with_the_first_call_inside_a_loop(
    call: Callable[[EmbeddedModelRegistry], object],
) -> None:
    registry = EmbeddedModelRegistry(0.05, 3600)
    instance = registered(registry)

    async def first_call() -> None:
        called = call(registry)
        if isinstance(called, Coroutine):
            await called
        backdate(instance)
        await eventually(lambda: instance.healthy is False, within=2)

    asyncio.run(first_call())


def test_the_checker_starts_anew_in_another_loop() -> None:
    registry = EmbeddedModelRegistry(0.05, 3600)
    instance = registered(registry)

    async def beat_and_fall_silent() -> None:
        await registry.send_heartbeat(instance)
        assert instance.healthy is True
        backdate(instance)
        await eventually(lambda: instance.healthy is False, within=2)

    asyncio.run(beat_and_fall_silent())
    asyncio.run(beat_and_fall_silent())


async def test_the_checker_expires_who_is_silent() -> None:
    registry = EmbeddedModelRegistry(0.05, 0.1)
    instance = vicuna()
    await registry.register_instance(instance)
    await eventually(lambda: instance.healthy is False, within=2)


async def test_there_is_one_checker_however_many_calls() -> None:
    registry = EmbeddedModelRegistry(0.05, 0.1)
    for _ in range(5):
        await registry.register_instance(vicuna())
    named = [task for task in asyncio.all_tasks() if "heartbeat checker" in task.get_name()]
    assert len(named) == 1


async def test_the_checker_ends_with_its_registry() -> None:
    registry = EmbeddedModelRegistry(0.05, 0.1)
    await registry.get_all_model_instances()
    checker = registry._checker
    assert checker is not None
    del registry
    gc.collect()
    await eventually(checker.done, within=2)


# -- coroutines and threads ----------------------------------------------------------------------


async def test_each_coroutine_does_what_its_sync_form_does(clock: FakeClock) -> None:
    registry = EmbeddedModelRegistry(INTERVAL, TIMEOUT, clock=clock)
    instance = vicuna()
    assert await registry.register_instance(instance) is True
    assert await registry.send_heartbeat(vicuna()) is True
    assert await registry.get_all_instances("vicuna") == [instance]
    assert await registry.get_all_instances("vicuna", healthy_only=True) == [instance]
    assert await registry.get_all_model_instances() == [instance]
    assert await registry.select_one_health_instance("vicuna") is instance
    assert await registry.deregister_instance(vicuna()) is True
    assert await registry.send_heartbeat(vicuna()) is False
    assert await registry.get_all_model_instances(healthy_only=True) == []
    with pytest.raises(NoHealthyInstanceError, match="vicuna"):
        await registry.select_one_health_instance("vicuna")
    with pytest.raises(ValueError, match="port"):
        await registry.register_instance(vicuna(0))


def test_the_sync_forms_may_be_called_from_many_threads() -> None:
    registry = EmbeddedModelRegistry()

    def work(port: int) -> int:
        for _ in range(100):
            instance = vicuna(port)
            registry.sync_register_instance(instance)
            registry.sync_send_heartbeat(instance)
            registry.sync_select_one_health_instance("vicuna")
            instance.weight = 2.0
            instance.remove_from_registry = True
            registry.sync_get_all_model_instances(healthy_only=True)
            registry.sync_deregister_instance(instance)
            registry.sync_register_instance(vicuna(port))
        return port

    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(work, range(1, 5))) == [1, 2, 3, 4]
    assert sorted(each.port for each in registry.registry["vicuna"]) == [1, 2, 3, 4]
    assert registry.records.totals().healthy == 4


def test_the_checker_ends_what_the_guard_held(clock: FakeClock) -> None:
    registry = EmbeddedModelRegistry(0, TIMEOUT, clock=clock)
    registry.records.guard.configure(GuardSettings(seconds=20.0))
    for port in (1, 2, 3):
        registry.sync_register_instance(ModelInstance("m", "h", port))
    healthy = []
    for _ in range(int(TIMEOUT) + 25):
        clock.advance(1)
        registry.check()
        healthy.append(sum(record.verdict.ready for record in registry.records))
    assert healthy == [3] * (int(TIMEOUT) + 19) + [0] * 6
