"""The V1 and V2 routes about models and the server: health, metadata, repository.

Thin: what they answer is decided in `metadata.py` and by the catalog.
"""

from __future__ import annotations

from collections.abc import Sequence

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from salver import __version__
from salver.engine.on_demand import metadata_of
from salver.engine.ports import ModelCatalog, ServedModel
from salver.errors import InvalidInput, Unsupported
from salver.server.repository import check_load_parameters
from salver.server.rest.answers import json_answer, not_ready, read_json_object
from salver.server.rest.metadata import (
    READY,
    describe,
    index_entry,
    model_metadata,
    model_names,
    why_not_ready,
)
from salver.server.tfs_facts import status_documents, statuses_of

SEEN_CATALOG = "salver.catalog"
"""Where in a request's ASGI scope the catalog lies that its path or host narrows it to."""

_V1_VERBS = (":predict", ":explain", ":classify", ":regress")


class ModelRoutes:
    """The endpoints over one catalog."""

    def __init__(
        self,
        catalog: ModelCatalog,
        *,
        extensions: Sequence[str],
        max_body_size: int,
        timeout_s: float,
    ) -> None:
        """`timeout_s` is how long a model in standby may take to load for its metadata."""
        self._catalog = catalog
        self._extensions = list(extensions)
        self._max_body_size = max_body_size
        self._timeout_s = timeout_s

    def routes(self) -> list[Route]:
        """One route per path: a path split over routes would name only one in `Allow`."""
        model, repository = "/v2/models/{name}", "/v2/repository"
        versioned = model + "/versions/{version}"
        return [
            Route("/v1/models", self.names),
            Route("/v1/models/{name}:predict", self.inference, methods=["POST"]),
            Route("/v1/models/{name}:explain", self.explain, methods=["POST"]),
            Route("/v1/models/{name}", self.model_ready),
            Route("/v2", self.server_metadata),
            *(Route(path, self.live) for path in ("/v2/health/live", "/healthz", "/livez")),
            *(Route(path, self.ready) for path in ("/v2/health/ready", "/readyz")),
            Route("/v2/models", self.names),
            *(Route(path, self.model_metadata) for path in (model, versioned)),
            *(Route(path + "/ready", self.model_ready) for path in (model, versioned)),
            *(
                Route(f"{path}/{verb}", self.inference, methods=["POST"])
                for path in (model, versioned)
                for verb in ("infer", "generate", "generate_stream")
            ),
            Route(repository + "/index", self.index, methods=["POST"]),
            Route(repository + "/models/{name}/load", self.load, methods=["POST"]),
            Route(repository + "/models/{name}/unload", self.unload, methods=["POST"]),
        ]

    async def server_metadata(self, request: Request) -> Response:
        """`GET /v2`."""
        return json_answer(
            {"name": "salver", "version": __version__, "extensions": self._extensions}
        )

    async def live(self, request: Request) -> Response:
        """200 for as long as the process answers at all."""
        return json_answer({"live": True})

    async def ready(self, request: Request) -> Response:
        """200 if every model that should be loaded is; else 503 and which is not, and why."""
        catalog = self._seen_by(request)
        if catalog.is_draining:
            return not_ready("the server is shutting down; use another replica", ready=False)
        if catalog.is_ready:
            return json_answer({"ready": True})
        return not_ready(why_not_ready(catalog.statuses()), ready=False)

    async def names(self, request: Request) -> Response:
        """All models, ready or not."""
        return json_answer({"models": model_names(self._seen_by(request).statuses())})

    async def model_metadata(self, request: Request) -> Response:
        """`GET /v2/models/NAME[/versions/VERSION]`."""
        model = self._find(request)
        name, version = request.path_params["name"], request.path_params.get("version")
        versions = [version] if version else self._seen_by(request).versions(name)
        metadata = await metadata_of(model, self._timeout_s)
        return json_answer(model_metadata(name, versions, metadata))

    async def model_ready(self, request: Request) -> Response:
        """200 if the model answers, else 503: clients of both protocols go by the status.

        V1's answer has what TensorFlow Serving's has, which has the same path, besides.
        """
        if request.url.path.startswith("/v1/") and request.url.path.endswith(_V1_VERBS):
            # The router takes `M:predict` for a model's name when the method is GET.
            raise HTTPException(405, headers={"Allow": "POST"})
        model = self._find(request)
        name = request.path_params["name"]
        more: dict[str, object] = {}
        if request.url.path.startswith("/v1/"):
            found = statuses_of(self._seen_by(request), name)
            more["model_version_status"] = status_documents(found)
        if model.is_ready:
            return json_answer({"name": name, "ready": True, **more})
        return not_ready(describe(model.status), name=name, ready=False, **more)

    async def index(self, request: Request) -> Response:
        """`POST /v2/repository/index`: every version of every model and its state."""
        body = await read_json_object(request, self._max_body_size)
        only_ready = body.get("ready", False)
        if not isinstance(only_ready, bool):
            raise InvalidInput("the member 'ready' of the body must be true or false")
        statuses = self._seen_by(request).statuses()
        return json_answer([index_entry(s) for s in statuses if s.state == READY or not only_ready])

    async def load(self, request: Request) -> Response:
        """Loads, or loads again. A model that cannot be loaded is 400 with the reason."""
        check_load_parameters(await self._parameters(request))
        name = request.path_params["name"]
        await self._catalog.load(name)
        return json_answer({"name": name, "load": True})

    async def unload(self, request: Request) -> Response:
        """Takes a model out of service once its queue is empty."""
        parameters = await self._parameters(request)
        if not isinstance(parameters.get("unload_dependents", False), bool):
            raise InvalidInput("the parameter 'unload_dependents' must be true or false")
        name = request.path_params["name"]
        await self._catalog.unload(name)
        return json_answer({"name": name, "unload": True})

    async def explain(self, request: Request) -> Response:
        """`POST /v1/models/NAME:explain`: known to V1, and not offered yet."""
        model = self._find(request)
        raise Unsupported(f"model {model.name} has no explainer; ask :predict instead")

    async def inference(self, request: Request) -> Response:
        """Only other methods than POST get here, and those Starlette answers with 405."""
        raise Unsupported(
            f"{request.url.path} is answered by the gateway's own listener, not by this app"
        )

    def _find(self, request: Request) -> ServedModel:
        params = request.path_params
        return self._seen_by(request).find(params["name"], params.get("version", ""))

    def _seen_by(self, request: Request) -> ModelCatalog:
        """All models, or those of the one service that the path or the host names."""
        catalog: ModelCatalog = request.scope.get(SEEN_CATALOG, self._catalog)
        return catalog

    async def _parameters(self, request: Request) -> dict[str, object]:
        body = await read_json_object(request, self._max_body_size)
        parameters = body.get("parameters")
        if parameters is None:
            return {}
        if not isinstance(parameters, dict):
            raise InvalidInput("the member 'parameters' of the body must be an object")
        return parameters
