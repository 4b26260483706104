"""What is written down of each inference request when access logs or traces are on.

Off the request path otherwise: the listener then has no observer at all. Ids and times come
from what is passed in.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from salver.engine.call import Call
from salver.protocol.wire_codes import Codec
from salver.server.http.head import RequestHead
from salver.telemetry.logs import accepted_request_id, log_request
from salver.telemetry.otlp import SpanRecord, SpanSink
from salver.telemetry.trace import SpanPlace, format_traceparent, new_span, parse_traceparent

_PROTOCOLS = {
    int(Codec.V1_JSON): "v1-http",
    int(Codec.V2_JSON): "v2-http",
    int(Codec.SELDON_JSON): "seldon-http",
}


class Observation:
    """One request as it will be logged and traced."""

    __slots__ = ("place", "request_id", "started_ns")

    def __init__(self, request_id: str, place: SpanPlace, started_ns: int) -> None:
        self.request_id = request_id
        self.place = place
        self.started_ns = started_ns

    def headers(self) -> list[tuple[bytes, bytes]]:
        """What the answer tells the client: its request id, and this server's span."""
        return [
            (b"x-request-id", self.request_id.encode()),
            (b"traceparent", format_traceparent(self.place.context).encode()),
        ]


class RequestObserver:
    """Makes an `Observation` as a request begins, and records it as its answer goes out."""

    def __init__(
        self,
        *,
        access_log: logging.Logger | None,
        spans: SpanSink | None,
        sample: float,
        random_bits: Callable[[int], int],
        now_ns: Callable[[], int],
    ) -> None:
        self._access_log = access_log
        self._spans = spans
        self._sample = sample
        self._random_bits = random_bits
        self._now_ns = now_ns

    def begin(self, head: RequestHead) -> Observation:
        """A request has arrived."""
        parent = parse_traceparent(head.traceparent.decode("latin-1"))
        place = new_span(parent, self._sample if self._spans else 0.0, self._random_bits)
        request_id = accepted_request_id(head.request_id.decode("latin-1"))
        return Observation(request_id or f"{self._random_bits(64):016x}", place, self._now_ns())

    def end(
        self, observation: Observation, head: RequestHead, call: Call, status: int, error: str
    ) -> None:
        """Its answer is written."""
        ended_ns = self._now_ns()
        protocol = _PROTOCOLS.get(head.codec, "http")
        if self._access_log is not None:
            log_request(
                self._access_log,
                request_id=observation.request_id,
                protocol=protocol,
                target=head.path.decode("latin-1"),
                status=status,
                duration_s=(ended_ns - observation.started_ns) * 1e-9,
                model=head.model or head.scope,
                bytes_in=len(call.body),
                trace_id=observation.place.context.trace_id,
                **({"error": error} if error else {}),
            )
        if self._spans is not None:
            attributes: dict[str, str | int | float | bool] = {
                "salver.model.name": head.model,
                "salver.model.version": head.version,
                "salver.request.id": observation.request_id,
                "salver.attempts": call.attempts + 1,
                "http.request.method": "POST",
                "http.response.status_code": status,
                "url.path": head.path.decode("latin-1"),
                "network.protocol.name": protocol,
            }
            self._spans.record(
                SpanRecord(
                    name=f"infer {head.model}",
                    context=observation.place.context,
                    parent_span_id=observation.place.parent_span_id,
                    start_ns=observation.started_ns,
                    end_ns=ended_ns,
                    attributes=attributes,
                    error=error if status >= 500 else "",
                )
            )
