"""One HTTP/1.1 connection, as a client has it: a request out, its answer in pieces.

Owns the bytes on one socket, one request at a time. Which connection is used, kept or closed is
`http_client.py`'s.
"""

from __future__ import annotations

import asyncio
import re
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import httptools

from salver.errors import Unavailable
from salver.protocol.http_headers import HOP_BY_HOP

Headers = Sequence[tuple[bytes, bytes]]
_LINE_END = re.compile(rb"[\r\n\0]")
READ_BYTES = 256 << 10


@dataclass(frozen=True)
class Origin:
    """Where requests go. `prefix` is put in front of every target."""

    host: str
    port: int
    is_tls: bool = False
    prefix: str = ""

    @property
    def authority(self) -> str:
        """As the Host header has it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.is_tls else 80) else f"{host}:{self.port}"


@dataclass(frozen=True)
class Request:
    """One request. `target` is path and query; Host and Content-Length are added."""

    method: str
    target: str
    headers: Headers = ()
    body: bytes | bytearray | memoryview = b""


class Dropped(Exception):
    """A kept connection was gone before any byte of the answer."""


@dataclass
class _Message:
    """What httptools calls back with, until the response is complete."""

    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    chunks: deque[bytes] = field(default_factory=deque)
    has_head: bool = False
    keeps_alive: bool = False
    is_interim: bool = False
    is_complete: bool = False
    parser: httptools.HttpResponseParser | None = None

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        assert self.parser is not None
        if 100 <= self.parser.get_status_code() < 200:
            # `100 Continue` and the like: the answer itself is still to come.
            self.is_interim = True
            return
        self.has_head = True
        # Asked here, since the parser forgets it at the end of a message.
        self.keeps_alive = bool(self.parser.should_keep_alive())

    def on_body(self, body: bytes) -> None:
        self.chunks.append(body)

    def on_message_complete(self) -> None:
        if self.is_interim:
            self.is_interim = False
            self.headers.clear()
        else:
            self.is_complete = True


class Connection:
    """One socket, one request at a time."""

    def __init__(
        self, origin: Origin, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._origin = origin
        self._reader = reader
        self._writer = writer
        self._new_message()
        self._is_head_request = False
        self._is_broken = False

    @property
    def status(self) -> int:
        """Of the present answer."""
        status: int = self._parser.get_status_code()
        return status

    @property
    def headers(self) -> Headers:
        return self._message.headers

    @property
    def is_stale(self) -> bool:
        """The other side has closed it, or has sent what nobody asked for."""
        return self._reader.at_eof() or self._writer.is_closing()

    @property
    def may_be_kept(self) -> bool:
        """The answer has been read to its end, and the other side keeps the connection."""
        return (
            self._message.is_complete
            and not self._is_broken
            and not self._is_head_request
            and self._message.keeps_alive
        )

    async def begin(self, request: Request) -> None:
        """Sends the request and reads the head. Raises `Dropped`, `Unavailable`."""
        self._is_broken = True
        self._is_head_request = request.method == "HEAD"
        self._new_message()
        try:
            self._writer.write(_head(self._origin, request))
            if request.body:
                self._writer.write(request.body)
            await self._writer.drain()
        except OSError:
            # It may have answered and closed before it had read all: 413, say.
            pass
        is_first = True
        while not self._message.has_head:
            try:
                data = await self._reader.read(READ_BYTES)
            except OSError as error:
                data = b""
                if not is_first:
                    raise self._cut_off() from error
            if not data and is_first:
                raise Dropped
            is_first = False
            self._feed(data)
        self._is_broken = False

    def _new_message(self) -> None:
        self._message = _Message()
        self._parser = self._message.parser = httptools.HttpResponseParser(self._message)

    async def next_chunk(self) -> bytes | None:
        """The next piece of the body, None at its end."""
        message = self._message
        if self._is_head_request:
            return None
        while not message.chunks and not message.is_complete:
            self._is_broken = True
            try:
                data = await self._reader.read(READ_BYTES)
            except OSError as error:
                raise self._cut_off() from error
            if not data and self._ends_with_connection():
                message.is_complete = True
                return None
            self._feed(data)
            self._is_broken = False
        return message.chunks.popleft() if message.chunks else None

    def _ends_with_connection(self) -> bool:
        names = {name for name, _ in self._message.headers}
        is_delimited = names & {b"content-length", b"transfer-encoding"}
        self._is_broken = True
        return not is_delimited

    def _feed(self, data: bytes) -> None:
        if not data:
            raise self._cut_off()
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._is_broken = True
            raise Unavailable(
                f"{self._origin.authority} answered what is no HTTP/1.1: {error}"
            ) from error

    def _cut_off(self) -> Unavailable:
        self._is_broken = True
        return Unavailable(f"{self._origin.authority} cut off its answer")

    def close(self) -> None:
        self._writer.close()


def _head(origin: Origin, request: Request) -> bytes:
    lines = [
        f"{request.method} {origin.prefix}{request.target} HTTP/1.1\r\n"
        f"host: {origin.authority}\r\n".encode()
    ]
    if request.body or request.method in ("POST", "PUT", "PATCH"):
        lines.append(b"content-length: %d\r\n" % len(request.body))
    for name, value in request.headers:
        if (
            name not in HOP_BY_HOP
            and name not in (b"host", b"content-length")
            and not (
                # Metadata of gRPC may hold any byte: a line's end would begin another header.
                _LINE_END.search(value)
            )
        ):
            lines.append(b"%b: %b\r\n" % (name, value))
    lines.append(b"\r\n")
    return b"".join(lines)
