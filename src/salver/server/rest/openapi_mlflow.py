"""MLflow's scoring routes in the OpenAPI document. Pure."""

from __future__ import annotations

from typing import Any

from salver.server.rest.schemas import Schema, obj

TAG = {"name": "mlflow", "description": "MLflow's scoring routes, for any model"}
_TEXT: Schema = {"type": "string"}
_LIST: Schema = {"type": "array"}
_WRONG = (400, 404, 405, 408, 413, 417, 429, 431, 500, 501, 503, 504)


def mlflow_paths() -> dict[str, Any]:
    """The routes, in a server's own form and in that of one of its models."""
    name: dict[str, Any] = {
        "name": "model_name",
        "in": "path",
        "required": True,
        "schema": {"type": "string", "minLength": 1, "pattern": "^[^/]+$"},
    }
    return {
        "/invocations": {"post": _invocations("Ask the server's only model")},
        "/models/{model_name}/invocations": {
            "parameters": [name],
            "post": _invocations("Ask a model"),
        },
        "/ping": {"get": _up("Are all models ready?")},
        "/health": {"get": _up("Alias of /ping")},
        "/version": {"get": _version()},
    }


def _invocations(summary: str) -> dict[str, Any]:
    table = obj({"columns": _LIST, "index": _LIST, "data": _LIST}, required=["data"])
    parameters: Schema = {"type": "object"}
    forms: list[Schema] = [
        obj({"dataframe_split": table, "params": parameters}, required=["dataframe_split"]),
        obj({"dataframe_records": _LIST, "params": parameters}, required=["dataframe_records"]),
        obj({"instances": {}, "params": parameters}, required=["instances"]),
        obj({"inputs": {}, "params": parameters}, required=["inputs"]),
    ]
    error = obj({"error_code": _TEXT, "message": _TEXT}, required=["message"])
    answer = obj({"predictions": {}}, required=["predictions"])
    # A head that cannot be read is refused before its path is known, in the server's own form.
    either: Schema = {"anyOf": [error, obj({"error": _TEXT}, required=["error"])]}
    responses: dict[str, Any] = {"200": _response("the predictions", "application/json", answer)}
    for status in _WRONG:
        responses[str(status)] = _response("what is wrong", "application/json", either)
    responses["415"] = {
        "description": "the body's type cannot be read",
        "content": {"text/plain": {"schema": _TEXT}, "application/json": {"schema": either}},
    }
    content = {"application/json": {"schema": {"anyOf": forms}}, "text/csv": {"schema": _TEXT}}
    return {
        "summary": f"{summary} (MLflow's scoring protocol)",
        "tags": [TAG["name"]],
        "requestBody": {"required": True, "content": content},
        "responses": responses,
    }


def _up(summary: str) -> dict[str, Any]:
    # The answer is an empty line, whatever its type says: MLflow's server does the same.
    line: dict[str, Any] = {"application/json": {}}
    responses: dict[str, Any] = {
        "200": {"description": "they are", "content": line},
        "503": {"description": "they are not, or it is shutting down", "content": line},
    }
    return _operation(summary, responses)


def _version() -> dict[str, Any]:
    # Who asks for JSON gets the version of the Kubernetes API, as kubectl reads it.
    found = _response("it", "text/plain", _TEXT)
    found["content"]["application/json"] = {"schema": {"type": "object"}}
    return _operation("Salver's version", {"200": found})


def _operation(summary: str, responses: dict[str, Any]) -> dict[str, Any]:
    return {"summary": summary, "tags": [TAG["name"]], "responses": responses | _refused()}


def _refused() -> dict[str, Any]:
    error = obj({"error": _TEXT}, required=["error"])
    return {
        str(status): _response("what is wrong", "application/json", error)
        for status in (400, 405, 431, 500, 504)
    }


def _response(description: str, media_type: str, schema: Schema) -> dict[str, Any]:
    return {"description": description, "content": {media_type: {"schema": schema}}}
