"""Steps around a model, as a worker does them, on every wire format."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from salver.backends.local.answering import Answerer
from salver.errors import ErrorKind, LoadFailed
from salver.protocol.frame import ContentCoding, Item
from salver.protocol.inference_pb2 import ModelInferRequest, ModelInferResponse
from salver.protocol.operations import WITH_HEADERS, Operation, marked, with_headers
from salver.protocol.wire import ModelIdentity
from salver.protocol.wire_codes import Codec
from salver.runtimes.ports import ModelSource
from salver.runtimes.transformer import StepModel, TransformerRuntime

DOCUMENTS = """
class Scaler:
    def preprocess(self, payload: dict, headers: dict[str, str]) -> dict:
        factor = float(headers.get("x-factor", "2"))
        if "instances" in payload:
            rows = payload["instances"]
            return {"instances": [[value * factor for value in row] for row in rows]}
        for tensor in payload["inputs"]:
            tensor["data"] = [value * factor for value in tensor["data"]]
        return payload

    def postprocess(self, result: dict) -> dict:
        if "predictions" in result:
            return {"predictions": [{"label": value} for value in result["predictions"]]}
        for tensor in result["outputs"]:
            tensor["data"] = [value + 100 for value in tensor["data"]]
        return result
"""
ARRAYS = """
import numpy as np

class Scaler:
    async def preprocess(self, rows: np.ndarray) -> np.ndarray:
        return rows * 2

    def postprocess(self, result: np.ndarray) -> np.ndarray:
        return result + 100
"""
V1 = {"instances": [[1.0, 2.0], [3.0, 4.0]]}
V2 = {
    "id": "a",
    "inputs": [{"name": "x", "shape": [2, 2], "datatype": "FP64", "data": [1, 2, 3, 4]}],
}
V2_ANSWER = {
    "model_name": "iris",
    "id": "a",
    "outputs": [{"name": "y", "shape": [2], "datatype": "INT64", "data": [5, 6]}],
}


_LOADED: list[StepModel] = []


@pytest.fixture(autouse=True)
def _unloaded() -> Iterator[None]:
    yield
    while _LOADED:
        _LOADED.pop().unload()


def answerer(tmp_path: Path, text: str, attribute: str = "Scaler") -> Answerer:
    path = tmp_path / "steps.py"
    path.write_text(text)
    model = TransformerRuntime().load(ModelSource("iris", path, "transformer", attribute))
    _LOADED.append(model)
    identity = ModelIdentity("iris", "1", model.metadata)
    return Answerer(model, identity, max_rows=0, max_body_bytes=1 << 20)


def step(
    steps: Answerer, operation: Operation, body: Any, codec: Codec, *, aux: int = 0, bits: int = 0
) -> Item:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    tag = marked(int(codec), operation) | bits
    return steps.answer([Item(tag, aux, data)]).items[0]


def json_of(item: Item) -> Any:
    assert item.tag & 0xFF == ErrorKind.OK, bytes(item.body)
    return json.loads(bytes(item.body)[: item.aux or None])


def grpc_request() -> ModelInferRequest:
    message = ModelInferRequest(model_name="iris", id="g")
    message.inputs.add(name="x", datatype="FP32", shape=[1, 2])
    message.raw_input_contents.append(np.array([1, 2], "<f4").tobytes())
    message.outputs.add(name="y")
    return message


def grpc_response() -> ModelInferResponse:
    message = ModelInferResponse(model_name="iris", id="g")
    message.outputs.add(name="y", datatype="INT64", shape=[1])
    message.raw_output_contents.append(np.array([7], "<i8").tobytes())
    return message


def binary_request() -> tuple[bytes, int]:
    head = json.dumps(
        {
            "parameters": {"binary_data_output": True},
            "inputs": [
                {
                    "name": "x",
                    "shape": [1, 2],
                    "datatype": "FP32",
                    "parameters": {"binary_data_size": 8},
                }
            ],
        }
    ).encode()
    return head + np.array([1, 2], "<f4").tobytes(), len(head)


@pytest.mark.parametrize("text", [DOCUMENTS, ARRAYS])
def test_a_v1_request_stays_one(tmp_path: Path, text: str) -> None:
    answer = step(answerer(tmp_path, text), Operation.PREPROCESS, V1, Codec.V1_JSON)
    assert json_of(answer) == {"instances": [[2.0, 4.0], [6.0, 8.0]]}


@pytest.mark.parametrize("text", [DOCUMENTS, ARRAYS])
def test_a_v2_request_keeps_its_id_and_its_tensors_names(tmp_path: Path, text: str) -> None:
    answer = json_of(step(answerer(tmp_path, text), Operation.PREPROCESS, V2, Codec.V2_JSON))
    assert answer["id"] == "a"
    assert (answer["inputs"][0]["name"], answer["inputs"][0]["shape"]) == ("x", [2, 2])
    assert answer["inputs"][0]["data"] == [2, 4, 6, 8]


@pytest.mark.parametrize("text", [DOCUMENTS, ARRAYS])
def test_a_binary_request_reaches_the_model_whole(tmp_path: Path, text: str) -> None:
    body, aux = binary_request()
    steps = answerer(tmp_path, text)
    answer = step(steps, Operation.PREPROCESS, body, Codec.V2_JSON, aux=aux)
    document = json_of(answer)
    assert document["parameters"] == {"binary_data_output": True}
    tensor = document["inputs"][0]
    if text == ARRAYS:
        blob = bytes(answer.body)[answer.aux :]
        assert np.frombuffer(blob, "<f4").tolist() == [2, 4]
    else:
        assert (answer.aux, tensor["data"]) == (0, [2, 4])


@pytest.mark.parametrize("text", [DOCUMENTS, ARRAYS])
def test_a_grpc_request_stays_one(tmp_path: Path, text: str) -> None:
    body = grpc_request().SerializeToString()
    answer = step(answerer(tmp_path, text), Operation.PREPROCESS, body, Codec.V2_GRPC)
    message = ModelInferRequest.FromString(bytes(answer.body))
    assert (message.model_name, message.id, message.outputs[0].name) == ("iris", "g", "y")
    assert (message.inputs[0].datatype, list(message.inputs[0].shape)) == ("FP32", [1, 2])
    assert np.frombuffer(message.raw_input_contents[0], "<f4").tolist() == [2, 4]


def test_a_v1_response_may_become_any_json(tmp_path: Path) -> None:
    steps = answerer(tmp_path, DOCUMENTS)
    answer = step(steps, Operation.POSTPROCESS, {"predictions": [1, 2]}, Codec.V1_JSON)
    assert json_of(answer) == {"predictions": [{"label": 1}, {"label": 2}]}


def test_a_v1_response_is_given_as_an_array_to_those_who_want_one(tmp_path: Path) -> None:
    steps = answerer(tmp_path, ARRAYS)
    answer = step(steps, Operation.POSTPROCESS, {"predictions": [1, 2]}, Codec.V1_JSON)
    assert json_of(answer) == {"predictions": [101, 102]}


@pytest.mark.parametrize("text", [DOCUMENTS, ARRAYS])
def test_a_v2_response_keeps_its_id_and_its_tensors_names(tmp_path: Path, text: str) -> None:
    steps = answerer(tmp_path, text)
    answer = json_of(step(steps, Operation.POSTPROCESS, V2_ANSWER, Codec.V2_JSON))
    assert (answer["model_name"], answer["id"]) == ("iris", "a")
    assert (answer["outputs"][0]["name"], answer["outputs"][0]["data"]) == ("y", [105, 106])


def test_a_binary_response_stays_binary(tmp_path: Path) -> None:
    head = json.dumps(
        {
            "model_name": "iris",
            "outputs": [
                {
                    "name": "y",
                    "shape": [2],
                    "datatype": "INT64",
                    "parameters": {"binary_data_size": 16},
                }
            ],
        }
    ).encode()
    body = head + np.array([1, 2], "<i8").tobytes()
    steps = answerer(tmp_path, ARRAYS)
    answer = step(steps, Operation.POSTPROCESS, body, Codec.V2_JSON, aux=len(head))
    assert json_of(answer)["outputs"][0]["name"] == "y"
    assert np.frombuffer(bytes(answer.body)[answer.aux :], "<i8").tolist() == [101, 102]


@pytest.mark.parametrize("text", [DOCUMENTS, ARRAYS])
def test_a_grpc_response_stays_one(tmp_path: Path, text: str) -> None:
    body = grpc_response().SerializeToString()
    answer = step(answerer(tmp_path, text), Operation.POSTPROCESS, body, Codec.V2_GRPC)
    message = ModelInferResponse.FromString(bytes(answer.body))
    assert (message.id, message.outputs[0].name) == ("g", "y")
    assert np.frombuffer(message.raw_output_contents[0], "<i8").tolist() == [107]


def test_headers_travel_in_front_of_the_body_even_of_a_packed_one(tmp_path: Path) -> None:
    packed = gzip.compress(json.dumps(V1).encode())
    body = with_headers([(b"X-Factor", b"10")], packed)
    bits = WITH_HEADERS | ContentCoding.GZIP << 8
    steps = answerer(tmp_path, DOCUMENTS)
    answer = step(steps, Operation.PREPROCESS, body, Codec.V1_JSON, bits=bits)
    assert json_of(answer) == {"instances": [[10.0, 20.0], [30.0, 40.0]]}


def test_a_step_that_the_class_lacks_leaves_the_message_alone(tmp_path: Path) -> None:
    text = "class Scaler:\n    def preprocess(self, payload): return payload\n"
    steps = answerer(tmp_path, text)
    body, aux = binary_request()
    answer = step(steps, Operation.POSTPROCESS, body, Codec.V2_JSON, aux=aux)
    assert (bytes(answer.body), answer.aux) == (body, aux)


def test_an_explanation_may_be_any_json_and_fits_every_protocol(tmp_path: Path) -> None:
    text = "class Why:\n    def explain(self, payload): return {'weights': [1, 2]}\n"
    steps = answerer(tmp_path, text, "Why")
    assert json_of(step(steps, Operation.EXPLAIN, V1, Codec.V1_JSON)) == {"weights": [1, 2]}
    v2 = json_of(step(steps, Operation.EXPLAIN, V2, Codec.V2_JSON))
    assert v2["outputs"][0]["name"] == "explanation"
    assert json.loads(v2["outputs"][0]["data"][0]) == {"weights": [1, 2]}


def test_arrays_explain_too(tmp_path: Path) -> None:
    text = (
        "import numpy as np\nclass Why:\n"
        "    def explain(self, rows: np.ndarray): return rows.sum(axis=1)\n"
    )
    steps = answerer(tmp_path, text, "Why")
    assert json_of(step(steps, Operation.EXPLAIN, V1, Codec.V1_JSON)) == {"explanations": [3, 7]}


@pytest.mark.parametrize(
    ("body", "kind", "text"),
    [
        (b"{", ErrorKind.INVALID_INPUT, "is not a V1 inference request"),
        (b"[1]", ErrorKind.INVALID_INPUT, "no JSON object"),
        (b'{"rows": 1}', ErrorKind.MODEL_FAILED, "KeyError: 'instances'"),
        (b'{"instances": 3}', ErrorKind.MODEL_FAILED, "preprocess returned nothing"),
        (b'{"instances": 4}', ErrorKind.MODEL_FAILED, "not JSON serializable: object"),
        (b'{"instances": 5}', ErrorKind.INVALID_INPUT, "model 'iris': 5 is refused"),
    ],
)
def test_what_goes_wrong_in_a_step_says_what_it_was(
    tmp_path: Path, body: bytes, kind: ErrorKind, text: str
) -> None:
    steps = answerer(
        tmp_path,
        "from salver.errors import InvalidInput\n"
        "class Scaler:\n"
        "    def preprocess(self, payload):\n"
        "        value = payload['instances']\n"
        "        if value == 4: return {'instances': object()}\n"
        "        if value == 5: raise InvalidInput('5 is refused')\n",
    )
    answer = step(steps, Operation.PREPROCESS, body, Codec.V1_JSON)
    assert answer.tag == kind
    assert text in bytes(answer.body).decode()


def test_a_predictor_s_answer_that_cannot_be_read_is_no_fault_of_the_caller(
    tmp_path: Path,
) -> None:
    steps = answerer(tmp_path, ARRAYS)
    for codec in Codec:
        answer = step(steps, Operation.POSTPROCESS, b"\xff{", codec)
        assert answer.tag == ErrorKind.MODEL_FAILED, bytes(answer.body)


def test_a_class_without_steps_is_refused_at_load(tmp_path: Path) -> None:
    with pytest.raises(LoadFailed, match="no method preprocess, postprocess or explain"):
        answerer(tmp_path, "class Scaler:\n    def predict(self, x): return x\n")


def test_a_class_gets_its_name_and_is_told_of_what_nothing_gives(tmp_path: Path) -> None:
    text = (
        "class Scaler:\n    def __init__(self, name): self.name = name\n"
        "    def preprocess(self, payload): return {'instances': [self.name]}\n"
    )
    answer = step(answerer(tmp_path, text), Operation.PREPROCESS, V1, Codec.V1_JSON)
    assert json_of(answer) == {"instances": ["iris"]}
    with pytest.raises(LoadFailed, match="needs the argument 'vocabulary'"):
        answerer(tmp_path, text.replace("name)", "vocabulary)"))


def test_to_predict_with_a_transformer_is_unsupported(tmp_path: Path) -> None:
    steps = answerer(tmp_path, DOCUMENTS)
    answer = steps.answer([Item(Codec.V2_JSON, 0, json.dumps(V2).encode())]).items[0]
    assert answer.tag == ErrorKind.UNSUPPORTED
