"""The contract of `GrpcFront`, run on both implementations with grpcio's client."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
import uvloop

from salver.errors import StartupError
from salver.server.grpc.grpcio_front import GrpcioFront
from salver.server.grpc.native import NativeFront
from salver.server.grpc.ports import (
    Code,
    FrontSettings,
    GrpcFront,
    GrpcMethods,
    GrpcStream,
    Metadata,
    StreamError,
)

DEADLINE_S = 20
LIMITS = (("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1))
MakeFront = Callable[[FrontSettings], GrpcFront]
Scenario = Callable[["Bench"], Coroutine[Any, Any, None]]


class Bench:
    """A running front with a few methods, and what they saw."""

    def __init__(self, front: GrpcFront) -> None:
        self.front = front
        self.seen: list[tuple[bytes, float | None, Metadata]] = []
        self.waiting: asyncio.Queue[int] = asyncio.Queue()
        self.cancelled: asyncio.Queue[int] = asyncio.Queue()
        self.stream_ends: asyncio.Queue[None] = asyncio.Queue()

    def methods(self) -> GrpcMethods:
        return GrpcMethods(
            unary={"/t.T/Echo": self.echo, "/t.T/Wait": self.wait, "/t.T/Fail": self.fail},
            stream={"/t.T/Stream": self.stream},
            on_cancel=self.cancelled.put_nowait,
        )

    def echo(self, call: int, payload: bytes, left_s: float | None, metadata: Metadata) -> None:
        self.seen.append((payload, left_s, metadata))
        self.front.respond(call, payload)

    def wait(self, call: int, payload: bytes, left_s: float | None, metadata: Metadata) -> None:
        self.waiting.put_nowait(call)

    def fail(self, call: int, payload: bytes, left_s: float | None, metadata: Metadata) -> None:
        self.front.fail(call, Code(int(payload)), "größer\nas allowed", (("retry-after", "1"),))

    async def stream(self, stream: GrpcStream) -> None:
        try:
            while (message := await stream.receive()) is not None:
                if message == b"end":
                    raise StreamError(Code.RESOURCE_EXHAUSTED, "enough")
                await stream.send(message)
        finally:
            self.stream_ends.put_nowait(None)

    @asynccontextmanager
    async def channel(self) -> AsyncIterator[grpc.aio.Channel]:
        target = f"127.0.0.1:{self.front.port}"
        async with grpc.aio.insecure_channel(target, options=LIMITS) as channel:
            yield channel


@pytest.fixture(params=[NativeFront, GrpcioFront], ids=["native", "grpcio"])
def make_front(request: pytest.FixtureRequest) -> MakeFront:
    made: MakeFront = request.param
    return made


def settings_for(port: int = 0, host: str = "127.0.0.1", **more: str) -> FrontSettings:
    return FrontSettings(host=host, port=port, max_message_bytes=64 << 20, **more)


def play(make_front: MakeFront, scenario: Scenario) -> None:
    async def main() -> None:
        front = make_front(settings_for())
        bench = Bench(front)
        await front.start(bench.methods())
        try:
            async with asyncio.timeout(DEADLINE_S):
                await scenario(bench)
        finally:
            await front.stop()

    uvloop.run(main())


async def status_of(call: Awaitable[Any]) -> tuple[Any, str, dict[str, Any]]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    error = caught.value
    return error.code(), error.details() or "", dict(error.trailing_metadata() or ())


@pytest.mark.parametrize("size", [0, 1, 113, 65_536, 8 << 20])
def test_a_message_of_any_size_comes_and_goes_unchanged(make_front: MakeFront, size: int) -> None:
    async def scenario(bench: Bench) -> None:
        message = os.urandom(size)
        async with bench.channel() as channel:
            assert await channel.unary_unary("/t.T/Echo")(message) == message

    play(make_front, scenario)


def test_many_calls_at_once_each_get_their_own_answer(make_front: MakeFront) -> None:
    async def scenario(bench: Bench) -> None:
        async with bench.channel() as channel:
            echo = channel.unary_unary("/t.T/Echo")
            messages = [b"%d" % number for number in range(500)]
            assert await asyncio.gather(*map(echo, messages)) == messages

    play(make_front, scenario)


def test_a_compressed_request_is_handed_over_decompressed(make_front: MakeFront) -> None:
    async def scenario(bench: Bench) -> None:
        async with bench.channel() as channel:
            echo = channel.unary_unary("/t.T/Echo")
            assert await echo(b"a" * 9000, compression=grpc.Compression.Gzip) == b"a" * 9000

    play(make_front, scenario)


def test_the_handler_sees_metadata_and_the_time_left(make_front: MakeFront) -> None:
    async def scenario(bench: Bench) -> None:
        async with bench.channel() as channel:
            echo = channel.unary_unary("/t.T/Echo")
            await echo(b"", timeout=9, metadata=(("traceparent", "00-1"), ("x-bin", b"\x00\xff")))
            await echo(b"")
        (_, first_s, metadata), (_, second_s, _) = bench.seen
        assert first_s is not None
        assert 0 < first_s <= 9.1
        assert second_s is None
        assert {"traceparent": "00-1", "x-bin": b"\x00\xff"}.items() <= dict(metadata).items()

    play(make_front, scenario)


@pytest.mark.parametrize("code", [code for code in Code if code is not Code.CANCELLED])
def test_a_failure_carries_code_message_and_trailing_metadata(
    make_front: MakeFront, code: Code
) -> None:
    async def scenario(bench: Bench) -> None:
        async with bench.channel() as channel:
            call = channel.unary_unary("/t.T/Fail")(b"%d" % code)
            status, message, trailing = await status_of(call)
            assert status.value[0] == code
            assert message == "größer\nas allowed"
            assert trailing["retry-after"] == "1"

    play(make_front, scenario)


def test_an_unknown_method_is_unimplemented(make_front: MakeFront) -> None:
    async def scenario(bench: Bench) -> None:
        async with bench.channel() as channel:
            for path in ("/t.T/Nope", "/other.Service/Echo"):
                status, _, _ = await status_of(channel.unary_unary(path)(b""))
                assert status is grpc.StatusCode.UNIMPLEMENTED

    play(make_front, scenario)


def test_a_passed_deadline_ends_the_call_and_is_reported(make_front: MakeFront) -> None:
    async def scenario(bench: Bench) -> None:
        async with bench.channel() as channel:
            call = channel.unary_unary("/t.T/Wait")(b"", timeout=0.1)
            status, _, _ = await status_of(call)
            assert status is grpc.StatusCode.DEADLINE_EXCEEDED
            assert await bench.cancelled.get() == await bench.waiting.get()

    play(make_front, scenario)


def test_a_cancelled_call_is_reported_and_a_late_answer_is_harmless(make_front: MakeFront) -> None:
    async def scenario(bench: Bench) -> None:
        async with bench.channel() as channel:
            call = channel.unary_unary("/t.T/Wait")(b"")
            number = await bench.waiting.get()
            call.cancel()
            assert await bench.cancelled.get() == number
            bench.front.respond(number, b"late")
            bench.front.fail(number, Code.INTERNAL, "later")
            assert await channel.unary_unary("/t.T/Echo")(b"next") == b"next"

    play(make_front, scenario)


def test_a_client_that_disconnects_cancels_its_calls(make_front: MakeFront) -> None:
    async def scenario(bench: Bench) -> None:
        async with bench.channel() as channel:
            call = asyncio.ensure_future(_ended(channel.unary_unary("/t.T/Wait")(b"")))
            number = await bench.waiting.get()
        assert await bench.cancelled.get() == number
        await call

    play(make_front, scenario)


async def _ended(call: Awaitable[Any]) -> None:
    try:
        await call
    except (grpc.aio.AioRpcError, asyncio.CancelledError):
        return


def test_a_stream_keeps_its_order_and_ends_with_the_client(make_front: MakeFront) -> None:
    async def scenario(bench: Bench) -> None:
        async with bench.channel() as channel:
            messages = [b"%d" % number for number in range(300)]
            answers = channel.stream_stream("/t.T/Stream")(iter(messages))
            assert [answer async for answer in answers] == messages
            assert await answers.code() is grpc.StatusCode.OK

    play(make_front, scenario)


def test_a_stream_error_is_the_status_of_its_stream(make_front: MakeFront) -> None:
    async def scenario(bench: Bench) -> None:
        async with bench.channel() as channel:
            call = channel.stream_stream("/t.T/Stream")()
            await call.write(b"one")
            assert await call.read() == b"one"
            await call.write(b"end")
            status, message, _ = await status_of(call.read())
            assert (status, message) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "enough")

    play(make_front, scenario)


def test_a_stream_handler_ends_when_the_client_leaves(make_front: MakeFront) -> None:
    async def scenario(bench: Bench) -> None:
        async with bench.channel() as channel:
            call = channel.stream_stream("/t.T/Stream")()
            await call.write(b"one")
            await call.read()
            call.cancel()
            await bench.stream_ends.get()

    play(make_front, scenario)


def test_a_drain_waits_for_open_calls_and_refuses_new_ones(make_front: MakeFront) -> None:
    async def scenario(bench: Bench) -> None:
        async with bench.channel() as channel:
            open_call = asyncio.ensure_future(_result(channel.unary_unary("/t.T/Wait")(b"")))
            number = await bench.waiting.get()
            drained = asyncio.ensure_future(bench.front.drain(DEADLINE_S))
            await asyncio.sleep(0)
            async with bench.channel() as late:
                status, _, _ = await status_of(late.unary_unary("/t.T/Echo")(b""))
            assert status is grpc.StatusCode.UNAVAILABLE
            assert not drained.done()
            bench.front.respond(number, b"in time")
            assert await open_call == b"in time"
            assert await drained

    play(make_front, scenario)


async def _result(call: Awaitable[bytes]) -> bytes:
    return await call


def test_a_drain_gives_up_on_a_call_that_outlasts_it(make_front: MakeFront) -> None:
    async def scenario(bench: Bench) -> None:
        async with bench.channel() as channel:
            open_call = asyncio.ensure_future(_ended(channel.unary_unary("/t.T/Wait")(b"")))
            await bench.waiting.get()
            assert not await bench.front.drain(0.1)
            await bench.front.stop()
            await bench.front.stop()
            await open_call

    play(make_front, scenario)


def test_a_taken_port_is_one_line_that_names_the_option(make_front: MakeFront) -> None:
    async def scenario(bench: Bench) -> None:
        second = make_front(settings_for(bench.front.port))
        with pytest.raises(StartupError) as caught:
            await second.start(bench.methods())
        message = str(caught.value)
        assert f"127.0.0.1:{bench.front.port}" in message
        assert "--grpc-port" in message
        assert "\n" not in message

    play(make_front, scenario)


def test_a_front_over_tls_answers_a_client_that_trusts_it(tmp_path: Path) -> None:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("needs the openssl command to make a certificate")
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    command = [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1"]
    command += ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    command += ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True)

    async def main() -> None:
        front = GrpcioFront(settings_for(tls_cert=str(certificate), tls_key=str(key)))
        await front.start(Bench(front).methods())
        trust = grpc.ssl_channel_credentials(certificate.read_bytes())
        name = (("grpc.ssl_target_name_override", "localhost"),)
        target = f"127.0.0.1:{front.port}"
        async with grpc.aio.secure_channel(target, trust, options=name) as channel:
            assert await channel.unary_unary("/t.T/Echo")(b"secret", timeout=9) == b"secret"
        await front.stop()

    uvloop.run(main())


def test_unreadable_tls_files_are_one_line_that_names_the_options() -> None:
    async def main() -> None:
        front = GrpcioFront(settings_for(tls_cert="/no/such.pem", tls_key="/no/such.key"))
        with pytest.raises(StartupError, match="--tls-cert"):
            await front.start(Bench(front).methods())

    uvloop.run(main())
