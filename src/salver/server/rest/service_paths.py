"""Addresses of one service: `/serving/NAMESPACE/NAME/...` and its Host header.

What follows the prefix is a path as any other, answered with that service alone in sight.
"""

from __future__ import annotations

import re

from starlette.types import ASGIApp, Receive, Scope, Send

from salver.engine.directory import LOCAL_HOST, ModelDirectory
from salver.errors import ModelNotFound
from salver.server.rest.answers import refusal
from salver.server.rest.models import SEEN_CATALOG

_PREFIX = re.compile(r"/serving/([^/]+/[^/]+)(/.*|)")


class ServicePaths:
    """Wraps the application: strips the prefix and narrows the catalog."""

    def __init__(self, app: ASGIApp, directory: ModelDirectory) -> None:
        self.app = app
        self._directory = directory

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        match = _PREFIX.fullmatch(scope["path"])
        try:
            if match is not None:
                view = self._directory.view(match[1])
                path = match[2] or "/"
                scope = {**scope, "path": path, "raw_path": path.encode(), SEEN_CATALOG: view}
            else:
                view = self._directory.view(LOCAL_HOST + _host(scope))
                if view is not self._directory:
                    scope = {**scope, SEEN_CATALOG: view}
        except ModelNotFound as error:
            await refusal(error)(scope, receive, send)
            return
        await self.app(scope, receive, send)


def _host(scope: Scope) -> str:
    for name, value in scope["headers"]:
        if name == b"host":
            return str(value, "latin-1").lower().partition(":")[0]
    return ""
