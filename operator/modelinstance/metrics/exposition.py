"""All metrics, read from the registry when they are asked for.

Names follow the Prometheus conventions. Labels hold closed sets of values, apart from the names of
the models that have the most instances; so their number is bounded.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import accumulate
from typing import Protocol

from prometheus_client import CollectorRegistry, GCCollector, ProcessCollector, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

from modelinstance.registry.health.reasons import Phase, Reason
from modelinstance.registry.intake.probing import ProbeOutcome
from modelinstance.registry.intake.reports import CallOutcome, ReportResult, Reports
from modelinstance.registry.intake.workers import BeatResult, Workers
from modelinstance.registry.mirror.beats import Beat
from modelinstance.registry.mirror.mirror import Mirror
from modelinstance.registry.mirror.pacing import WriteResult
from modelinstance.registry.mirror.view import ViewState
from modelinstance.registry.records.records import Records
from modelinstance.registry.tallies import DURATION_BOUNDS, Tallies

MAX_MODELS = 500
"""How many models have a label of their own."""
POD_WRITES = (
    *(("instance", result) for result in ("written", "removed", "conflict", "failed")),
    *(("gate", result) for result in ("written", "conflict", "gone", "failed")),
)
"""What is written for pods, and what may come of it."""
OTHER_MODELS = "_other"
"""Stands for all others."""


class Registrations(Protocol):
    """What came of enrolling workers."""

    removals: int

    @property
    def held(self) -> int:
        """How many wait to be written."""
        ...


class Measured(Protocol):
    """What the metrics are read from."""

    records: Records
    workers: Workers
    reports: Reports
    tallies: Tallies

    @property
    def enrolment(self) -> Registrations:
        """What came of enrolling workers."""
        ...

    def view_state(self) -> ViewState:
        """How far the answers can be trusted."""
        ...


class RegistryCollector(Collector):
    """Reads the registry; to be called by the thread that owns it."""

    def __init__(self, source: Measured) -> None:
        self._source = source

    def collect(self) -> Iterator[Metric]:
        """Every metric of a registry, with a cluster or without."""
        source, records, tallies = self._source, self._source.records, self._source.tallies
        state = source.view_state()
        yield _gauge(
            "instances",
            "Instances by model and phase; those of models beyond the largest as _other.",
            ("model", "phase"),
            _by_model(records.phases()),
        )
        yield _gauge(
            "instances_by_reason", "Instances by the reason of their phase.", ("reason",),
            {(reason.value,): records.reasons().get(reason, 0) for reason in Reason},
        )  # fmt: skip
        yield _gauge("models", "Model names.", (), {(): records.totals().models})
        yield _counter("expiries", "Instances that fell silent.", (), {(): records.expiries})
        yield _gauge(
            "frozen_instances",
            "Instances whose expiry is held back, as many fell silent at once.", (),
            {(): records.guard.frozen},
        )  # fmt: skip
        yield _counter(
            "silence_outages", "Times that the silence of many began to count as one outage.", (),
            {(): records.guard.outages},
        )  # fmt: skip
        yield _counter(
            "reports", "Reports of routers by how calls ended and by what they amounted to.",
            ("outcome", "result"),
            {
                (outcome.value, result.value): source.reports.results[outcome, result]
                for outcome in CallOutcome for result in ReportResult
            },
        )  # fmt: skip
        yield _counter(
            "ejections", "Instances that were taken out as routers' calls to them failed.", (),
            {(): source.reports.ejections},
        )  # fmt: skip
        yield _counter(
            "selections", "Selections by result.", ("result",),
            _known(tallies.selections, ("selected", "unavailable", "unknown")),
        )  # fmt: skip
        yield _gauge(
            "view_age_seconds", "Time since the view of the cluster was last proven current.", (),
            {(): state.age},
        )  # fmt: skip
        yield _gauge(
            "view_stale", "1 while the registry answers from memory.", (), {(): state.stale}
        )
        yield _counter(
            "late_calls", "Goodbyes and drains for an incarnation that is none any more.", (),
            {(): source.workers.late},
        )  # fmt: skip
        yield _gauge(
            "registrations_held", "Registrations that wait to be written.", (),
            {(): source.enrolment.held},
        )  # fmt: skip
        yield _counter(
            "removals", "Instances that had registered and were removed as dead.", (),
            {(): source.enrolment.removals},
        )  # fmt: skip
        yield _counter(
            "http_requests", "Requests by method, route and status.", ("method", "route", "code"),
            {
                (method, route, str(status)): count
                for (method, route, status), count in tallies.requests.statuses.items()
            },
        )  # fmt: skip
        durations = HistogramMetricFamily(
            "modelinstance_http_request_duration_seconds",
            "Time until the answer began, by method and route.",
            labels=["method", "route"],
        )
        bounds = [*map(str, DURATION_BOUNDS), "+Inf"]
        for labels, seen in tallies.requests.durations.items():
            buckets = list(zip(bounds, accumulate(seen.counts), strict=True))
            durations.add_metric(labels, buckets, seen.seconds)
        yield durations


class BeatsCollector(Collector):
    """Reads how signs of life were taken; ``mirror`` is that of a cluster."""

    def __init__(self, workers: Workers, mirror: Mirror | None) -> None:
        self._workers = workers
        self._mirror = mirror

    def collect(self) -> Iterator[Metric]:
        """The one metric of both channels."""
        taken: dict[tuple[str, ...], int] = {
            ("http", result.value): self._workers.beats[result] for result in BeatResult
        }
        if self._mirror is not None:
            taken |= {
                ("annotation", beat.value): self._mirror.beats[beat]
                for beat in Beat
                if beat is not Beat.UNCHANGED
            }
        yield _counter(
            "heartbeats", "Heartbeats by channel and by what they amounted to.",
            ("channel", "result"), taken,
        )  # fmt: skip


class ClusterCollector(Collector):
    """Reads what goes between a registry and its cluster."""

    def __init__(self, mirror: Mirror, tallies: Tallies) -> None:
        self._mirror = mirror
        self._tallies = tallies

    def collect(self) -> Iterator[Metric]:
        """Every metric that only a cluster has."""
        mirror, tallies = self._mirror, self._tallies
        yield _counter(
            "resyncs", "LISTs of all instances by result.", ("result",),
            _known(tallies.lists, ("success", "failure")),
        )  # fmt: skip
        yield _counter(
            "resync_repairs", "Differences that a LIST found and set right.", ("kind",),
            _known(mirror.repairs, ("added", "changed", "removed")),
        )  # fmt: skip
        yield _counter(
            "status_writes", "Writes of a ModelInstance's status by result.", ("result",),
            _known(tallies.status_writes, tuple(WriteResult)),
        )  # fmt: skip
        yield _gauge(
            "status_writes_pending", "Statuses that are to be written.", (),
            {(): len(mirror.outbox)},
        )  # fmt: skip
        yield _counter(
            "probes", "Times that an instance was asked, by what came of it.", ("result",),
            _known(tallies.probes, tuple(ProbeOutcome)),
        )  # fmt: skip
        yield _gauge("pods", "Pods with the label, as they are known.", (), {(): tallies.pods})
        pods = mirror.pods_state()
        yield _gauge(
            "pods_view_age_seconds", "Time since the pods were last known to be current.", (),
            {} if pods is None else {(): pods.age},
        )  # fmt: skip
        yield _counter(
            "pod_writes", "Writes for pods by what is written and by result.", ("kind", "result"),
            {key: tallies.pod_writes[key] for key in POD_WRITES},
        )  # fmt: skip
        yield _counter(
            "kubernetes_events", "Events of Kubernetes by what came of what was to be told.",
            ("result",),
            _known(tallies.events, ("written", "aggregated", "dropped", "failed")),
        )  # fmt: skip
        yield _counter(
            "events_lost", "Events that could not be understood.", (), {(): tallies.events_lost}
        )
        yield _counter(
            "watch_restarts", "Times that the watch was started again.", (),
            {(): tallies.watch_restarts},
        )  # fmt: skip
        yield _gauge(
            "watch_running", "1 while changes are watched.", (), {(): tallies.watch_running}
        )


def exposition(source: Measured, mirror: Mirror | None = None) -> Callable[[], tuple[bytes, str]]:
    """A function that returns the text of all metrics and its media type.

    ``mirror`` is that of a cluster, if there is one.
    """
    registry = CollectorRegistry()
    registry.register(RegistryCollector(source))
    registry.register(BeatsCollector(source.workers, mirror))
    if mirror is not None:
        registry.register(ClusterCollector(mirror, source.tallies))
    ProcessCollector(registry=registry)
    GCCollector(registry=registry)
    return lambda: (generate_latest(registry), CONTENT_TYPE_LATEST)


def _by_model(models: Mapping[str, Counter[Phase]]) -> dict[tuple[str, ...], int]:
    """How many there are by model and phase; each model has all phases, so that none goes stale."""
    largest = sorted(models, key=lambda name: (-models[name].total(), name))
    shown = {name: models[name] for name in largest[:MAX_MODELS]}
    if len(largest) > MAX_MODELS:
        rest = Counter(shown.pop(OTHER_MODELS, ()))
        for name in largest[MAX_MODELS:]:
            rest.update(models[name])
        shown[OTHER_MODELS] = rest
    return {(name, phase.value): counts[phase] for name, counts in shown.items() for phase in Phase}


def _known(counts: Mapping[str, int], keys: Iterable[str]) -> dict[tuple[str, ...], int]:
    return {(key,): counts.get(key, 0) for key in keys}


Values = Mapping[tuple[str, ...], float]


def _gauge(name: str, text: str, labels: tuple[str, ...], values: Values) -> Metric:
    metric = GaugeMetricFamily(f"modelinstance_{name}", text, labels=labels)
    for of, number in values.items():
        metric.add_metric(of, float(number))
    return metric


def _counter(name: str, text: str, labels: tuple[str, ...], values: Values) -> Metric:
    metric = CounterMetricFamily(f"modelinstance_{name}", text, labels=labels)
    for of, number in values.items():
        metric.add_metric(of, number)
    return metric
