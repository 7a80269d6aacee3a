"""The metrics: which there are, what they count, and that their number is bounded."""

from __future__ import annotations

import math
import re
from collections.abc import AsyncIterator, Mapping
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from modelinstance.http import hot, measuring
from modelinstance.http.access import OpenAccess
from modelinstance.http.endpoint import Endpoint
from modelinstance.metrics import exposition
from modelinstance.metrics.exposition import MAX_MODELS, OTHER_MODELS
from modelinstance.registry import EmbeddedModelRegistry
from modelinstance.registry.health.outages import GuardSettings
from modelinstance.registry.health.reasons import Phase, Reason
from modelinstance.registry.intake.reports import CallOutcome, ReportResult
from modelinstance.registry.intake.workers import BeatResult
from modelinstance.registry.mirror.beats import Beat
from modelinstance.registry.mirror.mirror import Mirror
from modelinstance.registry.mirror.view import ViewState
from modelinstance.registry.records.records import Records
from modelinstance.registry.tallies import DURATION_BOUNDS, Histogram, Tallies
from modelinstance.standalone import StandaloneDesk
from unit.builders import TIMEOUT, key, live, named, observed, put, sync
from unit.clock import FakeClock
from unit.wire import over_the_wire

REGISTRY = {
    "instances": ("gauge", {"model", "phase"}),
    "instances_by_reason": ("gauge", {"reason"}),
    "models": ("gauge", set()),
    "expiries": ("counter", set()),
    "frozen_instances": ("gauge", set()),
    "silence_outages": ("counter", set()),
    "reports": ("counter", {"outcome", "result"}),
    "ejections": ("counter", set()),
    "selections": ("counter", {"result"}),
    "view_age_seconds": ("gauge", set()),
    "view_stale": ("gauge", set()),
    "late_calls": ("counter", set()),
    "registrations_held": ("gauge", set()),
    "removals": ("counter", set()),
    "http_requests": ("counter", {"method", "route", "code"}),
    "http_request_duration_seconds": ("histogram", {"method", "route", "le"}),
    "heartbeats": ("counter", {"channel", "result"}),
}
"""The metrics of every registry, with the type and the labels of each."""
CLUSTER = {
    "resyncs": ("counter", {"result"}),
    "resync_repairs": ("counter", {"kind"}),
    "status_writes": ("counter", {"result"}),
    "status_writes_pending": ("gauge", set()),
    "probes": ("counter", {"result"}),
    "pods": ("gauge", set()),
    "pods_view_age_seconds": ("gauge", set()),
    "pod_writes": ("counter", {"kind", "result"}),
    "kubernetes_events": ("counter", {"result"}),
    "events_lost": ("counter", set()),
    "watch_restarts": ("counter", set()),
    "watch_running": ("gauge", set()),
}
"""Those that only a cluster has."""
PHASES = {phase.value for phase in Phase}


@pytest.fixture
def desk(clock: FakeClock) -> StandaloneDesk:
    registry = EmbeddedModelRegistry(0, TIMEOUT, clock=clock)
    return StandaloneDesk(registry, default_namespace="default", remove_after=3600)


@pytest.fixture
def records(desk: StandaloneDesk) -> Records:
    return desk.records


@pytest.fixture
def mirror(records: Records) -> Mirror:
    return Mirror(records)


def families(desk: StandaloneDesk, mirror: Mirror | None = None) -> dict[str, Metric]:
    """Our metrics by name, as Prometheus reads them."""
    text, media_type = exposition.exposition(desk, mirror)()
    assert media_type.startswith("text/plain; version=")
    read = list(text_string_to_metric_families(text.decode()))
    names = [family.name for family in read]
    assert len(set(names)) == len(names)
    return {family.name: family for family in read}


Values = dict[tuple[str, ...], float]


def values(desk: StandaloneDesk, name: str, *labels: str, mirror: Mirror | None = None) -> Values:
    """The samples of one name, by the values of those labels; each must be there once."""
    family = re.sub("_(total|sum|count|bucket)$", "", name)
    found: Values = {}
    for sample in families(desk, mirror)[f"modelinstance_{family}"].samples:
        if sample.name == f"modelinstance_{name}":
            at = tuple(sample.labels[label] for label in labels)
            assert at not in found
            found[at] = sample.value
    return found


def value(desk: StandaloneDesk, name: str, mirror: Mirror | None = None) -> float:
    """The one sample of that name."""
    return values(desk, name, mirror=mirror)[()]


def by_model(desk: StandaloneDesk) -> dict[str, dict[str, int]]:
    """How many instances there are, by model and phase, without zeros."""
    counts: dict[str, dict[str, int]] = {}
    for (model, phase), count in values(desk, "instances", "model", "phase").items():
        known = counts.setdefault(model, {})
        if count:
            known[phase] = int(count)
    return counts


def enter(records: Records, **models: int) -> None:
    """So many instances of each model."""
    for model, count in models.items():
        for _ in range(count):
            put(records, f"i{len(records)}", model_name=model, port=1 + len(records))


# -- which there are ---------------------------------------------------------------------------


@pytest.mark.parametrize("clustered", [False, True])
async def test_the_metrics_have_these_names_types_and_labels(
    desk: StandaloneDesk, mirror: Mirror, clustered: bool
) -> None:
    put(desk.records)
    desk.tallies.requests.observe("GET", "/api/v1/models", 200, 0.01)
    known = families(desk, mirror if clustered else None)
    ours = {
        name.removeprefix("modelinstance_"): (
            family.type,
            {label for sample in family.samples for label in sample.labels},
        )
        for name, family in known.items()
        if name.startswith("modelinstance_")
    }
    assert ours == (REGISTRY | CLUSTER if clustered else REGISTRY)
    assert all(family.documentation for family in known.values())
    others = known.keys() - {f"modelinstance_{name}" for name in ours}
    assert others >= {"process_resident_memory_bytes", "python_gc_objects_collected"}
    assert {name.partition("_")[0] for name in others} == {"process", "python"}


def test_what_has_not_happened_yet_is_zero_and_there(desk: StandaloneDesk, mirror: Mirror) -> None:
    closed = {
        "selections_total": {"selected", "unavailable", "unknown"},
        "resyncs_total": {"success", "failure"},
        "resync_repairs_total": {"added", "changed", "removed"},
        "status_writes_total": {
            "written",
            "conflict",
            "gone",
            "forbidden",
            "invalid",
            "throttled",
            "unavailable",
            "unauthorized",
            "failed",
        },
        "probes_total": {"success", "failure", "forbidden"},
    }
    for name, names in closed.items():
        [label] = (REGISTRY | CLUSTER)[name.removesuffix("_total")][1]
        assert values(desk, name, label, mirror=mirror) == {(each,): 0 for each in names}
    http = {("http", result.value): 0 for result in BeatResult}
    annotation = {("annotation", beat.value): 0 for beat in Beat if beat is not Beat.UNCHANGED}
    heartbeats = ("heartbeats_total", "channel", "result")
    assert values(desk, *heartbeats) == http
    assert values(desk, *heartbeats, mirror=mirror) == http | annotation
    assert values(desk, "reports_total", "outcome", "result") == {
        (outcome.value, result.value): 0 for outcome in CallOutcome for result in ReportResult
    }
    for name, (kind, labels) in (REGISTRY | CLUSTER).items():
        if not labels:
            assert value(desk, name + "_total" * (kind == "counter"), mirror) == 0


# -- instances by model and phase --------------------------------------------------------------


def test_instances_are_counted_by_model_and_phase(
    desk: StandaloneDesk, records: Records, clock: FakeClock
) -> None:
    for number in range(3):
        records.beat(put(records, f"vicuna-{number}", port=1 + number))
    put(records, "vicuna-3", port=4)
    put(records, "llama-0", model_name="llama", aliases=frozenset({"vicuna"}))
    assert by_model(desk) == {"vicuna": {"Healthy": 3, "Starting": 1}, "llama": {"Starting": 1}}
    assert value(desk, "models") == 2
    live(records, clock, TIMEOUT + 1)
    assert by_model(desk)["vicuna"] == {"Unhealthy": 3, "Starting": 1}
    assert value(desk, "expiries_total") == 3


def test_each_model_has_all_phases_so_that_none_goes_stale(
    desk: StandaloneDesk, records: Records
) -> None:
    put(records)
    known = values(desk, "instances", "model", "phase")
    assert known == {("vicuna", phase): phase == "Starting" for phase in PHASES}


def test_nothing_is_left_of_a_model_that_is_gone(desk: StandaloneDesk, records: Records) -> None:
    enter(records, llama=1)
    put(records)
    records.remove(key("vicuna-0"))
    assert by_model(desk).keys() == {"llama"}
    put(records, "i0", model_name="other", port=1)
    assert by_model(desk).keys() == {"other"}


def test_the_largest_models_have_a_label_and_the_rest_is_other(
    desk: StandaloneDesk, records: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exposition, "MAX_MODELS", 2)
    enter(records, a=1, b=3, c=2, d=2, e=1)
    records.beat(next(records.named("e")))
    assert by_model(desk) == {
        "b": {"Starting": 3},
        "c": {"Starting": 2},
        OTHER_MODELS: {"Starting": 3, "Healthy": 1},
    }
    assert value(desk, "models") == 5


@pytest.mark.parametrize("models", [MAX_MODELS - 1, MAX_MODELS, MAX_MODELS + 1, 3 * MAX_MODELS])
def test_the_number_of_labels_is_bounded_and_no_instance_is_missing(
    desk: StandaloneDesk, records: Records, models: int
) -> None:
    enter(records, **{f"m{number}": 1 + number % 2 for number in range(models)})
    counts = by_model(desk)
    assert len(counts) == min(models, MAX_MODELS + 1)
    assert (OTHER_MODELS in counts) is (models > MAX_MODELS)
    assert sum(sum(phases.values()) for phases in counts.values()) == len(records)


@pytest.mark.parametrize(
    ("models", "shown"),
    [
        ({OTHER_MODELS: 1, "b": 2}, {OTHER_MODELS: 1, "b": 2}),
        ({OTHER_MODELS: 5, "b": 3, "c": 2, "d": 1}, {OTHER_MODELS: 8, "b": 3}),
        ({OTHER_MODELS: 1, "b": 3, "c": 2, "d": 1}, {OTHER_MODELS: 2, "b": 3, "c": 2}),
        ({OTHER_MODELS: 1, "b": 3, "c": 2}, {OTHER_MODELS: 1, "b": 3, "c": 2}),
    ],
    ids=["few", "large", "small", "alone"],
)
def test_a_model_that_is_called_like_the_rest_is_counted_with_it(
    desk: StandaloneDesk, records: Records, monkeypatch: pytest.MonkeyPatch,
    models: Mapping[str, int], shown: Mapping[str, int],
) -> None:  # fmt: skip
    monkeypatch.setattr(exposition, "MAX_MODELS", 2)
    enter(records, **models)
    assert by_model(desk) == {model: {"Starting": count} for model, count in shown.items()}


ODD = [
    "a\nb", 'a"b', "a\\b", "a\\nb", 'a\\"b', "\\", '"', "\n", "a\\", 'a"} 7\nb{c="', "a,b=c", "{}",
    "#a", "a\rb", "a\tb", "a\u2028b\x85", "täglich", "\U0001f999", " a ", "a\\\\n\n", "le", "\0",
]  # fmt: skip


@pytest.mark.parametrize("name", ODD, ids=ascii)
def test_an_odd_name_of_a_model_is_read_as_it_is(
    desk: StandaloneDesk, records: Records, name: str
) -> None:
    put(records, model_name=name)
    assert by_model(desk) == {name: {"Starting": 1}}


@given(st.sets(st.text(min_size=1, max_size=8) | st.text('\\n"\n{},=', max_size=6), max_size=4))
@example(set(ODD))
def test_whatever_models_are_called_each_is_read_as_it_is(names: set[str]) -> None:
    registry = EmbeddedModelRegistry(0, TIMEOUT, clock=FakeClock())
    desk = StandaloneDesk(registry, default_namespace="default", remove_after=3600)
    enter(registry.records, **dict.fromkeys(names, 1))
    assert by_model(desk) == {name: {"Starting": 1} for name in names}


# -- what is counted ---------------------------------------------------------------------------


async def test_the_view_of_the_cluster_is_shown_with_its_age(desk: StandaloneDesk) -> None:
    for age, stale in ((1.5, False), (90.25, True)):
        state = ViewState(synced=True, age=age, stale=stale, failure=None)
        desk.view_state = lambda state=state: state  # type: ignore[method-assign,misc]
        assert value(desk, "view_age_seconds") == age
        assert value(desk, "view_stale") == stale


def test_the_age_of_what_pods_showed_is_that_of_the_scope_seen_least_lately(
    desk: StandaloneDesk, records: Records, clock: FakeClock
) -> None:
    mirror = Mirror(records, scopes=("a", "b"))
    clock.advance(7)
    mirror.pods_views["a"].prove(clock.monotonic())
    assert value(desk, "pods_view_age_seconds", mirror) == 7
    mirror.pods_views["b"].prove(clock.monotonic())
    assert value(desk, "pods_view_age_seconds", mirror) == 0


def test_where_nobody_looks_at_pods_no_age_is_shown(desk: StandaloneDesk, records: Records) -> None:
    mirror = Mirror(records, follows_pods=False)
    assert values(desk, "pods_view_age_seconds", mirror=mirror) == {}


def test_what_became_of_registrations_is_counted(
    desk: StandaloneDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(desk, "enrolment", SimpleNamespace(removals=3, held=7))
    desk.workers.late = 5
    assert value(desk, "removals_total") == 3
    assert value(desk, "registrations_held") == 7
    assert value(desk, "late_calls_total") == 5


def test_what_routers_say_and_silence_at_once_are_counted(
    desk: StandaloneDesk, records: Records, clock: FakeClock
) -> None:
    records.guard.settings = GuardSettings()
    enter(records, vicuna=4, llama=1)
    many = list(records)
    for record in many:
        records.beat(record)
    for outcome, count in ((CallOutcome.SUCCESS, 1), (CallOutcome.TIMEOUT, 9)):
        desk.reports.take(many[0], "router-0", outcome, count)
    desk.reports.take(None, "router-0", CallOutcome.FAILURE)
    assert {
        labels: count
        for labels, count in values(desk, "reports_total", "outcome", "result").items()
        if count
    } == {("success", "accepted"): 1, ("timeout", "accepted"): 1, ("failure", "unknown"): 1}
    assert value(desk, "ejections_total") == 1
    live(records, clock, TIMEOUT)
    assert value(desk, "frozen_instances") == 5
    assert value(desk, "silence_outages_total") == 2, "of one model, and of all"


def test_what_goes_between_the_registry_and_its_cluster_is_counted(
    desk: StandaloneDesk, mirror: Mirror
) -> None:
    sync(mirror, observed(), observed("vicuna-1"), version=1)
    sync(mirror, observed("vicuna-1", 2, heartbeat="1"), version=2)
    desk.tallies = Tallies(events_lost=3, watch_restarts=5, watch_running=True, pods=6)
    desk.tallies.lists.update(success=2, failure=1)
    desk.tallies.status_writes.update(written=4, gone=1)
    desk.tallies.probes.update(success=3, forbidden=2)
    desk.tallies.events.update(written=3, aggregated=5)
    desk.tallies.pod_writes.update([("gate", "written"), ("instance", "removed")])

    def counted(name: str, *labels: str) -> Values:
        return {at: n for at, n in values(desk, name, *labels, mirror=mirror).items() if n}

    assert counted("resyncs_total", "result") == {("success",): 2, ("failure",): 1}
    assert counted("resync_repairs_total", "kind") == {
        ("added",): 2, ("changed",): 1, ("removed",): 1,
    }  # fmt: skip
    assert counted("status_writes_total", "result") == {("written",): 4, ("gone",): 1}
    assert counted("probes_total", "result") == {("success",): 3, ("forbidden",): 2}
    assert counted("heartbeats_total", "channel", "result") == {("annotation", "accepted"): 1}
    assert counted("pod_writes_total", "kind", "result") == {
        ("gate", "written"): 1, ("instance", "removed"): 1,
    }  # fmt: skip
    assert counted("kubernetes_events_total", "result") == {("written",): 3, ("aggregated",): 5}
    assert value(desk, "pods", mirror) == 6
    assert value(desk, "status_writes_pending", mirror) == 1
    assert value(desk, "events_lost_total", mirror) == 3
    assert value(desk, "watch_restarts_total", mirror) == 5
    assert value(desk, "watch_running", mirror) == 1


# -- requests ----------------------------------------------------------------------------------


@pytest.fixture
async def client(desk: StandaloneDesk) -> AsyncIterator[httpx.AsyncClient]:
    endpoint = Endpoint(desk, exposition.exposition(desk), OpenAccess())
    app = over_the_wire(endpoint.app, endpoint.protocol)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://registry") as client:
        yield client


def requests(desk: StandaloneDesk) -> Values:
    return values(desk, "http_requests_total", "method", "route", "code")


ONE = "/api/v1/instances/{namespace}/{name}"
BODY = {"model": "vicuna", "host": "10.0.0.5", "port": 8000}
SELECT, HEARTBEATS = "/api/v1/select", "/api/v1/heartbeats"
REPORTS = "/api/v1/reports"


@pytest.mark.parametrize(
    ("method", "path", "body", "counted"),
    [
        ("GET", "/api/v1/models", None, ("GET", "/api/v1/models", "200")),
        ("GET", "/api/v1/models?selector=,", None, ("GET", "/api/v1/models", "422")),
        ("GET", "/api/v1/instances/prod/vicuna-0", None, ("GET", ONE, "200")),
        ("GET", "/api/v1/instances/prod/nobody", None, ("GET", ONE, "404")),
        ("GET", "/api/v1/instances/prod/nobody/why", None, ("GET", f"{ONE}/why", "404")),
        ("DELETE", "/api/v1/instances/prod/nobody/drain", None, ("DELETE", f"{ONE}/drain", "404")),
        ("POST", "/api/v1/instances", BODY, ("POST", "/api/v1/instances", "201")),
        ("POST", "/api/v1/instances", {}, ("POST", "/api/v1/instances", "422")),
        ("GET", f"{SELECT}?model=vicuna", None, ("GET", SELECT, "200")),
        ("GET", f"{SELECT}?model=vicuna&wait=1", None, ("GET", SELECT, "200")),
        ("GET", f"{SELECT}?model=nobody", None, ("GET", SELECT, "404")),
        ("GET", f"{SELECT}?model=off", None, ("GET", SELECT, "503")),
        ("GET", SELECT, None, ("GET", SELECT, "422")),
        ("POST", HEARTBEATS, {"incarnation": "KNOWN"}, ("POST", HEARTBEATS, "200")),
        ("POST", HEARTBEATS, {"items": [{"incarnation": "0" * 16}]}, ("POST", HEARTBEATS, "200")),
        ("POST", HEARTBEATS, {"incarnation": "0" * 16}, ("POST", HEARTBEATS, "404")),
        ("POST", HEARTBEATS, None, ("POST", HEARTBEATS, "422")),
        ("POST", REPORTS, {"reporter": "r", "items": []}, ("POST", REPORTS, "422")),
        ("GET", "/api/v1/watch?timeoutSeconds=0.01", None, ("GET", "/api/v1/watch", "200")),
        ("GET", "/readyz", None, ("GET", "/readyz", "200")),
        ("GET", "/metrics", None, ("GET", "/metrics", "200")),
        ("GET", "/nothing", None, ("GET", "other", "404")),
        ("POST", "/api/v1/nothing?x=y", {}, ("POST", "other", "404")),
        ("GET", "/api/v1/models/", None, ("GET", "other", "404")),
        ("PROPFIND", "/nothing", None, ("other", "other", "404")),
    ],
    ids=named,
)
async def test_a_request_is_counted_once_by_method_route_and_status(
    client: httpx.AsyncClient,
    desk: StandaloneDesk,
    *,
    method: str,
    path: str,
    body: Any,
    counted: tuple[str, str, str],
) -> None:
    record = put(desk.records)
    desk.records.beat(record)
    put(desk.records, "off-0", model_name="off", port=1)
    if body == {"incarnation": "KNOWN"}:
        body = {"incarnation": record.id}
    await client.request(method, path, json=body)
    assert requests(desk) == {counted: 1}
    measured = values(desk, "http_request_duration_seconds_count", "method", "route")
    assert measured == {counted[:2]: 1}


RARE = ["PROPFIND", "MKCOL", "PURGE", "SEARCH", "LOCK"]
"""Methods that HTTP has and the registry has not."""


@pytest.mark.parametrize("path", ["/livez", SELECT, HEARTBEATS, "/nothing"])
async def test_methods_that_there_are_not_are_counted_as_one(
    client: httpx.AsyncClient, desk: StandaloneDesk, path: str
) -> None:
    for method in RARE:
        assert (await client.request(method, path)).status_code in {404, 405}
    [(method, route, code)] = requests(desk)
    assert method == "other"
    assert route in {"other", path}
    assert code in {"404", "405"}


async def test_a_failure_of_ours_is_counted_once(
    client: httpx.AsyncClient, desk: StandaloneDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise LookupError

    monkeypatch.setattr(desk.records, "expire", fail)
    assert (await client.get("/api/v1/models")).status_code == 500
    assert requests(desk) == {("GET", "/api/v1/models", "500"): 1}


async def test_distinct_paths_and_methods_add_no_series(
    client: httpx.AsyncClient, desk: StandaloneDesk
) -> None:
    async def call(number: int) -> None:
        for path in (
            f"/nothing-{number}",
            f"/api/v1/instances/prod/nobody-{number}",
            f"/api/v1/instances/nowhere-{number}/nobody/why",
            f"{SELECT}?model=nobody-{number}",
            f"/%2e%2e/{number}",
        ):
            await client.get(path)
        await client.request(RARE[number % len(RARE)], "/livez")
        await client.request("PATCH", f"/api/v1/instances/prod/nobody-{number}")

    await call(0)
    before = requests(desk)
    for number in range(1, 20):
        await call(number)
    after = requests(desk)
    assert after == {at: 20 * count for at, count in before.items()}
    assert len(values(desk, "http_request_duration_seconds_count", "method", "route")) <= len(after)


class Ticking:
    """A clock that goes on by so much whenever it is looked at."""

    def __init__(self, step: float) -> None:
        self._now = 0.0
        self._step = step

    def perf_counter(self) -> float:
        self._now += self._step
        return self._now


@pytest.mark.parametrize(
    ("path", "route"),
    [
        ("/api/v1/models", "/api/v1/models"),
        (f"{SELECT}?model=vicuna", SELECT),
        ("/nothing", "other"),
    ],
)
async def test_how_long_a_request_took_is_measured(
    client: httpx.AsyncClient, desk: StandaloneDesk, monkeypatch: pytest.MonkeyPatch,
    path: str, route: str,
) -> None:  # fmt: skip
    desk.records.beat(put(desk.records))
    for seconds in (0.003, 0.2, 60):
        for module in (hot, measuring):
            monkeypatch.setattr(module, "time", Ticking(seconds))
        await client.get(path)
    at = ("GET", route)
    name = "http_request_duration_seconds"
    assert values(desk, f"{name}_count", "method", "route") == {at: 3}
    assert values(desk, f"{name}_sum", "method", "route")[at] == pytest.approx(60.203)
    buckets = values(desk, f"{name}_bucket", "le")
    assert {float(le): count for (le,), count in buckets.items()} == {
        bound: (bound >= 0.003) + (bound >= 0.2) + (bound >= 60)
        for bound in (*DURATION_BOUNDS, math.inf)
    }


def test_a_duration_goes_into_the_first_bucket_that_holds_it() -> None:
    for number, bound in enumerate(DURATION_BOUNDS):
        histogram = Histogram()
        histogram.observe(bound)
        histogram.observe(math.nextafter(bound, math.inf))
        assert histogram.counts[number : number + 2] == [1, 1]
        assert sum(histogram.counts) == 2


async def test_selections_and_heartbeats_are_counted_by_what_they_amounted_to(
    client: httpx.AsyncClient, desk: StandaloneDesk
) -> None:
    record = put(desk.records)
    put(desk.records, "off-0", model_name="off", port=1)
    desk.records.beat(record)
    for query in ("model=vicuna", "model=vicuna&wait=1", "model=off", "model=nobody"):
        await client.get(f"{SELECT}?{query}")
    assert values(desk, "selections_total", "result") == {
        ("selected",): 2, ("unavailable",): 1, ("unknown",): 1,
    }  # fmt: skip
    known, unknown = {"incarnation": record.id}, {"incarnation": "0" * 16}
    for body in (known, unknown, {"items": [known, known, unknown]}):
        await client.post(HEARTBEATS, json=body)
    await client.delete("/api/v1/instances/prod/vicuna-0?incarnation=" + "0" * 16)
    await client.delete("/api/v1/instances/prod/vicuna-0")
    await client.post(HEARTBEATS, json=known)
    assert values(desk, "heartbeats_total", "channel", "result") == {
        ("http", "accepted"): 3, ("http", "unknown"): 2, ("http", "deregistered"): 1,
    }  # fmt: skip
    assert value(desk, "late_calls_total") == 1


def test_reasons_are_counted_and_all_of_them_are_there(
    desk: StandaloneDesk, records: Records
) -> None:
    put(records, "a")
    records.beat(put(records, "b", host="b"))
    found = values(desk, "instances_by_reason", "reason")
    assert found.keys() == {(reason.value,) for reason in Reason}
    assert {of: number for of, number in found.items() if number} == {
        ("AwaitingFirstHeartbeat",): 1,
        ("HeartbeatReceived",): 1,
    }
    records.remove(key("a"))
    assert values(desk, "instances_by_reason", "reason")["AwaitingFirstHeartbeat",] == 0
