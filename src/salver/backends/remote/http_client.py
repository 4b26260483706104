"""An HTTP/1.1 client for one origin: kept-alive connections, whole or streamed answers.

A request is sent again, once, only if it went out on a connection that had been kept and
that died before a single byte of an answer: the server had closed it meanwhile. Owns
connections; how many requests there may be at a time is the caller's, and so are deadlines:
every call here is to be made under `asyncio.timeout`.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from urllib.parse import urlsplit

from salver.backends.remote.http_connection import (
    READ_BYTES,
    Connection,
    Dropped,
    Headers,
    Origin,
    Request,
)
from salver.errors import StartupError, Unavailable

_CONNECT_TIMEOUT_S = 10.0
__all__ = ["Answer", "HttpClient", "NoAnswer", "Origin", "Request", "StreamedAnswer", "Unreachable"]


@dataclass(frozen=True)
class Answer:
    """A whole response; names of headers are in lower case."""

    status: int
    headers: Headers
    body: bytes

    def header(self, name: bytes) -> bytes:
        """The first value of the header, or nothing."""
        return next((value for each, value in self.headers if each == name), b"")


class Unreachable(Unavailable):
    """No connection could be made, so nothing of the request has been sent."""


class NoAnswer(Unavailable):
    """The request went out on a new connection, and no byte came back: its server has died."""


class HttpClient:
    """Connections to one origin. `max_idle` are kept open for the next request."""

    def __init__(
        self, origin: Origin, *, max_idle: int = 64, max_body_bytes: int = 1 << 30
    ) -> None:
        self.origin = origin
        self._max_idle = max_idle
        self._max_body_bytes = max_body_bytes
        self._idle: list[Connection] = []
        self._tls = ssl.create_default_context() if origin.is_tls else None

    async def ask(self, request: Request) -> Answer:
        """The whole answer. Raises `Unavailable` if the origin gives none."""
        async with self.stream(request) as streamed:
            chunks, size = [], 0
            async for chunk in streamed.chunks():
                size += len(chunk)
                if size > self._max_body_bytes:
                    raise Unavailable(
                        f"{self.origin.authority} answered more than {self._max_body_bytes} bytes"
                    )
                chunks.append(chunk)
        body = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        return Answer(streamed.status, streamed.headers, body)

    def stream(self, request: Request) -> StreamedAnswer:
        """The answer piece by piece, as an async context manager."""
        return StreamedAnswer(self, request)

    def close(self) -> None:
        """Closes the connections that are idle."""
        while self._idle:
            self._idle.pop().close()

    async def _begin(self, request: Request) -> Connection:
        while self._idle:
            connection = self._idle.pop()
            if connection.is_stale:
                connection.close()
            elif await self._has_begun(connection, request):
                return connection
            else:
                break
        connection = await self._connect()
        if await self._has_begun(connection, request):
            return connection
        raise NoAnswer(f"{self.origin.authority} closed the connection without an answer")

    async def _has_begun(self, connection: Connection, request: Request) -> bool:
        """Sends and reads the head; False if the connection was dropped before any answer."""
        try:
            await connection.begin(request)
        except Dropped:
            connection.close()
            return False
        except BaseException:
            connection.close()
            raise
        return True

    async def _connect(self) -> Connection:
        origin = self.origin
        try:
            async with asyncio.timeout(_CONNECT_TIMEOUT_S):
                reader, writer = await asyncio.open_connection(
                    origin.host, origin.port, ssl=self._tls, limit=READ_BYTES
                )
        except (OSError, TimeoutError) as error:
            reason = str(error) or type(error).__name__
            raise Unreachable(f"{origin.authority} cannot be reached: {reason}") from error
        return Connection(origin, reader, writer)

    def _keep(self, connection: Connection) -> None:
        if connection.may_be_kept and len(self._idle) < self._max_idle:
            self._idle.append(connection)
        else:
            connection.close()


class StreamedAnswer:
    """A response whose head has come once the context is entered."""

    def __init__(self, client: HttpClient, request: Request) -> None:
        self._client = client
        self._request = request
        self._connection: Connection | None = None
        self.status = 0
        self.headers: Headers = ()

    async def __aenter__(self) -> StreamedAnswer:
        self._connection = await self._client._begin(self._request)
        self.status = self._connection.status
        self.headers = self._connection.headers
        return self

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body as it comes. Raises `Unavailable` if it is cut off."""
        assert self._connection is not None
        while (chunk := await self._connection.next_chunk()) is not None:
            yield chunk

    async def __aexit__(self, *_: object) -> None:
        # What was not read to its end, or was cancelled, leaves no connection behind.
        if self._connection is not None:
            self._client._keep(self._connection)


def origin_of(url: str) -> Origin:
    """The origin of an http(s) URL. Raises `StartupError` for any other."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise StartupError(f"'{url}' is no URL: {error}") from error
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise StartupError(f"'{url}' is no http(s) URL: write it as http://HOST:PORT")
    is_tls = parts.scheme == "https"
    return Origin(parts.hostname, port or (443 if is_tls else 80), is_tls, parts.path.rstrip("/"))
