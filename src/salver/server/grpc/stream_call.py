"""One message of a ModelStreamInfer stream: what its answer, or its answers, look like.

Each response says in its parameter `triton_final_response` whether it is the last to its request.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from salver.engine.call import Call, PartSource
from salver.errors import ErrorKind
from salver.protocol.operations import Operation, marked
from salver.protocol.wire_codes import Codec
from salver.server.grpc import fields
from salver.server.grpc.headers import header_of, headers_of
from salver.server.grpc.observe import OK, answered_grpc, begun_grpc
from salver.server.grpc.ports import Code, Metadata
from salver.server.grpc.status import GRPC_CODE
from salver.server.observe import Observation, RequestObserver
from salver.telemetry import trace
from salver.telemetry.trace import TraceContext

STREAM_INFER = "/inference.GRPCInferenceService/ModelStreamInfer"
Answer = tuple[Code | None, bytes]
"""A code (None: OK) and a message for the stream; no message if nothing is to be sent."""


def _parameter(name: str, *, value: bool) -> bytes:
    """An entry of a ModelInferResponse's parameters, to be put behind its other fields."""
    entry = fields.text_field(1, name) + fields.bytes_field(2, b"\x08" + bytes([value]))
    return fields.bytes_field(4, entry)


_FINAL = _parameter("triton_final_response", value=True)
_NOT_FINAL = _parameter("triton_final_response", value=False)


class StreamCall(Call):
    """One message of a stream; `answer` becomes its code (None: OK) and its bytes.

    Its headers are the stream's metadata. Where a model gives any number of responses, `parts` has
    those before the last, and a None behind them.
    """

    __slots__ = ("_observer", "_source", "answer", "metadata", "observation", "parts")

    def __init__(
        self,
        body: bytes,
        answer: asyncio.Future[Answer],
        metadata: Metadata,
        *,
        now_s: float,
        deadline_s: float,
        tag: int = int(Codec.V2_GRPC),
    ) -> None:
        super().__init__(tag, 0, body, arrived_s=now_s, deadline_s=deadline_s)
        self.answer = answer
        self.metadata = metadata
        self.observation: Observation | None = None
        self._observer: RequestObserver | None = None
        self._source: PartSource | None = None
        self.parts: asyncio.Queue[tuple[bytes, PartSource] | None] | None = None

    def expect_parts(self) -> None:
        """To be called before it is submitted to a model that gives any number of responses."""
        self.codec = marked(self.codec, Operation.STREAM)
        # Bounded by the worker, which waits while too many are not taken.
        parts = self.parts = asyncio.Queue()
        self.answer.add_done_callback(lambda _: parts.put_nowait(None))

    def observe(self, observer: RequestObserver, model: str) -> None:
        """Logs and traces it from now on."""
        self._observer = observer
        self.observation = begun_grpc(observer, self.metadata, STREAM_INFER, model)

    def _observed(self, code: int, error: str) -> None:
        if self._observer is not None and self.observation is not None:
            self._observer.end(self.observation, answered_grpc(self.observation, self, code, error))

    @property
    def span(self) -> TraceContext | None:
        return None if self.observation is None else self.observation.span

    def header(self, name: bytes) -> bytes:
        if name == trace.TRACEPARENT and self.span is not None:
            return trace.header_of(self.span)
        return header_of(self.metadata, name)

    def headers(self) -> Sequence[tuple[bytes, bytes]]:
        return trace.in_span(headers_of(self.metadata), self.span)

    def deliver_part(self, body: bytes, aux: int, source: PartSource) -> None:
        self._source = source
        if self.is_abandoned or self.parts is None:
            source.leave()
        else:
            self.parts.put_nowait((fields.bytes_field(2, body + _NOT_FINAL), source))

    def deliver(self, body: bytes | memoryview, aux: int) -> None:
        if not self.answer.done():
            self._observed(OK, "")
            message = fields.bytes_field(2, bytes(body) + _FINAL) if body else b""
            self.answer.set_result((None, message))

    def abandon(self) -> None:
        """The client has left."""
        self.is_abandoned = True
        if self._source is not None:
            self._source.leave()

    def fail(self, kind: ErrorKind, message: str) -> None:
        self.refuse(GRPC_CODE[kind], message)

    def refuse(self, code: Code, message: str) -> None:
        """Answers with an error that carries the id of the request, so callers can match it."""
        if not self.answer.done():
            self._observed(code, message)
            self.answer.set_result((code, _error_response(self.body, message)))


def _error_response(request: bytes | bytearray, message: str) -> bytes:
    return fields.text_field(1, message or "the request failed") + fields.bytes_field(
        2, _id_field(request)
    )


def _id_field(request: bytes | bytearray) -> bytes:
    """The request's id as the response's id field (both number 3), as far as it is readable."""
    found = b""
    try:
        for number, value in fields.read_fields(request):
            if number == 3 and isinstance(value, bytes):
                found = fields.bytes_field(3, value)
                value.decode()
    except ValueError:
        return b""
    return found
