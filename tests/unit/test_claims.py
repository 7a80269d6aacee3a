"""Who holds an address, and what it costs to find out."""

from __future__ import annotations

import pytest

from modelinstance.registry.health.reasons import Reason
from modelinstance.registry.records.claims import Claims
from modelinstance.registry.records.records import Records
from unit.builders import TIMEOUT, live, put
from unit.clock import FakeClock


def test_many_claims_on_one_address_cost_no_more_each(
    records: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    scans = 0
    strongest = Claims._strongest

    def counted(claims: Claims) -> object:
        nonlocal scans
        scans += 1
        return strongest(claims)

    monkeypatch.setattr(Claims, "_strongest", counted)
    many = [put(records, name=f"i-{number}", created=number) for number in range(200)]
    for record in many:
        records.beat(record)
    for record in reversed(many[1:]):
        records.remove(record.key)
    assert scans == 0
    records.remove(many[0].key)
    assert scans <= 1


def test_a_loser_names_the_holder_of_now(records: Records) -> None:
    first, second, loser = (
        put(records, name=name, created=at) for at, name in enumerate(("first", "second", "third"))
    )
    assert "first" in records.explain(loser)
    records.remove(first.key)
    assert "second" in records.explain(loser)
    assert second.verdict.reason != loser.verdict.reason


def test_a_holder_that_falls_silent_with_others_gives_way(
    records: Records, clock: FakeClock
) -> None:
    first, holder, other = (
        put(records, name=name, created=at) for at, name in enumerate(("first", "second", "third"))
    )
    for record in (other, holder):
        records.beat(record)
    assert holder.verdict.ready
    live(records, clock, TIMEOUT)
    assert first.verdict.reason is Reason.AWAITING_FIRST_HEARTBEAT
    assert {record.verdict.reason for record in (holder, other)} == {Reason.ADDRESS_CONFLICT}
