"""What a model has answered, in the terms of Triton's statistics extension. Pure.

Triton tells input, inference and output of a batch apart. Here `compute_infer` is the prediction;
`compute_input` is all else between sending a batch to its worker and its answer (reading, checking
and stacking requests, encoding answers), and `compute_output` is in it.
"""

from __future__ import annotations

import msgspec

from salver.engine.model_facts import ModelFacts, ModelStatistics
from salver.telemetry.batch_table import BatchStatistics


class Duration(msgspec.Struct, frozen=True):
    """So many of them, and the nanoseconds that all took."""

    count: int
    ns: int


class BatchFigures(msgspec.Struct, frozen=True):
    """One batch size. What Triton does not have comes after what it has."""

    batch_size: int
    compute_input: Duration
    compute_infer: Duration
    compute_output: Duration
    queue: Duration
    requests: int


class InferFigures(msgspec.Struct, frozen=True):
    """Of requests; of `compute_*`, of batches."""

    success: Duration
    fail: Duration
    queue: Duration
    compute_input: Duration
    compute_infer: Duration
    compute_output: Duration
    cache_hit: Duration
    cache_miss: Duration


class ModelFigures(msgspec.Struct, frozen=True):
    """One version; `last_inference` in milliseconds since 1970, 0 before the first."""

    name: str
    version: str
    last_inference: int
    inference_count: int
    execution_count: int
    inference_stats: InferFigures
    response_stats: dict[str, int]
    batch_stats: tuple[BatchFigures, ...]
    memory_usage: tuple[int, ...] = ()


_NONE = Duration(0, 0)


def figures_of(facts: ModelFacts) -> ModelFigures:
    """The statistics of one version."""
    found = facts.statistics
    return ModelFigures(
        facts.name,
        facts.version,
        last_inference=int(found.last_s * 1e3),
        inference_count=found.rows,
        execution_count=found.batches,
        inference_stats=_infer_figures(found),
        response_stats={},
        batch_stats=tuple(_batch_figures(each) for each in found.by_size if each.rows),
    )


def _infer_figures(found: ModelStatistics) -> InferFigures:
    cache = found.cache
    around_s = sum(each.worker_s for each in found.by_size) - found.compute_s
    return InferFigures(
        success=_duration(found.answered, found.latency_s),
        fail=_duration(found.failed, 0.0),
        queue=_duration(found.queued, found.queue_s),
        compute_input=_duration(found.batches, around_s),
        compute_infer=_duration(found.batches, found.compute_s),
        compute_output=_duration(found.batches, 0.0),
        cache_hit=_duration(cache.hits, cache.hit_s) if cache else _NONE,
        cache_miss=_duration(cache.misses, cache.miss_s) if cache else _NONE,
    )


def _batch_figures(each: BatchStatistics) -> BatchFigures:
    return BatchFigures(
        each.rows,
        compute_input=_duration(each.batches, each.worker_s - each.compute_s),
        compute_infer=_duration(each.batches, each.compute_s),
        compute_output=_duration(each.batches, 0.0),
        queue=_duration(each.batches, each.waited_s),
        requests=each.requests,
    )


def _duration(count: int, seconds: float) -> Duration:
    return Duration(count, max(0, round(seconds * 1e9)))
