"""The application's answers on a real connection: their time limit, and what may last."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
from tests.fakes import FakeCatalog

from salver.engine.directory import ModelDirectory
from salver.server.http.asgi import LASTING, AsgiApp
from salver.server.http.listener import HttpListener
from salver.settings import ServeSettings

HEAD = {"type": "http.response.start", "status": 200, "headers": []}


def serving(application: AsgiApp, ask: Callable[[str, HttpListener], Awaitable[None]]) -> None:
    """Runs `ask` against the application, whose answers may take 50 ms."""

    async def run() -> None:
        listener = HttpListener(
            ModelDirectory(FakeCatalog()),
            application,
            ServeSettings(http_port=0),
            count_status=lambda status: None,
        )
        listener.application_timeout_s = 0.05
        await listener.start()
        try:
            async with asyncio.timeout(20):
                await ask(f"http://127.0.0.1:{listener.port}", listener)
        finally:
            await listener.drain(0)

    asyncio.run(run())


async def _piece(send: Any, body: bytes, *, more: bool = True) -> None:
    await send({"type": "http.response.body", "body": body, "more_body": more})


def test_an_answer_that_takes_too_long_is_504() -> None:
    async def slow(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.sleep(30)

    async def ask(url: str, listener: HttpListener) -> None:
        async with httpx.AsyncClient() as client:
            answer = await client.get(url + "/x")
        assert answer.status_code == 504
        assert "time limit" in answer.json()["error"]

    serving(slow, ask)


def test_a_lasting_answer_goes_on_beyond_the_limit() -> None:
    async def lasting(scope: Any, receive: Any, send: Any) -> None:
        is_ending = scope["extensions"][LASTING]()
        await send(HEAD)
        await _piece(send, b"first ")
        await asyncio.sleep(0.2)
        assert not is_ending()
        await _piece(send, b"last", more=False)

    async def ask(url: str, listener: HttpListener) -> None:
        async with httpx.AsyncClient() as client:
            for _ in range(2):
                assert (await client.get(url + "/x")).text == "first last"

    serving(lasting, ask)


def test_a_lasting_answer_hears_that_the_server_ends() -> None:
    async def lasting(scope: Any, receive: Any, send: Any) -> None:
        is_ending = scope["extensions"][LASTING]()
        await send(HEAD)
        await _piece(send, b"")
        while not is_ending():
            await asyncio.sleep(0.01)
        await _piece(send, b"bye", more=False)

    async def ask(url: str, listener: HttpListener) -> None:
        async with httpx.AsyncClient() as client, client.stream("GET", url + "/x") as answer:
            drained = asyncio.create_task(listener.drain(10))
            assert await answer.aread() == b"bye"
        await drained

    serving(lasting, ask)


def test_a_lasting_answer_is_cut_off_if_its_client_takes_nothing() -> None:
    ended = asyncio.Event()

    async def lasting(scope: Any, receive: Any, send: Any) -> None:
        scope["extensions"][LASTING]()
        await send(HEAD)
        try:
            while True:
                await _piece(send, b"x" * (1 << 20))
        finally:
            ended.set()

    async def ask(url: str, listener: HttpListener) -> None:
        async with httpx.AsyncClient() as client, client.stream("GET", url + "/x"):
            await ended.wait()

    serving(lasting, ask)
