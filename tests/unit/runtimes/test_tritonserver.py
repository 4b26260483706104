"""Models that a Triton server runs: what is asked of it, and what becomes of its answers."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from salver.backends.processes.process import free_port
from salver.errors import (
    DeadlineExceeded,
    InvalidInput,
    LoadFailed,
    ModelFailed,
    QueueFull,
    RequestError,
    Unavailable,
    Unsupported,
    WorkerUnfit,
)
from salver.inference.tensor import InferRequest, Tensor, tensor_from_array
from salver.runtimes.ports import AskedRequest, ModelSource
from salver.runtimes.tritonserver import RENEWAL_S, TritonserverRuntime
from salver.runtimes.tritonserver_client import NotTaken, refusal, request_parts, response_of
from salver.runtimes.tritonserver_metadata import described

SMALL = Path(__file__).parents[2] / "small_triton.py"
BATCHED = {"max_batch_size": 4, "dynamic_batching": {}}


class Small:
    """The small program, with the models of a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.start()

    def start(self) -> None:
        command = (sys.executable, str(SMALL), "--http-port", str(self.port))
        self.process = subprocess.Popen(
            (*command, "--model-repository", str(self.folder)), stdout=subprocess.DEVNULL
        )

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()

    def put(self, name: str, config: dict[str, Any], **files: str) -> None:
        (self.folder / name).mkdir()
        (self.folder / name / "config.json").write_text(json.dumps(config))
        for file, text in files.items():
            (self.folder / name / file).write_text(text)
        self.control(name, "load")

    def control(self, name: str, what: str) -> None:
        import http.client
        import time

        for _ in range(200):
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
            try:
                connection.request("POST", f"/v2/repository/models/{name}/{what}", b"{}")
                assert connection.getresponse().status == 200
                return
            except ConnectionRefusedError:
                time.sleep(0.02)
            finally:
                connection.close()
        raise AssertionError("the small program did not come up")

    def source(self, name: str) -> ModelSource:
        parameters = {"url": f"http://127.0.0.1:{self.port}", "name": name}
        return ModelSource("ours", Path(name), "tritonserver", parameters=parameters)

    def load(self, name: str) -> Any:
        return TritonserverRuntime().load(self.source(name))


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Small]:
    made = Small(tmp_path)
    yield made
    made.stop()


def rows(*values: list[float]) -> InferRequest:
    return InferRequest((tensor_from_array("X", np.array(values, np.float32)),))


def test_the_answer_is_tritons(small: Small) -> None:
    small.put("m", BATCHED)
    model = small.load("m")
    assert model.metadata.batchable
    assert [each.name for each in model.metadata.inputs] == ["X"]
    (output,) = model.predict(rows([1, 2], [3, 4])).outputs
    assert (output.name, output.data.tolist()) == ("Y", [[2, 4], [6, 8]])
    model.unload()


def test_more_rows_than_a_server_elsewhere_takes_go_in_pieces(small: Small) -> None:
    small.put("m", BATCHED)
    model = small.load("m")
    sent = np.arange(22, dtype=np.float32).reshape(11, 2)
    (output,) = model.predict(InferRequest((tensor_from_array("X", sent),))).outputs
    np.testing.assert_array_equal(output.data, sent * 2)
    model.unload()


def test_a_refusal_is_the_callers_with_tritons_reason(small: Small) -> None:
    small.put("m", {"max_batch_size": 4})
    model = small.load("m")
    with pytest.raises(InvalidInput, match="Triton: batch-size must be <= 4"):
        model.predict(rows(*[[1, 2]] * 5))
    model.unload()


def test_a_server_that_was_started_again_is_asked_again(small: Small) -> None:
    small.put("m", {})
    model = small.load("m")
    small.stop()
    small.start()
    small.control("m", "load")
    assert model.predict(rows([1, 2])).outputs[0].data.tolist() == [[2, 4]]
    model.unload()


def test_a_server_that_is_gone_asks_for_another_worker(
    small: Small, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("salver.runtimes.tritonserver.RENEWAL_S", 0.0)
    small.put("m", {})
    model = small.load("m")
    small.stop()
    with pytest.raises(WorkerUnfit, match=f"Triton at 127.0.0.1:{small.port} is not there"):
        model.predict(rows([1, 2]))
    with pytest.raises(LoadFailed, match=f"model 'ours': Triton at 127.0.0.1:{small.port} has it"):
        small.load("m")
    assert RENEWAL_S > 0


def test_a_model_that_triton_has_not_is_named(small: Small) -> None:
    small.put("m", {})
    with pytest.raises(LoadFailed, match="unknown model: 'other' is not found"):
        small.load("other")


def test_a_request_of_a_sequence_is_not_sent_twice(
    small: Small, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("salver.runtimes.tritonserver.RENEWAL_S", 5.0)
    small.put("m", {"sequence_batching": {}}, unlucky="")
    model = small.load("m")
    assert not model.metadata.idempotent
    asked = AskedRequest(rows([13, 0]), "r", {"sequence_id": 7, "headers": {"a": "b"}})

    def revived(*arguments: object) -> Any:
        small.process.wait()
        small.start()
        small.control("m", "load")
        return original(*arguments)

    original = model._place.client
    monkeypatch.setattr(model._place, "client", revived)
    (answer,) = model.predict_each([asked])
    assert isinstance(answer, Unavailable)
    assert "begin the sequence again" in str(answer)
    (answer,) = model.predict_each([AskedRequest(rows([1, 0]))])
    assert answer.outputs[0].data.tolist() == [[2, 0]]
    model.unload()


def test_streams_are_not_passed_on(small: Small) -> None:
    small.put("m", {"model_transaction_policy": {"decoupled": True}})
    with pytest.raises(LoadFailed, match="'ours' is decoupled"):
        small.load("m")


def test_without_a_place_the_way_to_one_is_named(tmp_path: Path) -> None:
    with pytest.raises(LoadFailed, match="triton://HOST:PORT/MODEL"):
        TritonserverRuntime().load(ModelSource("m", tmp_path, "tritonserver"))


@pytest.mark.parametrize(
    ("tensor", "raw"),
    [
        (tensor_from_array("X", np.array([1, -2], np.int16)), b"\1\0\xfe\xff"),
        (tensor_from_array("X", np.array(["a", "é"], object)), b"\1\0\0\0a\2\0\0\0\xc3\xa9"),
        (Tensor("X", "BF16", np.array([1.0], np.float32)), b"\x80\x3f"),
        (tensor_from_array("X", np.array(True)), b"\1"),
        (tensor_from_array("X", np.zeros((0, 3), np.float32)), b""),
        (tensor_from_array("X", np.array([[1, 2], [3, 4]], np.uint8).T), b"\1\3\2\4"),
    ],
)
def test_tensors_go_as_bytes_and_come_back_equal(tensor: Tensor, raw: bytes) -> None:
    head, blobs = request_parts(InferRequest((tensor,), ("Y",)), {"a": 1}, "r")
    document = json.loads(head)
    assert b"".join(blobs) == raw
    assert document["id"] == "r"
    assert document["parameters"] == {"a": 1, "binary_data_output": True}
    assert document["outputs"] == [{"name": "Y", "parameters": {"binary_data": True}}]
    answer = json.dumps({"outputs": document["inputs"]}).encode()
    (found,) = response_of(answer + raw, len(answer)).outputs
    assert (found.datatype, found.data.shape) == (tensor.datatype, tensor.data.shape)
    sent = tensor.data if tensor.datatype != "BYTES" else np.array([b"a", "é".encode()], object)
    np.testing.assert_array_equal(found.data, sent)


@pytest.mark.parametrize(
    "output",
    [
        {"name": "Y", "datatype": "FP32", "shape": [1], "data": [1.0]},
        {"name": "Y", "datatype": "FP32", "shape": [9], "parameters": {"binary_data_size": 4}},
        {"name": "Y", "datatype": "FP8", "shape": [1], "parameters": {"binary_data_size": 4}},
        {"name": "Y", "datatype": "FP32", "shape": [1], "parameters": {"binary_data_size": 99}},
    ],
)
def test_an_answer_that_is_none_is_not_taken_for_one(output: dict[str, Any]) -> None:
    head = json.dumps({"outputs": [output]}).encode()
    with pytest.raises(ValueError, match="'Y'"):
        response_of(head + b"\0\0\0\0", len(head))


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, InvalidInput),
        (429, QueueFull),
        (501, Unsupported),
        (503, Unavailable),
        (504, DeadlineExceeded),
        (500, ModelFailed),
        (418, ModelFailed),
    ],
)
def test_each_status_of_tritons_has_its_kind(status: int, kind: type[RequestError]) -> None:
    found = refusal(status, b'{"error":"so it\\n is"}')
    assert type(found) is kind
    assert str(found) == "Triton: so it is"


def test_a_model_that_is_not_there_now_has_not_taken_the_request() -> None:
    for status, reason in ((404, "unknown model"), (503, "'m' version 1 is not at ready state")):
        found = refusal(status, json.dumps({"error": reason}).encode())
        assert isinstance(found, NotTaken)
        assert str(found) == reason
    assert "<html>" in str(refusal(502, b"<html>\n</html>"))
    assert "no reason with its status 502" in str(refusal(502, b""))


X = {"name": "X", "datatype": "FP32", "shape": [-1, 2]}


def config(**more: Any) -> dict[str, Any]:
    tensors = {
        "input": [{"name": "X", "data_type": "TYPE_FP32", "dims": [2], "optional": True}],
        "output": [
            {"name": "X", "data_type": "TYPE_FP32", "dims": [2], "label_filename": "labels.txt"}
        ],
    }
    return {**tensors, "from_a_newer_triton": {"a": 1}, **more}


def test_metadata_is_tritons_with_what_the_configuration_adds(tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("cat\ndog\n")
    told = {"platform": "tensorrt_plan", "inputs": [X], "outputs": [X]}
    found = described(told, config(**BATCHED), tmp_path)
    assert found.metadata.platform == "tensorrt_plan"
    assert (found.metadata.batchable, found.most_rows, found.in_sequences) == (True, 4, False)
    assert found.metadata.inputs[0].optional
    assert found.metadata.inputs[0].shape == (-1, 2)
    assert found.metadata.outputs[0].labels == ("cat", "dog")


@pytest.mark.parametrize(
    "more",
    [
        {"max_batch_size": 4},
        {**BATCHED, "max_batch_size": 0},
        {**BATCHED, "input": [{"name": "X", "data_type": "TYPE_FP32", "is_shape_tensor": True}]},
        {"max_batch_size": 4, "sequence_batching": {}},
    ],
)
def test_requests_are_put_together_only_where_triton_would(more: dict[str, Any]) -> None:
    found = described({"inputs": [X], "outputs": [X]}, config(**more), None)
    assert not found.metadata.batchable
    assert json.loads(found.metadata.configuration)["max_batch_size"] == more["max_batch_size"]
    assert found.metadata.has_rows is (more["max_batch_size"] > 0)


@pytest.mark.parametrize(
    ("metadata", "configuration"),
    [
        ({}, {}),
        ({"inputs": [X], "outputs": [{"name": "Y"}]}, {}),
        ({"inputs": [X], "outputs": [{**X, "datatype": "FP8"}]}, {}),
        ({"inputs": [X], "outputs": [X]}, {"max_batch_size": "many"}),
        ({"inputs": 3, "outputs": [X]}, {}),
    ],
)
def test_what_does_not_describe_a_model_is_said_to(
    metadata: dict[str, Any], configuration: dict[str, Any]
) -> None:
    with pytest.raises(ValueError, match=r"metadata|configuration|datatype"):
        described(metadata, configuration, None)
