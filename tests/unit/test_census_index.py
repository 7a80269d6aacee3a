"""What is counted and where records are found: nothing is left of what is gone."""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import Unpack

import hypothesis.strategies as st
import pytest
from hypothesis import given

from modelinstance.registry.health.chain import Evidence, Life, Verdict, decide
from modelinstance.registry.health.reasons import Phase
from modelinstance.registry.health.record import Record
from modelinstance.registry.instance import NO_UID
from modelinstance.registry.records.census import Census, Totals
from modelinstance.registry.records.index import Index
from modelinstance.registry.records.records import Records
from unit.builders import TIMEOUT, SpecFields, key, live, put, spec
from unit.clock import START, FakeClock

STARTING, HEALTHY, UNHEALTHY = (
    decide(Evidence(key(), spec(), life, TIMEOUT))
    for life in (Life.UNHEARD, Life.HEARD, Life.SILENT)
)


def record_of(name: str = "vicuna-0", uid: str = "uid", **fields: Unpack[SpecFields]) -> Record:
    return Record(key(name), uid, spec(**fields), 0.0, START)


# -- the census ----------------------------------------------------------------------------------


def test_an_empty_census_counts_nothing() -> None:
    census = Census()
    assert (len(census), list(census), census.by_model, census.ready) == (0, [], {}, 0)
    assert "vicuna" not in census


def test_records_are_counted_by_model_and_phase() -> None:
    census = Census()
    for model_name, verdict in [
        ("vicuna", HEALTHY), ("vicuna", HEALTHY), ("vicuna", STARTING), ("llama", UNHEALTHY),
    ]:  # fmt: skip
        census.enter(model_name, verdict)
    assert census.by_model == {
        "vicuna": {Phase.HEALTHY: 2, Phase.STARTING: 1},
        "llama": {Phase.UNHEALTHY: 1},
    }
    assert (len(census), list(census), census.ready) == (2, ["vicuna", "llama"], 2)
    assert [census.reasons[each.reason] for each in (HEALTHY, STARTING, UNHEALTHY)] == [2, 1, 1]
    assert "llama" in census


def test_a_model_goes_with_its_last_record() -> None:
    census = Census()
    census.enter("vicuna", HEALTHY)
    census.enter("vicuna", UNHEALTHY)
    census.leave("vicuna", HEALTHY)
    assert "vicuna" in census
    assert (+census.by_model["vicuna"], census.ready) == ({Phase.UNHEALTHY: 1}, 0)
    census.leave("vicuna", UNHEALTHY)
    assert (len(census), census.by_model) == (0, {})


def test_a_census_may_change_while_its_models_are_read() -> None:
    census = Census()
    census.enter("vicuna", HEALTHY)
    census.enter("llama", HEALTHY)
    for model_name in census:
        census.leave(model_name, HEALTHY)
    assert len(census) == 0


@given(
    st.lists(
        st.tuples(st.sampled_from(["a", "b", "c"]), st.sampled_from([STARTING, HEALTHY, UNHEALTHY]))
    ),
    st.randoms(use_true_random=False),
)
def test_a_census_agrees_with_a_count_of_those_who_stay(
    came: list[tuple[str, Verdict]], random: Random
) -> None:
    census = Census()
    for model_name, verdict in came:
        census.enter(model_name, verdict)
    gone = random.sample(range(len(came)), len(came) // 2)
    for number in gone:
        census.leave(*came[number])
    stayed = [each for number, each in enumerate(came) if number not in gone]
    assert set(census) == {model_name for model_name, _ in stayed}
    assert census.ready == sum(verdict.ready for _, verdict in stayed)
    for model_name, phases in census.by_model.items():
        assert +phases == Counter(verdict.phase for name, verdict in stayed if name == model_name)


def test_an_alias_counts_as_no_model(records: Records) -> None:
    records.beat(put(records, aliases=frozenset({"chat"})))
    assert list(records.phases()) == ["vicuna"]
    assert +records.phases()["vicuna"] == {Phase.HEALTHY: 1}
    assert records.totals() == Totals(models=1, instances=1, healthy=1)


def test_a_renamed_model_is_counted_under_its_new_name(records: Records) -> None:
    records.beat(put(records))
    put(records, "other", port=1)
    put(records, model_name="llama")
    phases = {name: +counts for name, counts in records.phases().items()}
    assert phases == {"vicuna": {Phase.STARTING: 1}, "llama": {Phase.STARTING: 1}}
    assert records.totals() == Totals(models=2, instances=2, healthy=0)


def test_the_phases_follow_the_verdicts(records: Records, clock: FakeClock) -> None:
    record = put(records)
    seen = [+records.phases()["vicuna"]]
    records.beat(record)
    seen.append(+records.phases()["vicuna"])
    live(records, clock, TIMEOUT)
    seen.append(+records.phases()["vicuna"])
    records.set_drained(record, drained=True)
    seen.append(+records.phases()["vicuna"])
    assert seen == [
        {Phase.STARTING: 1}, {Phase.HEALTHY: 1}, {Phase.UNHEALTHY: 1}, {Phase.DRAINING: 1},
    ]  # fmt: skip


# -- the index -----------------------------------------------------------------------------------


def test_a_record_is_found_by_its_names_its_address_and_its_id() -> None:
    index, record = Index(), record_of(aliases=frozenset({"chat"}))
    index.enter(record)
    for name in ("vicuna", "chat"):
        pool = index.pool(name)
        assert pool is not None
        assert list(pool) == [record]
        assert index.names.near(name) == [name]
    claims = index.claims(spec().address)
    assert claims is not None
    assert list(claims) == [record]
    assert index.identified(record.id) is record
    assert len(list(index.pools(record))) == 2


def test_a_look_up_leaves_nothing_behind() -> None:
    index = Index()
    assert index.pool("nobody") is None
    assert index.claims(spec().address) is None
    assert index.identified("0123456789abcdef") is None
    assert len(index) == 0


def test_nothing_is_left_of_who_leaves() -> None:
    index, record = Index(), record_of(aliases=frozenset({"chat"}))
    record.former_id = "former"
    index.enter(record)
    assert index.leave(record) is None
    assert len(index) == 0
    assert index.names.near("vicuna") == index.names.near("chat") == []


def test_who_leaves_leaves_the_others_that_name_its_address() -> None:
    index, record, other = Index(), record_of("a"), record_of("b", "another")
    index.enter(record)
    index.enter(other)
    claims = index.leave(record)
    assert claims is not None
    assert list(claims) == [other]
    pool = index.pool("vicuna")
    assert pool is not None
    assert list(pool) == [other]
    assert (index.identified(record.id), index.identified(other.id)) == (None, other)


def test_who_leaves_takes_no_id_along_that_stands_for_another_by_now() -> None:
    index, record, other = Index(), record_of("a"), record_of("b", "another")
    record.former_id = "shared"
    index.enter(record)
    other.former_id = "shared"
    index.enter(other)
    index.leave(record)
    assert index.identified("shared") is other


def test_a_name_stays_while_somebody_has_it() -> None:
    index = Index()
    record, other = (
        record_of("a"),
        record_of("b", "another", model_name="x", aliases=frozenset({"vicuna"})),
    )
    index.enter(record)
    index.enter(other)
    index.leave(record)
    pool = index.pool("vicuna")
    assert pool is not None
    assert list(pool) == [other]
    assert index.names.near("vicuna") == ["vicuna"]


@pytest.mark.parametrize(
    "edited",
    [
        {"aliases": frozenset({"chat"})}, {"weight": 2.0}, {"scheme": "https"},
        {"port": 9000}, {"host": "10.0.0.6"}, {"model_name": "llama"},
    ],
    ids=lambda edited: next(iter(edited)),
)  # fmt: skip
def test_an_edited_record_is_found_by_what_it_says_now_and_by_nothing_else(
    records: Records, edited: SpecFields
) -> None:
    before = put(records, aliases=frozenset({"old"}))
    former = before.id
    put(records, **edited)
    other = Records(TIMEOUT, clock=FakeClock())
    put(other, **edited)
    assert len(records._index) == len(other._index)
    assert list(records.named("old")) == []
    assert list(records.named("vicuna")) == ([] if "model_name" in edited else [before])
    assert records.identified(before.id) is before
    assert (records.identified(former) is before) is (former == before.id)
    assert list(records.claiming(before.spec.address)) == [before]
    assert list(records.claiming(spec().address)) == ([before] if former == before.id else [])


def test_all_that_claim_an_address_are_told_whoever_holds_it(records: Records) -> None:
    first, second = put(records, "a"), put(records, "b")
    put(records, "elsewhere", port=1)
    records.beat(second)
    assert list(records.claiming(spec().address)) == [first, second]
    assert records.at(spec().address) is second


def test_claims_may_change_while_they_are_read(records: Records) -> None:
    put(records, "a")
    put(records, "b")
    for record in records.claiming(spec().address):
        records.remove(record.key)
    assert len(records._index) == 0


def test_an_adopted_record_is_found_by_both_ids_and_by_neither_once_it_is_gone(
    records: Records,
) -> None:
    record = put(records, uid=NO_UID)
    early = record.id
    records.adopt(record, "uid", 0.0)
    assert record.id != early
    assert records.identified(early) is records.identified(record.id) is record
    records.remove(record.key)
    assert len(records._index) == 0
