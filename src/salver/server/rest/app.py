"""The ASGI application of all routes but inference, and what its errors look like.

Raised errors become `{"error": message}` here and nowhere else. `LoadFailed` is 400: what is
wrong is the artifact that the caller asked to load, and trying again will not help.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp

from salver.engine.directory import ModelDirectory
from salver.engine.shared_memory import ClientRegions
from salver.errors import ArtifactError, RequestError
from salver.server.controls import ServerControls
from salver.server.extensions import extensions_of
from salver.server.observe import RequestObserver
from salver.server.rest.answers import error_answer, refusal
from salver.server.rest.controls import ControlRoutes
from salver.server.rest.explaining import ExplainRoutes
from salver.server.rest.mlflow import ScoringRoutes
from salver.server.rest.models import ModelRoutes
from salver.server.rest.pages import PageRoutes
from salver.server.rest.seldon import SeldonPrefix, SeldonRoutes
from salver.server.rest.service_paths import ServicePaths
from salver.server.rest.services import ListServices, no_services
from salver.server.rest.shared_memory import SharedMemoryRoutes
from salver.server.rest.statistics import StatisticsRoutes
from salver.server.rest.tfs import TfsRoutes
from salver.settings import ServeSettings
from salver.telemetry.snapshot import CONTENT_TYPE


def build_app(
    catalog: ModelDirectory,
    settings: ServeSettings,
    *,
    render_metrics: Callable[[], bytes],
    regions: ClientRegions | None = None,
    more_routes: Sequence[BaseRoute] = (),
    list_services: ListServices = no_services,
    observer: RequestObserver | None = None,
    controls: ServerControls | None = None,
) -> ASGIApp:
    """The application; `more_routes` come before those of V1 and V2 and may so replace one.

    `regions` are those of the memory that clients share, None if none is taken. `list_services`
    gives the objects of the services that are declared, `observer` logs and traces what is handed
    on to services whole. `controls` are what callers may change of traces and logs.
    """
    models = ModelRoutes(
        catalog,
        extensions=extensions_of(shares_memory=regions is not None),
        max_body_size=settings.max_body_size,
        timeout_s=settings.request_timeout,
    )

    async def metrics(request: Request) -> Response:
        return Response(render_metrics(), headers={"Content-Type": CONTENT_TYPE})

    seldon = SeldonRoutes(catalog, timeout_s=settings.request_timeout)
    # Seldon's come before a mount of the Kubernetes API: both begin with `/api`.
    tfs = TfsRoutes(catalog, timeout_s=settings.request_timeout)
    statistics = StatisticsRoutes(catalog, timeout_s=settings.request_timeout)
    others = [*ScoringRoutes(catalog).routes(), *ExplainRoutes(catalog).routes()]
    others += SharedMemoryRoutes(regions).routes()
    if controls is not None:
        limit = settings.max_body_size
        others += ControlRoutes(controls, catalog, max_body_size=limit).routes()
    own = [*tfs.routes(), *models.routes(), Route("/metrics", metrics)]
    # Ahead of those of graphs, which take all of `/salver/v1` when they are first needed.
    # MLflow's come before a Kubernetes API, which has a `/version` too: see `ScoringRoutes`.
    routes = [*seldon.routes(), *statistics.routes(), *others, *more_routes, *own]
    app = Starlette(
        routes=[*routes, *PageRoutes(catalog, list_services).routes()],
        exception_handlers={
            RequestError: _on_request_error,
            ArtifactError: _on_artifact_error,
            HTTPException: _on_http_error,
            Exception: _on_bug,
        },
    )
    # A path with a slash too many is unknown: a redirect would lose the body of a POST.
    app.router.redirect_slashes = False
    return ServicePaths(SeldonPrefix(app, catalog), catalog, observer)


async def _on_request_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestError)
    return refusal(error)


async def _on_artifact_error(request: Request, error: Exception) -> Response:
    return error_answer(400, str(error))


async def _on_http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    path = request.url.path
    if error.status_code == 404:
        return error_answer(404, f"no route {path}: see /docs for those there are")
    if error.status_code == 405:
        allowed = (error.headers or {}).get("Allow", "")
        message = f"{path} does not answer {request.method}: use {allowed}"
        return error_answer(405, message, error.headers)
    return error_answer(error.status_code, error.detail, error.headers)


async def _on_bug(request: Request, error: Exception) -> Response:
    # Starlette raises the error again after this answer, so the listener logs it.
    return error_answer(500, f"the server failed on {request.url.path}: see its log")
