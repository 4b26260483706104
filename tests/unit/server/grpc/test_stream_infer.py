"""ModelStreamInfer over a stream made of two queues."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest

from salver.errors import ErrorKind
from salver.protocol.operations import is_stream
from salver.server.grpc import fields
from salver.server.grpc.ports import Code, Metadata, StreamError
from salver.server.grpc.stream_infer import StreamInfer
from salver.settings import ServeSettings

FINAL = fields.bytes_field(
    4, fields.text_field(1, "triton_final_response") + fields.bytes_field(2, b"\x08\x01")
)
NOT_FINAL = FINAL[:-1] + b"\x00"


class FakeStream:
    """A `GrpcStream` that the test feeds and reads."""

    def __init__(self, metadata: Metadata = (), time_left_s: float | None = None) -> None:
        self.metadata = metadata
        self.time_left_s = time_left_s
        self.incoming: asyncio.Queue[bytes | None] = asyncio.Queue()
        self.sent: asyncio.Queue[bytes] = asyncio.Queue()

    async def receive(self) -> bytes | None:
        return await self.incoming.get()

    async def send(self, payload: bytes) -> None:
        self.sent.put_nowait(payload)

    def feed(self, *messages: bytes | None) -> None:
        for message in messages:
            self.incoming.put_nowait(message)

    async def next_fields(self) -> list[tuple[int, Any]]:
        return list(fields.read_fields(await self.sent.get()))


def message(name: str, request_id: str = "") -> bytes:
    return fields.text_field(1, name) + fields.text_field(3, request_id)


def play(
    catalog: Any,
    stream: FakeStream,
    scenario: Callable[[asyncio.Task[None]], Awaitable[None]],
) -> None:
    async def main() -> None:
        infer = StreamInfer(
            catalog,
            ServeSettings(request_timeout=30.0),
            on_refused=lambda protocol, reason: None,
            clock=lambda: 100.0,
        )
        async with asyncio.timeout(5):
            task = asyncio.ensure_future(infer.run(stream))
            await scenario(task)

    asyncio.run(main())


async def calls_of(model: Any, count: int) -> list[Any]:
    for _ in range(1000):
        if len(model.calls) == count:
            break
        await asyncio.sleep(0)
    return list(model.calls)


def test_messages_are_queued_together_and_answered_in_order(catalog: Any) -> None:
    stream = FakeStream()

    async def scenario(task: asyncio.Task[None]) -> None:
        stream.feed(message("iris", "a"), message("iris", "b"), None)
        first, second = await calls_of(catalog.two, 2)
        second.deliver(b"two", 0)
        first.deliver(memoryview(b"one"), 0)
        await task
        assert await stream.next_fields() == [(2, b"one" + FINAL)]
        assert await stream.next_fields() == [(2, b"two" + FINAL)]

    play(catalog, stream, scenario)


def test_a_failed_message_is_answered_with_its_id_and_the_stream_lives_on(catalog: Any) -> None:
    stream = FakeStream()

    async def scenario(task: asyncio.Task[None]) -> None:
        stream.feed(message("iris", "a"), message("nope", "b"), b"\x0a\xff", message("iris"), None)
        first, last = await calls_of(catalog.two, 2)
        first.fail(ErrorKind.INVALID_INPUT, "wrong shape")
        last.deliver(b"ok", 0)
        await task
        assert await stream.next_fields() == [
            (1, b"wrong shape"),
            (2, fields.text_field(3, "a")),
        ]
        assert await stream.next_fields() == [
            (1, b"no model 'nope' version ''"),
            (2, fields.text_field(3, "b")),
        ]
        malformed = await stream.next_fields()
        assert b"ModelInferRequest" in malformed[0][1]
        assert malformed[1] == (2, b"")
        assert await stream.next_fields() == [(2, b"ok" + FINAL)]

    play(catalog, stream, scenario)


def test_triton_grpc_error_ends_the_stream_with_the_status(catalog: Any) -> None:
    stream = FakeStream(metadata=(("triton_grpc_error", "true"),))

    async def scenario(task: asyncio.Task[None]) -> None:
        stream.feed(message("nope"))
        with pytest.raises(StreamError) as caught:
            await task
        assert caught.value.code is Code.NOT_FOUND
        assert caught.value.message == "no model 'nope' version ''"

    play(catalog, stream, scenario)


def test_the_deadline_of_the_stream_holds_for_its_messages(catalog: Any) -> None:
    stream = FakeStream(time_left_s=2.0)

    async def scenario(task: asyncio.Task[None]) -> None:
        stream.feed(message("iris"), None)
        (call,) = await calls_of(catalog.two, 1)
        assert call.deadline_s == 102.0
        call.deliver(b"", 0)
        await task

    play(catalog, stream, scenario)


def test_a_client_that_leaves_abandons_the_open_messages_only(catalog: Any) -> None:
    stream = FakeStream()

    async def scenario(task: asyncio.Task[None]) -> None:
        stream.feed(message("iris"), message("iris"))
        first, second = await calls_of(catalog.two, 2)
        first.deliver(b"one", 0)
        await stream.sent.get()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (first.is_abandoned, second.is_abandoned) == (False, True)
        second.deliver(b"late", 0)
        second.fail(ErrorKind.UNAVAILABLE, "later")

    play(catalog, stream, scenario)


def test_the_headers_of_a_message_are_its_streams_metadata(catalog: Any) -> None:
    stream = FakeStream((("salver-tag", "prev"), ("trace-bin", b"\x00\xff"), ("who", "\u4e2d")))

    async def scenario(task: asyncio.Task[None]) -> None:
        stream.feed(message("iris"), None)
        (call,) = await calls_of(catalog.two, 1)
        assert call.header(b"salver-tag") == b"prev"
        assert call.header(b"absent") == b""
        assert list(call.headers()) == [
            (b"salver-tag", b"prev"),
            (b"trace-bin", b"\x00\xff"),
            (b"who", b"?"),
        ]
        call.deliver(b"ok", 0)
        await task

    play(catalog, stream, scenario)


class Source:
    """A `PartSource` that counts."""

    def __init__(self) -> None:
        self.takes = 0
        self.has_left = False

    def taken(self) -> None:
        self.takes += 1

    def leave(self) -> None:
        self.has_left = True


@pytest.fixture
def decoupled(catalog: Any) -> Any:
    catalog.two.known = msgspec.structs.replace(catalog.two.known, decoupled=True)
    return catalog


def test_the_responses_of_a_decoupled_model_go_out_as_they_are_made(decoupled: Any) -> None:
    stream, source = FakeStream(), Source()

    async def scenario(task: asyncio.Task[None]) -> None:
        stream.feed(message("iris", "a"), message("iris", "b"), None)
        first, second = await calls_of(decoupled.two, 2)
        assert is_stream(first.codec)
        second.deliver_part(b"b0", 0, source)
        assert await stream.next_fields() == [(2, b"b0" + NOT_FINAL)]
        first.deliver_part(b"a0", 0, source)
        assert await stream.next_fields() == [(2, b"a0" + NOT_FINAL)]
        second.deliver(b"end", 0)
        assert await stream.next_fields() == [(2, b"end" + FINAL)]
        first.deliver(b"", 0)
        await task
        assert stream.sent.empty()
        assert source.takes == 2

    play(decoupled, stream, scenario)


def test_a_decoupled_model_that_fails_amid_its_responses_says_so_behind_them(
    decoupled: Any,
) -> None:
    stream, source = FakeStream(), Source()

    async def scenario(task: asyncio.Task[None]) -> None:
        stream.feed(message("iris", "a"), None)
        (call,) = await calls_of(decoupled.two, 1)
        call.deliver_part(b"a0", 0, source)
        call.fail(ErrorKind.MODEL_FAILED, "it broke")
        await task
        assert await stream.next_fields() == [(2, b"a0" + NOT_FINAL)]
        assert (await stream.next_fields())[0] == (1, b"it broke")

    play(decoupled, stream, scenario)


def test_parts_count_as_taken_once_the_client_has_read_what_was_before(decoupled: Any) -> None:
    stream, source = FakeStream(), Source()
    reads = asyncio.Semaphore(0)

    async def slow_send(payload: bytes) -> None:
        await reads.acquire()
        stream.sent.put_nowait(payload)

    stream.send = slow_send  # type: ignore[method-assign]

    async def scenario(task: asyncio.Task[None]) -> None:
        stream.feed(message("iris", "a"))
        (call,) = await calls_of(decoupled.two, 1)
        for part in (b"0", b"1", b"2"):
            call.deliver_part(part, 0, source)
        for _ in range(20):
            await asyncio.sleep(0)
        assert source.takes == 0
        reads.release()
        await stream.sent.get()
        await asyncio.sleep(0)
        assert source.takes == 1
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert source.has_left
        assert call.is_abandoned

    play(decoupled, stream, scenario)
