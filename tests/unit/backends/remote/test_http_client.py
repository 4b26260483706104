"""The HTTP client against listeners that answer byte by byte what they are told to."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from salver.backends.remote.http_client import HttpClient, Origin, Request, origin_of
from salver.errors import StartupError, Unavailable

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Script:
    """Answers the n-th request of all with the n-th text; an empty one closes instead."""

    def __init__(self, *answers: bytes) -> None:
        self.answers = list(answers)
        self.requests: list[bytes] = []
        self.connections = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        with (
            contextlib.closing(writer),
            contextlib.suppress(asyncio.IncompleteReadError, ConnectionError),
        ):
            while self.answers:
                head = await reader.readuntil(b"\r\n\r\n")
                length = [
                    int(line.split(b":")[1])
                    for line in head.split(b"\r\n")
                    if line.startswith(b"content-length")
                ]
                body = await reader.readexactly(length[0]) if length else b""
                self.requests.append(head + body)
                answer = self.answers.pop(0)
                if not answer:
                    break
                for index in range(len(answer)):
                    writer.write(answer[index : index + 1])
                    if len(answer) < 200:
                        await writer.drain()
                if b"close" in answer.lower() or b"content-length" not in answer.lower():
                    break


@contextlib.asynccontextmanager
async def client_of(script: Script) -> AsyncIterator[HttpClient]:
    server = await asyncio.start_server(script.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    client = HttpClient(Origin("127.0.0.1", port, prefix="/base"), max_body_bytes=1000)
    try:
        yield client
    finally:
        client.close()
        server.close()
        await server.wait_closed()


def test_connections_are_kept() -> None:
    async def scenario() -> None:
        script = Script(*[OK] * 5, b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", OK)
        async with client_of(script) as client:
            for _ in range(7):
                await client.ask(Request("POST", "/x?y=1", [(b"a", b"b")], b"body"))
        assert script.connections == 1
        assert script.requests[0].startswith(b"POST /base/x?y=1 HTTP/1.1\r\nhost: 127.0.0.1:")
        assert script.requests[0].endswith(b"content-length: 4\r\na: b\r\n\r\nbody")

    asyncio.run(scenario())


def test_all_ways_to_end_a_body_are_read() -> None:
    async def scenario() -> None:
        chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"
        until_close = b"HTTP/1.1 200 OK\r\n\r\nok"
        interim = b"HTTP/1.1 100 Continue\r\n\r\n" + OK
        for answer in (OK, chunked, until_close, interim):
            async with client_of(Script(answer)) as client:
                got = await client.ask(Request("GET", "/"))
                assert (got.status, got.body) == (200, b"ok"), answer

    asyncio.run(scenario())


def test_a_request_on_a_connection_closed_meanwhile_is_sent_again_once() -> None:
    async def scenario() -> None:
        script = Script(OK, b"", OK)
        async with client_of(script) as client:
            await client.ask(Request("GET", "/"))
            assert (await client.ask(Request("POST", "/", (), b"q"))).body == b"ok"
        assert (script.connections, len(script.requests)) == (2, 3)

    asyncio.run(scenario())


def test_a_new_connection_that_gives_no_answer_is_no_reason_to_ask_again() -> None:
    async def scenario() -> None:
        script = Script(b"", OK)
        async with client_of(script) as client:
            with pytest.raises(Unavailable, match="without an answer"):
                await client.ask(Request("POST", "/", (), b"q"))
        assert len(script.requests) == 1

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\nConnection: close\r\n\r\nok", "cut off"),
        (b"SSH-2.0-OpenSSH close\r\n", "no HTTP"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1001\r\n\r\n" + b"x" * 1001, "more than 1000 bytes"),
    ],
)
def test_what_cannot_be_handed_on_is_unavailable(answer: bytes, reason: str) -> None:
    async def scenario() -> None:
        async with client_of(Script(answer)) as client:
            with pytest.raises(Unavailable, match=reason):
                await client.ask(Request("GET", "/"))

    asyncio.run(scenario())


def test_a_cancelled_request_leaves_no_connection_behind() -> None:
    async def scenario() -> None:
        script = Script(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok", OK)
        async with client_of(script) as client:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1):
                    await client.ask(Request("GET", "/"))
            assert (await client.ask(Request("GET", "/"))).body == b"ok"
        assert script.connections == 2

    asyncio.run(scenario())


def test_nobody_there_is_unavailable() -> None:
    async def scenario() -> None:
        with pytest.raises(Unavailable, match="cannot be reached"):
            await HttpClient(Origin("127.0.0.1", 1)).ask(Request("GET", "/"))

    asyncio.run(scenario())


def test_urls_become_origins() -> None:
    assert origin_of("http://a/b/") == Origin("a", 80, False, "/b")
    assert origin_of("https://a:1") == Origin("a", 1, True, "")
    assert Origin("::1", 8080).authority == "[::1]:8080"
    for url in ("a:80", "ftp://x", "http://a:b"):
        with pytest.raises(StartupError):
            origin_of(url)
