"""The outputs that are asked of a graph: by name, raw or not, and as classes."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from salver.engine.flow_outputs import asked_outputs
from salver.errors import InvalidInput
from salver.inference.metadata import ModelMetadata, TensorMetadata
from salver.protocol.inference_pb2 import ModelInferRequest, ModelInferResponse
from salver.protocol.message_classes import MOST_ELEMENTS
from salver.protocol.messages import Message
from salver.protocol.wire_codes import Codec

ROWS = np.array([[1, 3.3, 0.5, 2.4], [9, 8, 9, 6]], np.float32)
SHOWN = ["3.300000:1:b", "2.400000:3", "9.000000:0:a", "9.000000:2:c"]
JSON, GRPC = int(Codec.V2_JSON), int(Codec.V2_GRPC)


def graph(*, has_rows: bool = True) -> ModelMetadata:
    output = TensorMetadata("Y", "FP32", (-1, 4), labels=("a", "b", "c"))
    return ModelMetadata("graph", (), (output,), batchable=False, has_rows=has_rows)


def json_request(**parameters: Any) -> Message:
    tensor = {"name": "X", "datatype": "FP32", "shape": [1], "data": [1]}
    body = {"inputs": [tensor], "outputs": [{"name": "Y", "parameters": parameters}]}
    return Message(JSON, 0, json.dumps(body).encode(), is_request=True)


def grpc_request(kind: str, value: Any) -> Message:
    message = ModelInferRequest(model_name="g")
    parameter = message.outputs.add(name="Y").parameters["classification"]
    setattr(parameter, kind, value)
    return Message(GRPC, 0, message.SerializeToString(), is_request=True)


def json_answer(data: Any, shape: list[int], datatype: str = "FP32") -> Message:
    tensors = [{"name": "Y", "datatype": datatype, "shape": shape, "data": data}]
    return Message(JSON, 0, json.dumps({"outputs": tensors}).encode(), is_request=False)


def ranked(answer: Message, request: Message, metadata: ModelMetadata) -> Message:
    _, asked = asked_outputs(request)
    assert asked is not None
    return asked.ranked(asked.only(answer), metadata)


def output_of(message: Message) -> dict[str, Any]:
    (output,) = json.loads(bytes(message.body))["outputs"]
    return dict(output)


def test_an_output_comes_as_the_classes_of_each_row() -> None:
    answer = json_answer(ROWS.astype(float).round(6).tolist(), [2, 4])
    found = output_of(ranked(answer, json_request(classification=2), graph()))
    assert found == {"name": "Y", "datatype": "BYTES", "shape": [2, 2], "data": SHOWN}


def test_a_graph_without_rows_has_one_list() -> None:
    answer = json_answer([1, 5, 3], [3], "INT64")
    found = output_of(ranked(answer, json_request(classification=9), graph(has_rows=False)))
    assert (found["shape"], found["data"]) == ([3], ["5:1:b", "3:2:c", "1:0:a"])


def test_raw_answers_stay_raw() -> None:
    raw = ROWS.tobytes()
    head = {
        "name": "Y",
        "datatype": "FP32",
        "shape": [2, 4],
        "parameters": {"binary_data_size": len(raw)},
    }
    text = json.dumps({"outputs": [head]}).encode()
    found = ranked(
        Message(JSON, len(text), text + raw, is_request=False),
        json_request(classification=1, binary_data=True),
        graph(),
    )
    texts = (b"3.300000:1:b", b"9.000000:0:a")
    expected = b"".join(len(each).to_bytes(4, "little") + each for each in texts)
    assert bytes(found.body[found.aux :]) == expected
    (output,) = json.loads(bytes(found.body[: found.aux]))["outputs"]
    assert output["parameters"] == {"binary_data_size": len(expected)}


def test_grpc_has_the_same() -> None:
    message = ModelInferResponse(model_name="g")
    message.outputs.add(name="Y", datatype="FP32", shape=[2, 4])
    message.raw_output_contents.append(ROWS.tobytes())
    answer = Message(GRPC, 0, message.SerializeToString(), is_request=False)
    found = ranked(answer, grpc_request("int64_param", 2), graph())
    given = ModelInferResponse.FromString(bytes(found.body))
    assert (given.outputs[0].datatype, list(given.outputs[0].shape)) == ("BYTES", [2, 2])
    expected = b"".join(len(each).to_bytes(4, "little") + each.encode() for each in SHOWN)
    assert given.raw_output_contents[0] == expected


@pytest.mark.parametrize(
    "request_",
    [
        json_request(classification=-1),
        json_request(classification="2"),
        grpc_request("int64_param", -1),
        grpc_request("string_param", "2"),
        grpc_request("bool_param", True),
    ],
)
def test_what_is_no_count_is_refused(request_: Message) -> None:
    with pytest.raises(InvalidInput, match="number of classes"):
        asked_outputs(request_)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (json_answer(["a"], [1], "BYTES"), "unsupported type 'BYTES'"),
        (json_answer([1.0], [1], "BF16"), "BF16"),
        (json_answer([1.0], [MOST_ELEMENTS + 1]), f"{MOST_ELEMENTS + 1} values"),
        (json_answer([1.0, 2.0], [3]), "2 values"),
    ],
)
def test_what_cannot_be_ranked_is_refused(answer: Message, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        ranked(answer, json_request(classification=1), graph())
