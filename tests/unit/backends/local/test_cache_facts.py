"""What workers tell of their response caches, summed over those that come and go."""

from __future__ import annotations

from salver.backends.local.cache_facts import CacheFacts
from salver.backends.local.worker_messages import CacheCounts
from salver.engine.model_facts import statistics_of
from salver.telemetry.metrics import ModelMetrics
from salver.telemetry.registry import Registry


def test_counts_of_all_workers_add_up_and_sizes_go_with_them() -> None:
    registry = Registry()
    metrics = ModelMetrics(registry, "m", "1")
    facts = CacheFacts(metrics)
    assert metrics.cache is None
    facts.note(1, CacheCounts(1, 2, 1_000, 8_000, 0, 100))
    facts.note(1, CacheCounts(3, 2, 3_000, 8_000, 1, 90))
    facts.note(2, CacheCounts(1, 1, 2_000, 2_000, 0, 50))
    assert metrics.cache is not None
    assert metrics.cache.size_bytes.value == 140
    facts.forget(1)
    facts.forget(1)
    # A worker in its place may go by the same number, and counts from the beginning.
    facts.note(1, CacheCounts(1, 0, 500, 0, 0, 0))
    assert metrics.cache.size_bytes.value == 50
    assert metrics.cache.evictions.value == 1
    found = statistics_of(metrics, 0.0, lambda: 0.0).cache
    assert found is not None
    assert (found.hits, found.misses) == (5, 3)
    assert (round(found.hit_s * 1e9), round(found.miss_s * 1e9)) == (5_500, 10_000)


def test_a_model_without_a_cache_shows_none() -> None:
    registry = Registry()
    metrics = ModelMetrics(registry, "m", "1")
    CacheFacts(metrics).forget(1)
    assert statistics_of(metrics, 0.0, lambda: 0.0).cache is None
    assert not [family for family in registry.snapshot() if "cache" in family.name]
