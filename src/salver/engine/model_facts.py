"""What is known of the models that run here, for people and tools: batches, engines, limits.

Read when somebody asks, from what is counted anyway.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

import msgspec

from salver.engine.ports import ModelCatalog, ServedModel
from salver.inference.compilation import CompileCounts, CompileReport
from salver.inference.scheduling import NO_SCHEDULING, Scheduling
from salver.telemetry.batch_table import BatchStatistics
from salver.telemetry.metrics import CacheMetrics, ModelMetrics


class CacheStatistics(msgspec.Struct, frozen=True):
    """What a model's response cache has done. Sums of seconds."""

    hits: int
    hit_s: float
    misses: int
    miss_s: float


class ModelStatistics(msgspec.Struct, frozen=True):
    """What one version has answered since it was added. Sums of seconds; `last_s` is a time of
    day, 0 before the first answer."""

    last_s: float
    answered: int
    latency_s: float
    failed: int
    queued: int
    queue_s: float
    rows: int
    batches: int
    compute_s: float
    by_size: tuple[BatchStatistics, ...]
    cache: CacheStatistics | None = None


class ModelFacts(msgspec.Struct, frozen=True):
    """One version of a model in workers of this machine. Limits of 0 are none."""

    name: str
    version: str
    statistics: ModelStatistics
    workers: int
    threads: int
    max_batch_rows: int
    max_batch_delay_s: float
    scheduling: Scheduling = NO_SCHEDULING
    compiled: CompileReport | None = None
    counts: CompileCounts | None = None


@runtime_checkable
class KnownModel(Protocol):
    """A model of this machine's own workers."""

    def facts(self) -> Sequence[ModelFacts]:
        """Of each version that it is; none of one that is not loaded."""


@runtime_checkable
class ComposedModel(Protocol):
    """A model that hands its requests on to others."""

    @property
    def parts(self) -> Sequence[ServedModel]: ...


def facts_of(model: ServedModel) -> list[ModelFacts]:
    """The facts of all versions that answer for the model; none of one that runs elsewhere."""
    found: dict[tuple[str, str], ModelFacts] = {}
    waiting = [model]
    while waiting:
        each = waiting.pop()
        if isinstance(each, KnownModel):
            found |= {(facts.name, facts.version): facts for facts in each.facts()}
        elif isinstance(each, ComposedModel):
            waiting += each.parts
    return [found[key] for key in sorted(found)]


def facts_of_versions(catalog: ModelCatalog, name: str, version: str = "") -> list[ModelFacts]:
    """The facts of one version, or of all that the model has. Raises `ModelNotFound`."""
    versions = [version] if version else catalog.versions(name)
    found: dict[tuple[str, str], ModelFacts] = {}
    for each in versions:
        for facts in facts_of(catalog.find(name, each)):
            found.setdefault((facts.name, facts.version), facts)
    return list(found.values())


def statistics_of(
    metrics: ModelMetrics, now_s: float, wall_s: Callable[[], float]
) -> ModelStatistics:
    """`now_s` is on the clock that batches are timed by, `wall_s` the time of day."""
    latency, waits, compute = (
        metrics.request_duration,
        metrics.queue_duration,
        metrics.compute_duration,
    )
    last_s = metrics.last_answer_s
    return ModelStatistics(
        last_s=wall_s() - (now_s - last_s) if last_s else 0.0,
        answered=max(0, sum(latency.counts) - metrics.answered_errors),
        latency_s=latency.total,
        failed=metrics.errors,
        queued=sum(waits.counts),
        queue_s=waits.total,
        rows=int(metrics.batch_rows.total),
        batches=int(metrics.batches.value),
        compute_s=compute.total,
        by_size=metrics.batch_table.statistics(),
        cache=_cache_statistics(metrics.cache),
    )


def _cache_statistics(cache: CacheMetrics | None) -> CacheStatistics | None:
    if cache is None:
        return None
    return CacheStatistics(
        int(cache.hits.value), cache.hit_s.value, int(cache.misses.value), cache.miss_s.value
    )
