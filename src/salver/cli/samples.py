"""The numbers behind `salver top`: what `/metrics` says, and what changed between two looks.

Pure. Reads the Prometheus text format as far as counters, gauges and histograms go.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import NamedTuple

_SAMPLE = re.compile(r"^([A-Za-z_:][\w:]*)(?:\{(.*)\})?\s+(\S+)")
_LABEL = re.compile(r'([A-Za-z_]\w*)="((?:[^"\\]|\\.)*)"')
_ESCAPES = {"\\n": "\n", '\\"': '"', "\\\\": "\\"}

Labels = frozenset[tuple[str, str]]


class Scrape:
    """One look at `/metrics`."""

    def __init__(self, text: str) -> None:
        self._values: dict[str, dict[Labels, float]] = {}
        for line in text.splitlines():
            match = None if line.startswith("#") else _SAMPLE.match(line)
            if match is None:
                continue
            found = _LABEL.findall(match[2] or "")
            labels = frozenset((key, _unescaped(value)) for key, value in found)
            self._values.setdefault(match[1], {})[labels] = _number(match[3])

    def of(self, name: str, **labels: str) -> Iterator[tuple[dict[str, str], float]]:
        """The samples of a metric that have these labels."""
        for found, value in self._values.get(name, {}).items():
            if set(labels.items()) <= found:
                yield dict(found), value

    def total(self, name: str, **labels: str) -> float:
        """Their sum."""
        return sum(value for _, value in self.of(name, **labels))

    def values_of(self, name: str, label: str) -> list[str]:
        """The values that a label of a metric takes, sorted."""
        return sorted({found[label] for found, _ in self.of(name) if label in found})


class ModelLoad(NamedTuple):
    """What one model did between two looks; NaN where nothing happened that could tell."""

    model: str
    versions: int
    requests_per_s: float
    errors_per_s: float
    p50_s: float
    p99_s: float
    queued: float
    wait_s: float
    batch_rows: float
    compute_s: float
    memory_bytes: float
    cpu_cores: float
    cached: float | None = None
    """The part of the requests that its response cache answered; None if it has none."""


class GraphLoad(NamedTuple):
    """What one variant of a graph did between two looks."""

    graph: str
    variant: str
    requests_per_s: float
    errors_per_s: float
    p50_s: float
    p99_s: float
    in_flight: float


class ProcessLoad(NamedTuple):
    """What one process used between two looks."""

    process: str
    role: str
    cpu_cores: float
    memory_bytes: float


def model_loads(before: Scrape, after: Scrape, seconds: float) -> list[ModelLoad]:
    """Every model's load, all versions together."""
    names = after.values_of("salver_model_ready", "model")
    names = names or after.values_of("salver_requests_total", "model")
    return [_model_load(name, before, after, seconds) for name in names]


def _model_load(model: str, before: Scrape, after: Scrape, seconds: float) -> ModelLoad:
    def gained(name: str) -> float:
        return max(0.0, after.total(name, model=model) - before.total(name, model=model))

    batches = gained("salver_batch_rows_count")
    waited = gained("salver_queue_duration_seconds_count")
    buckets = _gained_buckets("salver_request_duration_seconds", {"model": model}, before, after)
    versions = {
        found.get("version", "") for found, _ in after.of("salver_model_ready", model=model)
    }
    return ModelLoad(
        model,
        max(1, len(versions)),
        gained("salver_requests_total") / seconds,
        gained("salver_request_errors_total") / seconds,
        quantile(buckets, 0.5),
        quantile(buckets, 0.99),
        after.total("salver_requests_queued", model=model),
        gained("salver_queue_duration_seconds_sum") / waited if waited else math.nan,
        gained("salver_batch_rows_sum") / batches if batches else math.nan,
        gained("salver_compute_duration_seconds_sum") / batches if batches else math.nan,
        after.total("salver_model_memory_bytes", model=model),
        _cpu_of(model, before, after) / seconds,
        _cached(model, before, after),
    )


def _cached(model: str, before: Scrape, after: Scrape) -> float | None:
    names = ("salver_cache_hits_total", "salver_cache_misses_total")
    if not any(True for _ in after.of(names[0], model=model)):
        return None
    hits, misses = (
        max(0.0, after.total(name, model=model) - before.total(name, model=model)) for name in names
    )
    return hits / (hits + misses) if hits + misses else math.nan


def _cpu_of(model: str, before: Scrape, after: Scrape) -> float:
    name = "salver_process_cpu_seconds_total"
    used = 0.0
    for labels, value in after.of(name, role="worker"):
        # Workers are called MODEL/VERSION/INDEX, and a model's name may have slashes itself.
        if labels.get("process", "").rsplit("/", 2)[0] == model:
            was = next((found for each, found in before.of(name, **labels) if each == labels), 0.0)
            used += max(0.0, value - was)
    return used


def graph_loads(before: Scrape, after: Scrape, seconds: float) -> list[GraphLoad]:
    """Every graph's load, by its variants."""
    loads = []
    for labels, _ in after.of("salver_graph_requests_in_flight"):
        of = {"graph": labels.get("graph", ""), "variant": labels.get("variant", "")}
        loads.append(_graph_load(of, before, after, seconds))
    return sorted(loads, key=lambda load: (load.graph, load.variant))


def _graph_load(of: dict[str, str], before: Scrape, after: Scrape, seconds: float) -> GraphLoad:
    def gained(name: str) -> float:
        return max(0.0, after.total(name, **of) - before.total(name, **of))

    buckets = _gained_buckets("salver_graph_request_duration_seconds", of, before, after)
    return GraphLoad(
        of["graph"],
        of["variant"],
        gained("salver_graph_requests_total") / seconds,
        gained("salver_graph_request_errors_total") / seconds,
        quantile(buckets, 0.5),
        quantile(buckets, 0.99),
        after.total("salver_graph_requests_in_flight", **of),
    )


def process_loads(before: Scrape, after: Scrape, seconds: float) -> list[ProcessLoad]:
    """Every process's use, the busiest first."""
    loads = []
    for labels, value in after.of("salver_process_cpu_seconds_total"):
        process, role = labels.get("process", ""), labels.get("role", "")
        was = before.total("salver_process_cpu_seconds_total", process=process, role=role)
        memory = after.total("salver_process_resident_memory_bytes", process=process, role=role)
        loads.append(ProcessLoad(process, role, max(0.0, value - was) / seconds, memory))
    return sorted(loads, key=lambda load: (-load.cpu_cores, load.process))


def _gained_buckets(
    name: str, of: dict[str, str], before: Scrape, after: Scrape
) -> list[tuple[float, float]]:
    """Upper bound and cumulative count of what came between, over all that have these labels."""
    counts: dict[float, float] = {}
    for sign, scrape in ((1.0, after), (-1.0, before)):
        for labels, value in scrape.of(f"{name}_bucket", **of):
            bound = _number(labels.get("le", "+Inf"))
            counts[bound] = counts.get(bound, 0.0) + sign * value
    return sorted(counts.items())


def quantile(buckets: list[tuple[float, float]], fraction: float) -> float:
    """The value below which that fraction lies, as Prometheus estimates it; NaN without any."""
    if not buckets or buckets[-1][1] <= 0:
        return math.nan
    rank = fraction * buckets[-1][1]
    low, counted = 0.0, 0.0
    for bound, count in buckets:
        if count >= rank:
            if math.isinf(bound):
                return low
            share = (rank - counted) / (count - counted) if count > counted else 0.0
            return low + (bound - low) * share
        low, counted = bound, count
    return low


def _unescaped(text: str) -> str:
    return re.sub(r"\\.", lambda match: _ESCAPES.get(match[0], match[0]), text)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def latency_text(seconds: float) -> str:
    """`1.2ms`, `340us`, `2.5s`; `-` for none."""
    if math.isnan(seconds):
        return "-"
    for limit, factor, unit in ((0.001, 1e6, "us"), (1.0, 1e3, "ms")):
        if seconds < limit:
            return f"{seconds * factor:.3g}{unit}"
    return f"{seconds:.3g}s"


def bytes_text(size: float) -> str:
    """`213Mi`, as kubectl writes it; `-` for none."""
    if size <= 0 or math.isnan(size):
        return "-"
    for unit, factor in (("Gi", 1 << 30), ("Mi", 1 << 20), ("Ki", 1 << 10)):
        if size >= factor:
            number = size / factor
            return f"{number:.1f}{unit}" if number < 10 else f"{number:.0f}{unit}"
    return f"{size:.0f}"


def cores_text(cores: float) -> str:
    """`1250m`, as kubectl writes it."""
    return f"{cores * 1000:.0f}m"


def share_text(share: float | None) -> str:
    """`87%`; `-` for none."""
    return "-" if share is None or math.isnan(share) else f"{share * 100:.0f}%"


def count_text(value: float) -> str:
    """A rate or a mean; `-` for none."""
    if math.isnan(value):
        return "-"
    return f"{value:.0f}" if value >= 100 or value == 0 else f"{value:.1f}"
