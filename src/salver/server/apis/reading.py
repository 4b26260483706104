"""Requests that read objects: one, a list, a watch; as they are, as metadata alone, as tables."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp

from salver.control.resources import JsonObject
from salver.server.apis.bodies import json_response
from salver.server.apis.listing import ListRequest, ListResponse
from salver.server.apis.operations import Operations
from salver.server.apis.paths import ResourcePath
from salver.server.apis.ports import Clock, ColumnsOf
from salver.server.apis.queries import (
    accepted_form,
    is_true,
    matches_of,
    number,
    read_page_token,
)
from salver.server.apis.status import Refusal
from salver.server.apis.tables import META, PARTIAL, partial, row, table
from salver.server.apis.watching import WatchCounters, WatchRequest, WatchResponse

_WATCH_S = 1800.0
_LONGEST_WATCH_S = 86_400.0


class ObjectReader:
    """Answers requests that change nothing, and renders objects for those that do."""

    def __init__(
        self,
        operations: Operations,
        *,
        columns_of: ColumnsOf,
        clock: Clock,
        counters: WatchCounters,
    ) -> None:
        self._operations = operations
        self._columns_of = columns_of
        self._clock = clock
        self._counters = counters

    def answer(self, request: Request, path: ResourcePath) -> ASGIApp:
        """The response to a GET. Raises `SalverError`."""
        if path.subresource == "scale":
            return json_response(self._operations.scale(path))
        if is_true(request.query_params, "watch"):
            return self._watch(request, path)
        if path.name:
            return self.rendered(request, path, self._operations.get(path))
        return self._list(request, path)

    def rendered(
        self,
        request: Request,
        path: ResourcePath,
        obj: JsonObject,
        status: int = 200,
        warnings: Sequence[str] = (),
    ) -> Response:
        """The object in the form that the request accepts."""
        return json_response(self._renderer(request, path)(obj), status, warnings=warnings)

    def _renderer(self, request: Request, path: ResourcePath) -> Callable[[JsonObject], JsonObject]:
        form = accepted_form(request)
        if form == "Table":
            return lambda obj: self._table(
                request, path, [obj], {"resourceVersion": obj["metadata"]["resourceVersion"]}
            )
        return partial if form == PARTIAL else lambda obj: obj

    def _table(
        self,
        request: Request,
        path: ResourcePath,
        objects: Sequence[JsonObject],
        metadata: JsonObject,
    ) -> JsonObject:
        return table(
            objects,
            self._columns_of(path.type),
            metadata=metadata,
            now=self._clock.now(),
            include=_included(request),
        )

    def _list(self, request: Request, path: ResourcePath) -> ASGIApp:
        query = request.query_params
        version, after = read_page_token(query.get("continue", ""))
        wanted = ListRequest(path.type, path.namespace, number(query, "limit", 0), version, after)
        head, name, member = self._list_form(request, path)
        return ListResponse(
            self._operations.store,
            wanted,
            head=head,
            name=name,
            member=member,
            matches=matches_of(query),
        )

    def _list_form(
        self, request: Request, path: ResourcePath
    ) -> tuple[JsonObject, str, Callable[[JsonObject], JsonObject]]:
        """A list without metadata and members, what those are called, and how they look."""
        form, kind, api_version = accepted_form(request), path.type.kind, path.api_version
        if form == "Table":
            columns, now = self._columns_of(path.type), self._clock.now()
            head = table((), columns, metadata={}, now=now)
            del head["metadata"], head["rows"]
            include = _included(request)
            present = self._presenter(path) if include == "Object" else lambda obj: obj
            return head, "rows", lambda obj: row(present(obj), columns, now, include)
        if form == f"{PARTIAL}List":
            return {"kind": form, "apiVersion": META}, "items", partial
        return {"kind": f"{kind}List", "apiVersion": api_version}, "items", self._presenter(path)

    def _presenter(self, path: ResourcePath) -> Callable[[JsonObject], JsonObject]:
        return lambda obj: self._operations.presented(path, obj)

    def _watch(self, request: Request, path: ResourcePath) -> ASGIApp:
        query = request.query_params
        since = query.get("resourceVersion", "")
        wants_initial = is_true(query, "sendInitialEvents")
        if since and not since.isdigit():
            raise Refusal(400, f"resourceVersion: '{since}' is no version of this server")
        timeout_s = number(query, "timeoutSeconds", 0) or _WATCH_S
        render = self._renderer(request, path)
        matches = matches_of(query)
        if path.name:
            name = path.name
            of_selectors = matches or (lambda obj: True)
            matches = lambda obj: obj["metadata"]["name"] == name and of_selectors(obj)  # noqa: E731
        return WatchResponse(
            self._operations.store,
            WatchRequest(
                path.type,
                path.namespace,
                None if wants_initial or since in ("", "0") else int(since),
                min(timeout_s, _LONGEST_WATCH_S),
                wants_bookmarks=is_true(query, "allowWatchBookmarks"),
                marks_initial_end=wants_initial,
            ),
            render=lambda obj: render(self._operations.presented(path, obj)),
            render_bookmark=lambda version, initial: self._bookmark(
                request, path, version, initial
            ),
            matches=matches,
            counters=self._counters,
        )

    def _bookmark(
        self, request: Request, path: ResourcePath, version: int, ends_initial: bool
    ) -> JsonObject:
        metadata: JsonObject = {"resourceVersion": str(version), "creationTimestamp": None}
        if ends_initial:
            metadata["annotations"] = {"k8s.io/initial-events-end": "true"}
        if accepted_form(request) == "Table":
            return self._table(request, path, [], {"resourceVersion": str(version)})
        return {"kind": path.type.kind, "apiVersion": path.api_version, "metadata": metadata}


def _included(request: Request) -> str:
    return request.query_params.get("includeObject") or "Metadata"
