"""The OpenAPI document: valid, complete, and true to the models' metadata."""

from __future__ import annotations

import json
from typing import Any

import pytest
from jsonschema_rs import Draft202012Validator, meta
from tests.asgi import ask
from tests.fakes import IRIS, FakeCatalog, FakeModel

from salver.engine.directory import ModelDirectory
from salver.inference.metadata import ModelMetadata, TensorMetadata
from salver.server.rest.app import build_app
from salver.server.rest.openapi import openapi_document
from salver.server.rest.sample import infer_sample, predict_sample
from salver.settings import ServeSettings

TABLE = ModelMetadata(
    "xgboost",
    (
        TensorMetadata("input", "FP32", (-1, 2)),
        TensorMetadata("bias", "FP32", (-1,), optional=True),
    ),
    (TensorMetadata("predict", "FP32", (-1,)),),
    column_names=("a", "b"),
)
CATALOG = FakeCatalog(
    FakeModel("iris"), FakeModel("table", metadata=TABLE), FakeModel("bad", state="LOADING")
)


def document() -> dict[str, Any]:
    body: dict[str, Any] = ask(CATALOG, "GET", "/openapi.json").json()
    return body


def schema_of(path: str) -> Draft202012Validator:
    api = document()
    schema = api["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"]
    return Draft202012Validator({**schema, "components": api["components"]})


def test_loaded_models_have_routes_of_their_own_and_others_do_not() -> None:
    own = {path for path, item in document()["paths"].items() if "x-model" in item.get("post", {})}
    assert own == {
        "/v2/models/iris/infer",
        "/v1/models/iris:predict",
        "/v2/models/table/infer",
        "/v1/models/table:predict",
    }


def test_every_reference_leads_somewhere() -> None:
    api = document()
    pointers = {
        line.split('"')[3] for line in json.dumps(api, indent=0).split("\n") if "$ref" in line
    }
    assert pointers
    for pointer in pointers:
        at: Any = api
        for key in pointer.removeprefix("#/").split("/"):
            at = at[key]


def test_every_schema_is_a_json_schema() -> None:
    api = document()
    for schema in api["components"]["schemas"].values():
        meta.validate(schema)
    for item in api["paths"].values():
        for operation in (item[method] for method in ("get", "post") if method in item):
            for content in operation.get("requestBody", {}).get("content", {}).values():
                meta.validate(content["schema"])


def test_every_route_of_the_app_is_documented_with_its_method() -> None:
    app: Any = build_app(ModelDirectory(CATALOG), ServeSettings(), render_metrics=lambda: b"")
    documented = {
        (path.replace("{model_name}", "{name}").replace("{model_version}", "{version}"), method)
        for path, item in document()["paths"].items()
        for method in item
    }
    # Documented once per loaded model, under its own name.
    documented |= {("/v2/models/{name}/infer", "post"), ("/v1/models/{name}:predict", "post")}
    documented.add(("/v1/models/{name}:explain", "post"))  # says 501 and is not offered
    # V2 has no route for explanations: these say so, with 501.
    documented |= {
        ("/v2/models/{name}/explain", "post"),
        ("/v2/models/{name}/versions/{version}/explain", "post"),
    }
    for route in app.app.app.routes:
        for method in route.methods - {"HEAD"}:
            assert (route.path, method.lower()) in documented


def test_every_answer_of_a_readable_route_fits_its_schema() -> None:
    api = document()
    for path, item in api["paths"].items():
        if "get" not in item:
            continue
        url = path.replace("{model_name}", "iris").replace("{model_version}", "1")
        url = url.replace("{label}", "canary")
        answer = ask(CATALOG, "GET", url)
        response = item["get"]["responses"][str(answer.status_code)]
        if "$ref" in response:
            response = api["components"]["responses"][response["$ref"].split("/")[-1]]
        media_type = answer.headers["Content-Type"].split(";")[0]
        if url in ("/ping", "/health"):
            # An empty line that is called JSON, as MLflow's server sends it.
            assert answer.text == "\n"
            continue
        schema = response["content"][media_type]["schema"]
        if media_type == "application/json":
            Draft202012Validator({**schema, "components": api["components"]}).validate(
                answer.json()
            )


@pytest.mark.parametrize(("name", "metadata"), [("iris", IRIS), ("table", TABLE)])
def test_the_examples_are_samples_and_fit_their_schemas(name: str, metadata: ModelMetadata) -> None:
    for path, sample in (
        (f"/v2/models/{name}/infer", infer_sample(metadata)),
        (f"/v1/models/{name}:predict", predict_sample(metadata)),
    ):
        content = document()["paths"][path]["post"]["requestBody"]["content"]["application/json"]
        assert content["example"] == sample
        schema_of(path).validate(sample)


@pytest.mark.parametrize(
    "change",
    [
        {"shape": [1, 5]},
        {"shape": [1]},
        {"datatype": "BYTES"},
        {"data": "text"},
        {"data": ["text"]},
        {"name": 7},
    ],
)
def test_a_tensor_that_the_model_refuses_does_not_fit(change: dict[str, Any]) -> None:
    body = infer_sample(IRIS)
    body["inputs"][0] |= change
    assert not schema_of("/v2/models/iris/infer").is_valid(body)


@pytest.mark.parametrize(
    "change",
    [
        {"name": "any name"},
        {"shape": [2, 4], "data": [[1, 2, 3, 4], [5, 6, 7, 8]]},
        {"datatype": "FP32", "parameters": {"content_type": "np"}},
    ],
)
def test_a_tensor_that_the_model_takes_fits(change: dict[str, Any]) -> None:
    body = infer_sample(IRIS)
    body["inputs"][0] |= change
    schema_of("/v2/models/iris/infer").validate(body)


def test_a_tabular_model_takes_its_matrix_or_its_columns() -> None:
    column = {"shape": [2], "datatype": "FP32", "data": [1, 2]}
    schema_of("/v2/models/table/infer").validate(
        {"inputs": [{"name": "a", **column}, {"name": "b", **column}]}
    )
    schema_of("/v2/models/table/infer").validate(infer_sample(TABLE))


def test_a_model_too_large_for_an_example_has_none() -> None:
    image = ModelMetadata("onnx", (TensorMetadata("x", "FP32", (-1, 3, 224, 224)),), ())
    api = openapi_document([("image", image)], [])
    operation = api["paths"]["/v2/models/image/infer"]["post"]
    assert "example" not in operation["requestBody"]["content"]["application/json"]


def test_no_example_would_unload_a_model() -> None:
    for path in ("load", "unload"):
        item = document()["paths"]["/v2/repository/models/{model_name}/" + path]
        assert "example" not in item["parameters"][0]
