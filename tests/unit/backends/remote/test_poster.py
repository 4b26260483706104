"""Messages of graphs posted to URLs, against small servers of this process."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

import pytest
from tests.calls import RecordingCall

from salver.backends.remote.poster import HttpPoster, PosterOptions
from salver.errors import ErrorKind
from salver.protocol.wire_codes import Codec
from salver.telemetry.registry import Registry


class Refusable(RecordingCall):
    """Keeps a service's own refusal too."""

    refusal: tuple[int, bytes] | None = None

    def reject(self, status: int, body: bytes, kind: ErrorKind, message: str) -> None:
        self.refusal = (status, body)
        self.fail(kind, message)


class Echo:
    """Answers each request with the text it is told, or never."""

    def __init__(self, answer: bytes) -> None:
        self.answer = answer
        self.requests: list[bytes] = []
        self.connections = 0
        self.closed = 0
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        with contextlib.closing(writer):
            while True:
                try:
                    head = await reader.readuntil(b"\r\n\r\n")
                except asyncio.IncompleteReadError:
                    break
                (length,) = (
                    int(line.split(b":")[1])
                    for line in head.split(b"\r\n")
                    if line.lower().startswith(b"content-length")
                )
                self.requests.append(head + await reader.readexactly(length))
                if self.answer:
                    writer.write(self.answer)
        self.closed += 1


def answer(status: int, body: bytes, *headers: bytes) -> bytes:
    lines = [b"HTTP/1.1 %d X" % status, b"content-length: %d" % len(body), *headers]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


@contextlib.asynccontextmanager
async def bench(
    text: bytes, options: PosterOptions | None = None
) -> AsyncIterator[tuple[HttpPoster, Echo]]:
    echo = Echo(text)
    server = await asyncio.start_server(echo.serve, "127.0.0.1", 0)
    echo.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    poster = HttpPoster(time.monotonic, Registry(), options)
    try:
        yield poster, echo
    finally:
        await poster.close()
        server.close()
        await server.wait_closed()


def test_a_body_goes_as_it_is_and_the_answer_comes_as_it_is() -> None:
    async def run() -> None:
        extra = b"inference-header-content-length: 5"
        async with bench(answer(201, b"helloBLOB", extra)) as (poster, echo):
            for _ in range(2):
                call = RecordingCall(b'{"a":1}', Codec.V1_JSON)
                poster.post(f"{echo.url}/deep/path?q=1", call)
                await call.wait()
                assert call.answer == (b"helloBLOB", 5)
            assert echo.requests[0].startswith(b"POST /deep/path?q=1 HTTP/1.1\r\n")
            assert echo.requests[0].endswith(b'\r\n\r\n{"a":1}')
            assert b"content-type: application/json" in echo.requests[0]
            assert echo.connections == 1
            assert poster.in_flight == 0

    asyncio.run(run())


def test_only_headers_that_a_pattern_names_go_along() -> None:
    async def run() -> None:
        async with bench(answer(200, b"{}")) as (poster, echo):
            call = RecordingCall(
                b"{}",
                Codec.V1_JSON,
                headers=[
                    (b"authorization", b"Bearer x"),
                    (b"x-user-id", b"7"),
                    (b"cookie", b"c"),
                    (b"content-length", b"999"),
                    (b"transfer-encoding", b"chunked"),
                ],
            )
            poster.knowing(["Authorization", "^X-.*-Id$", "content-.*", ".*encoding"]).post(
                echo.url, call
            )
            await call.wait()
            (request,) = echo.requests
            assert request.startswith(b"POST / HTTP/1.1\r\n")
            assert b"authorization: Bearer x" in request
            assert b"x-user-id: 7" in request
            for other in (b"cookie", b"999", b"chunked"):
                assert other not in request

    asyncio.run(run())


def test_a_refusal_keeps_its_status_and_body() -> None:
    async def run() -> None:
        async with bench(answer(404, b'{"detail":"no"}')) as (poster, echo):
            call = Refusable(b"{}", Codec.V1_JSON)
            poster.post(echo.url, call)
            await call.wait()
            assert call.refusal == (404, b'{"detail":"no"}')
            assert call.error == (ErrorKind.MODEL_NOT_FOUND, f"{echo.url} answered 404: no")

    asyncio.run(run())


@pytest.mark.parametrize(
    ("text", "kind", "said"),
    [
        (answer(302, b"", b"location: /there"), ErrorKind.MODEL_FAILED, "redirection to /there"),
        (answer(200, b"x", b"content-encoding: br"), ErrorKind.MODEL_FAILED, "answered 200"),
        (answer(500, b"x", b"content-encoding: gzip"), ErrorKind.MODEL_FAILED, "answered 500"),
        (b"no HTTP\r\n\r\n", ErrorKind.UNAVAILABLE, "no HTTP/1.1"),
    ],
)
def test_what_cannot_be_handed_on_is_a_failure(text: bytes, kind: ErrorKind, said: str) -> None:
    async def run() -> None:
        async with bench(text) as (poster, echo):
            call = Refusable(b"{}", Codec.V1_JSON)
            poster.post(echo.url, call)
            await call.wait()
            assert call.error is not None
            assert call.refusal is None
            assert call.error[0] is kind
            assert said in call.error[1]

    asyncio.run(run())


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:1/", "ftp://h/", "http://[", "http://h:99999999/"]
)
def test_an_address_that_cannot_be_asked_is_unavailable(url: str) -> None:
    async def run() -> None:
        async with bench(b"") as (poster, _):
            call = RecordingCall(b"{}", Codec.V1_JSON)
            poster.post(url, call)
            await call.wait()
            assert call.error is not None
            assert call.error[0] is ErrorKind.UNAVAILABLE
            assert url in call.error[1]

    asyncio.run(run())


def test_the_deadline_ends_an_exchange() -> None:
    async def run() -> None:
        async with bench(b"") as (poster, echo):
            call = RecordingCall(b"{}", Codec.V1_JSON, timeout_s=0.05)
            poster.post(echo.url, call)
            await call.wait()
            assert call.error is not None
            assert call.error[0] is ErrorKind.DEADLINE_EXCEEDED

    asyncio.run(run())


def test_a_call_that_nobody_waits_for_ends_its_exchange() -> None:
    async def run() -> None:
        async with bench(b"") as (poster, echo):
            call = RecordingCall(b"{}", Codec.V1_JSON)
            poster.post(echo.url, call)
            while not echo.requests:
                await asyncio.sleep(0.001)
            call.is_abandoned = True
            async with asyncio.timeout(5):
                while not echo.closed:
                    await asyncio.sleep(0.01)
            assert (poster.in_flight, call.answers) == (0, 0)

    asyncio.run(run())


def test_too_many_at_once_are_refused_and_counted() -> None:
    async def run() -> None:
        async with bench(b"", PosterOptions(max_in_flight=1)) as (poster, echo):
            first, second = RecordingCall(b"{}"), RecordingCall(b"{}")
            poster.post(echo.url, first)
            poster.post(echo.url, second)
            assert second.error is not None
            assert second.error[0] is ErrorKind.QUEUE_FULL
            assert poster._refused.value == 1
            await poster.close()
            assert first.error == (ErrorKind.UNAVAILABLE, "the server is stopping")
            late = RecordingCall(b"{}")
            poster.post(echo.url, late)
            assert late.error is not None

    asyncio.run(run())


def test_connections_of_many_origins_are_bounded() -> None:
    async def run() -> None:
        async with bench(answer(200, b"{}"), PosterOptions(max_origins=1)) as (poster, echo):
            for host in ("127.0.0.1", "localhost", "127.0.0.1"):
                call = RecordingCall(b"{}", Codec.V1_JSON)
                poster.post(echo.url.replace("127.0.0.1", host), call)
                await call.wait()
                assert call.answer is not None, call.error
            assert len(poster._clients) == 1
            assert echo.connections == 3

    asyncio.run(run())


def test_grpc_messages_are_for_no_url() -> None:
    async def run() -> None:
        async with bench(b"") as (poster, echo):
            call = RecordingCall(b"", Codec.V2_GRPC)
            poster.post(echo.url, call)
            assert call.error is not None
            assert call.error[0] is ErrorKind.UNSUPPORTED

    asyncio.run(run())
