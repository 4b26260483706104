"""The calls that come over HTTP: what a request answers to, and in which form.

A call holds its connection, which writes the answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from salver.engine.call import Call
from salver.errors import ErrorKind, InvalidInput, Unsupported
from salver.protocol.mlflow_messages import SCORING_CODECS, error_body, is_unreadable
from salver.protocol.seldon_forms import json_of
from salver.protocol.seldon_meta import PUID_HEADER, failure_message
from salver.server.http.head import RequestHead
from salver.server.observe import REQUEST_ID, Observation
from salver.server.rest.status import HTTP_STATUS, seldon_status
from salver.telemetry.trace import TRACEPARENT, TraceContext, header_of, in_span

if TYPE_CHECKING:
    from salver.server.http.connection import HttpConnection


class HttpCall(Call):
    """An inference request that came over HTTP."""

    __slots__ = ("added_headers", "connection", "head", "observation")

    def __init__(
        self,
        connection: HttpConnection,
        head: RequestHead,
        body: bytes | bytearray,
        arrived_s: float,
        deadline_s: float,
    ) -> None:
        # Not super().__init__: this runs for every request, and the call would cost a third.
        self.codec = head.tag
        self.aux = head.aux
        self.body = body
        self.arrived_s = arrived_s
        self.deadline_s = deadline_s
        self.attempts = 0
        self.coding = 0
        self.is_abandoned = False
        self.connection = connection
        self.head = head
        self.observation: Observation | None = None
        self.added_headers: list[tuple[bytes, bytes]] | None = None

    def deliver(self, body: bytes, aux: int) -> None:
        if not self.is_abandoned:
            self.connection.answer(self, body, aux)

    def fail(self, kind: ErrorKind, message: str) -> None:
        if not self.is_abandoned:
            self.connection.answer_error(self, HTTP_STATUS[kind], message)

    def reject(self, status: int, body: bytes, kind: ErrorKind, message: str) -> None:
        if not self.is_abandoned:
            self.connection.answer_error(self, status, message, body)

    def abandon(self) -> None:
        """The client has left."""
        self.is_abandoned = True

    def on_writable(self) -> None:
        """The client, which had stopped, reads again."""

    def add_header(self, name: bytes, value: bytes) -> None:
        if self.added_headers is None:
            self.added_headers = []
        if (name, value) not in self.added_headers:
            # A graph within a graph may say the same of itself.
            self.added_headers.append((name, value))

    @property
    def span(self) -> TraceContext | None:
        return None if self.observation is None else self.observation.span

    def header(self, name: bytes) -> bytes:
        if name == TRACEPARENT and self.span is not None:
            return header_of(self.span)
        if name == REQUEST_ID and self.observation is not None:
            # The id that the answer has, where the caller gave none or no fit one.
            return self.observation.request_id.encode()
        for key, value in self.head.headers:
            if key == name:
                return value
        return b""

    def headers(self) -> Sequence[tuple[bytes, bytes]]:
        return in_span(self.head.headers, self.span)

    def refuse(self, status: int, message: str) -> None:
        """Answers with an error of the protocol's form."""
        self.connection.answer_error(self, status, message)

    def prepare(self) -> None:
        """Makes the body what a worker reads. Raises `RequestError`."""

    def echoed_headers(self) -> list[tuple[bytes, bytes]]:
        """The ids that the client gets back, and what was added on the way."""
        added = self.added_headers or []
        if self.observation is not None:
            return [*self.observation.headers(), *added]
        if self.head.request_id:
            return [(b"x-request-id", self.head.request_id), *added]
        return added


def call_type(head: RequestHead) -> type[HttpCall]:
    """The kind of call for a request that names no model."""
    if head.component:
        return SeldonCall
    return ScoringCall if head.codec in SCORING_CODECS else HttpCall


class ScoringCall(HttpCall):
    """A request in MLflow's scoring protocol, whose errors have MLflow's form."""

    __slots__ = ()

    def prepare(self) -> None:
        if self.head.unreadable:
            raise Unsupported(self.head.unreadable)

    def fail(self, kind: ErrorKind, message: str) -> None:
        is_unread = self.head.unreadable or is_unreadable(kind, self.head.codec)
        self.refuse(415 if is_unread else HTTP_STATUS[kind], message)

    def refuse(self, status: int, message: str) -> None:
        if self.is_abandoned:
            return
        if status == 415:
            # MLflow's server says this in plain text.
            self.add_header(b"content-type", b"text/plain; charset=utf-8")
            body = message.encode()
        else:
            body = error_body(status, message)
        self.connection.answer_error(self, status, message, body)


class SeldonCall(HttpCall):
    """A request in Seldon's protocol: its errors have that form, its answers an id."""

    __slots__ = ()

    def prepare(self) -> None:
        body = json_of(self.header(b"content-type"), self.head.query, self.body)
        if body is not self.body and self.head.coding:
            raise InvalidInput("a form cannot be packed: send it without content-encoding")
        self.body = body

    def deliver(self, body: bytes, aux: int) -> None:
        if not self.is_abandoned:
            self._tell_id()
            self.connection.answer(self, body, aux)

    def fail(self, kind: ErrorKind, message: str) -> None:
        self.refuse(HTTP_STATUS[kind], message)

    def refuse(self, status: int, message: str) -> None:
        if not self.is_abandoned:
            body = failure_message(*seldon_status(status), message)
            self.reject(status, body, ErrorKind.MODEL_FAILED, message)

    def reject(self, status: int, body: bytes, kind: ErrorKind, message: str) -> None:
        if not self.is_abandoned:
            self._tell_id()
            self.connection.answer_error(self, status, message, body)

    def _tell_id(self) -> None:
        if any(name == PUID_HEADER for name, _ in self.added_headers or ()):
            return
        own = self.header(PUID_HEADER)
        self.add_header(PUID_HEADER, own or self.connection.new_id().encode())
