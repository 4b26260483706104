"""TensorFlow Serving's REST routes through real ASGI calls."""

from __future__ import annotations

from typing import Any

import pytest
from tests.asgi import ask
from tests.fakes import FakeCatalog, FakeModel

from salver.inference.metadata import ModelMetadata, SignatureMetadata, TensorMetadata
from salver.protocol.tfs_signatures import CLASSIFY


def version(number: str, state: str = "AVAILABLE", reason: str = "") -> dict[str, Any]:
    status = {"error_code": "UNAVAILABLE" if reason else "OK", "error_message": reason}
    return {"version": number, "state": state, "status": status}


def catalog() -> FakeCatalog:
    return FakeCatalog(
        FakeModel("iris", "1"),
        FakeModel("iris", "2", state="LOADING"),
        FakeModel("iris", "3", state="UNAVAILABLE", reason="/m is cut off"),
        FakeModel("iris", "4", state="UNAVAILABLE", reason="unloaded"),
        FakeModel("iris", "5"),
    )


def test_the_status_of_a_model_has_all_of_its_versions_besides_kserves_members() -> None:
    answer = ask(catalog(), "GET", "/v1/models/iris")
    assert answer.status_code == 200
    assert answer.json() == {
        "name": "iris",
        "ready": True,
        "model_version_status": [
            version("1"),
            version("2", "LOADING"),
            version("3", "END", "/m is cut off"),
            version("4", "END"),
            version("5"),
        ],
    }


def test_the_status_of_a_version_is_its_own_ready_or_not() -> None:
    for number, wanted in (("1", version("1")), ("2", version("2", "LOADING"))):
        answer = ask(catalog(), "GET", f"/v1/models/iris/versions/{number}")
        assert answer.status_code == 200
        assert answer.json() == {"model_version_status": [wanted]}


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v1/models/nope/versions/1", 404),
        ("/v1/models/iris/versions/9", 404),
        ("/v1/models/iris/versions/blue", 404),
        ("/v1/models/iris/labels/canary", 400),
        ("/v1/models/nope/labels/canary", 404),
        ("/v1/models/nope/metadata", 404),
        ("/v1/models/iris/labels/canary/metadata", 400),
        ("/v1/models/iris:classify", 405),
        ("/v1/models/iris:regress", 405),
    ],
)
def test_what_is_not_there_is_told_by_status_and_error(path: str, status: int) -> None:
    answer = ask(catalog(), "GET", path)
    assert answer.status_code == status
    assert set(answer.json()) == {"error"}


def test_metadata_has_a_signature_for_each_thing_that_can_be_asked() -> None:
    document = ask(catalog(), "GET", "/v1/models/iris/versions/1/metadata").json()
    assert document["model_spec"] == {"name": "iris", "signature_name": "", "version": "1"}
    signatures = document["metadata"]["signature_def"]["signature_def"]
    assert set(signatures) == {"serving_default", "predict_proba"}
    default = signatures["serving_default"]
    assert default["method_name"] == "tensorflow/serving/predict"
    assert default["inputs"]["input"] == {
        "dtype": "DT_DOUBLE",
        "tensor_shape": {
            "dim": [{"size": "-1", "name": ""}, {"size": "4", "name": ""}],
            "unknown_rank": False,
        },
        "name": "input",
    }
    assert default["outputs"]["predict"]["dtype"] == "DT_INT64"


def test_metadata_has_a_models_own_signatures() -> None:
    free = TensorMetadata("x", "BYTES", (), any_shape=True)
    own = SignatureMetadata("top", CLASSIFY, (free,), ())
    metadata = ModelMetadata("tensorflow", (free,), (), signatures=(own,))
    models = FakeCatalog(FakeModel("m", metadata=metadata))
    document = ask(models, "GET", "/v1/models/m/metadata").json()
    found = document["metadata"]["signature_def"]["signature_def"]
    assert list(found) == ["top"]
    assert found["top"]["method_name"] == CLASSIFY
    assert found["top"]["inputs"]["x"]["tensor_shape"] == {"dim": [], "unknown_rank": True}
