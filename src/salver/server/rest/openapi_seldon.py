"""Seldon's routes in the OpenAPI document. Pure.

What a message may hold is Seldon's to define; the schemas say what every message has. Errors are
messages with a `status`; those that come before Seldon's part of the server are `{"error": ...}`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from salver.server.rest.schemas import Schema, obj

TAG = {"name": "seldon", "description": "Seldon Core v1's routes, for the only deployment here"}
_ANY: Schema = {"type": "object"}
_BAD = (400, 404, 405, 408, 413, 415, 417, 429, 431, 500, 501, 503, 504)
_MESSAGES = (
    ("predict", "Ask a component to predict"),
    ("transform-input", "Ask a component to transform a request"),
    ("transform-output", "Ask a component to transform an answer"),
    ("route", "Ask a router for its branch"),
    ("aggregate", "Ask a combiner to combine answers"),
    ("send-feedback", "Tell a component how good an answer was"),
)


def seldon_paths(versions: Sequence[str]) -> dict[str, Any]:
    """The routes at the root; they are below `/seldon/NAMESPACE/NAME`, too."""
    paths = {f"/{name}": {"post": _posted(summary)} for name, summary in _MESSAGES}
    for version in versions:
        paths |= {
            version + "/predictions": {"post": _posted("Ask the deployment to predict")},
            version + "/feedback": {"post": _posted("Tell how good an answer was")},
            version + "/status": {"get": _get("Is the deployment ready?")},
            version + "/status/{part}": _of_part(_get("Is a part of it ready?")),
            version + "/metadata": {"get": _get("Metadata of the graph")},
            version + "/metadata/{part}": _of_part(_get("Metadata of a part of it")),
            version + "/health/status": {"get": _get("Is the deployment healthy?")},
            version + "/health/ping": {"get": _get("Is the server there?", is_text=True)},
        }
    return paths | {
        "/live": {"get": _get("Is the server alive?", is_text=True)},
        "/ready": {"get": _get("Is the deployment ready?")},
        "/health/ping": {"get": _get("Is the server there?", is_text=True)},
        "/health/status": {"get": _get("Is the component healthy?")},
        "/metadata": {"get": _get("Metadata of the component")},
    }


def _posted(summary: str) -> dict[str, Any]:
    content = {"application/json": {"schema": _ANY}}
    body = {"required": True, "content": content}
    return {**_operation(summary, content), "requestBody": body}


def _get(summary: str, *, is_text: bool = False) -> dict[str, Any]:
    text: dict[str, Any] = {"text/plain": {"schema": {"type": "string"}}}
    return _operation(summary, text if is_text else {"application/json": {"schema": _ANY}})


def _of_part(operation: dict[str, Any]) -> dict[str, Any]:
    schema: Schema = {"type": "string", "minLength": 1, "pattern": "^[^/]+$"}
    part = {"name": "part", "in": "path", "required": True, "schema": schema}
    return {"parameters": [part], "get": operation}


def _operation(summary: str, content: dict[str, Any]) -> dict[str, Any]:
    failed = {"application/json": {"schema": _failure()}}
    responses: dict[str, Any] = {"200": {"description": "the answer", "content": content}}
    for status in _BAD:
        responses[str(status)] = {"description": "what is wrong", "content": failed}
    return {"summary": summary, "tags": [TAG["name"]], "responses": responses}


def _failure() -> Schema:
    text = {"type": "string"}
    status = obj(
        {"code": {"type": "integer"}, "info": text, "reason": text, "status": {"const": "FAILURE"}},
        required=["code", "info", "reason", "status"],
    )
    own = obj({"error": text}, required=["error"])
    return {"anyOf": [obj({"status": status}, required=["status"]), own]}
