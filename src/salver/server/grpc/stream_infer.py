"""ModelStreamInfer: each message of the stream is one inference, answered in order.

Messages are queued with their models as they come, so one stream can fill a batch; the
answers wait for their turn. A message that fails is answered with `error_message` and the
stream lives on, unless the client asked for gRPC statuses (`triton_grpc_error: true`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from salver.engine.call import Call
from salver.engine.ports import ModelCatalog
from salver.errors import ErrorKind, RequestError
from salver.protocol.wire import Codec
from salver.server.grpc import fields
from salver.server.grpc.headers import header_of, headers_of
from salver.server.grpc.observe import OK, answered_grpc, begun_grpc
from salver.server.grpc.ports import Code, GrpcStream, Metadata, StreamError
from salver.server.grpc.status import GRPC_CODE, code_of, reason_of, status_message
from salver.server.observe import Observation, RequestObserver
from salver.settings import ServeSettings
from salver.telemetry import trace
from salver.telemetry.trace import TraceContext

STREAM_INFER = "/inference.GRPCInferenceService/ModelStreamInfer"
_WINDOW = 256
"""Messages of one stream that may be under way; beyond, reading waits."""

_Answer = tuple[Code | None, bytes]


class StreamCall(Call):
    """One message of a stream; `answer` becomes its code (None: OK) and its bytes.

    Its headers are the stream's metadata.
    """

    __slots__ = ("_observer", "answer", "metadata", "observation")

    def __init__(
        self,
        body: bytes,
        answer: asyncio.Future[_Answer],
        metadata: Metadata,
        *,
        now_s: float,
        deadline_s: float,
    ) -> None:
        super().__init__(Codec.V2_GRPC, 0, body, arrived_s=now_s, deadline_s=deadline_s)
        self.answer = answer
        self.metadata = metadata
        self.observation: Observation | None = None
        self._observer: RequestObserver | None = None

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

    def deliver(self, body: bytes | memoryview, aux: int) -> None:
        if not self.answer.done():
            self._observed(OK, "")
            self.answer.set_result((None, fields.bytes_field(2, body)))

    def fail(self, kind: ErrorKind, message: str) -> None:
        self.refuse(GRPC_CODE[kind], message)

    def refuse(self, code: Code, message: str) -> None:
        """Answers with an error that carries the id of the request, so callers can match it."""
        if not self.answer.done():
            self._observed(code, message)
            self.answer.set_result((code, _error_response(self.body, message)))


class StreamInfer:
    """The handler of ModelStreamInfer."""

    def __init__(
        self,
        catalog: ModelCatalog,
        settings: ServeSettings,
        *,
        on_refused: Callable[[str, str], None],
        clock: Callable[[], float],
        observer: RequestObserver | None = None,
    ) -> None:
        self._observer = observer
        self._catalog = catalog
        self._timeout_s = settings.request_timeout
        self._on_refused = on_refused
        self._clock = clock

    async def run(self, stream: GrpcStream) -> None:
        """Serves one stream until the client has sent its last and has every answer."""
        left_s = stream.time_left_s
        ends_s = None if left_s is None else self._clock() + left_s
        under_way: asyncio.Queue[StreamCall | None] = asyncio.Queue(_WINDOW)
        submitted: set[StreamCall] = set()
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(_send_in_order(stream, under_way, submitted))
                while (message := await stream.receive()) is not None:
                    call = self._submit(message, ends_s, stream.metadata)
                    submitted.add(call)
                    await under_way.put(call)
                await under_way.put(None)
        except ExceptionGroup as group:
            raise group.exceptions[0] from group
        finally:
            for call in submitted:
                call.is_abandoned = True

    def _submit(self, message: bytes, ends_s: float | None, metadata: Metadata) -> StreamCall:
        now_s = self._clock()
        deadline_s = now_s + self._timeout_s
        if ends_s is not None:
            deadline_s = min(deadline_s, ends_s)
        answer: asyncio.Future[_Answer] = asyncio.get_running_loop().create_future()
        call = StreamCall(bytes(message), answer, metadata, now_s=now_s, deadline_s=deadline_s)
        try:
            served = self._catalog.find(*fields.name_and_version(call.body))
        except fields.MalformedMessageError as error:
            call.refuse(
                Code.INVALID_ARGUMENT, f"the message is no inference.ModelInferRequest: {error}"
            )
            self._on_refused("grpc", ErrorKind.INVALID_INPUT.reason)
        except RequestError as error:
            call.refuse(code_of(error), str(error))
            self._on_refused("grpc", reason_of(error))
        else:
            if self._observer is not None:
                call.observe(self._observer, served.name)
            served.submit(call)
        return call


async def _send_in_order(
    stream: GrpcStream, under_way: asyncio.Queue[StreamCall | None], submitted: set[StreamCall]
) -> None:
    ends_on_error = _wants_statuses(stream.metadata)
    while (call := await under_way.get()) is not None:
        code, response = await call.answer
        submitted.discard(call)
        if code is not None and ends_on_error:
            raise StreamError(code, status_message(_message_of(response)))
        await stream.send(response)


def _wants_statuses(metadata: Metadata) -> bool:
    return any(key == "triton_grpc_error" and value == "true" for key, value in metadata)


def _error_response(request: bytes | bytearray, message: str) -> bytes:
    return fields.text_field(1, message or "the request failed") + fields.bytes_field(
        2, _id_field(request)
    )


def _message_of(response: bytes) -> str:
    return next(
        value.decode()
        for number, value in fields.read_fields(response)
        if number == 1 and isinstance(value, bytes)
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
