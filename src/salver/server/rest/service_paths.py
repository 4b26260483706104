"""Addresses of one service: `/serving/NAMESPACE/NAME/...`, its Host header, its `Seldon-Model`.

What follows the prefix is a path as any other, answered with that service alone in sight. A
service that answers any path itself (a command, a container, a URL) gets them all.
"""

from __future__ import annotations

import re

from starlette.types import ASGIApp, Receive, Scope, Send

from salver.engine.directory import LOCAL_HOST, MODEL_ADDRESS, ModelDirectory
from salver.errors import ModelNotFound
from salver.server.observe import RequestObserver
from salver.server.rest.answers import refusal
from salver.server.rest.forwarding import forward
from salver.server.rest.models import SEEN_CATALOG
from salver.server.rest.seen_forward import SeenForward

_PREFIX = re.compile(r"/serving/([^/]+/[^/]+)(/.*|)")
_RAW_PREFIX = re.compile(rb"/serving/[^/]+/[^/]+")


class ServicePaths:
    """Wraps the application: strips the prefix and narrows the catalog, or forwards."""

    def __init__(
        self, app: ASGIApp, directory: ModelDirectory, observer: RequestObserver | None = None
    ) -> None:
        """`observer` logs and traces what is forwarded."""
        self.app = app
        self._observer = observer
        self._directory = directory

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        match = _PREFIX.fullmatch(scope["path"])
        place = match[1] if match is not None else _place(scope)
        forwarder = self._directory.forwarder(place)
        if forwarder is not None:
            raw = _RAW_PREFIX.match(scope["raw_path"]) if match is not None else None
            prefix = raw[0] if raw else b""
            if self._observer is None:
                await forward(forwarder, scope, receive, send, prefix=prefix)
            else:
                seen = SeenForward(self._observer, self._directory.named(place), scope, send)
                with seen:
                    span = seen.observation.span
                    await forward(forwarder, scope, receive, seen.send, prefix=prefix, span=span)
            return
        try:
            view = self._directory.view(place)
        except ModelNotFound as error:
            await refusal(error)(scope, receive, send)
            return
        if match is not None:
            path = match[2] or "/"
            scope = {**scope, "path": path, "raw_path": path.encode(), SEEN_CATALOG: view}
        elif view is not self._directory:
            scope = {**scope, SEEN_CATALOG: view}
        await self.app(scope, receive, send)


def _place(scope: Scope) -> str:
    """What the headers ask for: the model of a `Seldon-Model`, else the host."""
    host = ""
    for name, value in scope["headers"]:
        if name == b"seldon-model" and value.strip() and scope["path"].startswith("/v2/"):
            return MODEL_ADDRESS + str(value.strip(), "latin-1")
        if name == b"host":
            host = str(value, "latin-1").lower().partition(":")[0]
    return LOCAL_HOST + host
