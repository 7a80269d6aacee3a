"""All metrics, read from the registry when they are asked for.

Names follow the Prometheus conventions. No label holds anything that a caller chooses, so their
number is bounded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from prometheus_client import CollectorRegistry, GCCollector, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

from modelinstance.registry.beats import Beat
from modelinstance.registry.mirror import Mirror
from modelinstance.registry.reasons import Phase
from modelinstance.registry.tallies import Tallies


class RegistryCollector(Collector):
    """Reads the mirror and its records; to be called by the thread that owns them."""

    def __init__(self, mirror: Mirror, tallies: Tallies) -> None:
        self._mirror = mirror
        self._tallies = tallies

    def collect(self) -> Iterator[Metric]:
        """Every metric of the registry."""
        mirror, records, tallies = self._mirror, self._mirror.records, self._tallies
        state = mirror.state()
        yield _gauge(
            "instances", "Instances by phase.", "phase",
            {phase.value: records.by_phase[phase] for phase in Phase},
        )  # fmt: skip
        yield _gauge("models", "Model names.", None, {"": records.totals().models})
        yield _counter(
            "heartbeats", "Values of the heartbeat annotation, by what they amounted to.", "result",
            {beat.value: mirror.beats[beat] for beat in Beat if beat is not Beat.UNCHANGED},
        )  # fmt: skip
        yield _counter("expiries", "Instances that fell silent.", None, {"": records.expiries})
        yield _counter(
            "selections", "Selections by result.", "result",
            _known(tallies.selections, ("selected", "unavailable", "unknown")),
        )  # fmt: skip
        yield _gauge(
            "view_age_seconds", "Time since the view of the cluster was last proven current.", None,
            {"": state.age},
        )  # fmt: skip
        yield _gauge(
            "view_stale", "1 while the registry answers from memory.", None, {"": state.stale}
        )
        yield _counter(
            "resyncs", "LISTs of all instances by result.", "result",
            _known(tallies.lists, ("success", "failure")),
        )  # fmt: skip
        yield _counter(
            "resync_repairs", "Differences that a LIST found and set right.", "kind",
            _known(mirror.repairs, ("added", "changed", "removed")),
        )  # fmt: skip
        yield _counter(
            "status_writes", "Writes of a ModelInstance's status by result.", "result",
            _known(tallies.status_writes, ("written", "conflict", "gone", "failed")),
        )  # fmt: skip
        yield _gauge(
            "status_writes_pending", "Statuses that are to be written.", None,
            {"": len(mirror.outbox)},
        )  # fmt: skip
        yield _counter(
            "events_lost", "Events that could not be understood.", None, {"": tallies.events_lost}
        )
        yield _counter(
            "watch_restarts", "Times that the watch was started again.", None,
            {"": tallies.watch_restarts},
        )  # fmt: skip
        yield _gauge(
            "watch_running", "1 while changes are watched.", None, {"": tallies.watch_running}
        )


def exposition(mirror: Mirror, tallies: Tallies) -> Callable[[], tuple[bytes, str]]:
    """A function that returns the text of all metrics and its media type."""
    registry = CollectorRegistry()
    registry.register(RegistryCollector(mirror, tallies))
    ProcessCollector(registry=registry)
    GCCollector(registry=registry)
    return lambda: (generate_latest(registry), CONTENT_TYPE_LATEST)


def _known(counts: Mapping[str, int], keys: Iterable[str]) -> dict[str, int]:
    return {key: counts.get(key, 0) for key in keys}


def _gauge(name: str, text: str, label: str | None, values: Mapping[str, float]) -> Metric:
    metric = GaugeMetricFamily(f"modelinstance_{name}", text, labels=[label] if label else [])
    for value, number in values.items():
        metric.add_metric([value] if label else [], float(number))
    return metric


def _counter(name: str, text: str, label: str | None, values: Mapping[str, int]) -> Metric:
    metric = CounterMetricFamily(f"modelinstance_{name}", text, labels=[label] if label else [])
    for value, number in values.items():
        metric.add_metric([value] if label else [], number)
    return metric
