"""Triton's shared-memory extension in the OpenAPI document. Pure."""

from __future__ import annotations

from typing import Any

from salver.server.rest.schemas import Schema, obj

_TEXT: Schema = {"type": "string"}
_BYTES: Schema = {"type": "integer", "minimum": 0}
_BAD = (400, 404, 405, 408, 413, 431, 500, 501, 503)
_SYSTEM, _CUDA = "/v2/systemsharedmemory", "/v2/cudasharedmemory"


def shared_memory_paths() -> dict[str, Any]:
    """Status, registering and unregistering, of one region or all."""
    region = obj(
        {"name": _TEXT, "key": _TEXT, "offset": _BYTES, "byte_size": _BYTES}, required=["name"]
    )
    told: Schema = {"type": "array", "items": region}
    asked = obj({"key": _TEXT, "offset": _BYTES, "byte_size": _BYTES}, required=["key"])
    paths: dict[str, Any] = {}
    for base, kind in ((_SYSTEM, "system"), (_CUDA, "CUDA")):
        one = base + "/region/{region}"
        register = _operation(f"Register {kind} shared memory", None)
        register["requestBody"] = {"content": {"application/json": {"schema": asked}}}
        paths[one + "/register"] = {"parameters": [_region()], "post": register}
        for path, parameters in ((base, []), (one, [_region()])):
            status = _operation(f"Regions of {kind} shared memory", told)
            forget = _operation(f"Unregister {kind} shared memory", None)
            paths[path + "/status"] = {"parameters": parameters, "get": status}
            paths[path + "/unregister"] = {"parameters": parameters, "post": forget}
    return paths


def _region() -> dict[str, Any]:
    schema: Schema = {"type": "string", "minLength": 1, "pattern": "^[^/]+$"}
    return {"name": "region", "in": "path", "required": True, "schema": schema}


def _operation(summary: str, answer: Schema | None) -> dict[str, Any]:
    error = {"application/json": {"schema": obj({"error": _TEXT}, required=["error"])}}
    done: dict[str, Any] = {"description": "done"}
    if answer is not None:
        done["content"] = {"application/json": {"schema": answer}}
    responses: dict[str, Any] = {"200": done}
    responses |= {
        str(status): {"description": "what is wrong", "content": error} for status in _BAD
    }
    return {"summary": summary, "tags": ["server"], "responses": responses}
