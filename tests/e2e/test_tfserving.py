"""TensorFlow Serving's protocol with its own client's messages: every model, REST and gRPC.

The client runs in an environment of its own (`tfserving_environment.py`); what it gets is compared
with V2's answers and the libraries' own.
"""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests import models
from tests.e2e.server import Server, serving
from tests.e2e.tfserving_environment import ROOT, tfserving_python

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

SCRIPT = Path(__file__).with_name("tfserving_client.py")
ECHO = """
class Anything:
    # Gives back what it gets.
    def predict(self, tensors: dict) -> dict:
        return tensors
"""
MODELS = ["echo", "flowers", "iris", "line", "mlp", "steps"]
TOLERANCE: dict[str, Any] = {"rtol": 1e-5, "atol": 1e-6}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import joblib
    from sklearn.linear_model import LinearRegression

    folder = tmp_path_factory.mktemp("tfserving")
    rows, _ = models.iris()
    models.save_sklearn_lr(folder / "iris.joblib")
    models.save_sklearn_frame(folder / "flowers.joblib")
    models.save_onnx_mlp(folder / "mlp.onnx", (16, 8, 3))
    joblib.dump(LinearRegression().fit(rows, rows[:, 0] * 2 + 1), folder / "line.joblib")
    for version in ("1", "2"):
        place = folder / "steps" / version
        place.mkdir(parents=True)
        model = LinearRegression().fit(rows, rows[:, int(version)])
        joblib.dump(model, place / "model.joblib")
    (folder / "echo.py").write_text(ECHO)
    return folder


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Server]:
    with serving(str(folder), "--threads", "1") as running:
        yield running


@pytest.fixture(scope="module")
def rows() -> Any:
    return models.iris()[0][48:52]


@pytest.fixture(scope="module")
def pixels() -> Any:
    return np.random.default_rng(1).random((3, 16), dtype=np.float32)


@pytest.fixture(scope="module")
def got(server: Server, rows: Any, pixels: Any) -> dict[str, Any]:
    asked = {
        "grpc": server.grpc,
        "rows": rows.tolist(),
        "pixels": pixels.tolist(),
        "mlp_input": server.get("/v2/models/mlp").json()["inputs"][0]["name"],
        "columns": list(models.IRIS_COLUMNS),
        "models": MODELS,
    }
    done = subprocess.run(
        [str(tfserving_python()), str(SCRIPT)],
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def output(answer: Any, name: str) -> Any:
    """The values of an output, with the shape it is said to have."""
    tensor = answer["outputs"][name]
    field = next(key for key in tensor if key.endswith("_val"))
    shape = [int(dim["size"]) for dim in tensor["tensor_shape"]["dim"]]
    return np.array([float(value) for value in tensor[field]]).reshape(shape)


def v2(server: Server, model: str, rows: Any, output: str, datatype: str = "FP64") -> Any:
    name = server.get(f"/v2/models/{model}").json()["inputs"][0]["name"]
    tensor = {
        "name": name,
        "shape": list(rows.shape),
        "datatype": datatype,
        "data": rows.ravel().tolist(),
    }
    body = {"inputs": [tensor], "outputs": [{"name": output}]}
    answer = server.post(f"/v2/models/{model}/infer", body).json()["outputs"][0]
    return np.array(answer["data"]).reshape(answer["shape"])


@pytest.mark.parametrize("how", ["float_val", "float content", "double_val", "double content"])
def test_predict_answers_as_v2_does_in_every_encoding(
    server: Server, got: dict[str, Any], rows: Any, how: str
) -> None:
    answer = got[f"iris {how}"]
    assert answer["model_spec"] == {
        "name": "iris",
        "version": "1",
        "signature_name": "serving_default",
    }
    assert np.array_equal(output(answer, "predict"), v2(server, "iris", rows, "predict"))


def test_predict_on_onnx_answers_as_v2_does(
    server: Server, got: dict[str, Any], pixels: Any
) -> None:
    wanted = v2(server, "mlp", pixels, "scores", "FP32")
    for how in ("onnx", "onnx double"):
        np.testing.assert_allclose(output(got[how], "scores"), wanted, **TOLERANCE)


def test_outputs_are_chosen_by_filter_and_by_signature(
    server: Server, got: dict[str, Any], rows: Any
) -> None:
    wanted = v2(server, "iris", rows, "predict_proba")
    for how in ("filtered", "signature"):
        assert list(got[how]["outputs"]) == ["predict_proba"]
        np.testing.assert_allclose(output(got[how], "predict_proba"), wanted, **TOLERANCE)


def test_a_short_list_is_filled_with_its_last_value(server: Server, got: dict[str, Any]) -> None:
    for how, value in (("splat", 1.5), ("zeros", 0.0)):
        wanted = v2(server, "iris", np.full((2, 4), value), "predict")
        assert np.array_equal(output(got[how], "predict"), wanted)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("half", [15360, 16384, 16384]),
        ("truth", [True, False, True]),
        ("bytes", [0, 128, 255]),
        ("short", [-1, 0, 1]),
        ("long", [-(1 << 62), 0, 1 << 62]),
        ("unsigned", [0, 1, (1 << 64) - 1]),
    ],
)
def test_every_datatype_comes_back_as_it_was(
    got: dict[str, Any], name: str, values: list[Any]
) -> None:
    tensor = got[f"echo {name}"]["outputs"][name]
    field = next(key for key in tensor if key.endswith("_val"))
    assert [int(each) for each in tensor[field]] == values


def test_strings_come_back_as_the_bytes_they_were(got: dict[str, Any]) -> None:
    for name, values in (("text", [b"a", b"\xff", b"c"]), ("packed", [b"a", b"", b"bc"])):
        found = got[f"echo {name}"]["outputs"][name]["string_val"]
        assert [base64.b64decode(each) for each in found] == values


@pytest.mark.parametrize(
    ("how", "code", "words"),
    [
        ("out of range", "INVALID_ARGUMENT", "range of UINT8"),
        ("complex", "INVALID_ARGUMENT", "DT_COMPLEX64"),
        ("unknown model", "NOT_FOUND", "nope"),
        ("unknown version", "NOT_FOUND", "no version '9'"),
        ("unknown label", "INVALID_ARGUMENT", "no version label 'x'"),
        ("no name", "INVALID_ARGUMENT", "model_spec.name"),
        ("unknown signature", "INVALID_ARGUMENT", "no signature 'nope'"),
        ("metadata other", "INVALID_ARGUMENT", "metadata_field"),
        ("status unknown", "NOT_FOUND", "nope"),
        ("reload label unknown", "NOT_FOUND", "no version 9"),
        ("reload twice", "INVALID_ARGUMENT", "twice"),
        ("reload unknown", "NOT_FOUND", "nope"),
        ("unloaded", "UNAVAILABLE", "unloaded"),
    ],
)
def test_refusals_have_tensorflow_servings_codes_and_the_reason(
    got: dict[str, Any], how: str, code: str, words: str
) -> None:
    assert got[how]["code"] == code
    assert words in got[how]["details"]


def scores(answer: Any) -> Any:
    listed = answer["result"]["classifications"]
    return np.array([[each.get("score", 0.0) for each in one["classes"]] for one in listed])


def test_classify_gives_labels_and_probabilities(
    server: Server, got: dict[str, Any], rows: Any
) -> None:
    wanted = v2(server, "iris", rows, "predict_proba")
    answer = got["iris examples"]["classify"]
    np.testing.assert_allclose(scores(answer), wanted, **TOLERANCE)
    for one in answer["result"]["classifications"]:
        assert [each["label"] for each in one["classes"]] == ["0", "1", "2"]
    assert answer["model_spec"]["version"] == "1"


def test_features_by_column_with_a_context_are_rows(
    server: Server, got: dict[str, Any], rows: Any
) -> None:
    same = rows.copy()
    same[:, 3] = rows[0, 3]
    wanted = v2(server, "flowers", same, "predict_proba")
    np.testing.assert_allclose(scores(got["columns"]), wanted, **TOLERANCE)


def test_regress_gives_a_value_for_each_example(
    server: Server, got: dict[str, Any], rows: Any
) -> None:
    wanted = v2(server, "line", rows, "predict")
    found = got["line examples"]["regress"]["result"]["regressions"]
    np.testing.assert_allclose([each["value"] for each in found], wanted, **TOLERANCE)
    assert "ask :regress" in got["line examples"]["classify"]["details"]


def test_multi_inference_gives_the_answers_of_its_tasks_in_order(got: dict[str, Any]) -> None:
    asked = got["iris examples"]
    first, second = asked["multi"]["results"]
    assert first["classification_result"] == asked["classify"]["result"]
    assert second["regression_result"] == asked["regress"]["result"]
    assert "ask :regress" in got["line examples"]["multi"]["details"]


def test_metadata_is_the_same_over_rest_and_grpc(server: Server, got: dict[str, Any]) -> None:
    for model in ("iris", "mlp"):
        told = got[f"metadata {model}"]["signature_def"]
        document = server.get(f"/v1/models/{model}/metadata").json()
        shown = document["metadata"]["signature_def"]["signature_def"]
        assert told.keys() == shown.keys()
        for name, signature in told.items():
            for side in ("inputs", "outputs"):
                for tensor, info in signature[side].items():
                    own = shown[name][side][tensor]
                    assert info["dtype"] == own["dtype"]
                    sizes = [each["size"] for each in info["tensor_shape"]["dim"]]
                    assert sizes == [each["size"] for each in own["tensor_shape"]["dim"]]


def test_a_thousand_mutated_messages_get_an_answer_and_the_server_goes_on(
    server: Server, got: dict[str, Any]
) -> None:
    codes = got["fuzzed"]
    assert sum(codes.values()) == 1000
    assert set(codes) <= {"INVALID_ARGUMENT", "NOT_FOUND", "OK"}
    assert codes["INVALID_ARGUMENT"] > 500
    assert got["after"] == got["iris float_val"]
    assert server.get("/v2/health/ready").status_code == 200


def test_labels_and_the_list_of_models(server: Server, got: dict[str, Any], rows: Any) -> None:
    for label, version in (("stable", 1), ("canary", 2)):
        answer = got[f"label {label}"]
        assert answer["model_spec"]["version"] == str(version)
        np.testing.assert_allclose(output(answer, "predict"), rows[:, version], rtol=1e-5)
        statuses = got[f"status {label}"]["model_version_status"]
        assert [(each["version"], each["state"]) for each in statuses] == [
            (str(version), "AVAILABLE")
        ]
        path = f"/v1/models/steps/labels/{label}"
        predicted = server.post(path + ":predict", {"instances": rows.tolist()})
        np.testing.assert_allclose(predicted.json()["predictions"], rows[:, version], rtol=1e-5)
        shown = server.get(path).json()["model_version_status"]
        assert [each["version"] for each in shown] == [str(version)]
    assert got["status line"]["model_version_status"][0]["state"] == "END"
    assert "outputs" in got["loaded"]


def test_rest_classifies_and_regresses_as_grpc_does(
    server: Server, got: dict[str, Any], rows: Any
) -> None:
    body = {"examples": [{"input-0": row} for row in rows.tolist()]}
    results = server.post("/v1/models/iris:classify", body).json()["results"]
    found = [[score for _, score in each] for each in results]
    np.testing.assert_allclose(found, scores(got["iris examples"]["classify"]), **TOLERANCE)
    values = server.post("/v1/models/line/versions/1:regress", body).json()["results"]
    np.testing.assert_allclose(values, v2(server, "line", rows, "predict"), **TOLERANCE)


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/v1/models/nope:classify", {"examples": [{"x": 1}]}, 404),
        ("/v1/models/iris/versions/9:regress", {"examples": [{"x": 1}]}, 404),
        ("/v1/models/iris/labels/x:classify", {"examples": [{"x": 1}]}, 400),
        ("/v1/models/iris:classify", {"examples": []}, 400),
        ("/v1/models/iris:classify", {"examples": [{"x": [1, 2]}]}, 400),
        ("/v1/models/iris:classify", b"{", 400),
        ("/v1/models/line:classify", {"examples": [{"x": [1, 2, 3, 4]}]}, 400),
        ("/v1/models/iris:predict", {"instances": [[1, 2, 3, 4], [1, 2]]}, 400),
        ("/v1/models/iris:predict", {"instances": [[1, 2, 3, 4]], "signature_name": "x"}, 400),
    ],
)
def test_rest_refuses_with_an_error(server: Server, path: str, body: Any, status: int) -> None:
    answer = server.post(path, body)
    assert answer.status_code == status
    assert set(answer.json()) == {"error"}


def test_salvers_messages_and_tensorflows_live_in_one_process() -> None:
    program = (
        "import sys; sys.path[:0] = ['tests/e2e', 'src']\n"
        "import tfserving_messages as tf\n"
        "from salver.protocol import tfs_pb2 as own\n"
        "asked = tf.predict_pb2.PredictRequest(output_filter=['a'])\n"
        "asked.model_spec.name = 'm'\n"
        "asked.inputs['x'].float_val.append(1.5)\n"
        "found = own.PredictRequest.FromString(asked.SerializeToString())\n"
        "assert found.inputs['x'].float_val[0] == 1.5\n"
        "assert own.PredictRequest.DESCRIPTOR.full_name == 'salver.tfs.v1.PredictRequest'\n"
    )
    subprocess.run([str(tfserving_python()), "-c", program], cwd=ROOT, check=True, timeout=60)
