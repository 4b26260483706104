"""Requests for objects: reads query, headers and body, asks `operations.py`, answers."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp

from salver.control.resources import JsonObject
from salver.server.apis.bodies import (
    json_response,
    media_type,
    parsed,
    parsed_object,
    read_bytes,
)
from salver.server.apis.openapi import PATCH_TYPES
from salver.server.apis.operations import Caller, Operations
from salver.server.apis.ownership import manager_name
from salver.server.apis.patches import json_patch, merge_patch, strategic_patch
from salver.server.apis.paths import ResourcePath
from salver.server.apis.ports import Clock, ColumnsOf
from salver.server.apis.selectors import Matches, matcher
from salver.server.apis.status import Refusal, success_body
from salver.server.apis.tables import META, partial, table
from salver.server.apis.watching import WatchCounters, WatchRequest, WatchResponse
from salver.spec.kinds import CORE

_WATCH_S = 1800.0
_LONGEST_WATCH_S = 86_400.0
_PAGE = 500
_JSON_PATCH, _MERGE_PATCH, _APPLY_PATCH = PATCH_TYPES
_STRATEGIC_PATCH = "application/strategic-merge-patch+json"


class ObjectHandlers:
    """Answers requests for objects, one method for each verb."""

    def __init__(
        self,
        operations: Operations,
        *,
        columns_of: ColumnsOf,
        clock: Clock,
        counters: WatchCounters,
        max_body_size: int,
    ) -> None:
        self._operations = operations
        self._columns_of = columns_of
        self._clock = clock
        self._counters = counters
        self._max_body_size = max_body_size

    async def answer(self, request: Request, path: ResourcePath) -> ASGIApp:
        """The response. Raises `SalverError`."""
        match request.method, bool(path.name):
            case "GET" | "HEAD", True:
                return self._get(request, path)
            case "GET" | "HEAD", False:
                if _is_true(request.query_params, "watch"):
                    return self._watch(request, path)
                return self._list(request, path)
            case "POST", False:
                return await self._create(request, path)
            case "PUT", True:
                return await self._replace(request, path)
            case "PATCH", True:
                return await self._patch(request, path)
            case "DELETE", True if not path.subresource:
                return await self._delete(request, path)
            case "DELETE", False:
                return await self._delete_collection(request, path)
        raise Refusal(405, f"{request.url.path} does not answer {request.method}")

    # Reading.

    def _get(self, request: Request, path: ResourcePath) -> ASGIApp:
        if path.subresource == "scale":
            return json_response(self._operations.scale(path))
        if _is_true(request.query_params, "watch"):
            return self._watch(request, path)
        return self._rendered(request, path, self._operations.get(path))

    def _rendered(
        self,
        request: Request,
        path: ResourcePath,
        obj: JsonObject,
        status: int = 200,
        warnings: Sequence[str] = (),
    ) -> Response:
        return json_response(self._renderer(request, path)(obj), status, warnings=warnings)

    def _renderer(self, request: Request, path: ResourcePath) -> Callable[[JsonObject], JsonObject]:
        form = _accepted_form(request)
        if form == "Table":
            return lambda obj: self._table(
                request, path, [obj], {"resourceVersion": obj["metadata"]["resourceVersion"]}
            )
        return partial if form == "PartialObjectMetadata" else lambda obj: obj

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
            include=request.query_params.get("includeObject") or "Metadata",
        )

    def _list(self, request: Request, path: ResourcePath) -> ASGIApp:
        query = request.query_params
        limit = _number(query, "limit", 0)
        version, after = _read_token(query.get("continue", ""))
        matches = _matches(query)
        found, present_version, last = self._scan(path, matches, after, limit)
        metadata: JsonObject = {"resourceVersion": str(version or present_version)}
        if last is not None:
            metadata["continue"] = _token(version or present_version, last)
        objects = [self._operations.presented(path, obj) for obj in found]
        form = _accepted_form(request)
        if form == "Table":
            return json_response(self._table(request, path, objects, metadata))
        kind = path.type.kind
        if form == "PartialObjectMetadataList":
            kind, objects = "PartialObjectMetadata", [partial(obj) for obj in objects]
        api_version = META if kind != path.type.kind else path.api_version
        return json_response(
            {
                "kind": f"{kind}List",
                "apiVersion": api_version,
                "metadata": metadata,
                "items": objects,
            }
        )

    def _scan(
        self, path: ResourcePath, matches: Matches | None, after: tuple[str, str], limit: int
    ) -> tuple[list[JsonObject], int, tuple[str, str] | None]:
        """What matches, the store's version, and where to go on if there is more."""
        key = (path.type.group, path.type.plural, path.namespace)
        store = self._operations.store
        if not limit:
            objects, version = store.page(*key, after=after)
            return [each for each in objects if matches is None or matches(each)], version, None
        found: list[JsonObject] = []
        while True:
            # One more than is wanted says whether there are more.
            wanted = limit + 1 if matches is None else max(limit + 1, _PAGE)
            objects, version = store.page(*key, after=after, limit=wanted)
            for obj in objects:
                if matches is None or matches(obj):
                    if len(found) == limit:
                        return found, version, after
                    found.append(obj)
                after = (obj["metadata"].get("namespace", ""), obj["metadata"]["name"])
            if len(objects) < wanted:
                return found, version, None

    def _watch(self, request: Request, path: ResourcePath) -> ASGIApp:
        query = request.query_params
        since = query.get("resourceVersion", "")
        wants_initial = _is_true(query, "sendInitialEvents")
        if since and not since.isdigit():
            raise Refusal(400, f"resourceVersion: '{since}' is no version of this server")
        timeout_s = _number(query, "timeoutSeconds", 0) or _WATCH_S
        render = self._renderer(request, path)
        matches = _matches(query)
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
                wants_bookmarks=_is_true(query, "allowWatchBookmarks"),
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
        if _accepted_form(request) == "Table":
            return self._table(request, path, [], {"resourceVersion": str(version)})
        return {"kind": path.type.kind, "apiVersion": path.api_version, "metadata": metadata}

    # Changing.

    async def _create(self, request: Request, path: ResourcePath) -> ASGIApp:
        given = parsed_object(await self._body(request), media_type(request))
        obj, warnings = self._operations.create(path, given, _caller(request))
        return self._rendered(request, path, obj, 201, warnings)

    async def _replace(self, request: Request, path: ResourcePath) -> ASGIApp:
        given = parsed_object(await self._body(request), media_type(request))
        if path.subresource == "scale":
            scale, warnings = self._operations.change_scale(
                path, lambda present: given, _caller(request)
            )
            return json_response(scale, warnings=warnings)
        obj, warnings = self._operations.update(path, given, _caller(request))
        return self._rendered(request, path, obj, warnings=warnings)

    async def _patch(self, request: Request, path: ResourcePath) -> ASGIApp:
        body, media, caller = await self._body(request), media_type(request), _caller(request)
        if media == _APPLY_PATCH and path.subresource != "scale":
            return self._apply(request, path, parsed_object(body, media), caller)
        patch = parsed(body, media, (_JSON_PATCH, _MERGE_PATCH, _STRATEGIC_PATCH, _APPLY_PATCH))
        edit = json_patch if media == _JSON_PATCH else merge_patch
        if media == _STRATEGIC_PATCH and path.type.group == CORE:
            edit = strategic_patch
        if path.subresource == "scale":
            scale, warnings = self._operations.change_scale(
                path, lambda present: edit(present, patch), caller
            )
            return json_response(scale, warnings=warnings)
        obj, warnings = self._operations.change(path, lambda now: _edited(edit, now, patch), caller)
        return self._rendered(request, path, obj, warnings=warnings)

    def _apply(
        self, request: Request, path: ResourcePath, wanted: JsonObject, caller: Caller
    ) -> ASGIApp:
        if not request.query_params.get("fieldManager"):
            raise Refusal(400, "fieldManager is required for apply: say who applies")
        obj, warnings, is_new = self._operations.apply(
            path, wanted, caller, force=_is_true(request.query_params, "force")
        )
        return self._rendered(request, path, obj, 201 if is_new else 200, warnings)

    async def _delete(self, request: Request, path: ResourcePath) -> ASGIApp:
        options = await self._delete_options(request)
        obj, is_gone = self._operations.delete(path, options, _caller(request, options))
        if not is_gone:
            return json_response(obj)
        return json_response(
            success_body(
                name=path.name,
                group=path.group,
                plural=path.type.plural,
                uid=obj["metadata"]["uid"],
            )
        )

    async def _delete_collection(self, request: Request, path: ResourcePath) -> ASGIApp:
        options = await self._delete_options(request)
        caller = _caller(request, options)
        found, version, _ = self._scan(path, _matches(request.query_params), ("", ""), 0)
        deleted = []
        for obj in found:
            metadata = obj["metadata"]
            one = msgspec.structs.replace(
                path, name=metadata["name"], namespace=metadata.get("namespace", "")
            )
            deleted.append(self._operations.delete(one, options, caller)[0])
        return json_response(
            {
                "kind": f"{path.type.kind}List",
                "apiVersion": path.api_version,
                "metadata": {"resourceVersion": str(version)},
                "items": deleted,
            }
        )

    async def _delete_options(self, request: Request) -> JsonObject:
        body = await self._body(request)
        options = parsed_object(body, media_type(request)) if body.strip() else {}
        policy = request.query_params.get("propagationPolicy")
        return {**options, "propagationPolicy": policy} if policy else options

    async def _body(self, request: Request) -> bytes:
        return await read_bytes(request, self._max_body_size)


def _edited(edit: Callable[[Any, Any], Any], present: JsonObject, patch: Any) -> JsonObject:
    edited = edit(present, patch)
    if not isinstance(edited, dict):
        raise Refusal(422, "the patch leaves no object: it must keep one")
    return edited


def _matches(query: QueryParams) -> Matches | None:
    return matcher(query.get("labelSelector", ""), query.get("fieldSelector", ""))


def _caller(request: Request, options: JsonObject | None = None) -> Caller:
    query = request.query_params
    dry_run = [*query.getlist("dryRun"), *((options or {}).get("dryRun") or ())]
    if any(each != "All" for each in dry_run):
        raise Refusal(400, f"dryRun: {dry_run}: the one value it takes is All")
    if query.get("fieldValidation", "") not in ("", "Ignore", "Warn", "Strict"):
        raise Refusal(400, "fieldValidation: it is one of Ignore, Warn and Strict")
    name = manager_name(query.get("fieldManager", ""), request.headers.get("user-agent", ""))
    return Caller(name, bool(dry_run))


def _accepted_form(request: Request) -> str:
    """The `as=` of the first form in `Accept` that is known: Table, PartialObjectMetadata..."""
    for each in request.headers.get("accept", "").split(","):
        media, *parameters = [part.strip() for part in each.split(";")]
        named = dict(part.partition("=")[::2] for part in parameters)
        if media == "application/json" and named.get("as") in (
            "Table",
            "PartialObjectMetadata",
            "PartialObjectMetadataList",
        ):
            return str(named["as"])
        if media in ("application/json", "*/*", ""):
            return ""
    return ""


def _is_true(query: QueryParams, name: str) -> bool:
    return query.get(name, "").lower() in ("1", "true")


def _number(query: QueryParams, name: str, default: int) -> int:
    text = query.get(name, "")
    if not text:
        return default
    if not text.isdigit():
        raise Refusal(400, f"{name}: '{text}' is no number of at least 0")
    return int(text[:12])


def _token(version: int, after: tuple[str, str]) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode([version, *after])).decode()


def _read_token(text: str) -> tuple[int, tuple[str, str]]:
    if not text:
        return 0, ("", "")
    try:
        version, namespace, name = msgspec.json.decode(
            base64.urlsafe_b64decode(text), type=tuple[int, str, str]
        )
    except (ValueError, msgspec.MsgspecError) as error:
        raise Refusal(400, "continue: this token is not of this server: list again") from error
    return version, (namespace, name)
