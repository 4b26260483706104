"""A graph at its own address, as KServe's router is asked: a plain POST, whatever its path.

Finds out by the body whether it is V2 or V1, makes a call of it, and gives back status, headers
and body as they come. Knows no graph: any `ServedModel` will do.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

import msgspec

from salver.engine.call import Call
from salver.engine.ports import ForwardedAnswer, ForwardedRequest, ServedModel
from salver.engine.queue import Clock
from salver.errors import (
    DeadlineExceeded,
    ErrorKind,
    InvalidInput,
    ModelFailed,
    ModelNotFound,
    ModelNotReady,
    PayloadTooLarge,
    QueueFull,
    RequestError,
    Unavailable,
    Unsupported,
)
from salver.protocol.messages import Message, unpacked
from salver.protocol.wire_codes import RAW_BODY_AUX, Codec
from salver.telemetry.trace import TraceContext

READY_PATH = "/readyz"
_GRACE_S = 1.0
"""Calls end by their own deadline; one that does not is given up so much later."""
_CODINGS: Mapping[bytes, int] = {b"": 0, b"identity": 0, b"gzip": 1, b"x-gzip": 1, b"deflate": 2}
_Headers = Sequence[tuple[bytes, bytes]]
_ERRORS: Mapping[ErrorKind, type[RequestError]] = {
    each.kind: each
    for each in (
        *(InvalidInput, PayloadTooLarge, ModelNotFound, ModelNotReady, Unsupported),
        *(QueueFull, Unavailable, DeadlineExceeded, ModelFailed),
    )
}
_ALLOW = ((b"allow", b"POST"), (b"content-type", b"application/json"))
_JSON = (b"content-type", b"application/json")


class _Tensor(msgspec.Struct):
    name: str
    shape: list[int]
    datatype: str


class _Request(msgspec.Struct):
    inputs: list[_Tensor]


_decode_v2 = msgspec.json.Decoder(_Request).decode


class GraphForwarder:
    """Implements `Forwarder` over a graph."""

    def __init__(
        self, model: ServedModel, *, clock: Clock, timeout_s: float, max_body_bytes: int = 64 << 20
    ) -> None:
        """`timeout_s` is what a request has, unless the graph says otherwise; a packed body may
        unpack to `max_body_bytes`."""
        self._model = model
        self._clock = clock
        self._timeout_s = timeout_s
        self._max_body_bytes = max_body_bytes

    @asynccontextmanager
    async def forward(self, request: ForwardedRequest) -> AsyncIterator[ForwardedAnswer]:
        """See `Forwarder`."""
        if request.target.partition("?")[0] == READY_PATH and request.method in ("GET", "HEAD"):
            yield self._readiness()
        elif request.method != "POST":
            text = f"a graph does not answer {request.method}: use POST"
            yield _Answer(405, _ALLOW, msgspec.json.encode({"error": text}))
        else:
            yield await self._ask(request)

    def _readiness(self) -> _Answer:
        if self._model.is_ready:
            return _Answer(200, (_JSON,), b'{"status":"ready"}')
        raise ModelNotReady(
            f"graph '{self._model.name}' is not ready: {self._model.status.reason or 'starting'}"
        )

    async def _ask(self, request: ForwardedRequest) -> _Answer:
        now_s = self._clock()
        codec, aux, body = read_request(request, self._max_body_bytes)
        call = _ForwardedCall(codec, aux, body, request, now_s, now_s + self._timeout_s)
        self._model.submit(call)
        try:
            return await call.wait(self._clock)
        finally:
            # The client has left, or was told that it takes too long: whoever is at work may stop.
            call.is_abandoned = not call.is_answered


def read_request(request: ForwardedRequest, max_body_bytes: int) -> tuple[Codec, int, bytes]:
    """The wire format of a request, the format's number, and the body unpacked. What is neither
    is V1: there any JSON will do. Raises `InvalidInput`, `PayloadTooLarge`, `Unsupported`."""
    body = request.body
    name = _header(request.headers, b"content-encoding").strip().lower()
    if name not in _CODINGS:
        raise Unsupported(
            f"content-encoding '{name.decode('latin-1')}' is not known here: use gzip or deflate"
        )
    if coding := _CODINGS[name]:
        packed = Message(int(Codec.V1_JSON), 0, body, is_request=True, coding=coding)
        body = bytes(unpacked(packed, max_body_bytes).body)
    length = _header(request.headers, b"inference-header-content-length").strip()
    if length:
        if not length.isdigit() or len(length) > len(str(len(body))) or int(length) > len(body):
            raise InvalidInput(
                f"inference-header-content-length must be from 0 to the body's {len(body)} bytes"
            )
        return Codec.V2_JSON, int(length) or RAW_BODY_AUX, body
    try:
        is_v2 = bool(_decode_v2(body).inputs)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        is_v2 = False
    return (Codec.V2_JSON if is_v2 else Codec.V1_JSON), 0, body


def _header(headers: _Headers, name: bytes) -> bytes:
    return next((value for each, value in headers if each == name), b"")


class _Answer:
    """Implements `ForwardedAnswer` with a whole body."""

    def __init__(self, status: int, headers: _Headers, body: bytes) -> None:
        self.status = status
        self.headers = headers
        self._body = body

    async def chunks(self) -> AsyncIterator[bytes]:
        """See `ForwardedAnswer`."""
        if self._body:
            yield self._body


class _ForwardedCall(Call):
    """A call whose answer is waited for."""

    __slots__ = ("_added", "_answer", "_request")

    def __init__(
        self,
        codec: int,
        aux: int,
        body: bytes,
        request: ForwardedRequest,
        arrived_s: float,
        deadline_s: float,
    ) -> None:
        super().__init__(int(codec), aux, body, arrived_s=arrived_s, deadline_s=deadline_s)
        self._request = request
        self._added: list[tuple[bytes, bytes]] = []
        self._answer: asyncio.Future[_Answer] = asyncio.get_running_loop().create_future()

    @property
    def is_answered(self) -> bool:
        return self._answer.done()

    async def wait(self, clock: Clock) -> _Answer:
        """The answer. Raises the `RequestError` that it ended in."""
        while not self._answer.done():
            # The deadline may have moved meanwhile: a model may allow itself more.
            left_s = self.deadline_s + _GRACE_S - clock()
            if left_s <= 0:
                raise DeadlineExceeded(
                    f"the graph did not answer within {self.granted_s:g} s, its time limit"
                )
            await asyncio.wait([self._answer], timeout=left_s)
        return self._answer.result()

    def deliver(self, body: bytes, aux: int) -> None:
        headers = [_JSON]
        if aux:
            headers = [
                (b"content-type", b"application/octet-stream"),
                (b"inference-header-content-length", b"%d" % aux),
            ]
        if self.coding:
            headers.append((b"content-encoding", b"gzip" if self.coding == 1 else b"deflate"))
        self._end(200, headers, body)

    def fail(self, kind: ErrorKind, message: str) -> None:
        if not self._answer.done() and not self.is_abandoned:
            self._answer.set_exception(_ERRORS.get(kind, ModelFailed)(message))

    def reject(self, status: int, body: bytes, kind: ErrorKind, message: str) -> None:
        self._end(status, [_JSON if _is_json(body) else (b"content-type", b"text/plain")], body)

    def _end(self, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
        if not self._answer.done() and not self.is_abandoned:
            self._answer.set_result(_Answer(status, [*headers, *self._added], bytes(body)))

    def add_header(self, name: bytes, value: bytes) -> None:
        self._added.append((name, value))

    @property
    def span(self) -> TraceContext | None:
        return self._request.span

    def header(self, name: bytes) -> bytes:
        return _header(self._request.headers, name)

    def headers(self) -> _Headers:
        return self._request.headers


def _is_json(body: bytes) -> bool:
    try:
        msgspec.json.decode(body, type=msgspec.Raw)
    except (msgspec.MsgspecError, ValueError):
        return False
    return True
