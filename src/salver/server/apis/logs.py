"""`GET .../pods/NAME/log`: what a replica has written, as text, and as it comes if asked to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from salver.server.apis.paths import ResourcePath
from salver.server.apis.ports import ReadLogs
from salver.server.apis.status import Refusal
from salver.server.http.asgi import LASTING

_TICK_S = 1.0
"""How often a silent log looks whether the server ends."""


async def log_response(request: Request, path: ResourcePath, read_logs: ReadLogs | None) -> ASGIApp:
    """The log as a stream. Raises `Refusal`, or `ResourceNotFound` if there is no such pod."""
    if request.method != "GET":
        raise Refusal(405, f"{request.url.path} does not answer {request.method}")
    if read_logs is None:
        raise Refusal(501, "this server keeps no logs of pods")
    query = request.query_params
    tail = query.get("tailLines", "")
    if tail and not tail.isdigit():
        raise Refusal(400, f"tailLines: '{tail}' is no number of at least 0")
    follow = query.get("follow", "").lower() in ("1", "true")
    lines = read_logs(path.namespace, path.name, follow=follow, tail=int(tail) if tail else None)
    stream = _LogStream(lines)
    await stream.wait_begin()
    return stream


class _LogStream:
    """Pieces of text, sent as they come, until there are no more or the server ends."""

    def __init__(self, pieces: AsyncIterator[bytes]) -> None:
        self._pieces = pieces
        self._next = asyncio.ensure_future(anext(pieces, None))

    async def wait_begin(self) -> None:
        """Waits a moment for the first piece: it is where an unknown pod shows."""
        await asyncio.wait({self._next}, timeout=_TICK_S)
        if self._next.done():
            self._next.result()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        last = (scope.get("extensions") or {}).get(LASTING)
        is_ending = last() if last else lambda: False
        headers = [(b"content-type", b"text/plain; charset=utf-8")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"", "more_body": True})
        try:
            while not is_ending():
                await asyncio.wait({self._next}, timeout=_TICK_S)
                if not self._next.done():
                    continue
                piece = self._next.result()
                if piece is None:
                    break
                await send({"type": "http.response.body", "body": piece, "more_body": True})
                self._next = asyncio.ensure_future(anext(self._pieces, None))
        finally:
            self._next.cancel()
        await send({"type": "http.response.body", "body": b"", "more_body": False})
