"""Which Events are written: aggregated, and bounded whatever comes."""

from __future__ import annotations

from collections import Counter, defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelinstance.registry.health.outages import GuardSettings
from modelinstance.registry.health.reasons import Phase, Reason, RegistryReason
from modelinstance.registry.instance import NO_UID
from modelinstance.registry.mirror.outbox import JITTER
from modelinstance.registry.records.records import Records
from modelinstance.registry.telling.changes import Change, Changes
from modelinstance.registry.telling.events import (
    BURST,
    MAX_BACKOFF_SECONDS,
    MAX_REMEMBERED,
    MAX_WAITING,
    MAX_WAITING_OF_OBJECT,
    OBJECT_BURST,
    OBJECT_RATE,
    RATE,
    REPEATED_WITHIN_SECONDS,
    REST_SECONDS,
    UPDATE_SECONDS,
    EventBook,
    EventOutcome,
    EventWrite,
    Subject,
)
from unit.builders import TIMEOUT, key, live, put
from unit.clock import FakeClock

REGISTRY = Subject("InstanceRegistry", key("default", "home"), "uid-of-registry")


def subject(name: str = "a", namespace: str = "prod") -> Subject:
    return Subject("ModelInstance", key(name, namespace), f"uid-of-{name}")


class Book(EventBook):
    """A book, and what writes for it."""

    def __init__(self, records: Records, clock: FakeClock) -> None:
        self.clock, self.records = clock, records
        self.counts: Counter[str] = Counter()
        super().__init__(records, registry=lambda: REGISTRY, counts=self.counts)

    def say(self, name: str = "a", message: str = "m", namespace: str = "prod") -> None:
        self.note(subject(name, namespace), "Reason", message, warning=True)

    def pass_time(self, seconds: float) -> None:
        live(self.records, self.clock, seconds)

    def write(self, outcome: EventOutcome = EventOutcome.WRITTEN) -> list[EventWrite]:
        """Let all be written that may be now, with one outcome."""
        written: list[EventWrite] = []
        while writes := self.plan(10):
            for each in writes:
                self.settled(each, outcome)
            written += writes
        return written

    @property
    def waiting(self) -> int:
        assert sum(self._waiting_of.values()) == len(self._waiting)
        return len(self._waiting)


@pytest.fixture
def book(records: Records, clock: FakeClock) -> Book:
    return Book(records, clock)


def test_what_is_said_once_is_written_once(book: Book) -> None:
    assert book.plan(10) == []
    book.say(message="several\n lines \tof text")
    (write,) = book.write()
    assert (write.subject, write.reason, write.message, write.warning) == (
        subject(), "Reason", "several lines of text", True,
    )  # fmt: skip
    assert (write.stands, write.count) == (False, 1)
    assert write.first == write.last == book.clock.wall()
    book.pass_time(3600)
    assert book.write() == []
    assert book.counts == {"written": 1}


def test_what_is_said_again_raises_the_count_and_not_often(book: Book) -> None:
    book.say()
    (made,) = book.write()
    for _ in range(10):
        book.say()
    assert book.write() == [], "it stands since just now"
    book.pass_time(UPDATE_SECONDS - 1)
    assert book.write() == []
    book.pass_time(1)
    (raised,) = book.write()
    assert (raised.name, raised.stands, raised.count) == (made.name, True, 11)
    assert raised.first == made.first < book.clock.wall()
    assert book.counts == {"written": 1, "aggregated": 10}


def test_what_is_said_again_after_a_while_is_another_event(book: Book) -> None:
    book.say()
    (first,) = book.write()
    book.pass_time(REPEATED_WITHIN_SECONDS)
    book.say()
    (second,) = book.write()
    assert (second.stands, second.count) == (False, 1)
    assert second.name != first.name


def test_a_name_fits_and_is_no_other_ones(book: Book) -> None:
    for message in ("x", "y"):
        for name in ("n" * 253, "m" * 253):
            book.say(name, message)
    names = {write.name for write in book.write()}
    assert len(names) == 4
    assert all(len(name) <= 253 for name in names)


def test_what_is_to_be_said_once_has_one_name_in_every_process(
    records: Records, clock: FakeClock
) -> None:
    names = set()
    for _ in range(2):
        book = Book(records, clock)
        book.note(subject(), "Reason", "message", warning=True, once=True)
        names |= {write.name for write in book.write()}
        clock.advance(1)
    assert len(names) == 1


def test_one_object_is_told_of_seldom(book: Book) -> None:
    for number in range(3):
        book.say("other", f"m-{number}")
    for number in range(20):
        book.say("a", f"m-{number}")
    assert book.waiting == 3 + MAX_WAITING_OF_OBJECT
    assert book.counts["dropped"] == 20 - MAX_WAITING_OF_OBJECT
    written = Counter(write.subject.key.name for write in book.write())
    assert written == {"other": 3, "a": OBJECT_BURST}
    book.say("a", "later")
    assert book.write() == []
    book.pass_time(1 / OBJECT_RATE)
    (late,) = book.write()
    assert late.message == "later"


def test_there_is_a_rate_over_all_and_the_oldest_that_wait_are_given_up(book: Book) -> None:
    for number in range(MAX_WAITING + 10):
        book.say(f"i-{number}")
    assert book.waiting == MAX_WAITING
    assert book.counts["dropped"] == 10
    first = book.write()
    assert len(first) == BURST
    assert first[0].subject.key.name == "i-10", "the oldest went"
    book.pass_time(1)
    assert len(book.write()) == RATE


def test_a_hundred_thousand_that_fall_silent_cost_a_bounded_number_of_requests(
    records: Records, clock: FakeClock
) -> None:
    book, many = Book(records, clock), 100_000
    for number in range(many):
        name, why = key(f"i-{number}"), (Phase.UNHEALTHY, Reason.HEARTBEAT_EXPIRED)
        book.note_change(Change(name, f"u-{number}", "m", *why, "silent", warning=True))
    assert book.waiting == MAX_WAITING
    assert len(book._said) <= MAX_REMEMBERED
    requests, seconds = len(book.write()), 0
    while book.waiting:
        book.pass_time(1)
        seconds += 1
        requests += len(book.write())
    assert requests == MAX_WAITING
    assert seconds <= MAX_WAITING / RATE
    assert book.counts == {"dropped": many - MAX_WAITING, "written": MAX_WAITING}
    assert len(book._of_object) <= MAX_REMEMBERED
    assert not book._waiting_of


def test_what_is_remembered_is_bounded(book: Book) -> None:
    for number in range(MAX_REMEMBERED + 100):
        book.say(f"i-{number}")
        book.pass_time(0.2)
        book.write()
    assert book.counts["written"] == MAX_REMEMBERED + 100
    assert len(book._said) == len(book._of_object) == MAX_REMEMBERED


def test_an_event_that_is_gone_is_made_anew_with_what_was_not_told(book: Book) -> None:
    book.say()
    (made,) = book.write()
    book.pass_time(UPDATE_SECONDS)
    book.say()
    book.say()
    (raised,) = book.plan(10)
    assert raised.stands
    book.settled(raised, EventOutcome.EXPIRED)
    (anew,) = book.write()
    assert (anew.stands, anew.count) == (False, 2)
    assert anew.name != made.name
    assert anew.first > made.first
    assert book.counts == {"written": 2, "aggregated": 2}


def test_a_namespace_where_we_may_not_rests_and_others_do_not(book: Book) -> None:
    book.say("a", namespace="closed")
    book.say("b", namespace="closed")
    closed = book.write(EventOutcome.FORBIDDEN)
    assert len(closed) == 2, "both were under way"
    book.say("c")
    assert [write.subject.key.name for write in book.write()] == ["c"]
    for _ in range(int(REST_SECONDS) - 1):
        book.pass_time(1)
        assert book.write() == []
    book.pass_time(1)
    assert {write.subject.key.name for write in book.write()} == {"a", "b"}
    assert book.counts == {"failed": 2, "written": 3}


def test_what_will_never_be_taken_is_given_up(book: Book) -> None:
    book.say()
    book.write(EventOutcome.REFUSED)
    assert book.waiting == 0
    assert book.counts == {"dropped": 1}
    book.say()
    assert len(book.write()) == 1


def test_while_the_api_server_is_away_it_is_asked_more_and_more_seldom(book: Book) -> None:
    for number in range(30):
        book.say(f"i-{number}")
    tried = len(book.write(EventOutcome.FAILED))
    assert tried == 10, "as many as are under way at once"
    book.pass_time(1 + JITTER)
    assert len(book.write(EventOutcome.FAILED)) == 1, "to see whether it is better"
    tried += 1
    for _ in range(600):
        tried += len(book.write(EventOutcome.FAILED))
        book.pass_time(1)
    assert tried <= 10 + 600 / MAX_BACKOFF_SECONDS + 8
    assert tried == book.counts["failed"]
    assert book.waiting == 30, "nothing is lost"
    book.pass_time((1 + JITTER) * MAX_BACKOFF_SECONDS)
    assert len(book.write()) == 30
    assert book.counts["written"] == 30


def test_the_api_server_is_left_alone_for_as_long_as_it_asks(book: Book) -> None:
    book.say()
    (write,) = book.plan(10)
    book.settled(write, EventOutcome.FAILED, retry_after=100.0)
    book.pass_time(99)
    assert book.write() == []
    book.pass_time(1 + JITTER * 100)
    assert len(book.write()) == 1


def test_what_is_said_while_it_is_written_is_not_lost(book: Book) -> None:
    book.say()
    (write,) = book.plan(10)
    book.say()
    assert book.plan(10) == [], "it is under way"
    book.settled(write, EventOutcome.WRITTEN)
    book.say()
    book.pass_time(UPDATE_SECONDS)
    (raised,) = book.write()
    assert raised.count == 3


def test_the_registry_has_events_too(book: Book) -> None:
    book.note_registry("CorrelatedSilence", "half of all fell silent", warning=True)
    (write,) = book.write()
    assert write.subject == REGISTRY
    bookless = EventBook(book.records, registry=lambda: None, counts=book.counts)
    bookless.note_registry("CorrelatedSilence", "half of all fell silent", warning=True)
    assert bookless.plan(10) == []
    assert book.counts["dropped"] == 1


def test_that_so_many_fell_silent_is_told_whatever_else_there_is_to_tell(
    book: Book, records: Records
) -> None:
    many = MAX_WAITING + 500
    records.guard.configure(GuardSettings())
    records.guard.on_outage.append(
        lambda outage: book.note_registry(outage.reason, str(outage), warning=outage.began)
    )
    changes = Changes(records)
    changes.on_change(book.note_change)
    for number in range(many):
        records.beat(put(records, f"i-{number}", host=f"h{number}"))
    while changes.look():
        pass
    book.pass_time(TIMEOUT + 1)
    while changes.look():
        pass
    assert book.waiting == MAX_WAITING
    (first,) = book.plan(1)
    assert (first.subject, first.reason) == (REGISTRY, RegistryReason.CORRELATED_SILENCE)
    for number in range(many):
        book.say(f"later-{number}")
    book.settled(first, EventOutcome.FAILED)
    book.pass_time(2)
    (again,) = book.plan(1)
    assert again == first, "what was tried in vain is not forgotten either"
    book.settled(again, EventOutcome.WRITTEN)
    assert REGISTRY not in {write.subject for write in book.write()}


def test_of_the_registry_no_more_waits_than_of_any_object(book: Book) -> None:
    for number in range(20):
        book.note_registry("CorrelatedSilence", f"m-{number}", warning=True)
    for number in range(MAX_WAITING + 10):
        book.say(f"i-{number}")
    assert book.waiting == MAX_WAITING
    told = [write for write in book.write() if write.subject == REGISTRY]
    assert [write.message for write in told] == [f"m-{number}" for number in range(15, 20)]


def test_what_has_no_resource_has_no_event(book: Book, records: Records) -> None:
    changes = Changes(records)
    changes.on_change(book.note_change)
    records.beat(put(records, uid=NO_UID))
    changes.look()
    assert book.write() == []
    records.beat(put(records, "b"))
    changes.look()
    (write,) = book.write()
    assert (write.reason, write.warning) == (Reason.HEARTBEAT_RECEIVED, False)


def test_each_reason_has_an_event_of_its_own(book: Book, records: Records) -> None:
    changes = Changes(records)
    changes.on_change(book.note_change)
    records.beat(put(records))
    changes.look()
    book.pass_time(TIMEOUT + 1)
    changes.look()
    assert [write.reason for write in book.write()] == ["HeartbeatReceived", "HeartbeatExpired"]


NAMES = st.sampled_from(["a", "b", "c"])
ACTS = st.lists(
    st.one_of(
        st.tuples(st.just("say"), NAMES, st.integers(0, 9), st.integers(1, 50)),
        st.tuples(st.just("crowd"), st.integers(0, 5), st.integers(1, 300)),
        st.tuples(st.just("wait"), st.floats(0, 90)),
        st.tuples(st.just("write"), st.sampled_from(list(EventOutcome))),
    ),
    max_size=40,
)


@given(acts=ACTS)
def test_whatever_comes_the_requests_are_bounded_and_nothing_piles_up(
    acts: list[tuple[object, ...]],
) -> None:
    clock = FakeClock()
    records = Records(TIMEOUT, clock=clock)
    book = Book(records, clock)
    began, requests, told = records.local.now, Counter[str](), 0
    stood: dict[str, float] = {}
    counted: defaultdict[str, int] = defaultdict(int)
    for act in acts:
        match act:
            case ("say", str(name), int(topic), int(times)):
                for _ in range(times):
                    book.say(name, f"m-{topic}")
                told += times
            case ("crowd", int(group), int(size)):
                for number in range(size):
                    book.say(f"{group}-{number}")
                told += size
            case ("wait", float(seconds)):
                book.pass_time(seconds)
            case ("write", EventOutcome() as outcome):
                for write in book.write(outcome):
                    requests[write.subject.uid] += 1
                    if write.stands:
                        assert records.local.now - stood[write.name] >= UPDATE_SECONDS - 1e-6
                    if outcome is EventOutcome.WRITTEN:
                        stood[write.name] = records.local.now
                        assert write.count > counted[write.name]
                        counted[write.name] = write.count
        passed = records.local.now - began
        assert requests.total() <= BURST + RATE * passed + 1e-6
        assert all(n <= OBJECT_BURST + OBJECT_RATE * passed + 1e-6 for n in requests.values())
        assert book.waiting <= MAX_WAITING
        assert len(book._said) <= MAX_REMEMBERED
        counts = book.counts
        assert counts["written"] + counts["aggregated"] + counts["dropped"] <= told


def test_one_event_that_always_fails_holds_up_no_other(book: Book) -> None:
    book.say("bad")
    told = 0
    for number in range(60):
        book.say(f"good-{number}")
        for _ in range(20):
            for each in book.plan(10):
                bad = each.subject.key.name == "bad"
                told += not bad
                book.settled(each, EventOutcome.FAILED if bad else EventOutcome.WRITTEN)
            book.pass_time(1)
    assert told >= 58
    assert book.waiting <= 2
