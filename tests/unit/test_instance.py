from __future__ import annotations

import pytest

from modelinstance.registry.instance import InstanceKey, normalize_host
from unit.builders import spec


@pytest.mark.parametrize(
    ("given", "normal"),
    [
        ("10.0.0.5", "10.0.0.5"),
        ("Worker.Example.COM.", "worker.example.com"),
        ("[2001:DB8::1]", "2001:db8::1"),
        ("  host ", "host"),
    ],
)
def test_a_host_has_one_spelling(given: str, normal: str) -> None:
    assert normalize_host(given) == normal


@pytest.mark.parametrize(
    ("host", "scheme", "base_path", "url"),
    [
        ("10.0.0.5", "http", "", "http://10.0.0.5:8000"),
        ("2001:db8::1", "https", "", "https://[2001:db8::1]:8000"),
        ("worker", "https", "/v1", "https://worker:8000/v1"),
    ],
)
def test_the_url_can_be_called(host: str, scheme: str, base_path: str, url: str) -> None:
    assert spec(host=host, scheme=scheme, base_path=base_path).url == url


def test_the_names_are_the_model_and_its_aliases() -> None:
    assert spec(aliases=frozenset({"a", "b"})).names == {"vicuna", "a", "b"}


def test_keys_are_ordered_by_namespace_then_name() -> None:
    keys = [InstanceKey("b", "a"), InstanceKey("a", "b"), InstanceKey("a", "a")]
    assert [str(key) for key in sorted(keys)] == ["a/a", "a/b", "b/a"]
