from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelinstance.registry.instance import InstanceKey
from modelinstance.registry.records.ring import POINTS, Ring, hash64
from unit.builders import key

KEYS = [f"session-{number}" for number in range(1000)]

SIGMA = 1 / math.sqrt(POINTS)
"""The relative standard deviation of one member's share of the ring."""

members = st.lists(
    st.builds(key, st.text(min_size=1, max_size=8), st.sampled_from(["prod", "test"])),
    min_size=1, max_size=12, unique=True,
)  # fmt: skip


def numbered(count: int) -> list[InstanceKey]:
    return [key(f"vicuna-{number}") for number in range(count)]


def homes(ring: Ring) -> dict[str, InstanceKey]:
    """Which member each key meets first."""
    return {text: next(ring.walk(text)) for text in KEYS}


def walks(ring: Ring) -> list[list[InstanceKey]]:
    """Whom some keys meet, and in which order."""
    return [list(ring.walk(text)) for text in KEYS[:50]]


def most_moved(members: int) -> float:
    """The share of the keys that may move for one of so many members: 1/n plus a wide margin."""
    share = 1 / members
    return share * (1 + 6 * SIGMA) + 6 * math.sqrt(share * (1 - share) / len(KEYS))


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("", 16476032584258269876),
        ("session-1", 12558777036138866604),
        ("prod/vicuna-0#0", 17359011622960817102),
        ("ü", 6192904641445441335),
    ],
)
def test_the_hash_is_the_same_in_every_process(text: str, number: int) -> None:
    assert hash64(text) == number


@pytest.mark.parametrize(("text", "number"), [("a", 0), ("b", 1), ("session-2", 2)])
def test_a_key_has_the_same_home_in_every_process(text: str, number: int) -> None:
    assert next(Ring(numbered(3)).walk(text)) == key(f"vicuna-{number}")


@given(members, st.randoms(use_true_random=False))
def test_the_order_in_which_members_came_does_not_matter(
    members: list[InstanceKey], random: Random
) -> None:
    shuffled = random.sample(members, len(members))
    assert walks(Ring(shuffled)) == walks(Ring(members))


@pytest.mark.parametrize("count", [2, 3, 10, 50])
def test_shares_are_even(count: int) -> None:
    walked = Counter(homes(Ring(numbered(count))).values())
    assert max(walked.values()) <= most_moved(count) * len(KEYS)
    if count <= 10:
        assert min(walked[member] for member in numbered(count)) >= len(KEYS) / count / 2


@given(members)
def test_a_walk_meets_every_member_once(members: list[InstanceKey]) -> None:
    assert Counter(Ring(members).walk("a")) == dict.fromkeys(members, 1)


def test_an_empty_ring_meets_nobody() -> None:
    assert list(Ring([]).walk("a")) == []


def test_a_walk_wraps_around_at_the_end() -> None:
    ring = Ring(numbered(3))
    beyond_all_points = next(text for text in KEYS if hash64(text) > 0.999 * 2**64)
    assert len(list(ring.walk(beyond_all_points))) == 3


@given(members)
def test_who_comes_takes_its_share_and_no_other_key_moves(members: list[InstanceKey]) -> None:
    *old, newcomer = members
    ring = Ring(old)
    before = homes(ring) if old else {}
    ring.add(newcomer)
    moved = [home for text, home in homes(ring).items() if home != before.get(text, newcomer)]
    assert set(moved) <= {newcomer}
    assert len(moved) <= most_moved(len(members)) * len(KEYS)


@given(members)
def test_who_goes_leaves_its_share_and_no_other_key_moves(members: list[InstanceKey]) -> None:
    leaver, *left = members
    ring = Ring(members)
    before = homes(ring)
    ring.discard(leaver)
    after = homes(ring) if left else {}
    moved = [before[text] for text, home in after.items() if home != before[text]]
    assert set(moved) <= {leaver}
    assert len(moved) <= most_moved(len(members)) * len(KEYS)


def grown(members: Sequence[InstanceKey], others: Sequence[InstanceKey]) -> Ring:
    ring = Ring(others)
    for member in members:
        ring.add(member)
    for other in others:
        ring.discard(other)
    return ring


def shrunk(members: Sequence[InstanceKey], others: Sequence[InstanceKey]) -> Ring:
    ring = Ring([*others, *members])
    for other in others:
        ring.discard(other)
    return ring


@pytest.mark.parametrize("change", [grown, shrunk])
@given(everyone=members, kept=st.integers(0, 12))
def test_a_changed_ring_equals_one_built_anew(
    change: Callable[[Sequence[InstanceKey], Sequence[InstanceKey]], Ring],
    everyone: list[InstanceKey],
    kept: int,
) -> None:
    changed = change(everyone[:kept], everyone[kept:])
    assert walks(changed) == walks(Ring(everyone[:kept]))
