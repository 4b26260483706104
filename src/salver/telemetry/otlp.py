"""Spans, sent to an OpenTelemetry collector by a thread of their own.

`SpanSink.record` appends to a bounded queue and returns: building OpenTelemetry's span
objects, encoding and sending happen in the thread. A collector that is slow or gone costs
spans, which are counted, and never a request. OpenTelemetry is the extra `otel`, imported
only here and only when an address is set.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import msgspec

from salver.errors import StartupError
from salver.telemetry.trace import TraceContext

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan

_LOG = logging.getLogger(__name__)
_BATCH = 512
_FLUSH_EVERY_S = 2.0
_TRACES_PATH = "/v1/traces"

Export = Callable[[Sequence["SpanRecord"]], bool]
"""Sends a batch and says whether it arrived; called from the sink's thread only."""


class SpanRecord(msgspec.Struct, frozen=True):
    """A finished span. Times are Unix nanoseconds; `error` is empty if all went well.

    `is_internal`: it is a part of a request here, and not the whole of it.
    """

    name: str
    context: TraceContext
    parent_span_id: str
    start_ns: int
    end_ns: int
    attributes: Mapping[str, str | int | float | bool]
    error: str = ""
    is_internal: bool = False


class SpanSink:
    """Takes spans from one event loop. `start` before the first, `close` after the last.

    `sent` and `dropped` count spans; dropped are those that found the queue full, that the
    collector did not take, and that were left when time ran out in `close`.
    """

    def __init__(
        self, export: Export, *, max_queue: int = 8192, flush_every_s: float = _FLUSH_EVERY_S
    ) -> None:
        self._export = export
        self._max_queue = max_queue
        self._flush_every_s = flush_every_s
        self._queue: deque[SpanRecord] = deque()
        self._wake = threading.Event()
        self._is_closing = False
        self._thread = threading.Thread(target=self._run, name="salver-spans", daemon=True)
        self.sent = 0
        self.dropped = 0

    def start(self) -> None:
        """Starts the sending thread; after a fork it would not exist."""
        self._thread.start()

    def record(self, span: SpanRecord) -> None:
        """Queues a span if its trace is sampled. Never blocks."""
        if not span.context.is_sampled:
            return
        if len(self._queue) >= self._max_queue:
            self.dropped += 1
            return
        self._queue.append(span)
        if len(self._queue) == _BATCH:
            self._wake.set()

    def close(self, timeout_s: float) -> None:
        """Sends what is queued, for as long as the time allows."""
        self._is_closing = True
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(timeout_s)
        self.dropped += len(self._queue)
        self._queue.clear()

    def _run(self) -> None:
        while not self._is_closing:
            self._wake.wait(self._flush_every_s)
            self._wake.clear()
            while self._queue:
                self._send_batch()

    def _send_batch(self) -> None:
        queue = self._queue
        batch = [queue.popleft() for _ in range(min(len(queue), _BATCH))]
        try:
            has_arrived = self._export(batch)
        except Exception:
            # The thread is a boundary: whatever an exporter raises costs this batch only.
            _LOG.exception("sending spans failed")
            has_arrived = False
        if has_arrived:
            self.sent += len(batch)
        else:
            self.dropped += len(batch)


def traces_url(endpoint: str) -> str:
    """The address spans go to: `/v1/traces` below the endpoint, unless it is there already.

    Raises `StartupError` for what is no HTTP address.
    """
    parts = urlsplit(endpoint)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise StartupError(
            f"otlp-endpoint {endpoint!r} is no HTTP address; give one like http://localhost:4318"
        )
    base = endpoint.rstrip("/")
    return base if base.endswith(_TRACES_PATH) else base + _TRACES_PATH


def otlp_exporter(endpoint: str, *, service: str, version: str, timeout_s: float = 10.0) -> Export:
    """An `Export` to an OTLP/HTTP collector.

    Raises `StartupError` if the address is unusable or the extra `otel` is not installed.
    """
    url = traces_url(endpoint)
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace.export import SpanExportResult
    except ImportError as error:
        raise StartupError(
            f"sending spans to {endpoint} needs OpenTelemetry, which is not installed: "
            "pip install 'salver[otel]'"
        ) from error
    exporter = OTLPSpanExporter(endpoint=url, timeout=timeout_s)
    resource = Resource.create({"service.name": service, "service.version": version})

    def export(batch: Sequence[SpanRecord]) -> bool:
        spans = [_readable(record, resource) for record in batch]
        return bool(exporter.export(spans) is SpanExportResult.SUCCESS)

    return export


def _readable(record: SpanRecord, resource: Any) -> ReadableSpan:
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

    trace_id = int(record.context.trace_id, 16)
    flags = TraceFlags(TraceFlags.SAMPLED)
    parent = None
    if record.parent_span_id:
        parent = SpanContext(
            trace_id, int(record.parent_span_id, 16), not record.is_internal, flags
        )
    return ReadableSpan(
        name=record.name,
        context=SpanContext(trace_id, int(record.context.span_id, 16), False, flags),
        parent=parent,
        resource=resource,
        attributes=dict(record.attributes),
        kind=SpanKind.INTERNAL if record.is_internal else SpanKind.SERVER,
        status=Status(StatusCode.ERROR, record.error) if record.error else Status(StatusCode.UNSET),
        start_time=record.start_ns,
        end_time=record.end_ns,
    )
