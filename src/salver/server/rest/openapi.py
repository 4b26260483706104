"""The OpenAPI 3.1 document, generated from the catalog each time it is asked for. Pure.

It covers the inference routes of every loaded model, though the gateway's own listener
answers those, and the routes of this package, except those that only say 501. Every status
that can occur is listed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

from salver import __version__
from salver.engine.ports import ModelStatus, ServedModel
from salver.errors import RequestError
from salver.inference.metadata import ModelMetadata
from salver.server.rest.metadata import READY
from salver.server.rest.openapi_controls import control_paths
from salver.server.rest.openapi_generate import generate_paths
from salver.server.rest.openapi_mlflow import TAG as MLFLOW_TAG
from salver.server.rest.openapi_mlflow import mlflow_paths
from salver.server.rest.openapi_seldon import TAG as SELDON_TAG
from salver.server.rest.openapi_seldon import seldon_paths
from salver.server.rest.openapi_shared_memory import shared_memory_paths
from salver.server.rest.openapi_tfs import TAG as TFS_TAG
from salver.server.rest.openapi_tfs import tfs_paths
from salver.server.rest.sample import infer_path, infer_sample, predict_sample, sample_size
from salver.server.rest.schemas import (
    Schema,
    component_schemas,
    infer_request_schema,
    infer_response_schema,
    model_inputs_schema,
    obj,
    predict_request_schema,
    predict_response_schema,
    reference,
)
from salver.server.rest.seldon import VERSIONS as SELDON_VERSIONS

_LARGEST_EXAMPLE = 4096
MOST_MODELS = 100
"""There may be tens of thousands, on pages that nobody could read."""

_ERRORS: dict[int, tuple[str, str]] = {
    400: ("BadRequest", "the request is wrong; the message says what, and what to do"),
    404: ("NotFound", "no such model, version or route"),
    405: ("MethodNotAllowed", "the route has other methods: see the header Allow"),
    408: ("RequestTimeout", "the request did not arrive in time"),
    413: ("PayloadTooLarge", "the body is over the server's limit"),
    415: ("UnsupportedMediaType", "the body's content encoding is not supported"),
    417: ("ExpectationFailed", "only 100-continue can be expected"),
    429: ("TooManyRequests", "the model's queue is full; try again after Retry-After"),
    431: ("HeadTooLarge", "the request's head is over the server's limit"),
    500: ("ModelFailed", "the model raised an error"),
    501: ("NotImplemented", "the model or the server does not offer this"),
    503: ("Unavailable", "the model is not ready, or the server is shutting down"),
    504: ("Timeout", "the time limit of the request has passed"),
}
_WITH_RETRY_AFTER = (429, 503)
_WITH_BODY = (408, 413, 415, 417)
_ALWAYS = (400, 405, 431, 500, 504)


def openapi_document(
    models: Iterable[tuple[str, ModelMetadata]], statuses: Sequence[ModelStatus]
) -> dict[str, Any]:
    """The document; `models` are the loaded ones by name, in their default versions."""
    paths: dict[str, Any] = {}
    names: list[str] = []
    for name, metadata in models:
        names.append(name)
        paths.update(_model_paths(name, metadata))
    first = (each for each in statuses if not names or each.name == names[0])
    example = next(first, None)
    paths.update(_any_model_paths(example))
    paths.update(_statistics_paths())
    paths.update(_repository_paths())
    paths.update(seldon_paths(SELDON_VERSIONS))
    paths.update(generate_paths())
    paths.update(control_paths())
    paths.update(shared_memory_paths())
    paths.update(tfs_paths())
    paths.update(mlflow_paths())
    paths.update(_server_paths())
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Salver",
            "version": __version__,
            "description": "Model server: Open Inference Protocol (V2) and V1 over REST.",
        },
        "servers": [{"url": "/"}],
        "tags": [*({"name": name} for name in names), *_TAGS],
        "paths": paths,
        "components": {"schemas": component_schemas(), "responses": _error_responses()},
    }


_TAGS = (
    {"name": "models", "description": "what is served, and whether it is ready"},
    {"name": "repository", "description": "loading and unloading"},
    SELDON_TAG,
    TFS_TAG,
    MLFLOW_TAG,
    {"name": "server", "description": "health, metrics and pages"},
)


def _model_paths(name: str, metadata: ModelMetadata) -> dict[str, Any]:
    is_small = sample_size(metadata) <= _LARGEST_EXAMPLE
    infer = _operation(
        f"Ask {name} (V2, Open Inference Protocol)",
        name,
        {
            "application/json": {"schema": infer_response_schema(name)},
            "application/octet-stream": {"schema": {"description": "JSON, then binary tensors"}},
        },
        (404, 429, 501, 503),
        body=infer_request_schema(model_inputs_schema(metadata)),
        example=infer_sample(metadata) if is_small else None,
    )
    infer["description"] = (
        "Binary tensors: send the JSON, then the tensors' little-endian bytes in order, each with "
        "the parameter `binary_data_size`, and the JSON's length in the header "
        "`Inference-Header-Content-Length`."
    )
    predict = _operation(
        f"Ask {name} (V1)",
        name,
        _json(predict_response_schema()),
        (404, 429, 501, 503),
        body=predict_request_schema(),
        example=predict_sample(metadata) if is_small else None,
    )
    for operation in (infer, predict):
        # Tells a model called "server" from the tag of that name.
        operation["x-model"] = name
    v2 = infer_path(name)
    v1 = v2.removesuffix("/infer").replace("/v2/", "/v1/", 1) + ":predict"
    return {v2: {"post": infer}, v1: {"post": predict}}


def _any_model_paths(example: ModelStatus | None) -> dict[str, Any]:
    model = _path_parameter("model_name", example.name if example else "")
    version = _path_parameter("model_version", example.version if example else "")
    base, versioned = "/v2/models/{model_name}", "/v2/models/{model_name}/versions/{model_version}"
    metadata = ("Metadata of a model", "models", _json(reference("ModelMetadata")), (404, 503))
    ready = ("Is a model ready?", "models", _json(reference("ModelReady")), (404, 503))
    infer = _operation(
        "Ask a version of a model (V2)",
        "models",
        {
            "application/json": {"schema": reference("InferResponse")},
            "application/octet-stream": {"schema": {"description": "JSON, then binary tensors"}},
        },
        (404, 429, 501, 503),
        body=reference("InferRequest"),
    )
    names = _operation("All models", "models", _json(reference("ModelNames")), ())
    return {
        "/v2/models": {"get": names},
        base: {"parameters": [model], "get": _operation(*metadata)},
        base + "/ready": {"parameters": [model], "get": _operation(*ready)},
        versioned: {"parameters": [model, version], "get": _operation(*metadata)},
        versioned + "/ready": {"parameters": [model, version], "get": _operation(*ready)},
        versioned + "/infer": {"parameters": [model, version], "post": infer},
        "/v1/models": {"get": names},
        "/v1/models/{model_name}": {"parameters": [model], "get": _operation(*ready)},
    }


def _statistics_paths() -> dict[str, Any]:
    model = _path_parameter("model_name", "")
    version = _path_parameter("model_version", "")
    found = obj({"model_stats": {"type": "array"}}, required=["model_stats"])
    base = "/v2/models/{model_name}"
    own = "/salver/v1/models/{model_name}"
    paths: dict[str, Any] = {
        "/v2/models/stats": {
            "get": _operation("Statistics of all models", "models", _json(found), ())
        }
    }
    for at, summary, schema in (
        (base + "{}/stats", "Statistics: requests, queue, batches by size", found),
        (base + "{}/config", "The model's configuration, as Triton has it", {"type": "object"}),
        (own + "{}", "Limits, statistics and compiled engines", {"type": "object"}),
    ):
        for suffix, parameters in (("", [model]), ("/versions/{model_version}", [model, version])):
            operation = _operation(summary, "models", _json(schema), (404, 501, 503))
            paths[at.format(suffix, model_name="{model_name}")] = {
                "parameters": parameters,
                "get": operation,
            }
    return paths


def _repository_paths() -> dict[str, Any]:
    # No example names here: a tool that tries the examples out would unload the models.
    model = _path_parameter("model_name", "")
    statuses = {"type": "array", "items": reference("ModelStatus")}
    only_ready = obj({"ready": {"type": "boolean", "description": "only models that are ready"}})
    nothing: Schema = {"type": ["object", "null"], "maxProperties": 0}
    dependents: Schema = {
        "type": ["object", "null"],
        "properties": {"unload_dependents": {"type": "boolean"}},
    }
    name, flag = {"type": "string"}, {"type": "boolean"}
    loaded = obj({"name": name, "load": flag}, required=["name", "load"])
    unloaded = obj({"name": name, "unload": flag}, required=["name", "unload"])
    base = "/v2/repository/models/{model_name}"
    index = _operation(
        "Every version of every model and its state", "repository", _json(statuses), ()
    )
    load = _operation("Load a model, or load it again", "repository", _json(loaded), (404,))
    unload = _operation("Unload a model", "repository", _json(unloaded), (404,))
    index["requestBody"] = _body(only_ready, None, is_required=False)
    load["requestBody"] = _body(obj({"parameters": nothing}), None, is_required=False)
    unload["requestBody"] = _body(obj({"parameters": dependents}), None, is_required=False)
    for operation in (index, load, unload):
        operation["responses"] |= _refusals(_WITH_BODY)
    return {
        "/v2/repository/index": {"post": index},
        base + "/load": {"parameters": [model], "post": load},
        base + "/unload": {"parameters": [model], "post": unload},
    }


def _server_paths() -> dict[str, Any]:
    live, ready = _json(reference("Live")), _json(reference("Ready"))
    text = {"text/plain": {"schema": {"type": "string"}}}
    page = {"text/html": {"schema": {"type": "string"}}}
    alive = obj({"status": {"const": "alive"}}, required=["status"])

    def get(summary: str, content: dict[str, Any], errors: tuple[int, ...] = ()) -> dict[str, Any]:
        return {"get": _operation(summary, "server", content, errors)}

    return {
        "/v2": get("Metadata of the server", _json(reference("Server"))),
        "/v2/health/live": get("Is the server alive?", live),
        "/v2/health/ready": get("Are all models ready?", ready, (503,)),
        "/healthz": get("Alias of /v2/health/live", live),
        "/livez": get("Alias of /v2/health/live", live),
        "/readyz": get("Alias of /v2/health/ready", ready, (503,)),
        "/metrics": get("Metrics for Prometheus", text),
        "/": get("The models, as a page or as JSON", {**page, **_json(alive)}),
        "/docs": get("This documentation", page),
        "/openapi.json": get("This document", _json({"type": "object"})),
    }


def _operation(
    summary: str,
    tag: str,
    content: dict[str, Any] | None,
    errors: tuple[int, ...],
    *,
    body: Schema | None = None,
    example: object = None,
) -> dict[str, Any]:
    responses: dict[str, Any] = {}
    if content is not None:
        responses["200"] = {"description": "the answer", "content": content}
    statuses = {*_ALWAYS, *errors, *(_WITH_BODY if body is not None else ())}
    operation: dict[str, Any] = {
        "summary": summary,
        "tags": [tag],
        "responses": responses | _refusals(sorted(statuses)),
    }
    if body is not None:
        operation["requestBody"] = _body(body, example, is_required=True)
    return operation


def _body(schema: Schema, example: object, *, is_required: bool) -> dict[str, Any]:
    content: dict[str, Any] = {"schema": schema}
    if example is not None:
        content["example"] = example
    return {"required": is_required, "content": {"application/json": content}}


def _json(schema: Schema) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}


def _path_parameter(name: str, example: str) -> dict[str, Any]:
    schema: Schema = {"type": "string", "minLength": 1, "pattern": "^[^/]+$"}
    parameter: dict[str, Any] = {"name": name, "in": "path", "required": True, "schema": schema}
    if example:
        parameter["example"] = example
    return parameter


def _refusals(statuses: Iterable[int]) -> dict[str, Any]:
    return {
        str(status): {"$ref": f"#/components/responses/{_ERRORS[status][0]}"} for status in statuses
    }


def _error_responses() -> dict[str, Any]:
    responses: dict[str, Any] = {}
    for status, (name, text) in _ERRORS.items():
        response: dict[str, Any] = {"description": text, "content": _json(reference("Error"))}
        if status in _WITH_RETRY_AFTER:
            seconds = {"schema": {"type": "integer"}, "description": "seconds to wait"}
            response["headers"] = {"Retry-After": seconds}
        responses[name] = response
    return responses


def loaded_models(
    names: Iterable[str], find: Callable[[str], ServedModel]
) -> list[tuple[str, ModelMetadata]]:
    """Those models whose metadata can be read now, so many as a person may want to see.

    By the names that callers use, which need not be the models' own.
    """
    return list(islice(_loaded(names, find), MOST_MODELS))


def _loaded(
    names: Iterable[str], find: Callable[[str], ServedModel]
) -> Iterator[tuple[str, ModelMetadata]]:
    for name in names:
        try:
            model = find(name)
            if model.is_ready and model.status.state == READY:
                yield name, model.metadata
        except RequestError:
            continue
