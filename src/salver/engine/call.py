"""A call: one inference request on its way through the gateway, its body still bytes.

The listeners subclass `Call` once each; the queue and the replicas know only this class.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from salver.errors import ErrorKind
from salver.telemetry.trace import TraceContext


class PartSource(Protocol):
    """Who makes the parts of a stream, and waits while too many of them are not passed on."""

    def taken(self) -> None:
        """One more part has been passed on."""

    def leave(self) -> None:
        """The client has left: the model need not go on. The call is abandoned already."""


class Call:
    """One request. Mutable on purpose: it is the hot path's only object per request.

    `codec` is the number of the wire format, `aux` the codec's own number from the request's
    head. `deadline_s` and `arrived_s` are readings of the gateway's monotonic clock.
    """

    __slots__ = (
        "arrived_s",
        "attempts",
        "aux",
        "body",
        "codec",
        "coding",
        "deadline_s",
        "is_abandoned",
    )

    def __init__(
        self,
        codec: int,
        aux: int,
        body: bytes | bytearray,
        *,
        arrived_s: float,
        deadline_s: float,
    ) -> None:
        self.codec = codec
        self.aux = aux
        self.body = body
        self.arrived_s = arrived_s
        self.deadline_s = deadline_s
        self.attempts = 0
        self.coding = 0
        """The `ContentCoding` of the answer's body, set before `deliver` is called."""
        self.is_abandoned = False
        """The client has left: nobody waits for the answer."""

    @property
    def granted_s(self) -> float:
        """Seconds that the caller, or else the server, gives it in all."""
        return self.deadline_s - self.arrived_s

    def limit(self, deadline_s: float) -> None:
        """Gives it another deadline: that of the model which it has come to."""
        self.deadline_s = deadline_s

    def deliver(self, body: bytes, aux: int) -> None:
        """Hands over the encoded response; `aux` > 0 is the length of its JSON part.

        Of a stream it is the last response; empty if there is none after the parts.
        """
        raise NotImplementedError

    def deliver_part(self, body: bytes, aux: int, source: PartSource) -> None:
        """Hands over one response of a stream; more follow, then `deliver` or `fail`.

        Whoever takes it says so to `source`, at once or later. Called for streams only.
        """
        raise NotImplementedError

    def fail(self, kind: ErrorKind, message: str) -> None:
        """Hands over a refusal or an error; exactly one of `deliver` and `fail` is called."""
        raise NotImplementedError

    def reject(self, status: int, body: bytes, kind: ErrorKind, message: str) -> None:
        """`fail` with what a service answered: its HTTP status and body, for those who pass on
        both as they are."""
        self.fail(kind, message)

    def add_header(self, name: bytes, value: bytes) -> None:
        """Adds a header to the answer, before it is delivered; lost where there are none."""

    @property
    def span(self) -> TraceContext | None:
        """The span of its trace that it is part of; None if no spans of it are recorded."""
        return None

    def header(self, name: bytes) -> bytes:
        """The value of a request header, by its name in lower case; empty if there is none."""
        return b""

    def headers(self) -> Sequence[tuple[bytes, bytes]]:
        """All headers of the request, names in lower case; none where there are no headers."""
        return ()
