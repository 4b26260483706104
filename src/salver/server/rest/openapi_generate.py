"""Triton's generate extension in the OpenAPI document. Pure."""

from __future__ import annotations

from typing import Any

from salver.server.rest.schemas import Schema, obj

_TEXT: Schema = {"type": "string"}
_BAD = (400, 404, 405, 408, 413, 415, 417, 429, 431, 500, 501, 503, 504)
_MODEL = "/v2/models/{model_name}"
_VERSION = _MODEL + "/versions/{model_version}"


def generate_paths() -> dict[str, Any]:
    """One response, or all of them as events, of any version of any model."""
    paths: dict[str, Any] = {}
    for path, names in ((_MODEL, ("model_name",)), (_VERSION, ("model_name", "model_version"))):
        parameters = [_parameter(name) for name in names]
        one = _operation("Generate one response", {"application/json": {"schema": _answer()}})
        events: Schema = {"type": "string", "description": "`data: {...}` for each response"}
        all_of = _operation("Generate responses", {"text/event-stream": {"schema": events}})
        paths[path + "/generate"] = {"parameters": parameters, "post": one}
        paths[path + "/generate_stream"] = {"parameters": parameters, "post": all_of}
    return paths


def _parameter(name: str) -> dict[str, Any]:
    schema: Schema = {"type": "string", "minLength": 1, "pattern": "^[^/]+$"}
    return {"name": name, "in": "path", "required": True, "schema": schema}


def _operation(summary: str, content: dict[str, Any]) -> dict[str, Any]:
    error = {"application/json": {"schema": obj({"error": _TEXT}, required=["error"])}}
    responses: dict[str, Any] = {"200": {"description": "the answer", "content": content}}
    responses |= {
        str(status): {"description": "what is wrong", "content": error} for status in _BAD
    }
    request: Schema = {
        "type": "object",
        "description": "inputs by name; other members are parameters",
        "properties": {"parameters": {"type": "object"}},
    }
    return {
        "summary": summary,
        "tags": ["models"],
        "requestBody": {"required": True, "content": {"application/json": {"schema": request}}},
        "responses": responses,
    }


def _answer() -> Schema:
    return obj({"model_name": _TEXT, "model_version": _TEXT}, required=["model_name"])
