"""ModelStreamInfer: each message of the stream is one inference, answered in order.

Messages are queued with their models as they come, so one stream can fill a batch; the
answers wait for their turn. A message that fails is answered with `error_message` and the
stream lives on, unless the client asked for gRPC statuses (`triton_grpc_error: true`).

The responses of decoupled models do not wait for their turn: they go out as they are made, those
of several requests mixed, as Triton's do.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from salver.engine.call import PartSource
from salver.engine.ports import ModelCatalog, ServedModel
from salver.errors import ErrorKind, ModelNotReady, RequestError
from salver.protocol.wire_codes import Codec
from salver.server.grpc import fields
from salver.server.grpc.ports import Code, GrpcStream, Metadata, StreamError
from salver.server.grpc.status import code_of, reason_of, status_message
from salver.server.grpc.stream_call import Answer, StreamCall
from salver.server.observe import RequestObserver
from salver.settings import ServeSettings

_WINDOW = 256
"""Messages of one stream that may be under way; beyond, reading waits."""
_Parts = asyncio.Queue[tuple[bytes, PartSource] | None]


class _Sender:
    """What goes out on one stream: of several senders, one message at a time."""

    def __init__(self, stream: GrpcStream, submitted: set[StreamCall]) -> None:
        self._stream = stream
        self._submitted = submitted
        self._turn = asyncio.Lock()
        self._ends_on_error = _wants_statuses(stream.metadata)
        self.room = asyncio.Semaphore(_WINDOW)

    async def send_in_order(self, under_way: asyncio.Queue[StreamCall | None]) -> None:
        """The answers to messages that have one each."""
        while (call := await under_way.get()) is not None:
            await self._end(call, await call.answer)

    async def send_parts(self, call: StreamCall, parts: _Parts) -> None:
        """All responses to one message, as they come."""
        while (part := await parts.get()) is not None:
            message, source = part
            await self._send(message)
            source.taken()
        await self._end(call, await call.answer)
        self.room.release()

    async def _end(self, call: StreamCall, answer: Answer) -> None:
        self._submitted.discard(call)
        code, message = answer
        if code is not None and self._ends_on_error:
            raise StreamError(code, status_message(_message_of(message)))
        if message:
            await self._send(message)

    async def _send(self, message: bytes) -> None:
        async with self._turn:
            await self._stream.send(message)


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
        tag: int = int(Codec.V2_GRPC),
    ) -> None:
        self._tag = tag
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
        sender = _Sender(stream, submitted)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(sender.send_in_order(under_way))
                while (message := await stream.receive()) is not None:
                    call = self._submit(message, ends_s, stream.metadata)
                    submitted.add(call)
                    if call.parts is None:
                        await under_way.put(call)
                    else:
                        tasks.create_task(sender.send_parts(call, call.parts))
                        await sender.room.acquire()
                await under_way.put(None)
        except ExceptionGroup as group:
            raise group.exceptions[0] from group
        finally:
            for call in submitted:
                call.abandon()

    def _submit(self, message: bytes, ends_s: float | None, metadata: Metadata) -> StreamCall:
        now_s = self._clock()
        deadline_s = now_s + self._timeout_s
        if ends_s is not None:
            deadline_s = min(deadline_s, ends_s)
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        call = StreamCall(
            bytes(message), answer, metadata, now_s=now_s, deadline_s=deadline_s, tag=self._tag
        )
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
            if _is_decoupled(served):
                call.expect_parts()
            served.submit(call)
        return call


def _is_decoupled(model: ServedModel) -> bool:
    """Whether it may give another number of responses than one; yes, as long as it is unknown."""
    try:
        return model.metadata.decoupled
    except ModelNotReady:
        return True


def _wants_statuses(metadata: Metadata) -> bool:
    return any(key == "triton_grpc_error" and value == "true" for key, value in metadata)


def _message_of(response: bytes) -> str:
    return next(
        value.decode()
        for number, value in fields.read_fields(response)
        if number == 1 and isinstance(value, bytes)
    )
