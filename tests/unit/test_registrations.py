"""What a registration is called, and whether two of them ask for the same."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given

from modelinstance.registry.instance import NO_UID, Address, Incarnation, InstanceSpec
from modelinstance.registry.intake.registrations import (
    MANAGED_BY,
    MANAGER,
    MAX_SLUG,
    Registration,
    is_registered,
)
from modelinstance.registry.load import Load
from modelinstance.registry.records.records import Records
from unit.builders import put, spec

INCARNATION = Incarnation("uid", spec().address)
REGISTRATION = Registration("prod", spec())
DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")

addresses = st.builds(
    Address,
    model_name=st.text(min_size=1, max_size=300),
    host=st.sampled_from(["10.0.0.5", "10.0.0.50", "fd00::5", "vicuna-0.models.svc"]),
    port=st.integers(1, 65535),
)
specs = st.builds(
    InstanceSpec,
    model_name=st.sampled_from(["vicuna", "llama"]),
    host=st.sampled_from(["h", "i"]),
    port=st.sampled_from([1, 2]),
    scheme=st.sampled_from(["http", "https"]),
    base_path=st.sampled_from(["", "/v1"]),
    aliases=st.frozensets(st.sampled_from(["a", "b", "c"])),
    weight=st.sampled_from([0.0, 1.0, 2.5]),
    heartbeat_required=st.booleans(),
    heartbeat_timeout=st.sampled_from([None, 5.0, 60.0]),
)


def at(address: Address, namespace: str = "prod") -> Registration:
    return Registration(
        namespace, spec(model_name=address.model_name, host=address.host, port=address.port)
    )


# -- the id of an incarnation --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("incarnation", "known"),
    [
        (INCARNATION, "9cc25d4d337bc102"),
        (Incarnation(NO_UID, spec().address), "1fa75ad513ad278d"),
        (
            Incarnation("uid", Address("meta-llama/Llama-3.1-8B", "fd00::5", 443)),
            "3814bf0d483266a0",
        ),
    ],
)
def test_an_incarnation_has_the_same_id_in_every_process(
    incarnation: Incarnation, known: str
) -> None:
    assert incarnation.id == known


@pytest.mark.parametrize(
    "other",
    [
        Incarnation(NO_UID, spec().address),
        Incarnation("another", spec().address),
        Incarnation("uid", spec(model_name="llama").address),
        Incarnation("uid", spec(host="10.0.0.6").address),
        Incarnation("uid", spec(port=9000).address),
    ],
    ids=["no uid", "uid", "model", "host", "port"],
)
def test_another_uid_or_address_has_another_id(other: Incarnation) -> None:
    assert other.id != INCARNATION.id


@given(
    st.builds(Incarnation, st.sampled_from(["", "a", "ab"]), addresses),
    st.builds(Incarnation, st.sampled_from(["", "a", "ab"]), addresses),
)
def test_the_parts_of_an_id_do_not_run_into_one_another(
    one: Incarnation, other: Incarnation
) -> None:
    assert re.fullmatch("[0-9a-f]{16}", one.id)
    assert (one.id == other.id) is (one == other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (Incarnation("uid", Address("a", "b1", 2)), Incarnation("uid", Address("a", "b", 12))),
        (Incarnation("uida", Address("b", "h", 1)), Incarnation("uid", Address("ab", "h", 1))),
        (Incarnation("uid", Address("ab", "c", 1)), Incarnation("uid", Address("a", "bc", 1))),
    ],
)
def test_a_part_that_moves_over_makes_another_id(one: Incarnation, other: Incarnation) -> None:
    assert one.id != other.id


def test_the_id_is_of_nothing_but_uid_and_address(records: Records) -> None:
    record = put(records, weight=3.0, aliases=frozenset({"chat"}), scheme="https")
    assert record.id == Incarnation("uid-of-vicuna-0", spec().address).id


# -- the name of its resource --------------------------------------------------------------------


@given(addresses)
def test_any_model_name_gives_a_name_that_kubernetes_takes(address: Address) -> None:
    key = at(address).key
    assert key.namespace == "prod"
    assert len(key.name) <= 63, "a DNS label: it may become a label's value too"
    assert DNS_LABEL.fullmatch(key.name)


@given(addresses, addresses)
def test_one_address_gives_one_name_and_another_gives_another(one: Address, other: Address) -> None:
    assert (at(one).key == at(other).key) is (one == other)


@pytest.mark.parametrize(
    ("model_name", "name"),
    [
        ("vicuna", "vicuna-"),
        ("meta-llama/Llama-3.1-8B", "meta-llama-llama-3-1-8b-"),
        ("--vicuna@llm--", "vicuna-llm-"),
        ("模型", "model-"),
        ("x" * 300, "x" * MAX_SLUG + "-"),
        ("x" * (MAX_SLUG - 1) + "/y", "x" * (MAX_SLUG - 1) + "-"),
    ],
)
def test_the_name_begins_with_what_is_left_of_the_model_name(model_name: str, name: str) -> None:
    key = at(Address(model_name, "h", 1)).key
    assert re.fullmatch(re.escape(name) + "[0-9a-f]{10}", key.name)


def test_the_name_is_the_same_in_every_process() -> None:
    assert str(REGISTRATION.key) == "prod/vicuna-796f67e115"


@pytest.mark.parametrize(
    "other",
    [
        Registration("prod", spec(model_name="Vicuna")),
        Registration("prod", spec(host="10.0.0.6")),
        Registration("prod", spec(port=9000)),
        Registration("test", spec()),
    ],
    ids=["model", "host", "port", "namespace"],
)
def test_another_address_or_namespace_gives_another_name(other: Registration) -> None:
    assert other.key.name != REGISTRATION.key.name


@given(specs, specs)
def test_the_name_rests_on_the_address_alone(one: InstanceSpec, other: InstanceSpec) -> None:
    same = Registration("prod", one).key == Registration("prod", other).key
    assert same is (one.address == other.address)


# -- whether it asks for the same ----------------------------------------------------------------


@given(specs, specs)
def test_two_digests_are_equal_if_the_specs_are(one: InstanceSpec, other: InstanceSpec) -> None:
    same = Registration("prod", one).digest == Registration("prod", other).digest
    assert same is (one == other)


@pytest.mark.parametrize(
    "change",
    [
        {"model_name": "llama"}, {"host": "10.0.0.6"}, {"port": 9000}, {"scheme": "https"},
        {"base_path": "/v1"}, {"aliases": frozenset({"chat"})}, {"weight": 2.0},
        {"heartbeat_required": False}, {"heartbeat_timeout": 60.0},
    ],
    ids=lambda change: next(iter(change)),
)  # fmt: skip
def test_whatever_is_asked_for_is_in_the_digest(change: dict[str, Any]) -> None:
    assert Registration("prod", replace(spec(), **change)).digest != REGISTRATION.digest


def test_the_labels_are_in_the_digest_in_any_order() -> None:
    one = replace(REGISTRATION, labels={"a": "1", "b": "2"})
    assert replace(REGISTRATION, labels={"b": "2", "a": "1"}).digest == one.digest
    assert replace(REGISTRATION, labels={"a": "1"}).digest != one.digest
    assert replace(REGISTRATION, labels={"a": "2", "b": "1"}).digest != one.digest


def test_the_load_is_not_in_the_digest() -> None:
    assert replace(REGISTRATION, load=Load(running=3)).digest == REGISTRATION.digest


def test_the_digest_is_the_same_in_every_process() -> None:
    many = frozenset(f"alias-{number}" for number in range(20))
    assert Registration("prod", spec(aliases=many)).digest == "906f5a44890da5a2"


# -- where it came from --------------------------------------------------------------------------


def test_the_label_that_tells_where_it_came_from_is_added_to_its_own() -> None:
    registration = replace(REGISTRATION, labels={"tier": "gold"})
    assert registration.all_labels == {"tier": "gold", MANAGED_BY: MANAGER}
    assert registration.labels == {"tier": "gold"}


@pytest.mark.parametrize(
    ("labels", "registered"),
    [
        ({}, False),
        ({MANAGED_BY: "Helm"}, False),
        ({"tier": MANAGER}, False),
        ({MANAGED_BY: MANAGER}, True),
        (REGISTRATION.all_labels, True),
    ],
)
def test_a_record_came_by_registration_if_its_label_says_so(
    records: Records, labels: dict[str, str], registered: bool
) -> None:
    assert is_registered(put(records, labels=labels)) is registered
