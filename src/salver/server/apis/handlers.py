"""Requests that change objects: reads query, headers and body, asks `operations.py`, answers.

What it answers is on disk. Requests that read are `reading.py`'s.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.types import ASGIApp

from salver.control.resources import JsonObject
from salver.errors import ResourceNotFound
from salver.server.apis.bodies import (
    json_response,
    media_type,
    parsed,
    parsed_object,
    read_bytes,
)
from salver.server.apis.listing import pieces
from salver.server.apis.openapi import PATCH_TYPES
from salver.server.apis.operations import Caller, Operations
from salver.server.apis.patches import json_patch, merge_patch, strategic_patch
from salver.server.apis.paths import ResourcePath
from salver.server.apis.queries import caller_of, is_true, matches_of
from salver.server.apis.reading import ObjectReader
from salver.server.apis.status import Refusal, success_body
from salver.spec.kinds import CORE

_JSON_PATCH, _MERGE_PATCH, _APPLY_PATCH = PATCH_TYPES
_STRATEGIC_PATCH = "application/strategic-merge-patch+json"


class ObjectHandlers:
    """Answers requests for objects, one method for each verb."""

    def __init__(
        self,
        operations: Operations,
        reader: ObjectReader,
        *,
        max_body_size: int,
    ) -> None:
        self._operations = operations
        self._reader = reader
        self._max_body_size = max_body_size

    async def answer(self, request: Request, path: ResourcePath) -> ASGIApp:
        """The response. Raises `SalverError`."""
        if request.method in ("GET", "HEAD"):
            return self._reader.answer(request, path)
        response = await self._change(request, path)
        await self._operations.store.wait_durable()
        return response

    async def _change(self, request: Request, path: ResourcePath) -> ASGIApp:
        match request.method, bool(path.name):
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

    async def _create(self, request: Request, path: ResourcePath) -> ASGIApp:
        given = parsed_object(await self._body(request), media_type(request))
        obj, warnings = self._operations.create(path, given, caller_of(request))
        return self._reader.rendered(request, path, obj, 201, warnings)

    async def _replace(self, request: Request, path: ResourcePath) -> ASGIApp:
        given = parsed_object(await self._body(request), media_type(request))
        if path.subresource == "scale":
            scale, warnings = self._operations.change_scale(
                path, lambda present: given, caller_of(request)
            )
            return json_response(scale, warnings=warnings)
        obj, warnings = self._operations.update(path, given, caller_of(request))
        return self._reader.rendered(request, path, obj, warnings=warnings)

    async def _patch(self, request: Request, path: ResourcePath) -> ASGIApp:
        body, media, caller = await self._body(request), media_type(request), caller_of(request)
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
        return self._reader.rendered(request, path, obj, warnings=warnings)

    def _apply(
        self, request: Request, path: ResourcePath, wanted: JsonObject, caller: Caller
    ) -> ASGIApp:
        if not request.query_params.get("fieldManager"):
            raise Refusal(400, "fieldManager is required for apply: say who applies")
        obj, warnings, is_new = self._operations.apply(
            path, wanted, caller, force=is_true(request.query_params, "force")
        )
        return self._reader.rendered(request, path, obj, 201 if is_new else 200, warnings)

    async def _delete(self, request: Request, path: ResourcePath) -> ASGIApp:
        options = await self._delete_options(request)
        obj, is_gone = self._operations.delete(path, options, caller_of(request, options))
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
        caller = caller_of(request, options)
        matches = matches_of(request.query_params)
        deleted, version = [], 0
        async for objects, present in pieces(self._operations.store, path.type, path.namespace):
            version = version or present
            for obj in objects:
                if matches is None or matches(obj):
                    # One may have gone with its owner, a few lines up.
                    with contextlib.suppress(ResourceNotFound):
                        deleted.append(self._delete_one(path, obj, options, caller))
        return json_response(
            {
                "kind": f"{path.type.kind}List",
                "apiVersion": path.api_version,
                "metadata": {"resourceVersion": str(version)},
                "items": deleted,
            }
        )

    def _delete_one(
        self, path: ResourcePath, obj: JsonObject, options: JsonObject, caller: Caller
    ) -> JsonObject:
        metadata = obj["metadata"]
        one = msgspec.structs.replace(
            path, name=metadata["name"], namespace=metadata.get("namespace", "")
        )
        return self._operations.delete(one, options, caller)[0]

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
