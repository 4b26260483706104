"""Models that a real Triton server runs for Salver: as its child, and by address.

The binary has the Python backend only, so models of that backend are handed to it; the same files
run by Salver itself say what the answers must be.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as grpcclient
import tritonclient.http as httpclient
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from tests.e2e.real_triton import (
    RealTriton,
    real_triton,
    triton_backends,
    triton_binary,
    triton_variables,
)
from tests.e2e.server import Server, serving, wait_until

pytestmark = pytest.mark.e2e

HANDED_OVER = '\nparameters { key: "SALVER_RUNTIME" value { string_value: "tritonserver" } }\n'
_HEAD = """
import numpy as np
import triton_python_backend_utils as pb_utils


def given(request, name):
    return pb_utils.get_input_tensor_by_name(request, name).as_numpy()


def response(**outputs):
    return pb_utils.InferenceResponse([pb_utils.Tensor(k, v) for k, v in outputs.items()])


class TritonPythonModel:
"""
FILES = {
    "scaled/config.pbtxt": """
backend: "python" max_batch_size: 4
input { name: "X" data_type: TYPE_FP32 dims: [2] }
output { name: "Y" data_type: TYPE_FP32 dims: [2] }
dynamic_batching { }
""",
    "scaled/1/model.py": _HEAD
    + """
    def execute(self, requests):
        return [self.answer(each) for each in requests]

    def answer(self, request):
        x = given(request, "X")
        if (x < 0).any():
            error = pb_utils.TritonError("X is negative", pb_utils.TritonError.INVALID_ARG)
            return pb_utils.InferenceResponse([], error=error)
        return response(Y=np.sqrt(x) * np.float32(1.7))
""",
    "texts/config.pbtxt": """
backend: "python" max_batch_size: 0
input { name: "X" data_type: TYPE_STRING dims: [-1] }
output { name: "Y" data_type: TYPE_STRING dims: [-1] }
output { name: "SIZES" data_type: TYPE_INT64 dims: [-1] }
version_policy { all { } }
""",
    "texts/1/model.py": _HEAD
    + """
    def execute(self, requests):
        (request,) = requests
        x = given(request, "X")
        return [response(Y=x[::-1], SIZES=np.array([len(each) for each in x], np.int64))]
""",
    "sums/config.pbtxt": """
backend: "python" max_batch_size: 0
input { name: "X" data_type: TYPE_INT32 dims: [1] }
output { name: "Y" data_type: TYPE_INT32 dims: [1] }
sequence_batching { oldest { max_candidate_sequences: 4 } }
""",
    "sums/1/model.py": _HEAD
    + """
    def initialize(self, args):
        self.totals = {}

    def execute(self, requests):
        return [self.answer(each) for each in requests]

    def answer(self, request):
        sequence, starts = request.correlation_id(), request.flags() & 1
        total = given(request, "X") + (0 if starts else self.totals[sequence])
        self.totals[sequence] = total
        return response(Y=total)
""",
    "broken/config.pbtxt": """
backend: "python"
input { name: "X" data_type: TYPE_INT32 dims: [1] }
output { name: "Y" data_type: TYPE_INT32 dims: [1] }
""",
    "broken/1/model.py": _HEAD
    + """
    def initialize(self, args):
        raise ValueError("no licence for the moon")

    def execute(self, requests):
        return []
""",
    "planned/config.pbtxt": """
platform: "tensorrt_plan" max_batch_size: 8
input { name: "X" data_type: TYPE_FP32 dims: [2] }
output { name: "Y" data_type: TYPE_FP32 dims: [2] }
""",
    "planned/1/model.plan": "no plan",
}
ROWS = np.array([[1.0, 2.0], [3.0, 1e-3], [0.0, 4e9]], np.float32)


def write_repository(folder: Path, extra: str = "") -> Path:
    for name, text in FILES.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text + (extra if file.name == "config.pbtxt" else ""))
    shutil.copytree(folder / "texts" / "1", folder / "texts" / "2")
    return folder


def program(folder: Path) -> Path:
    """A program that runs the binary with what it needs to be told, as an installed one has it."""
    backends = triton_backends(folder / "backends")
    lines = [f"export {name}='{value}'" for name, value in triton_variables().items()]
    lines.append(f'exec {triton_binary()} --backend-directory {backends} "$@"')
    file = folder / "tritonserver"
    file.write_text("#!/bin/sh\n" + "\n".join(lines) + "\n")
    file.chmod(0o755)
    return file


@pytest.fixture(scope="module")
def tritonserver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return program(tmp_path_factory.mktemp("program"))


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The models run by Salver itself."""
    folder = write_repository(tmp_path_factory.mktemp("own"))
    with serving(str(folder / "scaled"), str(folder / "texts"), str(folder / "sums")) as running:
        yield running


@pytest.fixture(scope="module")
def child(tmp_path_factory: pytest.TempPathFactory, tritonserver: Path) -> Iterator[Server]:
    """The models run by a Triton that Salver has started."""
    folder = write_repository(tmp_path_factory.mktemp("handed"), HANDED_OVER)
    with serving(str(folder), "--tritonserver", str(tritonserver)) as running:
        yield running


def ask(server: Server, kind: str, model: str, tensors: dict[str, Any], **extra: Any) -> Any:
    module = httpclient if kind == "http" else grpcclient
    address = server.url.removeprefix("http://") if kind == "http" else server.grpc
    inputs = []
    for name, array in tensors.items():
        tensor = module.InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype))
        tensor.set_data_from_numpy(array)
        inputs.append(tensor)
    client = module.InferenceServerClient(address)
    try:
        return client.infer(model, inputs, **extra)
    finally:
        client.close()


def tritons(server: Server) -> list[int]:
    """The processes of the binary below the server."""
    found = []
    for pid in server.descendants():
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if command[0].endswith(b"/bin/tritonserver"):
            found.append(pid)
    return found


def state(server: Server, name: str) -> dict[str, Any]:
    index = server.post("/v2/repository/index", {}).json()
    return next(each for each in index if each["name"] == name)


def test_one_triton_has_all_models(child: Server) -> None:
    assert len(tritons(child)) == 1


@pytest.mark.parametrize("kind", ["http", "grpc"])
def test_a_childs_answers_are_the_models_own_over_v2(child: Server, own: Server, kind: str) -> None:
    texts = np.array([b"a", b"", "\u00e4\u20ac".encode(), b"\0\xff"], object)
    for model, tensors, outputs in (
        ("scaled", {"X": ROWS}, ["Y"]),
        ("texts", {"X": texts}, ["Y", "SIZES"]),
    ):
        theirs, ours = (ask(each, kind, model, tensors) for each in (child, own))
        for name in outputs:
            found, wanted = theirs.as_numpy(name), ours.as_numpy(name)
            assert found.dtype == wanted.dtype
            np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/models/scaled:predict", {"instances": ROWS.tolist()}),
        ("/v1/models/scaled:predict", {"inputs": {"X": ROWS.tolist()}}),
        ("/v1/models/scaled/versions/1:predict", {"instances": [{"X": [1, 2]}]}),
        (
            "/v2/models/texts/infer",
            {
                "inputs": [{"name": "X", "shape": [2], "datatype": "BYTES", "data": ["a", "bc"]}],
                "outputs": [{"name": "SIZES"}],
            },
        ),
        ("/invocations", None),
    ],
)
def test_a_childs_answers_are_the_models_own_over_rest(
    child: Server, own: Server, path: str, body: Any
) -> None:
    if path == "/invocations":
        path, body = "/v2/models/scaled/generate", {"X": [1.0, 2.0]}
    theirs, ours = (each.post(path, body) for each in (child, own))
    assert (theirs.status_code, theirs.json()) == (ours.status_code, ours.json())


def test_metadata_configuration_and_statistics_are_there(child: Server, own: Server) -> None:
    for model in ("scaled", "texts"):
        theirs, ours = (each.get(f"/v2/models/{model}").json() for each in (child, own))
        assert theirs == ours
    config = child.get("/v2/models/scaled/config").json()
    assert (config["max_batch_size"], config["input"][0]["dims"]) == (4, [2])
    before = child.get("/v2/models/scaled/stats").json()["model_stats"][0]["inference_count"]
    ask(child, "http", "scaled", {"X": ROWS})
    after = child.get("/v2/models/scaled/stats").json()["model_stats"][0]["inference_count"]
    assert after == before + 3


def test_sequences_are_tritons(child: Server) -> None:
    totals = []
    for number, more in ((3, {"sequence_start": True}), (4, {}), (5, {"sequence_end": True})):
        tensors = {"X": np.array([number], np.int32)}
        answer = ask(child, "grpc", "sums", tensors, sequence_id=7, **more)
        totals.append(int(answer.as_numpy("Y")[0]))
    assert totals == [3, 7, 12]
    with pytest.raises(InferenceServerException, match="sequence") as refused:
        ask(child, "http", "sums", {"X": np.array([1], np.int32)}, sequence_id=9)
    assert refused.value.status() == "400"


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"X": -ROWS}, "X is negative"),
        ({"X": np.ones((9, 2), np.float32)}, "batch-size must be <= 4"),
        ({"X": np.ones((1, 3), np.float32)}, "shape"),
        ({"Z": ROWS}, "Z"),
    ],
)
def test_what_triton_refuses_is_refused_with_its_reason(
    child: Server, tensors: dict[str, Any], message: str
) -> None:
    for kind, status in (("http", "400"), ("grpc", "StatusCode.INVALID_ARGUMENT")):
        with pytest.raises(InferenceServerException, match=message) as refused:
            ask(child, kind, "scaled", tensors)
        assert refused.value.status() == status


def test_a_model_that_triton_cannot_load_says_tritons_reason(child: Server) -> None:
    assert "no licence for the moon" in state(child, "broken")["reason"]
    # The binary of the tests has no TensorRT.
    assert "tensorrt" in state(child, "planned")["reason"].lower()
    answer = child.post("/v1/models/planned:predict", {"instances": [[1, 2]]})
    assert answer.status_code == 503
    assert "tensorrt" in answer.text.lower()


def test_a_triton_that_is_killed_comes_back_and_requests_are_answered(child: Server) -> None:
    wanted = ask(child, "http", "scaled", {"X": ROWS}).as_numpy("Y")
    for _ in range(2):
        (pid,) = tritons(child)
        os.kill(pid, signal.SIGKILL)
        answer = ask(child, "grpc", "scaled", {"X": ROWS})
        np.testing.assert_array_equal(answer.as_numpy("Y"), wanted)
        wait_until(lambda gone=pid: tritons(child) and gone not in tritons(child), 20)
    texts = np.array([b"a"], object)
    assert ask(child, "http", "texts", {"X": texts}).as_numpy("SIZES").tolist() == [1]


def test_unloading_a_model_leaves_the_others_and_loading_takes_what_is_new(
    child: Server, tmp_path: Path
) -> None:
    assert child.post("/v2/repository/models/scaled/unload").status_code == 200
    refused = child.post("/v1/models/scaled:predict", {"instances": [[1, 2]]})
    assert refused.status_code == 503
    texts = np.array([b"a"], object)
    assert ask(child, "http", "texts", {"X": texts}).as_numpy("SIZES").tolist() == [1]
    (folder,) = {
        each.readlink()
        for pid in tritons(child)
        for each in Path(f"/proc/{pid}/cwd").glob("scaled")
    }
    file = folder / "1" / "model.py"
    file.write_text(file.read_text().replace("1.7", "10"))
    assert child.post("/v2/repository/models/scaled/load").status_code == 200
    answer = child.post("/v1/models/scaled:predict", {"instances": [[1, 4]]})
    assert answer.json() == {"predictions": [[10.0, 20.0]]}
    file.write_text(file.read_text().replace("10", "1.7"))
    assert child.post("/v2/repository/models/scaled/load").status_code == 200


def test_without_the_binary_the_remedies_are_named(tmp_path: Path) -> None:
    folder = write_repository(tmp_path / "repository")
    arguments = (str(folder / "planned"), str(folder / "scaled"))
    with serving(*arguments, "--tritonserver", "/nowhere/tritonserver") as server:
        reason = state(server, "planned")["reason"]
        assert "model 'planned' (backend 'tensorrt_plan') is run by NVIDIA's Triton" in reason
        assert "--tritonserver /nowhere/tritonserver" in reason
        assert "salver serve triton://HOST:8000/MODEL" in reason
        assert server.post("/v1/models/scaled:predict", {"instances": [[1, 4]]}).status_code == 200


@pytest.fixture(scope="module")
def remote(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealTriton]:
    folder = write_repository(tmp_path_factory.mktemp("remote"))
    shutil.rmtree(folder / "broken")
    shutil.rmtree(folder / "planned")
    with real_triton(folder) as running:
        yield running


def test_a_service_is_declared_on_a_triton_elsewhere(remote: RealTriton, tmp_path: Path) -> None:
    manifest = {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": "roots"},
        "spec": {
            "predictor": {
                "model": {
                    "modelFormat": {"name": "triton"},
                    "storageUri": f"triton://{remote.http}/scaled",
                }
            }
        },
    }
    file = tmp_path / "service.json"
    file.write_text(json.dumps(manifest))
    with serving("-f", str(file), "--state-dir", str(tmp_path / "state")) as server:
        wait_until(lambda: _asked(server).status_code == 200, 20)
        np.testing.assert_allclose(_asked(server).json()["predictions"], [[1.7, 3.4]], rtol=1e-6)


def _asked(server: Server) -> Any:
    return server.post("/v1/models/roots:predict", {"instances": [[1, 4]]})


def test_a_model_of_a_triton_elsewhere_is_served_until_that_ends(
    remote: RealTriton, own: Server
) -> None:
    targets = [f"triton://{remote.http}/{name}" for name in ("scaled", "texts/2", "sums")]
    with serving(*targets) as server:
        found, wanted = (ask(each, "grpc", "scaled", {"X": ROWS}) for each in (server, own))
        np.testing.assert_array_equal(found.as_numpy("Y"), wanted.as_numpy("Y"))
        answer = server.post("/v1/models/scaled:predict", {"instances": [[1, 4]] * 9})
        assert len(answer.json()["predictions"]) == 9
        answer = server.post("/v1/models/texts:predict", {"instances": ["a", "bcd"]})
        assert (
            answer.json()["predictions"]
            == own.post("/v1/models/texts:predict", {"instances": ["a", "bcd"]}).json()[
                "predictions"
            ]
        )
        assert server.get("/v2/models/texts").json()["versions"] == ["2"]
        os.kill(remote.process.pid, signal.SIGKILL)
        remote.process.wait()
        refused = server.post("/v1/models/scaled:predict", {"instances": [[1, 4]]})
        assert (refused.status_code, remote.http in refused.text) == (503, True)
        wait_until(lambda: state(server, "scaled")["state"] != "READY", 20)
        assert remote.http in state(server, "scaled")["reason"]
