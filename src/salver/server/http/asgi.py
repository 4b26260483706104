"""Runs the ASGI application for the requests that are no inference.

Bodies are complete before the application is called (they are bounded); answers may stream.
An answer has the server's longest time limit, unless the application calls what it finds as
`scope["extensions"]["salver.lasting"]`: then it may last, as a watch does, and only each piece
of it has to be taken by the client in time.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from salver.server.http.head import RequestHead

if TYPE_CHECKING:
    from salver.server.http.connection import HttpConnection

LASTING = "salver.lasting"

logger = logging.getLogger("salver.http")

Message = MutableMapping[str, Any]
AsgiApp = Callable[
    [
        MutableMapping[str, Any],
        Callable[[], Awaitable[Message]],
        Callable[[Message], Awaitable[None]],
    ],
    Awaitable[None],
]


async def run_application(connection: HttpConnection, head: RequestHead, body: bytes) -> None:
    """Answers one request through the application, within the server's longest time limit."""
    exchange = _Exchange(connection, head, body)
    listener = connection._listener
    try:
        async with asyncio.timeout(listener.application_timeout_s) as limit:
            exchange.limit = limit
            await listener.application(exchange.scope(), exchange.receive, exchange.send)
    except TimeoutError:
        exchange.abort(504, "the server did not answer within its time limit")
    except Exception:
        logger.exception("%s %s failed", head.method.decode(), head.target.decode("latin-1"))
        exchange.abort(500, "the server failed on this request: see its log")
    else:
        exchange.close()


class _Exchange:
    """One request and its answer, as ASGI's `receive` and `send`."""

    def __init__(self, connection: HttpConnection, head: RequestHead, body: bytes) -> None:
        self._connection = connection
        self._head = head
        self._body: bytes | None = body
        self.limit: asyncio.Timeout | None = None
        self._status = 0
        self._headers: list[tuple[bytes, bytes]] = []
        self._is_started = False
        self._is_chunked = False
        self._is_complete = False
        self._is_lasting = False

    def scope(self) -> dict[str, Any]:
        head = self._head
        transport = self._connection.transport
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1",
            "method": head.method.decode("latin-1"),
            "scheme": "https" if transport.get_extra_info("sslcontext") else "http",
            "path": unquote(head.path.decode("latin-1")),
            "raw_path": head.path,
            "query_string": head.query,
            "root_path": "",
            "headers": head.headers,
            "client": _address(transport.get_extra_info("peername")),
            "server": _address(transport.get_extra_info("sockname")),
            "extensions": {LASTING: self.last},
        }

    def last(self) -> Callable[[], bool]:
        """Lifts the time limit; what it returns says whether the answer must now end."""
        if self.limit is not None:
            self.limit.reschedule(None)
        self._is_lasting = True
        self._connection.end_at_eof()
        listener = self._connection._listener
        return lambda: listener.is_draining

    async def receive(self) -> Message:
        if self._body is not None:
            body, self._body = self._body, None
            return {"type": "http.request", "body": body, "more_body": False}
        # The task is cancelled when the client leaves, so this never needs to return.
        await asyncio.Event().wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._status = message["status"]
            self._headers = [(name.lower(), value) for name, value in message.get("headers", [])]
        elif message["type"] == "http.response.body":
            self._write(message.get("body", b""), more=message.get("more_body", False))
            await self._wait_taken()

    async def _wait_taken(self) -> None:
        listener = self._connection._listener
        if self._is_lasting:
            # For the sweep: it cuts off clients that read nothing for long, not long answers.
            self._connection.since_s = listener.now()
            async with asyncio.timeout(listener.application_timeout_s):
                await self._connection.wait_drained()
        else:
            await self._connection.wait_drained()

    def _write(self, body: bytes, *, more: bool) -> None:
        if not self._is_started:
            self._start(None if more else len(body))
        has_body = self._head.method != b"HEAD"
        transport = self._connection.transport
        if has_body and body:
            if self._is_chunked:
                transport.write(b"%x\r\n%b\r\n" % (len(body), body))
            else:
                transport.write(body)
        if not more:
            if self._is_chunked and has_body:
                transport.write(b"0\r\n\r\n")
            self._is_complete = True

    def _start(self, length: int | None) -> None:
        self._is_started = True
        self._is_chunked = length is None and not any(
            name == b"content-length" for name, _ in self._headers
        )
        self._connection._listener.count_status(self._status)
        self._connection.write_head(
            self._status,
            self._headers,
            None if self._is_chunked else length or 0,
            self._head.keeps_alive,
        )

    def abort(self, status: int, message: str) -> None:
        """Ends the answer after a failure: with an error, or by cutting it off if it began."""
        from salver.server.http.connection import error_body

        if self._is_started:
            self._connection.transport.abort()
            return
        self._status, self._headers = status, []
        self._write(error_body(message), more=False)
        self.close()

    def close(self) -> None:
        if not self._is_complete:
            self.abort(500, "the server gave no answer")
            return
        self._connection.finish(keeps_alive=self._head.keeps_alive)


def _address(name: Any) -> tuple[str, int] | None:
    return (name[0], name[1]) if isinstance(name, tuple) else None
