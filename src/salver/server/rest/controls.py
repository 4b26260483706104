"""Triton's trace and logging extensions over REST: `/v2/trace/setting` and `/v2/logging`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from salver.engine.ports import ModelCatalog
from salver.errors import InvalidInput
from salver.server.controls import NotAllowedError, ServerControls, traced_settings
from salver.server.rest.answers import error_answer, json_answer, read_json_object
from salver.server.rest.models import SEEN_CATALOG
from salver.telemetry.trace_settings import Wanted

Answer = Callable[[Request], Awaitable[Response]]

_LISTS = frozenset({"trace_level"})
"""Settings whose values are lists even of one."""


class ControlRoutes:
    """The endpoints over one server's controls."""

    def __init__(
        self, controls: ServerControls, catalog: ModelCatalog, *, max_body_size: int
    ) -> None:
        self._controls = controls
        self._catalog = catalog
        self._max_body_size = max_body_size

    def routes(self) -> list[Route]:
        """To be put before `/v2/models/{name}`."""
        methods, trace = ["GET", "POST"], _allowed(self.trace)
        return [
            Route("/v2/trace/setting", trace, methods=methods),
            Route("/v2/models/{name}/trace/setting", trace, methods=methods),
            Route("/v2/logging", _allowed(self.logging), methods=methods),
        ]

    async def trace(self, request: Request) -> Response:
        """The trace settings of one model or of all; with POST after changing them."""
        catalog: ModelCatalog = request.scope.get(SEEN_CATALOG, self._catalog)
        wanted: Wanted | None = None
        if request.method == "POST":
            self._check_change(request)
            body = await read_json_object(request, self._max_body_size)
            wanted = {name: _values(name, value) for name, value in body.items()}
        model = request.path_params.get("name", "")
        return json_answer(_shown(traced_settings(self._controls, catalog, model, wanted)))

    async def logging(self, request: Request) -> Response:
        """The log settings; with POST after changing them."""
        logs = self._controls.logs
        if request.method == "POST":
            self._check_change(request)
            logs.update(await read_json_object(request, self._max_body_size))
        return json_answer(msgspec.structs.asdict(logs.settings))

    def _check_change(self, request: Request) -> None:
        client = request.client.host if request.client is not None else ""
        self._controls.check_change(client, request.headers)


def _allowed(answer: Answer) -> Answer:
    """The same, with the refusal of those who may change nothing as an answer."""

    async def answered(request: Request) -> Response:
        try:
            return await answer(request)
        except NotAllowedError as error:
            return error_answer(401 if error.needs_key else 403, str(error))

    return answered


def _values(name: str, value: Any) -> Sequence[str] | None:
    """A setting's values as strings; null clears it. Raises `InvalidInput`."""
    if value is None:
        return None
    if isinstance(value, str):
        return (value,)
    if isinstance(value, list) and name in _LISTS and all(isinstance(each, str) for each in value):
        return tuple(value)
    form = "a list of strings" if name in _LISTS else 'a string, e.g. "1"'
    raise InvalidInput(f"trace setting {name[:40]!r} must be {form}, or null to clear it")


def _shown(settings: dict[str, tuple[str, ...]]) -> dict[str, Any]:
    return {
        name: list(values) if name in _LISTS else values[0] for name, values in settings.items()
    }
