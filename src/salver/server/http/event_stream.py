"""A call whose responses go out one by one, as server-sent events.

Each response is one event, `data: {...}`. What goes wrong before the first is an error like any
other, with its status; after it, it is the last event: `data: {"error": ...}`. A client that stops
sending has left: it gets no more events, and the model is told to stop.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from salver.engine.call import PartSource
from salver.errors import ErrorKind
from salver.server.http.calls import HttpCall
from salver.server.http.head import RequestHead

if TYPE_CHECKING:
    from salver.server.http.connection import HttpConnection

_HEADERS = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    # Proxies that collect answers would hold the events back.
    (b"x-accel-buffering", b"no"),
)


class EventStreamCall(HttpCall):
    """One request to `generate_stream`."""

    __slots__ = ("_has_begun", "_source", "_untaken")

    def __init__(
        self,
        connection: HttpConnection,
        head: RequestHead,
        body: bytes | bytearray,
        arrived_s: float,
        deadline_s: float,
    ) -> None:
        super().__init__(connection, head, body, arrived_s, deadline_s)
        self._has_begun = False
        self._source: PartSource | None = None
        self._untaken = 0
        """Parts that have been written, while the client has yet to read what was before."""

    def prepare(self) -> None:
        self.connection.end_at_eof()

    def deliver_part(self, body: bytes, aux: int, source: PartSource) -> None:
        self._source = source
        if self.is_abandoned:
            source.leave()
            return
        self._send(body)
        if self.connection.is_writable:
            source.taken()
        else:
            self._untaken += 1

    def on_writable(self) -> None:
        untaken, self._untaken = self._untaken, 0
        for _ in range(untaken):
            if self._source is not None:
                self._source.taken()

    def abandon(self) -> None:
        super().abandon()
        if self._source is not None:
            self._source.leave()

    def deliver(self, body: bytes, aux: int) -> None:
        if self.is_abandoned:
            return
        if body:
            self._send(body)
        self._begin()
        self.connection.end_events(self, "")

    def fail(self, kind: ErrorKind, message: str) -> None:
        if self.is_abandoned:
            return
        if not self._has_begun:
            super().fail(kind, message)
            return
        self.connection.end_events(self, message)

    def _send(self, body: bytes) -> None:
        self._begin()
        self.connection.write_event(body)

    def _begin(self) -> None:
        if not self._has_begun:
            self._has_begun = True
            self.connection.begin_events(self, [*_HEADERS, *self.echoed_headers()])
