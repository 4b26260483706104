"""The metrics of one served model: what the engine touches, and their names.

One `ModelMetrics` per model and version, made when the model is added. The attributes are
public so that the request path can say `metrics.requests.value += 1`.
"""

from __future__ import annotations

from collections.abc import Callable

from salver.errors import ErrorKind
from salver.telemetry.batch_table import BatchTable
from salver.telemetry.registry import Counter, Gauge, Histogram, Registry

DURATION_BOUNDS_S: tuple[float, ...] = (
    *(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05),
    *(0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0),
)
SIZE_BOUNDS: tuple[float, ...] = tuple(float(1 << power) for power in range(14))

_FAILURES = tuple(kind for kind in ErrorKind if kind is not ErrorKind.OK)


class StreamMetrics:
    """What is counted of streams, for the models that have them."""

    __slots__ = ("first_part", "left", "parts")

    def __init__(self, registry: Registry, of: dict[str, str]) -> None:
        self.parts: Counter = registry.counter(
            "salver_stream_parts_total", "Responses sent one by one, as parts of streams.", **of
        )
        self.left: Counter = registry.counter(
            "salver_streams_left_total",
            "Streams ended early: the client left, or read nothing for too long.",
            **of,
        )
        self.first_part: Callable[[float], None] = registry.histogram(
            "salver_stream_first_part_seconds",
            "Seconds from a request's arrival to the first response of its stream.",
            DURATION_BOUNDS_S,
            **of,
        ).observe


class PolicyMetrics:
    """What is counted of queue policies, for the models that have them."""

    __slots__ = ("delayed", "full", "timed_out")

    def __init__(self, registry: Registry, of: dict[str, str]) -> None:
        def rejected(reason: str) -> Counter:
            return registry.counter(
                "salver_queue_rejected_total",
                "Requests that a queue policy refused, by reason.",
                **of,
                reason=reason,
            )

        self.full: Counter = rejected("max_queue_size")
        self.timed_out: Counter = rejected("timeout")
        self.delayed: Counter = registry.counter(
            "salver_queue_delayed_total",
            "Requests that went behind all others of their level, since they waited for too long.",
            **of,
        )


class CacheMetrics:
    """What is counted of a response cache, for the models that have one."""

    __slots__ = ("evictions", "hit_s", "hits", "miss_s", "misses", "size_bytes")

    def __init__(self, registry: Registry, of: dict[str, str]) -> None:
        counter = registry.counter
        self.hits: Counter = counter(
            "salver_cache_hits_total", "Requests that the response cache answered.", **of
        )
        self.misses: Counter = counter(
            "salver_cache_misses_total", "Requests that the response cache had no answer to.", **of
        )
        self.hit_s: Counter = counter(
            "salver_cache_hit_seconds_total", "Seconds that finding answers took.", **of
        )
        self.miss_s: Counter = counter(
            "salver_cache_miss_seconds_total",
            "Seconds that looking in vain and keeping answers took.",
            **of,
        )
        self.evictions: Counter = counter(
            "salver_cache_evictions_total", "Answers that the cache had no room for any more.", **of
        )
        self.size_bytes: Gauge = registry.gauge(
            "salver_cache_bytes", "Size of the answers that are kept.", merge="sum", **of
        )


class ModelMetrics:
    """The numbers of one version of one model. Durations in seconds, sizes in bytes.

    For every request: `requests.value += 1`, then `observe_queue_time(seconds)` as it leaves
    the queue and `observe_latency(seconds)` as it is answered; for every batch,
    `observe_batch`. `in_flight` and `queued` are gauges to add to and take from, or to set.
    """

    __slots__ = (
        "_errors",
        "_labels",
        "_policies",
        "_registry",
        "_streams",
        "answered_errors",
        "batch_requests",
        "batch_rows",
        "batch_table",
        "batches",
        "cache",
        "compute_duration",
        "in_flight",
        "last_answer_s",
        "load_duration",
        "memory_bytes",
        "observe_latency",
        "observe_queue_time",
        "queue_duration",
        "queued",
        "ready",
        "refused",
        "request_duration",
        "requests",
        "retries",
        "worker_restarts",
    )

    def __init__(self, registry: Registry, model: str, version: str) -> None:
        self.batch_table = BatchTable()
        self.last_answer_s = 0.0
        """When the last batch was answered, on the gateway's clock; 0: none was."""
        self.answered_errors = 0
        """Requests that a worker answered with an error."""
        self._bind_requests(registry, {"model": model, "version": version})
        self._bind_batches(registry, {"model": model, "version": version})
        self._bind_life(registry, {"model": model, "version": version})
        self._registry = registry
        self._labels = {"model": model, "version": version}
        self._streams: StreamMetrics | None = None
        self._policies: PolicyMetrics | None = None
        self.cache: CacheMetrics | None = None
        """Those of its response cache, if it has one."""

    @property
    def streams(self) -> StreamMetrics:
        """Those of its streams, made with the first one: most models have none."""
        if self._streams is None:
            self._streams = StreamMetrics(self._registry, self._labels)
        return self._streams

    @property
    def policies(self) -> PolicyMetrics:
        """Those of its queue policies, made for the models that have them."""
        if self._policies is None:
            self._policies = PolicyMetrics(self._registry, self._labels)
        return self._policies

    def _bind_requests(self, registry: Registry, of: dict[str, str]) -> None:
        counter = registry.counter
        self.requests: Counter = counter(
            "salver_requests_total", "Inference requests received, refused ones included.", **of
        )
        self._errors: tuple[Counter, ...] = tuple(
            counter(
                "salver_request_errors_total",
                "Inference requests answered with an error, by reason.",
                **of,
                reason=kind.reason,
            )
            for kind in _FAILURES
        )
        self.refused: Counter = counter(
            "salver_requests_refused_total", "Requests refused before they were queued.", **of
        )
        self.retries: Counter = counter(
            "salver_request_retries_total", "Requests sent again after a worker died.", **of
        )
        self.in_flight: Gauge = registry.gauge(
            "salver_requests_in_flight", "Requests with a worker now.", merge="sum", **of
        )
        self.queued: Gauge = registry.gauge(
            "salver_requests_queued", "Requests waiting for a worker now.", merge="sum", **of
        )
        self.request_duration: Histogram = registry.histogram(
            "salver_request_duration_seconds",
            "Seconds from a request's arrival to its answer.",
            DURATION_BOUNDS_S,
            **of,
        )
        self.queue_duration: Histogram = registry.histogram(
            "salver_queue_duration_seconds",
            "Seconds that a request waited for a worker.",
            DURATION_BOUNDS_S,
            **of,
        )
        # Bound methods rather than methods: the request path saves a call.
        self.observe_latency: Callable[[float], None] = self.request_duration.observe
        self.observe_queue_time: Callable[[float], None] = self.queue_duration.observe

    def _bind_batches(self, registry: Registry, of: dict[str, str]) -> None:
        self.batches: Counter = registry.counter(
            "salver_batches_total", "Batches that workers have answered.", **of
        )
        self.compute_duration: Histogram = registry.histogram(
            "salver_compute_duration_seconds",
            "Seconds that a worker took for a batch: decode, predict, encode.",
            DURATION_BOUNDS_S,
            **of,
        )
        self.batch_rows: Histogram = registry.histogram(
            "salver_batch_rows", "Rows in a batch.", SIZE_BOUNDS, **of
        )
        self.batch_requests: Histogram = registry.histogram(
            "salver_batch_requests", "Requests in a batch.", SIZE_BOUNDS, **of
        )

    def _bind_life(self, registry: Registry, of: dict[str, str]) -> None:
        self.ready: Gauge = registry.gauge(
            "salver_model_ready", "1 if the model answers requests, else 0.", merge="min", **of
        )
        self.load_duration: Gauge = registry.gauge(
            "salver_model_load_duration_seconds",
            "Seconds that the last load took, warm-up included.",
            merge="max",
            **of,
        )
        self.memory_bytes: Gauge = registry.gauge(
            "salver_model_memory_bytes", "Memory of the model's workers.", merge="sum", **of
        )
        self.worker_restarts: Counter = registry.counter(
            "salver_worker_restarts_total", "Workers started again after they died.", **of
        )

    def observe_batch(self, requests: int, rows: int, compute_s: float) -> None:
        """A worker answered a batch."""
        self.batches.value += 1
        self.batch_requests.observe(requests)
        self.batch_rows.observe(rows)
        self.compute_duration.observe(compute_s)

    @property
    def place(self) -> tuple[Registry, dict[str, str]]:
        """Where further metrics of the model belong, and their labels."""
        return self._registry, self._labels

    @property
    def errors(self) -> int:
        """Requests that were answered with an error, or refused."""
        return int(sum(counter.value for counter in self._errors))

    def count_error(self, kind: ErrorKind, times: int = 1) -> None:
        """Requests were answered with an error; `OK` is none."""
        if kind:
            self._errors[kind - 1].value += times

    def count_refusal(self, kind: ErrorKind) -> None:
        """A request was turned away before the queue: an error, and a refusal."""
        self.refused.value += 1
        self.count_error(kind)
