"""TensorFlow Serving's routes in the OpenAPI document. Pure."""

from __future__ import annotations

from typing import Any

from salver.server.rest.schemas import Schema, obj

TAG = {"name": "tensorflow serving", "description": "TensorFlow Serving's routes, for any model"}
_TEXT: Schema = {"type": "string"}
_BAD = (400, 404, 405, 408, 413, 415, 417, 429, 431, 500, 501, 503, 504)
_MODEL = "/v1/models/{model_name}"
_VERSION = _MODEL + "/versions/{model_version}"
_LABEL = _MODEL + "/labels/{label}"
_VERBS = (
    ("classify", "Classify examples"),
    ("regress", "Give a value for each example"),
)


def tfs_paths() -> dict[str, Any]:
    """The routes beside those that KServe's V1 has, too."""
    paths: dict[str, Any] = {}
    for path, names in (
        (_MODEL, ("model_name",)),
        (_VERSION, ("model_name", "model_version")),
        (_LABEL, ("model_name", "label")),
    ):
        parameters = [_parameter(name) for name in names]
        metadata = _operation("Signatures of a model", _metadata())
        paths[path + "/metadata"] = {"parameters": parameters, "get": metadata}
        if path != _MODEL:
            status = _operation("State of a version", _statuses())
            paths[path] = {"parameters": parameters, "get": status}
        for verb, summary in _VERBS:
            posted = {**_operation(summary, _results()), "requestBody": _examples()}
            paths[f"{path}:{verb}"] = {"parameters": parameters, "post": posted}
    return paths


def _parameter(name: str) -> dict[str, Any]:
    schema: Schema = {"type": "string", "minLength": 1, "pattern": "^[^/]+$"}
    return {"name": name, "in": "path", "required": True, "schema": schema}


def _operation(summary: str, schema: Schema) -> dict[str, Any]:
    error = obj({"error": _TEXT}, required=["error"])
    responses: dict[str, Any] = {"200": _response("the answer", schema)}
    responses |= {str(status): _response("what is wrong", error) for status in _BAD}
    return {"summary": summary, "tags": [TAG["name"]], "responses": responses}


def _response(description: str, schema: Schema) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _statuses() -> Schema:
    status = obj({"error_code": _TEXT, "error_message": _TEXT}, required=["error_code"])
    version = obj(
        {"version": _TEXT, "state": _TEXT, "status": status}, required=["version", "state"]
    )
    listed: Schema = {"type": "array", "items": version}
    return obj({"model_version_status": listed}, required=["model_version_status"])


def _metadata() -> Schema:
    anything: Schema = {"type": "object"}
    properties = {"model_spec": anything, "metadata": anything}
    return obj(properties, required=["model_spec", "metadata"])


def _results() -> Schema:
    return obj({"results": {"type": "array"}}, required=["results"])


def _examples() -> dict[str, Any]:
    example: Schema = {"type": "object"}
    listed: Schema = {"type": "array", "items": example, "minItems": 1}
    properties = {"examples": listed, "context": example, "signature_name": _TEXT}
    schema = obj(properties, required=["examples"])
    return {"required": True, "content": {"application/json": {"schema": schema}}}
