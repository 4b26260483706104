"""The numbers of the shared pool, and their names."""

from __future__ import annotations

from salver.telemetry.registry import Counter, Gauge, Registry


class PoolMetrics:
    """Counters to add to as things happen; gauges to set when somebody looks."""

    def __init__(self, registry: Registry, budget_bytes: int) -> None:
        self.registered: Gauge = registry.gauge(
            "salver_pool_models", "Models registered in the pool."
        )
        self.loaded: Gauge = registry.gauge(
            "salver_pool_models_loaded", "Models of the pool that have a worker now."
        )
        self.memory: Gauge = registry.gauge(
            "salver_pool_memory_bytes", "Memory that the pool's workers add, as measured."
        )
        registry.gauge(
            "salver_pool_budget_bytes", "Memory that the pool's workers may add."
        ).value = budget_bytes
        self.loads: Counter = registry.counter(
            "salver_pool_loads_total", "Models loaded on demand."
        )
        self.evictions: Counter = registry.counter(
            "salver_pool_evictions_total", "Workers ended to make room for other models."
        )
        self.refused: Counter = registry.counter(
            "salver_pool_requests_refused_total", "Requests to models that are unloaded."
        )
