"""Seldon's routes that are no inference: health, status, metadata, of the whole and of its parts.

They stand at the root for the only deployment there is, and below `/seldon/NAMESPACE/NAME` for
each; errors have Seldon's form.
"""

from __future__ import annotations

import re
import time
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from salver.engine.directory import ModelDirectory
from salver.engine.seldon_asking import health_of
from salver.engine.seldon_paths import SELDON
from salver.errors import ErrorKind, ModelNotFound, RequestError
from salver.protocol.seldon_meta import failure_message
from salver.server.rest.answers import json_answer
from salver.server.rest.metadata import describe
from salver.server.rest.models import SEEN_CATALOG
from salver.server.rest.status import HTTP_STATUS, RETRY_AFTER_S, seldon_status
from salver.server.seldon_facts import graph_facts, part_facts

SELDON_PATH = "salver.seldon"
"""Where in a request's ASGI scope the deployment stands that its path names."""
_ROOTS = "api|v1|v2|live|ready|health|metadata"
_PREFIX = re.compile(rf"/seldon/([^/]+(?:/(?!(?:{_ROOTS})/)[^/]+)?)(/(?:{_ROOTS})(?:/.*|))")
VERSIONS = ("/api/v0.1", "/api/v1.0")
_POSTED = ("predict", "transform-input", "transform-output", "route", "aggregate", "send-feedback")
_Answer = Callable[[Request], Awaitable[Response]]


class SeldonRoutes:
    """The endpoints over the directory."""

    def __init__(self, directory: ModelDirectory, *, timeout_s: float) -> None:
        """`timeout_s` is how long a model in standby may take to load for its metadata."""
        self._directory = directory
        self._timeout_s = timeout_s

    def routes(self) -> list[Route]:
        """One route per path."""
        found = [
            Route("/live", self.live),
            Route("/ready", self._in_form(self.status)),
            Route("/health/ping", self.ping),
            Route("/health/status", self._in_form(self.health)),
            Route("/metadata", self._in_form(self.model_metadata)),
            *(Route(f"/{each}", self.posted, methods=["POST"]) for each in _POSTED),
        ]
        for version in VERSIONS:
            found += [
                Route(version + "/health/status", self._in_form(self.health)),
                Route(version + "/health/ping", self.ping),
                Route(version + "/status", self._in_form(self.status)),
                Route(version + "/status/{part}", self._in_form(self.status)),
                Route(version + "/metadata", self._in_form(self.metadata)),
                Route(version + "/metadata/{part}", self._in_form(self.model_metadata)),
                Route(version + "/predictions", self.posted, methods=["POST"]),
                Route(version + "/feedback", self.posted, methods=["POST"]),
            ]
        return found

    async def live(self, request: Request) -> Response:
        """200 for as long as the process answers at all."""
        return PlainTextResponse("")

    async def ping(self, request: Request) -> Response:
        """What Seldon's components answer."""
        return PlainTextResponse("pong")

    async def status(self, request: Request) -> Response:
        """200 if the deployment, or the part that the path names, can answer; a component's own
        `health_status`, if it has one, is asked."""
        answer = await self._unwell(request)
        return json_answer({"meta": {}}) if answer is None else answer

    async def _unwell(self, request: Request) -> Response | None:
        """What a part that is a component says of its health, or why the part cannot answer."""
        node = _part(request)
        part = self._directory.seldon_part(_scope(request), node)
        if not part.model.is_ready:
            return _failure(HTTP_STATUS[ErrorKind.MODEL_NOT_READY], describe(part.model.status))
        if not part.function:
            return None
        body = await health_of(node, part, self._timeout_s, time.monotonic)
        return Response(body, media_type="application/json")

    async def health(self, request: Request) -> Response:
        """The same, as a message with a word in it."""
        answer = await self._unwell(request)
        return json_answer({"strData": "healthy", "meta": {}}) if answer is None else answer

    async def metadata(self, request: Request) -> Response:
        """Of the graph and all of its parts."""
        facts = await graph_facts(self._directory, _scope(request), self._timeout_s)
        return json_answer(facts)

    async def model_metadata(self, request: Request) -> Response:
        """Of one model."""
        scope, part = _scope(request), _part(request)
        return json_answer(await part_facts(self._directory, scope, part, self._timeout_s))

    async def posted(self, request: Request) -> Response:
        """Only other methods than POST get here, and those Starlette answers with 405."""
        raise HTTPException(405, headers={"Allow": "POST"})

    def _in_form(self, answer: _Answer) -> _Answer:
        """Errors in the form that Seldon's clients read."""

        async def answered(request: Request) -> Response:
            try:
                return await answer(request)
            except RequestError as error:
                return _failure(HTTP_STATUS[error.kind], str(error))

        return answered


class SeldonPrefix:
    """Wraps the application: `/seldon/[NAMESPACE/]NAME` comes off the path, and narrows it."""

    def __init__(self, app: ASGIApp, directory: ModelDirectory) -> None:
        self.app = app
        self._directory = directory

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        match = _PREFIX.fullmatch(scope["path"]) if scope["type"] == "http" else None
        if match is not None:
            place = SELDON + match[1]
            try:
                view = self._directory.view(place)
            except ModelNotFound as error:
                await _failure(HTTP_STATUS[error.kind], str(error))(scope, receive, send)
                return
            path = match[2]
            narrowed = {SELDON_PATH: place, SEEN_CATALOG: view}
            scope = {**scope, "path": path, "raw_path": path.encode(), **narrowed}
        await self.app(scope, receive, send)


def _scope(request: Request) -> str:
    found: Any = request.scope.get(SELDON_PATH, "")
    return str(found)


def _part(request: Request) -> str:
    return str(request.path_params.get("part", ""))


def _failure(status: int, message: str) -> Response:
    headers = {"Retry-After": str(RETRY_AFTER_S[status])} if status in RETRY_AFTER_S else {}
    body = failure_message(*seldon_status(status), message)
    return Response(body, status, headers, media_type="application/json")
