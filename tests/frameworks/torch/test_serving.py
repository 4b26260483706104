"""PyTorch models on a running server, over V1, V2 REST and V2 gRPC."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import torch
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http
from tests.e2e.server import Server, environment, serving
from tests.frameworks.torch.test_formats import ARGUMENTS, NAMES, expected
from tests.frameworks.torch.test_hostile import Trap

TARGETS = {
    "mlp": "mlp.pt2",
    "cnn": "cnn.pt",
    "lstm": "lstm.pth:Lstm",
    "words": "words.pt",
    "pair": "pair.pt2",
}
DATATYPES = {"words": "INT64"}


@pytest.fixture(scope="module")
def server(zoo: Any) -> Iterator[Server]:
    targets = [str(zoo.folder / each) for each in TARGETS.values()]
    with serving(*targets, "--runtime", "torch") as running:
        yield running


def request_of(zoo: Any, name: str, count: int) -> tuple[dict[str, Any], list[Any]]:
    rows = [row[:count] for row in zoo.rows[name]]
    inputs = {each: row.numpy() for each, row in zip(ARGUMENTS[name], rows, strict=True)}
    return inputs, expected(zoo.models[name], rows)


@pytest.mark.parametrize("count", [1, 5])
@pytest.mark.parametrize("name", NAMES)
def test_v1_answers_as_pytorch_does(server: Server, zoo: Any, name: str, count: int) -> None:
    inputs, wanted = request_of(zoo, name, count)
    columns = {each: data.tolist() for each, data in inputs.items()}
    if len(columns) == 1:
        (instances,) = columns.values()
    else:
        instances = [{k: v[row] for k, v in columns.items()} for row in range(count)]
    answer = server.post(f"/v1/models/{name}:predict", {"instances": instances})
    assert answer.status_code == 200, answer.text
    predictions = answer.json()["predictions"]
    if isinstance(predictions[0], dict):
        found = [[row[key] for row in predictions] for key in predictions[0]]
    else:
        found = [predictions]
    assert len(found) == len(wanted)
    for values, value in zip(found, wanted, strict=True):
        np.testing.assert_allclose(values, value, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("binary", [False, True])
def test_v2_rest_answers_as_pytorch_does(server: Server, zoo: Any, name: str, binary: bool) -> None:
    inputs, wanted = request_of(zoo, name, 4)
    with triton_http.InferenceServerClient(server.url.removeprefix("http://")) as client:
        given = []
        for each, data in inputs.items():
            tensor = triton_http.InferInput(each, data.shape, DATATYPES.get(name, "FP32"))
            tensor.set_data_from_numpy(data, binary_data=binary)
            given.append(tensor)
        metadata = client.get_model_metadata(name)
        answer = client.infer(name, given)
        names = [each["name"] for each in answer.get_response()["outputs"]]
        for output, value in zip(names, wanted, strict=True):
            np.testing.assert_allclose(answer.as_numpy(output), value, rtol=1e-5, atol=1e-6)
    assert [each["name"] for each in metadata["inputs"]] == list(inputs)


@pytest.mark.parametrize("name", NAMES)
def test_v2_grpc_answers_as_pytorch_does(server: Server, zoo: Any, name: str) -> None:
    inputs, wanted = request_of(zoo, name, 4)
    with triton_grpc.InferenceServerClient(server.grpc) as client:
        given = []
        for each, data in inputs.items():
            tensor = triton_grpc.InferInput(each, data.shape, DATATYPES.get(name, "FP32"))
            tensor.set_data_from_numpy(data)
            given.append(tensor)
        answer = client.infer(name, given, client_timeout=20)
        names = [each.name for each in answer.get_response().outputs]
        for output, value in zip(names, wanted, strict=True):
            np.testing.assert_allclose(answer.as_numpy(output), value, rtol=1e-5, atol=1e-6)


def test_rows_of_many_callers_are_predicted_together(server: Server, zoo: Any) -> None:
    rows = zoo.rows["mlp"][0]
    wanted = expected(zoo.models["mlp"], (rows,))[0]

    def call(index: int) -> list[float]:
        body = {"instances": rows[index : index + 1].tolist()}
        answer = client.post("/v1/models/mlp:predict", json=body)
        predictions: list[list[float]] = answer.json()["predictions"]
        return predictions[0]

    with httpx.Client(base_url=server.url, timeout=30) as client, ThreadPoolExecutor(16) as pool:
        found = list(pool.map(call, list(range(32)) * 8))
    np.testing.assert_allclose(found, np.tile(wanted, (8, 1)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "datatype", "shape", "message"),
    [
        ("mlp", "FP32", [1, 5], "has shape [1,5], the model takes [-1,4]: send 4 values a row"),
        ("mlp", "BYTES", [1, 4], "has datatype BYTES, the model takes FP32"),
        ("words", "FP32", [1, 7], "has datatype FP32, the model takes INT64"),
        ("cnn", "FP32", [1, 9], "PyTorch refused the input"),
        ("words", "INT64", [1, 7], "index out of range"),
    ],
)
def test_wrong_input_is_refused_with_the_reason(
    server: Server, name: str, datatype: str, shape: list[int], message: str
) -> None:
    value: Any = "x" if datatype == "BYTES" else 99
    data = [value] * (shape[0] * shape[1])
    tensor = {"name": ARGUMENTS[name][0], "datatype": datatype, "shape": shape, "data": data}
    answer = server.post(f"/v2/models/{name}/infer", {"inputs": [tensor]})
    assert answer.status_code == 400
    assert message in answer.json()["error"]
    assert "\n" not in answer.json()["error"]


def test_workers_have_the_threads_they_were_given_and_share_pytorch(server: Server) -> None:
    from tests.frameworks.torch.processes import memory_of, threads_of

    workers = server.workers()
    assert len(workers) == len(TARGETS)
    for pid in workers:
        # One for the interpreter; NumPy's and OpenMP's pools must not have grown to the machine.
        assert threads_of(pid) <= 3
    own = [memory_of(pid)["Private"] for pid in workers]
    assert max(own) < 150 << 20, own


def test_a_hostile_file_is_refused_by_the_server(zoo: Any, tmp_path: Path) -> None:
    torch.save({"w": Trap(tmp_path / "ran")}, tmp_path / "trap.pth")
    (tmp_path / "model.py").write_text((zoo.folder / "model.py").read_text())
    command = [sys.executable, "-m", "salver.cli.main", "serve", str(tmp_path / "trap.pth:Mlp")]
    done = subprocess.run(
        [*command, "--runtime", "torch", "--http-port", "0", "--grpc-port", "0"],
        capture_output=True,
        text=True,
        timeout=60,
        env=environment(),
        cwd=tmp_path,
    )
    assert done.returncode != 0
    assert "pickle of more than tensors" in done.stderr
    assert not (tmp_path / "ran").exists()


def test_settings_declare_what_torchscript_cannot(zoo: Any, tmp_path: Path) -> None:
    (tmp_path / "model.pt").write_bytes((zoo.folder / "cnn.pt").read_bytes())
    settings = {
        "name": "bright",
        "parameters": {"uri": "./model.pt", "extra": {"device": "cpu"}},
        "inputs": [{"name": "image", "datatype": "FP32", "shape": [-1, 1, 6, 6]}],
        "outputs": [{"name": "chances", "datatype": "FP32", "shape": [-1, 2]}],
    }
    (tmp_path / "model-settings.json").write_text(json.dumps(settings))
    with serving(str(tmp_path), "--runtime", "torch") as server:
        metadata = server.get("/v2/models/bright").json()
        assert metadata["inputs"][0]["shape"] == [-1, 1, 6, 6]
        assert metadata["outputs"][0] == {"name": "chances", "datatype": "FP32", "shape": [-1, 2]}
        images = zoo.rows["cnn"][0][:2]
        answer = server.post("/v1/models/bright:predict", {"instances": images.tolist()}).json()
    np.testing.assert_allclose(
        answer["predictions"], expected(zoo.models["cnn"], (images,))[0], rtol=1e-4, atol=1e-5
    )
