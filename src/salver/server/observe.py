"""What is written down of each inference request when access logs or traces are on.

Off the request path otherwise: the listeners then have no observer at all. Ids and times come
from what is passed in. Knows no protocol: `http/observe.py` and `grpc/observe.py` say what a
request was.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

import msgspec

from salver.telemetry.logs import accepted_request_id, log_request
from salver.telemetry.otlp import SpanRecord, SpanSink
from salver.telemetry.trace import (
    TraceContext,
    format_traceparent,
    new_span,
    parse_traceparent,
)

REQUEST_ID = b"x-request-id"


class Observation:
    """One request as it will be logged and traced.

    `span` is None unless spans of it are recorded. `model` is whom it has come to, and `target`
    what it asked for, where its head does not say.
    """

    __slots__ = (
        "context",
        "model",
        "parent_span_id",
        "request_id",
        "span",
        "started_ns",
        "target",
    )

    def __init__(
        self,
        request_id: str,
        context: TraceContext,
        parent_span_id: str,
        started_ns: int,
        *,
        is_recorded: bool,
    ) -> None:
        self.request_id = request_id
        self.context = context
        self.parent_span_id = parent_span_id
        self.started_ns = started_ns
        self.span = context if is_recorded and context.is_sampled else None
        self.model = self.target = ""

    def headers(self) -> list[tuple[bytes, bytes]]:
        """What the answer tells the client: its request id, and this server's span."""
        return [
            (REQUEST_ID, self.request_id.encode()),
            (b"traceparent", format_traceparent(self.context).encode()),
        ]


class Answered(msgspec.Struct, frozen=True, kw_only=True):
    """A request that has its answer. `status` is the protocol's own; `error` is empty if all went
    well, and `is_fault` says that the error is not the caller's."""

    protocol: str
    target: str
    status: int
    model: str
    bytes_in: int
    error: str = ""
    is_fault: bool = False
    attributes: Mapping[str, str | int | float | bool] = {}
    """Of the span, beside what all have."""


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

    def begin(self, traceparent: bytes, request_id: bytes) -> Observation:
        """A request has arrived, with these headers."""
        parent = parse_traceparent(traceparent.decode("latin-1"))
        place = new_span(parent, self._sample if self._spans else 0.0, self._random_bits)
        accepted = accepted_request_id(request_id.decode("latin-1"))
        return Observation(
            accepted or f"{self._random_bits(64):016x}",
            place.context,
            place.parent_span_id,
            self._now_ns(),
            is_recorded=self._spans is not None,
        )

    def end(self, observation: Observation, answered: Answered) -> None:
        """Its answer is written."""
        ended_ns = self._now_ns()
        if self._access_log is not None:
            log_request(
                self._access_log,
                request_id=observation.request_id,
                protocol=answered.protocol,
                target=answered.target,
                status=answered.status,
                duration_s=(ended_ns - observation.started_ns) * 1e-9,
                model=answered.model,
                bytes_in=answered.bytes_in,
                trace_id=observation.context.trace_id,
                **({"error": answered.error} if answered.error else {}),
            )
        if self._spans is not None and observation.span is not None:
            self._spans.record(
                SpanRecord(
                    name=f"infer {answered.model}",
                    context=observation.context,
                    parent_span_id=observation.parent_span_id,
                    start_ns=observation.started_ns,
                    end_ns=ended_ns,
                    attributes={
                        "salver.model.name": answered.model,
                        "salver.request.id": observation.request_id,
                        "network.protocol.name": answered.protocol,
                        **answered.attributes,
                    },
                    error=answered.error if answered.is_fault else "",
                )
            )
