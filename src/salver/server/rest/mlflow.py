"""The routes of MLflow's scoring server that are no inference: is it up, and which version is it.

They stand for the server as a whole. `/invocations` never comes here but by another method.
"""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Match, Route
from starlette.types import Scope

from salver import __version__
from salver.engine.ports import ModelCatalog
from salver.server.rest.models import SEEN_CATALOG

_INVOCATIONS = ("/invocations", "/models/{name}/invocations")


class ScoringRoutes:
    """The endpoints over the catalog."""

    def __init__(self, catalog: ModelCatalog) -> None:
        self._catalog = catalog

    def routes(self) -> list[Route]:
        """One route per path."""
        return [
            Route("/ping", self.ping),
            Route("/health", self.ping),
            _TextRoute("/version", self.version),
            *(Route(path, self.posted, methods=["POST"]) for path in _INVOCATIONS),
        ]

    async def ping(self, request: Request) -> Response:
        """An empty line, with 200 if what path or host mean can answer, else with 503."""
        catalog: ModelCatalog = request.scope.get(SEEN_CATALOG, self._catalog)
        status = 200 if catalog.is_ready and not catalog.is_draining else 503
        return Response("\n", status, media_type="application/json")

    async def version(self, request: Request) -> Response:
        """Salver's own."""
        return PlainTextResponse(__version__)

    async def posted(self, request: Request) -> Response:
        """Only other methods than POST get here, and those Starlette answers with 405."""
        raise HTTPException(405, headers={"Allow": "POST"})


class _TextRoute(Route):
    """Leaves those who ask for JSON to the Kubernetes API, which has a route of the same path."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        accepted = Headers(scope=scope).get("accept", "") if scope["type"] == "http" else ""
        return (Match.NONE, {}) if "application/json" in accepted else super().matches(scope)
