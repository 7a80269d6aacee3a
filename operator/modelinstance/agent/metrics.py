"""What engines call the numbers that tell their load.

Names come and go with the versions of an engine: a number has all names that it ever had, and one
that is not there is left out.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families

from modelinstance.client.workers import Load

MAX_NUMBER = 1e12
"""The most that a registry takes."""


class UnreadableMetricsError(Exception):
    """What came is no exposition in the text format of Prometheus."""


@dataclass(frozen=True, slots=True)
class Names:
    """What one kind of engine calls its numbers; ``source`` is where that is documented."""

    running: tuple[str, ...]
    waiting: tuple[str, ...]
    kv_cache: tuple[str, ...]
    generated: tuple[str, ...]
    source: str


ENGINES: Mapping[str, Names] = {
    "vllm": Names(
        running=("vllm:num_requests_running",),
        waiting=("vllm:num_requests_waiting",),
        kv_cache=("vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc"),
        generated=("vllm:generation_tokens_total",),
        source="vLLM, docs/usage/metrics.md (the second KV-cache name: before 0.10)",
    ),
    "sglang": Names(
        running=("sglang:num_running_reqs",),
        waiting=("sglang:num_queue_reqs",),
        kv_cache=("sglang:token_usage",),
        generated=("sglang:generation_tokens_total",),
        source="SGLang, docs/references/production_metrics.md (with --enable-metrics)",
    ),
    "llamacpp": Names(
        running=("llamacpp:requests_processing",),
        waiting=("llamacpp:requests_deferred",),
        kv_cache=("llamacpp:kv_cache_usage_ratio",),
        generated=("llamacpp:tokens_predicted_total",),
        source="llama.cpp, tools/server/README.md, GET /metrics (with --metrics; no KV-cache "
        "number since 2025)",
    ),
    "tgi": Names(
        running=("tgi_batch_current_size",),
        waiting=("tgi_queue_size",),
        kv_cache=(),
        generated=("tgi_request_generated_tokens_sum",),
        source="Text Generation Inference, docs/source/reference/metrics.md",
    ),
}
"""The kinds of engines, in the order in which they are looked for."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What an engine told of itself.

    ``engine`` is what kind it is; ``load`` what it has to do, if it says so; ``generated`` how many
    tokens it has made, a number that only grows while it lives.
    """

    engine: str
    load: Load | None = None
    generated: float | None = None


def read(text: str, engine: str = "auto") -> Reading | None:
    """Read an exposition; ``None`` if it holds none of the names of that kind of engine.

    ``auto`` takes the first kind of which there are names. Raises `UnreadableMetricsError`.
    """
    kinds = ENGINES if engine == "auto" else {engine: ENGINES[engine]}
    for kind, names in kinds.items():
        samples = _samples(text, names)
        if samples:
            return _reading(kind, names, samples)
    return None


def _samples(text: str, names: Names) -> dict[str, list[float]]:
    """The values of the names that matter; only their lines are parsed, as there are thousands."""
    known = (*names.running, *names.waiting, *names.kv_cache, *names.generated)
    lines = [line for line in text.splitlines() if line.startswith(known)]
    found: dict[str, list[float]] = {}
    try:
        for family in text_string_to_metric_families("\n".join([*lines, ""])):
            for sample in family.samples:
                if sample.name in known and math.isfinite(sample.value):
                    found.setdefault(sample.name, []).append(float(sample.value))
    except (ValueError, IndexError, KeyError, TypeError) as error:
        raise UnreadableMetricsError(f"they are not in Prometheus' text format: {error}") from error
    return found


def _reading(kind: str, names: Names, samples: Mapping[str, list[float]]) -> Reading:
    """Requests and tokens of several ranks or models add up; of the KV caches it is the mean."""
    running, waiting = (_first(samples, several) for several in (names.running, names.waiting))
    caches, made = _first(samples, names.kv_cache), _first(samples, names.generated)
    load = None
    if running or waiting:
        load = Load(
            running=_bounded(sum(running), MAX_NUMBER),
            waiting=_bounded(sum(waiting), MAX_NUMBER),
            kv_cache=_bounded(sum(caches) / len(caches), 1.0) if caches else None,
        )
    return Reading(kind, load, sum(made) if made else None)


def _first(samples: Mapping[str, list[float]], names: Iterable[str]) -> list[float]:
    return next((samples[name] for name in names if name in samples), [])


def _bounded(value: float, most: float) -> float:
    return min(max(value, 0.0), most)
