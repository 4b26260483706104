"""What a gRPC server must offer to be put under the service: raw bytes in, raw bytes out.

Owns the `GrpcFront` port and the status codes. A front speaks HTTP/2 and gRPC framing and
knows no message type; the service above it knows no HTTP/2. Everything here happens on the
thread of the event loop that called `start`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from enum import IntEnum
from typing import Protocol

import msgspec

Metadata = Sequence[tuple[str, str | bytes]]
"""Keys and values as sent; the value of a `-bin` key is bytes."""

NO_METADATA: Metadata = ()
RETRY_AFTER: Metadata = (("retry-after", "1"),)

DRAINING = "the server is shutting down; send the request to another replica"

UnaryHandler = Callable[[int, bytes, "float | None", Metadata], None]
"""Takes call id, request, seconds left until the client's deadline (or None) and metadata.

It must answer each call id with one `respond` or `fail`, at once or later, and not raise.
"""


class Code(IntEnum):
    """The gRPC status codes that Salver answers with."""

    CANCELLED = 1
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    UNAUTHENTICATED = 16


class StreamError(Exception):
    """Raised by a stream handler to end its stream with a status that is not OK."""

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class GrpcStream(Protocol):
    """One bidirectional call.

    When the client leaves, its handler is cancelled, or `receive` tells it of the end.
    """

    @property
    def metadata(self) -> Metadata: ...

    @property
    def time_left_s(self) -> float | None:
        """Seconds until the client's deadline when the stream was opened, or None."""

    async def receive(self) -> bytes | None:
        """The next message, or None once the client has sent its last."""

    async def send(self, payload: bytes) -> None:
        """Sends one message, waiting while the client does not read."""


StreamHandler = Callable[[GrpcStream], Awaitable[None]]
"""Runs for one stream; returning ends it with OK, `StreamError` with another status."""


class GrpcMethods(msgspec.Struct, frozen=True):
    """What a front serves: handlers by path (`/package.Service/Method`).

    `on_cancel` is told the id of a call that ended (client gone, deadline passed) before it
    was answered. Paths in neither map are answered UNIMPLEMENTED by the front.
    """

    unary: Mapping[str, UnaryHandler]
    stream: Mapping[str, StreamHandler]
    on_cancel: Callable[[int], None]


class FrontSettings(msgspec.Struct, frozen=True):
    """Where a front listens and what it accepts; `tls_cert` and `tls_key` are PEM files."""

    host: str
    port: int
    max_message_bytes: int
    tls_cert: str = ""
    tls_key: str = ""


class GrpcFront(Protocol):
    """A gRPC server on one port."""

    @property
    def port(self) -> int:
        """The port bound by `start`."""

    @property
    def peer(self) -> str:
        """The address of who called, while a unary handler runs; empty if it is not known."""

    async def start(self, methods: GrpcMethods) -> None:
        """Listens and serves. Raises `StartupError` if the address cannot be had."""

    def respond(self, call_id: int, payload: bytes, initial: Metadata = NO_METADATA) -> None:
        """Answers a unary call, with this as initial metadata; harmless if the client has left."""

    def fail(
        self, call_id: int, code: Code, message: str, trailing: Metadata = NO_METADATA
    ) -> None:
        """Ends a unary call with a status that is not OK; harmless if the client has left."""

    async def drain(self, timeout_s: float) -> bool:
        """Refuses new calls with UNAVAILABLE and waits for the open ones.

        True if all were answered within `timeout_s`.
        """

    async def stop(self) -> None:
        """Closes every connection; calls still open end with UNAVAILABLE. May be repeated."""
