"""A raw HTTP/1.1 client: what clients libraries would not send, byte for byte."""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Answer:
    """A response as it came; header names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes
    version: str = "HTTP/1.1"

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class RawConnection:
    """One socket; reads whole responses off it."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._buffer = b""

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def shut_sending(self) -> None:
        self._socket.shutdown(socket.SHUT_WR)

    def answer(self, *, has_body: bool = True) -> Answer:
        """The next response. `has_body` is False for the answer to a HEAD request."""
        head = self._until(b"\r\n\r\n").decode("latin-1")
        first, *lines = head.rstrip().split("\r\n")
        version, status, *_ = first.split(" ", 2)
        headers = {}
        for line in lines:
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        if int(status) == 100 or not has_body:
            body = b""
        elif headers.get("transfer-encoding") == "chunked":
            body = b"".join(self._chunks())
        else:
            body = self._exactly(int(headers["content-length"]))
        return Answer(int(status), headers, body, version)

    def wait_closed(self) -> bytes:
        """What comes until the server closes; a reset counts as closed."""
        rest = self._buffer
        self._buffer = b""
        try:
            while data := self._socket.recv(1 << 16):
                rest += data
        except ConnectionResetError:
            pass
        return rest

    def _chunks(self) -> Iterator[bytes]:
        while size := int(self._until(b"\r\n").split(b";")[0], 16):
            yield self._exactly(size)
            assert self._exactly(2) == b"\r\n"
        assert self._until(b"\r\n") == b"\r\n"

    def _until(self, mark: bytes) -> bytes:
        while mark not in self._buffer:
            self._receive()
        found, _, self._buffer = self._buffer.partition(mark)
        return found + mark

    def _exactly(self, count: int) -> bytes:
        while len(self._buffer) < count:
            self._receive()
        found, self._buffer = self._buffer[:count], self._buffer[count:]
        return found

    def _receive(self) -> None:
        data = self._socket.recv(1 << 16)
        if not data:
            raise ConnectionError(f"the server closed after {self._buffer[:200]!r}")
        self._buffer += data


@contextmanager
def connected(
    port: int, timeout_s: float = 20.0, context: ssl.SSLContext | None = None
) -> Iterator[RawConnection]:
    """A connection to the server on this machine."""
    with socket.create_connection(("127.0.0.1", port), timeout_s) as plain:
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if context is None:
            yield RawConnection(plain)
        else:
            with context.wrap_socket(plain, server_hostname="localhost") as wrapped:
                yield RawConnection(wrapped)


def request(
    path: str, body: bytes = b"", *headers: str, method: str = "POST", version: str = "1.1"
) -> bytes:
    """A request with its length told, unless a header already says how the body comes."""
    lines = [f"{method} {path} HTTP/{version}", "Host: localhost", *headers]
    names = {header.partition(":")[0].lower() for header in headers}
    if not names & {"content-length", "transfer-encoding"} and (body or method == "POST"):
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body
