"""The application through real ASGI calls: what V1 and V2 clients get to see."""

from __future__ import annotations

from typing import Any

import pytest
from tests.asgi import ask
from tests.fakes import FakeCatalog, FakeModel

from salver import __version__
from salver.errors import ErrorKind, QueueFull, RequestError
from salver.inference.metadata import ModelMetadata, TensorMetadata
from salver.server.extensions import EXTENSIONS
from salver.server.rest.status import HTTP_STATUS


def catalog() -> FakeCatalog:
    return FakeCatalog(FakeModel("iris", "1"), FakeModel("iris", "2"), FakeModel("wine"))


def broken() -> FakeCatalog:
    reason = "/models/bad.onnx is truncated"
    return FakeCatalog(FakeModel("iris"), FakeModel("bad", state="UNAVAILABLE", reason=reason))


def test_v1_lists_every_model_once() -> None:
    assert ask(catalog(), "GET", "/v1/models").json() == {"models": ["iris", "wine"]}


def test_v1_says_that_a_model_is_ready() -> None:
    found = ask(catalog(), "GET", "/v1/models/iris").json()
    assert (found["name"], found["ready"]) == ("iris", True)


@pytest.mark.parametrize("path", ["/v1/models/bad", "/v2/models/bad/ready"])
def test_a_model_that_is_not_ready_is_503_with_its_reason(path: str) -> None:
    answer = ask(broken(), "GET", path)
    assert answer.status_code == 503
    assert answer.headers["Retry-After"] == "1"
    found = answer.json()
    assert (found["name"], found["ready"]) == ("bad", False)
    assert found["error"] == "model bad version 1 is UNAVAILABLE: /models/bad.onnx is truncated"


@pytest.mark.parametrize(
    "path",
    ["/v1/models/nope", "/v2/models/nope", "/v2/models/nope/ready", "/v2/models/iris/versions/9"],
)
def test_an_unknown_model_or_version_is_404(path: str) -> None:
    answer = ask(catalog(), "GET", path)
    assert answer.status_code == 404
    assert set(answer.json()) == {"error"}


def test_explaining_is_501_for_a_known_model_and_404_for_an_unknown_one() -> None:
    answer = ask(catalog(), "POST", "/v1/models/iris:explain", json={"instances": []})
    assert answer.status_code == 501
    assert answer.json() == {"error": "model iris has no explainer; ask :predict instead"}
    assert ask(catalog(), "POST", "/v1/models/nope:explain").status_code == 404


def test_the_server_names_itself_and_its_extensions() -> None:
    assert ask(catalog(), "GET", "/v2").json() == {
        "name": "salver",
        "version": __version__,
        "extensions": list(EXTENSIONS),
    }


@pytest.mark.parametrize("path", ["/v2/health/live", "/healthz", "/livez"])
def test_the_server_is_live_even_if_no_model_is_ready(path: str) -> None:
    answer = ask(broken(), "GET", path)
    assert (answer.status_code, answer.json()) == (200, {"live": True})


@pytest.mark.parametrize("path", ["/v2/health/ready", "/readyz"])
def test_the_server_is_ready_when_all_models_are(path: str) -> None:
    answer = ask(catalog(), "GET", path)
    assert (answer.status_code, answer.json()) == (200, {"ready": True})


@pytest.mark.parametrize("path", ["/v2/health/ready", "/readyz"])
def test_a_server_that_is_not_ready_says_which_model_is_not_and_why(path: str) -> None:
    answer = ask(broken(), "GET", path)
    assert answer.status_code == 503
    assert answer.json() == {
        "ready": False,
        "error": "model bad version 1 is UNAVAILABLE: /models/bad.onnx is truncated",
    }


def test_a_draining_server_is_not_ready() -> None:
    draining = catalog()
    draining.is_draining = True
    answer = ask(draining, "GET", "/v2/health/ready")
    assert answer.status_code == 503
    assert "shutting down" in answer.json()["error"]


def test_metadata_carries_names_datatypes_shapes_and_all_versions() -> None:
    assert ask(catalog(), "GET", "/v2/models/iris").json() == {
        "name": "iris",
        "versions": ["1", "2"],
        "platform": "sklearn",
        "inputs": [
            {
                "name": "input",
                "datatype": "FP64",
                "shape": [-1, 4],
                "parameters": {"accepts": ["FP32"]},
            }
        ],
        "outputs": [
            {"name": "predict", "datatype": "INT64", "shape": [-1]},
            {"name": "predict_proba", "datatype": "FP64", "shape": [-1, 3]},
        ],
        "parameters": {"default_outputs": ["predict"], "framework_version": "1.9.0"},
    }


def test_metadata_of_a_version_names_that_version() -> None:
    assert ask(catalog(), "GET", "/v2/models/iris/versions/1").json()["versions"] == ["1"]


def test_metadata_of_a_tabular_model_lists_its_columns() -> None:
    table = ModelMetadata(
        "sklearn",
        (TensorMetadata("input", "FP64", (-1, 2), content_type="np"),),
        (TensorMetadata("predict", "FP64", (), any_shape=True),),
        column_names=("age", "city"),
        column_datatypes=("FP64", "BYTES"),
    )
    body = ask(FakeCatalog(FakeModel("t", metadata=table)), "GET", "/v2/models/t").json()
    assert body["parameters"] == {
        "content_type": "pd",
        "column_names": ["age", "city"],
        "column_datatypes": ["FP64", "BYTES"],
    }
    assert body["inputs"][0]["parameters"] == {"content_type": "np"}
    assert body["outputs"][0]["shape"] == [-1]


def test_metadata_of_a_model_that_never_loaded_is_503() -> None:
    answer = ask(broken(), "GET", "/v2/models/bad")
    assert answer.status_code == 503
    assert "/models/bad.onnx is truncated" in answer.json()["error"]


@pytest.mark.parametrize("body", [b"", b"{}", b'{"ready": false}'])
def test_the_index_lists_every_version_with_its_state(body: bytes) -> None:
    answer = ask(broken(), "POST", "/v2/repository/index", content=body)
    assert answer.json() == [
        {
            "name": "bad",
            "version": "1",
            "state": "UNAVAILABLE",
            "reason": "/models/bad.onnx is truncated",
        },
        {"name": "iris", "version": "1", "state": "READY"},
    ]


def test_the_index_of_ready_models_leaves_the_others_out() -> None:
    answer = ask(broken(), "POST", "/v2/repository/index", json={"ready": True})
    assert [entry["name"] for entry in answer.json()] == ["iris"]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"{", "the body is no JSON"),
        (b"\xff", "the body is no JSON"),
        (b"\n", "the body is no JSON"),
        (b"[]", "the body must be a JSON object, not list"),
        (b'{"ready": "yes"}', "'ready' of the body must be true or false"),
    ],
)
def test_an_index_request_that_makes_no_sense_is_400(body: bytes, message: str) -> None:
    answer = ask(broken(), "POST", "/v2/repository/index", content=body)
    assert answer.status_code == 400
    assert message in answer.json()["error"]


def test_a_body_over_the_limit_is_413() -> None:
    answer = ask(catalog(), "POST", "/v2/repository/index", content=b" " * (2 << 20))
    assert answer.status_code == 413
    assert "send a smaller one" in answer.json()["error"]


def test_unloading_and_loading_change_the_index() -> None:
    models = catalog()
    answer = ask(models, "POST", "/v2/repository/models/wine/unload")
    assert (answer.status_code, answer.json()) == (200, {"name": "wine", "unload": True})
    assert ask(models, "GET", "/v2/models/wine/ready").status_code == 503
    answer = ask(models, "POST", "/v2/repository/models/wine/load", content=b"{}")
    assert (answer.status_code, answer.json()) == (200, {"name": "wine", "load": True})
    assert ask(models, "GET", "/v2/models/wine/ready").status_code == 200


def test_what_tritonclient_sends_to_unload_is_understood() -> None:
    body = {"parameters": {"unload_dependents": False}}
    answer = ask(catalog(), "POST", "/v2/repository/models/wine/unload", json=body)
    assert answer.status_code == 200


@pytest.mark.parametrize("body", [{"parameters": []}, {"parameters": {"unload_dependents": 1}}])
def test_unload_parameters_of_the_wrong_type_are_400(body: dict[str, Any]) -> None:
    answer = ask(catalog(), "POST", "/v2/repository/models/wine/unload", json=body)
    assert answer.status_code == 400


def test_a_model_that_cannot_be_loaded_is_400_with_the_reason() -> None:
    models = catalog()
    models.broken["wine"] = "wine: the pickle is truncated; save it again"
    answer = ask(models, "POST", "/v2/repository/models/wine/load")
    assert answer.status_code == 400
    assert answer.json() == {"error": "wine: the pickle is truncated; save it again"}


def test_a_load_with_overrides_is_refused_rather_than_ignored() -> None:
    body = {"parameters": {"config": "{}"}}
    answer = ask(catalog(), "POST", "/v2/repository/models/wine/load", json=body)
    assert answer.status_code == 400
    assert "load takes no parameters, got 'config'" in answer.json()["error"]


@pytest.mark.parametrize("operation", ["load", "unload"])
def test_loading_and_unloading_an_unknown_model_is_404(operation: str) -> None:
    answer = ask(catalog(), "POST", f"/v2/repository/models/nope/{operation}")
    assert answer.status_code == 404


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/v2/repository/index", {"POST"}),
        ("GET", "/v2/repository/models/iris/load", {"POST"}),
        ("GET", "/v2/models/iris/infer", {"POST"}),
        ("PUT", "/v2/models/iris/versions/1/infer", {"POST"}),
        ("GET", "/v1/models/iris:predict", {"POST"}),
        ("DELETE", "/v2/models/iris", {"GET", "HEAD"}),
        ("POST", "/v2/health/live", {"GET", "HEAD"}),
        ("OPTIONS", "/metrics", {"GET", "HEAD"}),
        ("POST", "/", {"GET", "HEAD"}),
    ],
)
def test_a_wrong_method_is_405_and_names_the_right_ones(
    method: str, path: str, allowed: set[str]
) -> None:
    answer = ask(catalog(), method, path)
    assert answer.status_code == 405
    assert set(answer.headers["Allow"].split(", ")) == allowed
    assert f"{path} does not answer {method}" in answer.json()["error"]


@pytest.mark.parametrize("path", ["/nope", "/v2/", "/v3/models", "/v2/models/a/b/c", "/v2/models/"])
def test_an_unknown_route_is_404_in_the_same_words(path: str) -> None:
    answer = ask(catalog(), "GET", path)
    assert answer.status_code == 404
    assert answer.json() == {"error": f"no route {path}: see /docs for those there are"}


def test_a_model_name_is_percent_decoded() -> None:
    models = FakeCatalog(FakeModel("my model"))
    assert ask(models, "GET", "/v2/models/my%20model/ready").json()["name"] == "my model"


def test_metrics_are_prometheus_text() -> None:
    answer = ask(catalog(), "GET", "/metrics")
    assert answer.content == b"salver_up 1\n"
    assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"


@pytest.mark.parametrize("accept", ["*/*", "application/json"])
def test_the_root_tells_programs_that_the_server_is_alive(accept: str) -> None:
    answer = ask(catalog(), "GET", "/", headers={"Accept": accept})
    assert answer.json() == {"status": "alive"}


class _Failing(FakeCatalog):
    def __init__(self, error: Exception) -> None:
        super().__init__()
        self._error = error

    def find(self, name: str, version: str = "") -> FakeModel:
        raise self._error


def _errors() -> list[type[RequestError]]:
    return sorted(RequestError.__subclasses__(), key=lambda kind: kind.kind)


@pytest.mark.parametrize("error", _errors())
def test_every_kind_of_error_has_the_status_of_the_table(error: type[RequestError]) -> None:
    answer = ask(_Failing(error("it is so")), "GET", "/v2/models/iris")
    assert answer.status_code == HTTP_STATUS[error.kind]
    assert answer.json() == {"error": "it is so"}


def test_the_table_knows_every_kind() -> None:
    assert set(HTTP_STATUS) == set(ErrorKind)


def test_a_full_queue_says_when_to_come_back() -> None:
    answer = ask(_Failing(QueueFull("full")), "GET", "/v2/models/iris")
    assert answer.headers["Retry-After"] == "1"


def test_a_bug_is_500_without_its_details() -> None:
    answer = ask(_Failing(ZeroDivisionError("secret")), "GET", "/v2/models/iris")
    assert answer.status_code == 500
    assert answer.json() == {"error": "the server failed on /v2/models/iris: see its log"}


@pytest.mark.parametrize("path", ["/v2/models/iris/explain", "/v2/models/iris/versions/1/explain"])
def test_explaining_over_v2_is_501_for_a_known_model_and_404_for_an_unknown_one(path: str) -> None:
    answer = ask(catalog(), "POST", path, json={"inputs": []})
    assert answer.status_code == 501
    assert answer.json() == {"error": "model 'iris' has no explainer: ask :predict instead"}
    assert ask(catalog(), "POST", path.replace("iris", "nope")).status_code == 404
