"""A request that is handed on whole, and its answer, piece by piece.

Owns which headers go along: those about one connection do not (RFC 9110, 7.6.1).
"""

from __future__ import annotations

from collections.abc import Iterable

from starlette.types import Receive, Scope, Send

from salver.engine.ports import ForwardedAnswer, ForwardedRequest, Forwarder
from salver.errors import RequestError
from salver.protocol.http_headers import HOP_BY_HOP
from salver.server.http.asgi import LASTING
from salver.server.rest.answers import refusal
from salver.telemetry.trace import TraceContext, in_span

Headers = list[tuple[bytes, bytes]]

_NOT_SENT = HOP_BY_HOP | {b"host", b"content-length", b"expect"}
"""Of a request: made anew by whoever sends it, or settled with the caller already."""
_NOT_ANSWERED = HOP_BY_HOP | {b"date"}


async def forward(
    forwarder: Forwarder,
    scope: Scope,
    receive: Receive,
    send: Send,
    *,
    prefix: bytes,
    span: TraceContext | None = None,
) -> None:
    """Answers the request with what the forwarder says.

    `prefix` is what comes off the path, and is told in `X-Forwarded-Prefix`; `span` is what the
    request is part of.
    """
    request = ForwardedRequest(
        scope["method"],
        _target(scope, prefix),
        in_span(_request_headers(scope, prefix), span),
        await _body(receive),
        span,
    )
    # An answer may last, as a stream of tokens does; each piece has a time limit of its own.
    last = (scope.get("extensions") or {}).get(LASTING)
    if last is not None:
        last()
    try:
        context = forwarder.forward(request)
        answer = await context.__aenter__()
    except RequestError as error:
        await refusal(error)(scope, receive, send)
        return
    try:
        await _send(answer, send)
    finally:
        await context.__aexit__(None, None, None)


def _target(scope: Scope, prefix: bytes) -> str:
    path = bytes(scope["raw_path"])[len(prefix) :] or b"/"
    query = bytes(scope["query_string"])
    return (path + (b"?" + query if query else b"")).decode("latin-1")


async def _body(receive: Receive) -> bytes:
    chunks = []
    while True:
        message = await receive()
        chunks.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(chunks)


def _request_headers(scope: Scope, prefix: bytes) -> Headers:
    given: Headers = list(scope["headers"])
    told = _told(scope, given, prefix)
    dropped = _NOT_SENT | _named_in_connection(given) | {name for name, _ in told}
    return [(name, value) for name, value in given if name not in dropped] + told


def _told(scope: Scope, given: Headers, prefix: bytes) -> Headers:
    """What the caller wrote and is replaced on the way."""
    before = b", ".join(value for name, value in given if name == b"x-forwarded-for")
    client = scope["client"][0].encode() if scope.get("client") else b"unknown"
    told = [
        (b"x-forwarded-for", before + b", " + client if before else client),
        (b"x-forwarded-proto", scope["scheme"].encode()),
    ]
    host = next((value for name, value in given if name == b"host"), b"")
    if host:
        told.append((b"x-forwarded-host", host))
    if prefix:
        told.append((b"x-forwarded-prefix", prefix))
    return told


def _named_in_connection(headers: Iterable[tuple[bytes, bytes]]) -> set[bytes]:
    return {
        each.strip().lower()
        for name, value in headers
        if name == b"connection"
        for each in value.split(b",")
    }


async def _send(answer: ForwardedAnswer, send: Send) -> None:
    """The answer as it comes. Raises if it is cut off: so will be ours."""
    dropped = _NOT_ANSWERED | _named_in_connection(answer.headers)
    headers = [(name, value) for name, value in answer.headers if name not in dropped]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    async for chunk in answer.chunks():
        await send({"type": "http.response.body", "body": chunk, "more_body": True})
    await send({"type": "http.response.body", "body": b"", "more_body": False})
