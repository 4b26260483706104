"""Statistics of models: Triton's extension, and all that is known of one at `/salver/v1/models`."""

from __future__ import annotations

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from salver.engine.model_facts import ModelFacts, facts_of, facts_of_versions
from salver.engine.on_demand import metadata_of
from salver.engine.ports import ModelCatalog
from salver.errors import ModelNotFound, Unsupported
from salver.server.model_config import config_of
from salver.server.rest.answers import json_answer
from salver.server.rest.models import SEEN_CATALOG
from salver.server.statistics import figures_of


class StatisticsRoutes:
    """The endpoints over one catalog."""

    def __init__(self, catalog: ModelCatalog, *, timeout_s: float) -> None:
        """`timeout_s` is how long a model in standby may take to load for its metadata."""
        self._catalog = catalog
        self._timeout_s = timeout_s

    def routes(self) -> list[Route]:
        """To be put before `/v2/models/{name}`: `stats` is no model's name, as in Triton."""
        model = "/v2/models/{name}"
        return [
            Route("/v2/models/stats", self.all_statistics),
            Route(model + "/stats", self.statistics),
            Route(model + "/versions/{version}/stats", self.statistics),
            Route(model + "/config", self.config),
            Route(model + "/versions/{version}/config", self.config),
            Route("/salver/v1/models/{name}", self.facts),
            Route("/salver/v1/models/{name}/versions/{version}", self.facts),
        ]

    async def all_statistics(self, request: Request) -> Response:
        """`GET /v2/models/stats`: every version that has workers here."""
        catalog = self._seen_by(request)
        found = [
            facts
            for name in dict.fromkeys(status.name for status in catalog.statuses())
            for facts in _known(catalog, name)
        ]
        return _answer(found)

    async def statistics(self, request: Request) -> Response:
        """`GET /v2/models/NAME[/versions/VERSION]/stats`."""
        return _answer(self._facts(request))

    async def config(self, request: Request) -> Response:
        """`GET /v2/models/NAME[/versions/VERSION]/config`."""
        name, version = request.path_params["name"], request.path_params.get("version", "")
        catalog = self._seen_by(request)
        model = catalog.find(name, version)
        metadata = await metadata_of(model, self._timeout_s)
        return json_answer(config_of(name, metadata, next(iter(facts_of(model)), None)))

    async def facts(self, request: Request) -> Response:
        """`GET /salver/v1/models/NAME`: limits, statistics, and what came of compiling it."""
        found = msgspec.to_builtins(self._facts(request))
        return json_answer({"name": request.path_params["name"], "versions": found})

    def _facts(self, request: Request) -> list[ModelFacts]:
        name, version = request.path_params["name"], request.path_params.get("version", "")
        found = facts_of_versions(self._seen_by(request), name, version)
        if not found:
            raise Unsupported(
                f"model '{name}' has no workers of this machine, or has not been loaded yet: "
                "see /metrics for what is counted of it"
            )
        return found

    def _seen_by(self, request: Request) -> ModelCatalog:
        catalog: ModelCatalog = request.scope.get(SEEN_CATALOG, self._catalog)
        return catalog


def _known(catalog: ModelCatalog, name: str) -> list[ModelFacts]:
    """None of a model that has gone meanwhile."""
    try:
        return facts_of_versions(catalog, name)
    except ModelNotFound:
        return []


def _answer(found: list[ModelFacts]) -> Response:
    figures = [figures_of(facts) for facts in found]
    return json_answer({"model_stats": msgspec.to_builtins(figures)})
