"""TensorFlow models on a running server: V1, V2, and TensorFlow Serving's protocol."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http
from tests.e2e.server import Server, environment, serving
from tests.frameworks.tensorflow.networks import tf
from tests.frameworks.tensorflow.test_models import NAMES, example, expected

from salver.protocol import tfs_pb2 as pb

TARGETS = ("mlp", "words.keras", "pair.h5", "texts", "census")
DATATYPES = {"tokens": "INT64"}


@pytest.fixture(scope="module")
def server(zoo: Any) -> Iterator[Server]:
    targets = [str(zoo.folder / each) for each in TARGETS]
    with serving(*targets) as running:
        yield running


def request_of(zoo: Any, name: str, count: int) -> tuple[dict[str, Any], list[Any]]:
    inputs = {key: data[:count] for key, data in zoo.rows[name].items()}
    return inputs, expected(zoo, name, inputs)


@pytest.mark.parametrize("count", [1, 5])
@pytest.mark.parametrize("name", NAMES)
def test_v1_answers_as_tensorflow_does(server: Server, zoo: Any, name: str, count: int) -> None:
    inputs, wanted = request_of(zoo, name, count)
    columns = {key: data.tolist() for key, data in inputs.items()}
    if len(columns) == 1:
        (instances,) = columns.values()
    else:
        instances = [{k: v[row] for k, v in columns.items()} for row in range(count)]
    answer = server.post(f"/v1/models/{name}:predict", {"instances": instances})
    assert answer.status_code == 200, answer.text
    predictions = answer.json()["predictions"]
    if isinstance(predictions[0], dict):
        found = [[row[key] for row in predictions] for key in sorted(predictions[0])]
    else:
        found = [predictions]
    for values, value in zip(found, wanted, strict=True):
        np.testing.assert_allclose(values, value, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_v2_answers_as_tensorflow_does_over_rest_and_grpc(
    server: Server, zoo: Any, name: str
) -> None:
    inputs, wanted = request_of(zoo, name, 4)
    for client_of, kind, address in (
        (triton_http.InferenceServerClient, triton_http, server.url.removeprefix("http://")),
        (triton_grpc.InferenceServerClient, triton_grpc, server.grpc),
    ):
        given = []
        for key, data in inputs.items():
            tensor = kind.InferInput(key, data.shape, DATATYPES.get(key, "FP32"))
            tensor.set_data_from_numpy(data)
            given.append(tensor)
        with client_of(address) as client:
            answer = client.infer(name, given)
        response = answer.get_response()
        outputs = response["outputs"] if isinstance(response, dict) else response.outputs
        names = sorted(each["name"] if isinstance(each, dict) else each.name for each in outputs)
        for output, value in zip(names, wanted, strict=True):
            np.testing.assert_allclose(answer.as_numpy(output), value, rtol=1e-5, atol=1e-6)


def test_v2_chooses_a_signature_by_a_parameter(server: Server) -> None:
    body = {
        "inputs": [{"name": "words", "datatype": "BYTES", "shape": [2], "data": ["red", "x"]}],
        "parameters": {"signature_name": "codes"},
    }
    answer = server.post("/v2/models/texts/infer", body)
    assert answer.status_code == 200, answer.text
    outputs = {each["name"]: each["data"] for each in answer.json()["outputs"]}
    assert outputs == {"code": [1, -1], "upper": ["RED", "X"]}
    refused = server.post("/v2/models/texts/infer", body | {"parameters": {}})
    assert refused.status_code == 400
    refused = server.post("/v2/models/texts/infer", body | {"parameters": {"signature_name": "y"}})
    assert refused.status_code == 400
    assert "no signature 'y'" in refused.json()["error"]


def test_tensorflow_servings_rest_chooses_signatures(server: Server, zoo: Any) -> None:
    body = {"signature_name": "codes", "inputs": {"words": ["green"]}}
    answer = server.post("/v1/models/texts:predict", body).json()
    assert answer == {"outputs": {"code": [2], "upper": ["GREEN"]}}
    answer = server.post("/v1/models/texts:predict", {"instances": [[1.0, 2.0]]}).json()
    assert answer == {"predictions": [[7.0, 10.0]]}
    described = server.get("/v1/models/texts/metadata").json()["metadata"]
    found = described["signature_def"]["signature_def"]
    assert found.keys() == {"serving_default", "codes", "counts"}
    assert found["codes"]["inputs"]["words"]["dtype"] == "DT_STRING"


def test_tensorflow_servings_rest_classifies_and_regresses(server: Server) -> None:
    examples = [{"age": 30.0}, {"age": 10.0, "town": "york"}]
    answer = server.post("/v1/models/census:classify", {"examples": examples})
    assert answer.status_code == 200, answer.text
    rows = [dict(row) for row in answer.json()["results"]]
    wanted = [{"no": 0.4, "yes": 0.6}, {"no": -0.2, "yes": 1.2}]
    for row, value in zip(rows, wanted, strict=True):
        assert row == pytest.approx(value, abs=1e-5)
    answer = server.post("/v1/models/census:regress", {"examples": examples})
    assert answer.json()["results"] == pytest.approx([0.6, 1.2], abs=1e-5)
    answer = server.post("/v1/models/census:classify", {"examples": [{"age": "old"}]})
    assert answer.status_code == 400
    assert "age" in answer.json()["error"]


def ask_over_grpc(server: Server, method: str, request: Any, response: Any) -> Any:
    with grpc.insecure_channel(server.grpc) as channel:
        call = channel.unary_unary(
            f"/tensorflow.serving.PredictionService/{method}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=response.FromString,
        )
        return call(request, timeout=20)


def test_tensorflow_servings_grpc_answers_as_tensorflow_does(server: Server, zoo: Any) -> None:
    inputs, wanted = request_of(zoo, "mlp", 3)
    request = pb.PredictRequest(model_spec={"name": "mlp"})
    proto = tf.make_tensor_proto(inputs["flowers"]).SerializeToString()
    request.inputs["flowers"].MergeFromString(proto)
    answer = ask_over_grpc(server, "Predict", request, pb.PredictResponse)
    found = np.reshape(answer.outputs["output_0"].float_val, (3, 3))
    np.testing.assert_allclose(found, wanted[0], rtol=1e-5)
    request = pb.ExamplesRequest(model_spec={"name": "census"})
    text = example(age=30.0).SerializeToString()
    request.input.example_list.examples.add().MergeFromString(text)
    classes = ask_over_grpc(server, "Classify", request, pb.ClassificationResponse)
    (row,) = classes.result.classifications
    assert {each.label: round(each.score, 5) for each in row.classes} == {"no": 0.4, "yes": 0.6}
    values = ask_over_grpc(server, "Regress", request, pb.RegressionResponse)
    assert values.result.regressions[0].value == pytest.approx(0.6, abs=1e-5)


def test_rows_of_many_callers_are_predicted_together(server: Server, zoo: Any) -> None:
    rows = zoo.rows["mlp"]["flowers"]
    wanted = expected(zoo, "mlp", {"flowers": rows})[0]

    def call(index: int) -> list[float]:
        body = {"instances": rows[index : index + 1].tolist()}
        answer = client.post("/v1/models/mlp:predict", json=body)
        predictions: list[list[float]] = answer.json()["predictions"]
        return predictions[0]

    with httpx.Client(base_url=server.url, timeout=30) as client, ThreadPoolExecutor(16) as pool:
        found = list(pool.map(call, list(range(48)) * 6))
    np.testing.assert_allclose(found, np.tile(wanted, (6, 1)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "datatype", "shape", "message"),
    [
        ("mlp", "FP32", [1, 5], "has shape [1,5], the model takes [-1,4]: send 4 values a row"),
        ("mlp", "BYTES", [1, 4], "has datatype BYTES, the model takes FP32"),
        ("words", "FP32", [1, 7], "has datatype FP32, the model takes INT64"),
        ("words", "INT64", [1, 7], "TensorFlow refused the input: indices"),
    ],
)
def test_wrong_input_is_refused_with_the_reason(
    server: Server, zoo: Any, name: str, datatype: str, shape: list[int], message: str
) -> None:
    value: Any = "x" if datatype == "BYTES" else 99
    data = [value] * (shape[0] * shape[1])
    key = next(iter(zoo.rows[name]))
    tensor = {"name": key, "datatype": datatype, "shape": shape, "data": data}
    answer = server.post(f"/v2/models/{name}/infer", {"inputs": [tensor]})
    assert answer.status_code == 400
    assert message in answer.json()["error"]
    assert "\n" not in answer.json()["error"]


def private_bytes(pid: int) -> int:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) << 10 for line in lines if line.startswith("Private_"))


def test_workers_share_tensorflow_and_have_the_threads_they_were_given(server: Server) -> None:
    workers = server.workers()
    assert len(workers) == len(TARGETS)
    for pid in workers:
        # The interpreter, TensorFlow's own two, and the pools of one thread each of session and
        # of what Keras did before there was one.
        assert len(list(Path(f"/proc/{pid}/task").iterdir())) <= 8
        assert private_bytes(pid) < 250 << 20


def test_a_model_that_is_refused_ends_the_start_with_the_reason(zoo: Any, tmp_path: Path) -> None:
    folder = tmp_path / "mlp"
    shutil.copytree(zoo.folder / "mlp", folder)
    shutil.rmtree(folder / "variables")
    command = [sys.executable, "-m", "salver.cli.main", "serve", str(folder)]
    done = subprocess.run(
        [*command, "--http-port", "0", "--grpc-port", "0"],
        capture_output=True,
        text=True,
        timeout=60,
        env=environment(),
        cwd=tmp_path,
    )
    assert done.returncode != 0
    assert "its variables are missing" in done.stderr
    assert json.dumps(done.stderr).count("Traceback") == 0
