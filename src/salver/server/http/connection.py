"""One HTTP/1.1 connection: bytes to calls, answers to bytes, one request at a time.

Inference requests become `HttpCall`s and go straight to the model's queue; every other
request goes to the ASGI application. Pipelined requests wait in the reader until the answer
before theirs is out, which keeps answers in order and bounds the work of one client.
"""

from __future__ import annotations

import asyncio
import json
from http import HTTPStatus
from typing import TYPE_CHECKING, cast

from salver.errors import RequestError
from salver.protocol.frame import ContentCoding
from salver.protocol.mlflow_messages import SCORING_CODECS
from salver.protocol.wire_codes import Codec
from salver.server.http.asgi import run_application
from salver.server.http.calls import HttpCall, call_type
from salver.server.http.event_stream import EventStreamCall
from salver.server.http.head import HttpError, RequestHead
from salver.server.http.observe import answered_http
from salver.server.http.reader import RequestReader
from salver.server.local_callers import is_local
from salver.server.rest.status import HTTP_STATUS, RETRY_AFTER_S

if TYPE_CHECKING:
    from salver.server.http.listener import HttpListener

_HELD_LIMIT_BYTES = 256 << 10
"""A client that sends on without waiting for answers is not read beyond this."""
_JOIN_LIMIT_BYTES = 64 << 10
"""Above this, head and body are written one after the other rather than copied together."""
CLIENT_LEFT = 499
"""In logs, the status of a request whose client did not wait for its answer."""
LINGER_S = 2.0
"""How long a refused client may take to read the refusal before the connection is cut."""
MIN_BODY_RATE = 64 << 10
"""Bytes a second: a body that comes slower than this, beyond the time limit, is refused."""
_OWN_ROUTES = SCORING_CODECS | {Codec.GENERATE_JSON}
"""What a program that serves by itself may answer itself."""
_CODING_NAMES = {ContentCoding.GZIP: b"gzip", ContentCoding.DEFLATE: b"deflate"}


class HttpConnection(asyncio.Protocol):
    """The protocol object of one accepted socket."""

    __slots__ = (
        "_call",
        "_drained",
        "_ends_at_eof",
        "_is_busy",
        "_is_half_closed",
        "_is_reading_paused",
        "_is_refused",
        "_listener",
        "_reader",
        "_sent_continue",
        "_task",
        "since_s",
        "transport",
    )

    def __init__(self, listener: HttpListener) -> None:
        self._listener = listener
        self._reader = RequestReader(listener.heads, listener.settings.max_body_size)
        self._call: HttpCall | None = None
        self._task: asyncio.Task[None] | None = None
        self._is_busy = False
        self._is_refused = False
        self._is_half_closed = False
        self._ends_at_eof = False
        self._is_reading_paused = False
        self._sent_continue = False
        self._drained: asyncio.Event | None = None
        self.since_s = listener.now()
        """When the present state began: idle, reading a request, or lingering."""
        self.transport: asyncio.Transport

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        local_heads = self._listener.local_heads
        if local_heads is not None and is_local(_host_of(transport)):
            self._reader = RequestReader(local_heads, self._listener.settings.max_body_size)
        if not self._listener.admit(self):
            self._is_refused = True
            self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._listener.forget(self)
        if self._call is not None:
            self._call.abandon()
            self._note_end(self._call, CLIENT_LEFT, "the client left before the answer")
            self._call = None
        if self._task is not None:
            self._task.cancel()
        if self._drained is not None:
            self._drained.set()

    def data_received(self, data: bytes) -> None:
        if self._is_refused:
            return
        if self._is_busy:
            self._hold(data)
            return
        try:
            was_amid = self._reader.is_amid_request
            head = self._reader.receive(data)
        except HttpError as error:
            self._refuse(error)
            return
        if head is not None:
            self._serve(head)
        else:
            self._on_partial(was_amid)

    def eof_received(self) -> bool:
        # A client may half-close after its request and still wait for the answer. TLS has no
        # such half: there the transport closes whatever is returned.
        self._is_half_closed = True
        if self._ends_at_eof:
            return False
        return self._is_busy and self.transport.get_extra_info("sslcontext") is None

    def end_at_eof(self) -> None:
        """The answer has no end of its own: it ends when the client sends no more, as one does
        that has left."""
        self._ends_at_eof = True
        if self._is_half_closed:
            self.transport.close()

    def pause_writing(self) -> None:
        self._drained = asyncio.Event()

    def resume_writing(self) -> None:
        if self._drained is not None:
            self._drained.set()
            self._drained = None
            if self._call is not None:
                self._call.on_writable()

    # Requests in.

    def _hold(self, data: bytes) -> None:
        self._reader.hold(data)
        if self._reader.buffered > _HELD_LIMIT_BYTES and not self._is_reading_paused:
            self._is_reading_paused = True
            self.transport.pause_reading()

    def _on_partial(self, was_amid: bool) -> None:
        if not was_amid:
            self.since_s = self._listener.now()
        head = self._reader.waiting_head
        if head is not None and head.expects_continue and not self._sent_continue:
            self._sent_continue = True
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _serve(self, head: RequestHead) -> None:
        self._is_busy = True
        self._sent_continue = False
        listener = self._listener
        if not head.model:
            if head.codec:
                self._serve_unnamed(head)
                return
            self._ends_at_eof = False
            self._task = listener.spawn(run_application(self, head, bytes(self._reader.body)))
            return
        now_s = listener.now()
        call = HttpCall(self, head, self._reader.body, now_s, now_s + listener.request_timeout_s)
        self._reader.body = b""
        self._call = call
        if listener.observer is not None:
            call.observation = listener.observer.begin(head.traceparent, head.request_id)
        if head.unsupported_coding:
            name = head.unsupported_coding.decode("latin-1")
            self.answer_error(call, 415, f"content-encoding '{name}' is not supported: use gzip")
            return
        try:
            if head.scope or head.is_explain:
                model = listener.find_scoped(head)
            else:
                model = listener.find_model(head.model, head.version)
        except RequestError as error:
            if head.scope and listener.is_forwarded(head):
                # The service may know what is no model to us.
                self._call = None
                self._task = listener.spawn(run_application(self, head, bytes(call.body)))
                return
            self.answer_error(call, HTTP_STATUS[error.kind], str(error))
            return
        model.submit(call)

    def _serve_unnamed(self, head: RequestHead) -> None:
        """Serves an inference request that goes no usual way: most of them name no model."""
        listener = self._listener
        if head.codec in _OWN_ROUTES and head.scope and listener.is_forwarded(head):
            # A program may have a scoring server of its own, or generate by itself.
            self._ends_at_eof = False
            self._task = listener.spawn(run_application(self, head, bytes(self._reader.body)))
            return
        now_s = listener.now()
        kind = EventStreamCall if head.is_streamed else call_type(head)
        call = kind(self, head, self._reader.body, now_s, now_s + listener.request_timeout_s)
        self._reader.body = b""
        self._call = call
        if listener.observer is not None:
            call.observation = listener.observer.begin(head.traceparent, head.request_id)
        if head.unsupported_coding:
            name = head.unsupported_coding.decode("latin-1")
            call.refuse(415, f"content-encoding '{name}' is not supported: use gzip")
            return
        try:
            call.prepare()
            model = (
                listener.find_generating(head) if head.generates else listener.find_unnamed(head)
            )
        except RequestError as error:
            call.fail(error.kind, str(error))
            return
        if call.observation is not None:
            call.observation.model = model.name
        model.submit(call)

    def new_id(self) -> str:
        """An id for a request that brought none."""
        return self._listener.new_id()

    def _serve_next(self) -> None:
        """Goes on with what arrived while the last request was answered."""
        if self._is_busy or self._is_refused or self.transport.is_closing():
            return
        if self._is_reading_paused:
            self._is_reading_paused = False
            self.transport.resume_reading()
        try:
            head = self._reader.resume()
        except HttpError as error:
            self._refuse(error)
            return
        if head is not None:
            self._serve(head)
        elif self._is_half_closed:
            self.transport.close()
        else:
            self._on_partial(was_amid=False)

    # Answers out.

    def answer(self, call: HttpCall, body: bytes, aux: int) -> None:
        """Writes the response of an inference request. `aux`: length of its JSON part, or 0."""
        head = call.head
        observation = call.observation
        if (
            head.is_plain
            and not aux
            and not call.coding
            and observation is None
            and call.added_headers is None
        ):
            prefix = self._listener.plain_prefix
        else:
            prefix = self._inference_prefix(call, aux)
        size = len(body)
        if size <= _JOIN_LIMIT_BYTES:
            self.transport.write(b"".join((prefix, b"%d\r\n\r\n" % size, body)))
        else:
            self.transport.write(prefix + b"%d\r\n\r\n" % size)
            self.transport.write(body)
        if observation is not None:
            self._note_end(call, 200, "")
        self._call = None
        self.finish(keeps_alive=head.keeps_alive)

    def answer_error(
        self, call: HttpCall, status: int, message: str, body: bytes | None = None
    ) -> None:
        """Writes the error response of an inference request; `body` unless the message will do."""
        self._listener.count_status(status)
        if body is None:
            body = error_body(message)
        self.write_head(status, call.echoed_headers(), len(body), call.head.keeps_alive)
        self.transport.write(body)
        self._note_end(call, status, message)
        self._call = None
        self.finish(keeps_alive=call.head.keeps_alive)

    # Events out.

    @property
    def is_writable(self) -> bool:
        """The client has read enough for more to be written."""
        return self._drained is None

    def begin_events(self, call: HttpCall, headers: list[tuple[bytes, bytes]]) -> None:
        """Writes the head of an answer that comes in events."""
        self.write_head(200, headers, None, call.head.keeps_alive)

    def write_event(self, data: bytes) -> None:
        """Writes an event, as a chunk of its own. `data` is JSON on one line."""
        # For the sweep: it cuts off clients that read nothing for long, not long answers.
        self.since_s = self._listener.now()
        self.transport.write(b"%x\r\ndata: %b\n\n\r\n" % (len(data) + 8, data))

    def end_events(self, call: HttpCall, error: str) -> None:
        """Nothing follows but the error, if something went wrong."""
        if error:
            self.write_event(error_body(error))
        self.transport.write(b"0\r\n\r\n")
        self._note_end(call, 200, error)
        self._call = None
        self._ends_at_eof = False
        self.finish(keeps_alive=call.head.keeps_alive)

    def _note_end(self, call: HttpCall, status: int, error: str) -> None:
        """Logs and traces the call, if that is wanted."""
        observer, observation = self._listener.observer, call.observation
        if observation is not None and observer is not None:
            observer.end(observation, answered_http(observation, call.head, call, status, error))

    def _inference_prefix(self, call: HttpCall, aux: int) -> bytes:
        lines = [self._listener.status_prefix]
        if aux:
            lines.append(
                b"content-type: application/octet-stream\r\n"
                b"inference-header-content-length: %d\r\n" % aux
            )
        else:
            lines.append(b"content-type: application/json\r\n")
        if call.coding:
            name = _CODING_NAMES[ContentCoding(call.coding)]
            lines.append(b"content-encoding: " + name + b"\r\nvary: accept-encoding\r\n")
        for name, value in call.echoed_headers():
            lines.append(name + b": " + value + b"\r\n")
        if not call.head.keeps_alive or self._listener.is_draining:
            lines.append(b"connection: close\r\n")
        lines.append(b"content-length: ")
        return b"".join(lines)

    def write_head(
        self,
        status: int,
        headers: list[tuple[bytes, bytes]],
        content_length: int | None,
        keeps_alive: bool,
    ) -> None:
        """Writes a response head; None as the length means that chunks follow."""
        lines = [b"HTTP/1.1 %d %b\r\ndate: %b\r\n" % (status, phrase(status), self._listener.date)]
        names = {name for name, _ in headers}
        if b"content-type" not in names and status >= 400:
            lines.append(b"content-type: application/json\r\n")
        if status in RETRY_AFTER_S and b"retry-after" not in names:
            lines.append(b"retry-after: %d\r\n" % RETRY_AFTER_S[status])
        for name, value in headers:
            lines.append(b"%b: %b\r\n" % (name, value))
        if content_length is None:
            lines.append(b"transfer-encoding: chunked\r\n")
        elif b"content-length" not in names:
            lines.append(b"content-length: %d\r\n" % content_length)
        if not keeps_alive or self._listener.is_draining:
            lines.append(b"connection: close\r\n")
        lines.append(b"\r\n")
        self.transport.write(b"".join(lines))

    async def wait_drained(self) -> None:
        """Returns when the client has read enough for more to be written."""
        if self._drained is not None:
            await self._drained.wait()

    def finish(self, *, keeps_alive: bool) -> None:
        """The answer is written: the connection is free for its next request, or closes."""
        self._is_busy = False
        self._task = None
        self.since_s = self._listener.now()
        if not keeps_alive or self._listener.is_draining:
            self.transport.close()
        elif self._reader.buffered or self._is_reading_paused or self._is_half_closed:
            self._listener.call_soon(self._serve_next)

    def _refuse(self, error: HttpError) -> None:
        """Answers what is no request at all, and lets go of the connection.

        Closing at once could destroy the answer on its way, so what the client still sends
        is read and dropped for a moment.
        """
        self._is_refused = True
        self._listener.count_status(error.status)
        body = error_body(error.message)
        self.write_head(error.status, [], len(body), keeps_alive=False)
        self.transport.write(body)
        self.since_s = self._listener.now()
        self._reader = RequestReader(self._listener.heads, 0)
        if self.transport.can_write_eof():
            self.transport.write_eof()
        else:
            self.transport.close()

    # What the listener's sweep calls.

    @property
    def is_idle(self) -> bool:
        """No request is being read or answered."""
        return not self._is_busy and not self._reader.is_amid_request

    def check_time(self, now_s: float) -> None:
        """Closes the connection if its present state has lasted too long."""
        lasted_s = now_s - self.since_s
        settings = self._listener.settings
        if self._is_refused:
            if lasted_s > LINGER_S:
                self.transport.abort()
        elif self._is_busy:
            if self._drained is not None and lasted_s > settings.request_timeout * 2:
                self.transport.abort()
        elif self._reader.is_amid_request:
            if lasted_s > settings.request_timeout + self._reader.buffered / MIN_BODY_RATE:
                self._refuse(HttpError(408, "the request did not arrive in time: send it again"))
        elif self._drained is not None and lasted_s > settings.request_timeout:
            self.transport.abort()
        elif lasted_s > settings.idle_timeout:
            self.transport.close()


def _host_of(transport: asyncio.BaseTransport) -> str:
    """The caller's address; empty if it has none."""
    peer = transport.get_extra_info("peername")
    return str(peer[0]) if isinstance(peer, tuple) else ""


def error_body(message: str) -> bytes:
    """The body of an error in every REST protocol here."""
    return json.dumps({"error": message}, ensure_ascii=False).encode(errors="replace")


def phrase(status: int) -> bytes:
    """The reason phrase of a status."""
    try:
        return HTTPStatus(status).phrase.encode()
    except ValueError:
        return b"Unknown"
