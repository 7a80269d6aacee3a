from __future__ import annotations

import copy
import dataclasses
import pickle
from datetime import datetime

import pytest

from modelinstance import EmbeddedModelRegistry, ImmutableFieldError, ModelInstance
from modelinstance.registry.instance import Address

FIELDS = {
    "model_name": "vicuna",
    "host": "10.0.0.5",
    "port": 8000,
    "weight": 1.0,
    "check_healthy": True,
    "healthy": False,
    "enabled": True,
    "prompt_template": None,
    "last_heartbeat": None,
    "remove_from_registry": False,
}


@pytest.fixture
def instance() -> ModelInstance:
    return ModelInstance("vicuna", "10.0.0.5", 8000)


@pytest.fixture
def listed(instance: ModelInstance) -> ModelInstance:
    EmbeddedModelRegistry().sync_register_instance(instance)
    return instance


def test_the_defaults_are_those_of_dbgpt(instance: ModelInstance) -> None:
    assert dataclasses.asdict(instance) == FIELDS


def test_the_fields_are_positional_in_the_order_of_dbgpt() -> None:
    now = datetime.now()  # noqa: DTZ005 - DB-GPT's times are naive
    given = ("m", "h", 1, 0.5, False, True, False, "vicuna_v1.1", now, True)
    assert dataclasses.astuple(ModelInstance(*given)) == given


def test_model_host_and_port_identify_it_in_one_spelling() -> None:
    assert ModelInstance(" vicuna ", "Worker.Example.COM.", 1).address == Address(
        "vicuna", "worker.example.com", 1
    )
    assert ModelInstance("v", "[::1]", 1).address == ModelInstance("v", "::1", 1).address


def test_a_free_object_can_be_changed_at_will(instance: ModelInstance) -> None:
    instance.host = "10.0.0.6"
    assert instance.address.host == "10.0.0.6"


@pytest.mark.parametrize(
    ("field", "value"), [("model_name", "llama"), ("host", "10.0.0.6"), ("port", 9000)]
)
def test_a_listed_object_keeps_its_identity(
    listed: ModelInstance, field: str, value: object
) -> None:
    with pytest.raises(ImmutableFieldError, match=f"the {field} of a registered instance"):
        setattr(listed, field, value)
    assert getattr(listed, field) == FIELDS[field]


def test_assigning_the_same_identity_is_no_change(listed: ModelInstance) -> None:
    listed.host = "10.0.0.5"


def test_the_error_is_an_attribute_error_too(listed: ModelInstance) -> None:
    with pytest.raises(AttributeError):
        listed.port = 1


def test_observers_hear_of_assignments_and_not_of_what_is_shown(instance: ModelInstance) -> None:
    heard: list[str] = []

    def observer(seen: ModelInstance, field: str) -> None:
        assert seen is instance
        heard.append(field)

    instance.observe(observer)
    instance.healthy = True
    instance.show(healthy=False, last_heartbeat=None)
    instance.disregard(observer)
    instance.weight = 3.0
    assert heard == ["healthy"]
    assert instance.healthy is False


def test_a_listed_object_converts_to_the_ten_fields(listed: ModelInstance) -> None:
    converted = dataclasses.asdict(listed)
    assert list(converted) == list(FIELDS)
    assert ModelInstance(**converted) == listed


def test_a_replaced_copy_of_a_listed_object_is_free(listed: ModelInstance) -> None:
    moved = dataclasses.replace(listed, port=9000)
    moved.port = 9001
    assert listed.port == 8000


def test_a_copy_of_a_listed_object_is_free(listed: ModelInstance) -> None:
    copied = copy.copy(listed)
    copied.port = 9000
    assert listed.port == 8000


def test_a_listed_object_can_be_copied_deeply(listed: ModelInstance) -> None:
    assert copy.deepcopy(listed) == listed


def test_a_listed_object_can_be_pickled(listed: ModelInstance) -> None:
    assert pickle.loads(pickle.dumps(listed)) == listed


def test_its_text_shows_the_fields(listed: ModelInstance) -> None:
    text = repr(listed)
    assert text.startswith("ModelInstance(model_name='vicuna', host='10.0.0.5', port=8000")
    assert "_observers" not in text
