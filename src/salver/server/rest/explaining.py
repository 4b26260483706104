"""`POST /v2/models/NAME/explain`: the Open Inference Protocol has no such route, V1 has one.

Explanations themselves come from the gateway's own listener (`:explain`); this only says where.
"""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from salver.engine.directory import ModelDirectory
from salver.engine.ports import ModelCatalog
from salver.errors import Unsupported
from salver.server.rest.models import SEEN_CATALOG

_PATHS = ("/v2/models/{name}/explain", "/v2/models/{name}/versions/{version}/explain")


class ExplainRoutes:
    """The endpoints over one directory."""

    def __init__(self, directory: ModelDirectory) -> None:
        self._directory = directory

    def routes(self) -> list[Route]:
        """One route per path."""
        return [Route(path, self.explain, methods=["POST"]) for path in _PATHS]

    async def explain(self, request: Request) -> Response:
        """501 with what to ask instead; 404 for a model that is not there."""
        catalog: ModelCatalog = request.scope.get(SEEN_CATALOG, self._directory)
        name = request.path_params["name"]
        catalog.find(name, request.path_params.get("version", ""))
        self._directory.find_explainer("", name)
        raise Unsupported(
            f"V2 has no route for explanations: ask POST /v1/models/{name}:explain, with V1's body"
        )
