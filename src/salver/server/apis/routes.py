"""The admin API put together: routes for discovery, OpenAPI, objects, and logs of pods."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from salver import __version__
from salver.control.resources import Admission, JsonObject
from salver.errors import SalverError
from salver.server.apis.bodies import json_response, refusal_response
from salver.server.apis.discovery import AGGREGATED, Discovery
from salver.server.apis.handlers import ObjectHandlers
from salver.server.apis.logs import log_response
from salver.server.apis.openapi import (
    PROTOBUF_V2,
    any_object,
    document_v2,
    document_v3,
    index_v3,
)
from salver.server.apis.operations import DEFAULT_NAMESPACE, Operations
from salver.server.apis.paths import ResourcePath, parse_path
from salver.server.apis.ports import (
    Authorise,
    Clock,
    ColumnsOf,
    Convert,
    PagedStore,
    ReadLogs,
    Scaling,
    SchemaOf,
)
from salver.server.apis.reading import ObjectReader
from salver.server.apis.scaling import PredictorScaling
from salver.server.apis.status import Refusal, refusal_of
from salver.server.apis.tables import default_columns
from salver.server.apis.watching import WatchCounters
from salver.spec.kinds import ResourceType
from salver.telemetry.registry import Registry

API_VERSION = ("1", "36")
"""The release of Kubernetes whose API this follows; clients compare it with their own."""
READ_ONLY = frozenset({"pods", "revisions"})
"""What only the control plane writes."""
MAX_BODY_BYTES = 3 << 20

_PROTOBUF = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
"""As Kubernetes answers: callers ask with an `@` in it, which is no media type to read back."""
_SUFFIX_LETTERS = "bcdfghjklmnpqrstvwxz2456789"

Answer = Callable[[Request], Awaitable[ASGIApp]]


def build_api_routes(
    store: PagedStore,
    admission: Admission,
    types: Sequence[ResourceType],
    *,
    columns_of: ColumnsOf = default_columns,
    schema_of: SchemaOf = any_object,
    convert: Convert | None = None,
    scaling: Scaling | None = None,
    read_logs: ReadLogs | None = None,
    authorise: Authorise | None = None,
    clock: Clock | None = None,
    counters: WatchCounters | None = None,
    read_only: frozenset[str] = READ_ONLY,
    max_body_size: int = MAX_BODY_BYTES,
) -> list[Route]:
    """The routes of the API on this store, in which the default namespace is made at once.

    `convert(obj, apiVersion)` gives a stored object in another of its type's versions; without
    it, the version's name alone is exchanged. `authorise(request)` raises to refuse a request.
    """
    clock = clock or system_clock()
    operations = Operations(
        store,
        admission,
        types,
        clock=clock,
        convert=convert or relabelled,
        scaling=scaling or PredictorScaling(),
    )
    operations.ensure_namespace(DEFAULT_NAMESPACE)
    counters = counters or WatchCounters(Registry())
    reader = ObjectReader(operations, columns_of=columns_of, clock=clock, counters=counters)
    handlers = ObjectHandlers(operations, reader, max_body_size=max_body_size)
    discovery = Discovery(types, read_only)
    api = _Api(types, handlers, discovery, schema_of, read_logs)
    return [
        _route(path, answer, authorise)
        for path, answer in (
            # The official Python client asks with a slash at the end.
            ("/version", api.version),
            ("/version/", api.version),
            ("/api", api.core),
            ("/api/", api.core),
            ("/apis", api.groups),
            ("/apis/", api.groups),
            ("/api/{rest:path}", api.objects),
            ("/apis/{rest:path}", api.objects),
            ("/openapi/v2", api.openapi_v2),
            ("/openapi/v3", api.openapi_v3),
            ("/openapi/v3/{rest:path}", api.openapi_v3_of),
        )
    ]


def relabelled(obj: JsonObject, api_version: str) -> JsonObject:
    """The object under another name of its version: for versions that do not differ."""
    return {**obj, "apiVersion": api_version}


def system_clock() -> Clock:
    """The system's time and randomness."""
    return Clock(
        now=lambda: datetime.now(UTC),
        suffix=lambda: "".join(secrets.choice(_SUFFIX_LETTERS) for _ in range(5)),
    )


class _Api:
    """What the routes answer."""

    def __init__(
        self,
        types: Sequence[ResourceType],
        handlers: ObjectHandlers,
        discovery: Discovery,
        schema_of: SchemaOf,
        read_logs: ReadLogs | None,
    ) -> None:
        self._types = types
        self._handlers = handlers
        self._discovery = discovery
        self._schema_of = schema_of
        self._read_logs = read_logs

    async def version(self, request: Request) -> ASGIApp:
        major, minor = API_VERSION
        return json_response(
            {
                "major": major,
                "minor": minor,
                "gitVersion": f"v{major}.{minor}.0+salver-{__version__}",
                "platform": "linux",
                # Typed clients insist on the rest.
                "gitCommit": "",
                "gitTreeState": "clean",
                "buildDate": "1970-01-01T00:00:00Z",
                "goVersion": "",
                "compiler": "",
            }
        )

    async def core(self, request: Request) -> ASGIApp:
        return self._discovered(request, self._discovery.core_versions, core=True)

    async def groups(self, request: Request) -> ASGIApp:
        return self._discovered(request, self._discovery.groups, core=False)

    def _discovered(
        self, request: Request, plain: Callable[[], JsonObject], *, core: bool
    ) -> Response:
        accept = request.headers.get("accept", "")
        if "as=APIGroupDiscoveryList" not in accept:
            return json_response(plain())
        version = "v2" if "v=v2;" in accept else "v2beta1"
        body = self._discovery.aggregated(version, core=core)
        return json_response(body, media=AGGREGATED.format(version=version))

    async def objects(self, request: Request) -> ASGIApp:
        path = parse_path(self._types, request.url.path)
        if path is None:
            return json_response(self._described(request))
        try:
            if path.subresource == "log":
                return await log_response(request, path, self._read_logs)
            self._check_verb(request, path)
            return await self._handlers.answer(request, path)
        except SalverError as error:
            raise refusal_of(
                error, kind=path.type.plural, group=path.group, name=path.name
            ) from error

    def _described(self, request: Request) -> JsonObject:
        """The discovery document of a group or version. Raises `Refusal` if it is neither."""
        root, *parts = request.url.path.strip("/").split("/")
        found = None
        if root == "api" and len(parts) == 1:
            found = self._discovery.resources("", parts[0])
        elif root == "apis" and len(parts) == 1:
            found = self._discovery.group(parts[0])
        elif root == "apis" and len(parts) == 2:
            found = self._discovery.resources(*parts)
        if found is None:
            raise Refusal(404, "the server could not find the requested resource")
        return found

    def _check_verb(self, request: Request, path: ResourcePath) -> None:
        verbs = self._discovery.verbs(path.type)
        if request.method not in ("GET", "HEAD") and "create" not in verbs:
            raise Refusal(
                405,
                f"{path.type.plural} are made by the server: they can be read, not changed",
                details={"kind": path.type.plural, "group": path.group, "name": path.name},
            )

    async def openapi_v2(self, request: Request) -> ASGIApp:
        if "protobuf" in request.headers.get("accept", ""):
            return Response(PROTOBUF_V2, media_type=_PROTOBUF)
        return json_response(document_v2())

    async def openapi_v3(self, request: Request) -> ASGIApp:
        return json_response(index_v3(self._types))

    async def openapi_v3_of(self, request: Request) -> ASGIApp:
        root, *parts = request.path_params["rest"].strip("/").split("/")
        found = None
        if root == "api" and len(parts) == 1:
            found = document_v3(self._types, "", parts[0], self._schema_of)
        elif root == "apis" and len(parts) == 2:
            found = document_v3(self._types, parts[0], parts[1], self._schema_of)
        if found is None:
            raise Refusal(404, "the server could not find the requested resource")
        return json_response(found)


def _route(path: str, answer: Answer, authorise: Authorise | None) -> Route:
    return Route(path, _Endpoint(answer, authorise))


class _Endpoint:
    """One route as an ASGI application: any method, and every refusal as a `Status`."""

    def __init__(self, answer: Answer, authorise: Authorise | None) -> None:
        self._answer = answer
        self._authorise = authorise

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        try:
            if self._authorise is not None:
                self._authorise(request)
            response = await self._answer(request)
        except SalverError as error:
            response = refusal_response(refusal_of(error))
        await response(scope, receive, send)
