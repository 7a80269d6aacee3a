"""The instance that a pod's label and annotations describe."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelinstance.api import v1alpha1
from modelinstance.cluster.translate import pod_instance_body
from modelinstance.registry.intake.podspecs import (
    MAX_ALIASES,
    Names,
    SettingError,
    discovers_names,
    instance_of,
    labels_of,
)
from unit.pods import facts


def test_a_label_and_a_port_are_enough() -> None:
    wanted = instance_of(facts())
    spec = wanted.spec
    assert (spec.model_name, spec.host, spec.port) == ("vicuna", "10.1.0.1", 8000)
    assert not spec.heartbeat_required
    assert pod_instance_body(wanted, None)["spec"] == {
        "modelName": "vicuna", "host": "10.1.0.1", "port": 8000, "heartbeat": {"required": False},
    }  # fmt: skip
    assert "uid" not in pod_instance_body(wanted, None)["metadata"]
    assert pod_instance_body(wanted, "u")["metadata"]["uid"] == "u"


def test_all_annotations() -> None:
    spec = instance_of(
        facts(
            settings={
                "model-name": "meta-llama/L",
                "port": "9",
                "scheme": "https",
                "base-path": "/v1",
                "weight": "250",
                "aliases": "a, b,",
                "heartbeat-timeout-seconds": "5",
            }
        )
    ).spec
    assert spec.model_name == "meta-llama/L"
    assert spec.url == "https://10.1.0.1:9/v1"
    assert spec.weight == 2.5
    assert spec.aliases == {"a", "b"}
    assert (spec.heartbeat_required, spec.heartbeat_timeout) == (True, 5)


@pytest.mark.parametrize(
    ("setting", "value", "hint"),
    [
        ("model-name", "", "write the name"),
        ("model-name", " vicuna", "write the name"),
        ("model-name", "a\nb", "write the name"),
        ("model-name", "x" * 254, "write the name"),
        ("port", "http", "write a whole number from 1 to 65535"),
        ("port", "0", "write a whole number"),
        ("port", "65536", "write a whole number"),
        ("port", "٣", "write a whole number"),
        ("port", "8000.0", "write a whole number"),
        ("scheme", "HTTP", "write http or https"),
        ("base-path", "v1", "begins with '/'"),
        ("base-path", "/v1/", "does not end with"),
        ("base-path", "/a b", "no space"),
        ("weight", "-1", "write a whole number from 0"),
        ("weight", "2147483648", "write a whole number from 0"),
        ("aliases", "", "write 1 to 16 names"),
        ("aliases", ",".join(map(str, range(17))), "write 1 to 16 names"),
        ("heartbeat-timeout-seconds", "0", "from 1 to 86400"),
        ("heartbeat-timeout-seconds", "86401", "from 1 to 86400"),
    ],
)
def test_a_wrong_annotation_says_what_to_write(setting: str, value: str, hint: str) -> None:
    with pytest.raises(SettingError, match=re.escape(hint)) as caught:
        instance_of(facts(settings={setting: value}))
    assert (caught.value.setting, caught.value.value) == (setting, value)


def test_whether_names_are_discovered() -> None:
    assert not discovers_names(facts())
    assert discovers_names(facts(settings={"discover-names": "true"}))
    with pytest.raises(SettingError, match="write true or false"):
        discovers_names(facts(settings={"discover-names": "yes"}))


def test_a_label_without_a_value_names_no_model() -> None:
    with pytest.raises(SettingError, match="write the model's name into the label"):
        instance_of(facts(model=""))


@pytest.mark.parametrize(
    ("ports", "port"),
    [
        ((("", 1),), 1),
        ((("http", 2), ("metrics", 3)), 2),
        ((("grpc", 4), ("grpc", 4)), 4),
        ((("a", 1), ("b", 2)), None),
        ((), None),
    ],
)
def test_which_port_is_taken(ports: tuple[tuple[str, int], ...], port: int | None) -> None:
    if port is None:
        with pytest.raises(SettingError, match="write the port that the engine listens on"):
            instance_of(facts(ports=ports))
    else:
        assert instance_of(facts(ports=ports)).spec.port == port


def test_labels_of_controllers_are_left_out() -> None:
    labels = {
        "app": "x", "pod-template-hash": "1", "controller-revision-hash": "2",
        "statefulset.kubernetes.io/pod-name": "p", "apps.kubernetes.io/pod-index": "0",
        "app.kubernetes.io/managed-by": "Helm",
    }  # fmt: skip
    assert labels_of(facts(labels=labels)) == {
        "app": "x", "app.kubernetes.io/managed-by": "modelinstance-pods",
    }  # fmt: skip


def test_the_engine_names_itself() -> None:
    pod = facts(settings={"aliases": "mine,base"})
    wanted = instance_of(pod, Names("base", ("lora",)))
    assert wanted.spec.model_name == "base"
    assert wanted.spec.aliases == {"lora", "mine"}
    assert wanted.digest != instance_of(pod).digest


names = st.text(st.characters(codec="utf-8", exclude_characters=","), min_size=1, max_size=20)


@given(model=names, others=st.lists(names, max_size=30), own=st.frozensets(names, max_size=20))
def test_what_was_written_tells_the_names_again(
    model: str, others: list[str], own: frozenset[str]
) -> None:
    """After a restart the names are taken from the resource: nothing else may come of them."""
    pod = facts(settings={"aliases": ",".join(own)} if own else {})
    try:
        first = instance_of(pod, Names(model, tuple(others)))
    except SettingError:
        return
    again = instance_of(pod, Names(first.spec.model_name, tuple(first.spec.aliases)))
    assert again.digest == first.digest
    assert len(first.spec.aliases) <= MAX_ALIASES


@pytest.mark.parametrize("way", ["said", "told"])
def test_the_owners_aliases_come_first_and_what_is_left_out_is_told(way: str) -> None:
    pod = facts(settings={"aliases": "zeta,you"})
    names = Names("vicuna", tuple(f"lora-{number}" for number in range(20, 0, -1)))
    wanted = instance_of(pod, names) if way == "said" else instance_of(pod, told=names)
    first = {f"lora-{number}" for number in range(20, 6, -1)}
    assert wanted.spec.aliases == {"zeta", "you"} | first
    assert wanted.left_out == tuple(f"lora-{number}" for number in range(6, 0, -1))


def test_an_agent_tells_of_the_model_that_the_pod_names() -> None:
    pod = facts(settings={"aliases": "mine"})
    told = instance_of(pod, told=Names("vicuna", ("lora", "mine", "vicuna")))
    assert told.spec.model_name == "vicuna"
    assert told.spec.aliases == {"lora", "mine"}
    assert told.told
    assert not told.named
    nothing_new = [Names("llama", ("lora",)), Names("vicuna", ("mine",)), Names("vicuna")]
    for names in nothing_new:
        assert instance_of(pod, told=names) == instance_of(pod)


def test_what_an_agent_told_is_not_taken_for_what_others_say() -> None:
    """By the digest a restart knows where the names of a resource are from."""
    said, names = facts(settings={"aliases": "lora"}), Names("vicuna", ("lora",))
    written = [instance_of(facts(), told=names), instance_of(facts(), names), instance_of(said)]
    assert len({wanted.digest for wanted in written}) == 3
    assert len({wanted.spec for wanted in written}) == 1


@given(
    settings=st.dictionaries(
        st.sampled_from(
            ["model-name", "port", "scheme", "base-path", "weight", "aliases",
             "heartbeat-timeout-seconds"]
        ),
        st.text(max_size=30) | st.integers().map(str) | st.sampled_from(["https", "/v1", "a,b"]),
    )
)  # fmt: skip
def test_what_is_taken_is_what_the_schema_takes(settings: dict[str, str]) -> None:
    try:
        wanted = instance_of(facts(settings=settings))
    except SettingError:
        return
    v1alpha1.ModelInstanceSpec.model_validate(pod_instance_body(wanted, None)["spec"])
