"""What the response caches of a model's workers have done, as the gateway counts it.

Each worker keeps its own cache and tells its counts with the replies that add to them. A worker
that has gone stays counted; what it kept is gone.
"""

from __future__ import annotations

from salver.backends.local.worker_messages import CacheCounts
from salver.telemetry.metrics import CacheMetrics, ModelMetrics


class CacheFacts:
    """The caches of one version of a model."""

    def __init__(self, metrics: ModelMetrics) -> None:
        self._metrics = metrics
        self._by_worker: dict[int, CacheCounts] = {}

    def note(self, worker: int, now: CacheCounts) -> None:
        """A worker tells what its cache has done since it began."""
        before = self._by_worker.get(worker, CacheCounts())
        self._by_worker[worker] = now
        shown = self._shown
        shown.hits.value += now.hits - before.hits
        shown.misses.value += now.misses - before.misses
        shown.hit_s.value += (now.hit_ns - before.hit_ns) * 1e-9
        shown.miss_s.value += (now.miss_ns - before.miss_ns) * 1e-9
        shown.evictions.value += now.evictions - before.evictions
        self._show_size(shown)

    def forget(self, worker: int) -> None:
        """The worker has gone, and with it what it kept."""
        if self._by_worker.pop(worker, None) is not None:
            self._show_size(self._shown)

    @property
    def _shown(self) -> CacheMetrics:
        """Made when there is something to show: most models have no cache."""
        if self._metrics.cache is None:
            self._metrics.cache = CacheMetrics(*self._metrics.place)
        return self._metrics.cache

    def _show_size(self, shown: CacheMetrics) -> None:
        shown.size_bytes.value = sum(each.size_bytes for each in self._by_worker.values())
