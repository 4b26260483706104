"""Classification: what Triton 2.51 answers to the same outputs, and what it refuses."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from salver.errors import InvalidInput
from salver.inference.metadata import ModelMetadata, TensorMetadata
from salver.inference.tensor import InferRequest, InferResponse, Tensor, datatype_of
from salver.protocol.class_names import class_count
from salver.protocol.classification import classified
from salver.protocol.codecs import codec_for
from salver.protocol.inference_pb2 import ModelInferRequest, ModelInferResponse
from salver.protocol.wire import Codec, ModelIdentity, WireOutput, WireRequest

LABELS = ("red", "green", "", "blue")


def model(*, batchable: bool = True, has_rows: bool = False) -> ModelIdentity:
    outputs = (
        TensorMetadata("Y", "FP32", (-1, -1), labels=LABELS),
        TensorMetadata("S", "BYTES", (-1,)),
    )
    inputs = (TensorMetadata("X", "FP32", (-1, -1)),)
    metadata = ModelMetadata("t", inputs, outputs, batchable=batchable, has_rows=has_rows)
    return ModelIdentity("m", "1", metadata)


def classes(
    array: Any, count: int, of: ModelIdentity | None = None, datatype: Any = None
) -> tuple[tuple[int, ...], list[str]]:
    tensor = Tensor("Y", datatype or datatype_of(array.dtype), array)
    request = WireRequest([], outputs=[WireOutput("Y", {"classification": count})])
    (found,) = classified(InferResponse((tensor,)), request, of or model()).outputs
    assert found.datatype == "BYTES"
    return found.data.shape, [each.decode() for each in found.data.ravel()]


def test_each_row_gives_its_highest_values_with_index_and_label() -> None:
    rows = np.array([[1, 3.3, 0.5, 2.4], [9, 8, 7, 6]], np.float32)
    shown = ["3.300000:1:green", "2.400000:3:blue", "9.000000:0:red", "8.000000:1:green"]
    assert classes(rows, 2) == ((2, 2), shown)


def test_more_classes_than_there_are_give_all_and_those_without_label_have_none() -> None:
    row = np.array([[1, 3.3, 0.5, 2.4, -1]], np.float32)
    shown = ["3.300000:1:green", "2.400000:3:blue", "1.000000:0:red", "0.500000:2", "-1.000000:4"]
    assert classes(row, 10**12) == ((1, 5), shown)


def test_a_model_without_rows_has_one_list_over_all_elements() -> None:
    square = np.array([[1, 2], [3, 4]], np.float32)
    shown = ["4.000000:3:blue", "3.000000:2", "2.000000:1:green"]
    assert classes(square, 3, model(batchable=False)) == ((3,), shown)
    assert classes(square, 1, model(batchable=False, has_rows=True))[0] == (2, 1)
    assert classes(np.float32(7).reshape(()), 1, model(batchable=False))[0] == (1,)


def test_what_a_row_has_is_counted_through_all_its_dimensions() -> None:
    cube = np.array([[[1, 3.3, 0.5, 2.4], [1.5, 3.8, 1.0, 2.9]]], np.float32)
    assert classes(cube, 2) == ((1, 2), ["3.800000:5", "3.300000:1:green"])


def test_numbers_are_written_as_c_writes_them() -> None:
    doubles = np.array([[1e10, 1e-8, 16777216.0, 1 / 3]])
    written = ["10000000000.000000:0:red", "16777216.000000:2", "0.333333:3:blue"]
    assert classes(doubles, 3)[1] == written
    assert classes(np.array([[0.0, -0.0]], np.float32), 2)[1] == [
        "0.000000:0:red",
        "-0.000000:1:green",
    ]
    assert classes(np.array([[-5, 7]], np.int64), 2)[1] == ["7:1:green", "-5:0:red"]


@pytest.mark.parametrize("dtype", ["u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f2", "f4"])
def test_every_number_type_is_ranked_by_its_own_order(dtype: str) -> None:
    kind = np.dtype(dtype)
    top = np.iinfo(kind).max if kind.kind in "iu" else np.finfo(kind).max
    found = classes(np.array([[0, top, 1]], kind), 3)[1]
    assert [each.split(":")[1] for each in found] == ["1", "2", "0"]


def test_equal_values_come_by_index_and_nan_comes_last() -> None:
    ties = np.array([[5, 5, 5, 7, 5]], np.float32)
    assert [each.split(":")[1] for each in classes(ties, 5)[1]] == ["3", "0", "1", "2", "4"]
    odd = np.array([[np.nan, 1, np.inf, np.nan]], np.float32)
    assert [each.split(":")[1] for each in classes(odd, 4)[1]] == ["2", "1", "0", "3"]


def test_no_rows_and_no_classes_give_no_strings() -> None:
    assert classes(np.empty((0, 4), np.float32), 2) == ((0, 0), [])
    assert classes(np.empty((2, 0), np.float32), 2) == ((2, 0), [])


@pytest.mark.parametrize("count", [-1, "2", 2.5, True, None, [1]])
def test_what_is_no_count_is_refused(count: Any) -> None:
    with pytest.raises(InvalidInput, match="give the number of classes"):
        class_count({"classification": count}, "FP32", "output 'Y'")


def test_texts_truths_and_shared_memory_cannot_be_classes() -> None:
    for datatype in ("BYTES", "BOOL"):
        with pytest.raises(InvalidInput, match=f"unsupported type '{datatype}'"):
            class_count({"classification": 1}, datatype, "output 'S'")
    both = {"classification": 1, "shared_memory_region": "r"}
    with pytest.raises(InvalidInput, match="can't set both"):
        class_count(both, "FP32", "output 'Y'")
    with pytest.raises(InvalidInput, match="unsupported type 'BOOL'"):
        classes(np.array([[True]]), 1)


def predict(request: InferRequest) -> InferResponse:
    data = request.inputs[0].data
    return InferResponse((Tensor("Y", "FP32", data),))


def json_body(outputs: Any) -> bytes:
    tensor = {"name": "X", "datatype": "FP32", "shape": [1, 4], "data": [1, 2, 4, 3]}
    return json.dumps({"inputs": [tensor], "outputs": outputs}).encode()


def test_requests_for_classes_are_answered_out_of_one_batch(answer: Any) -> None:
    bodies = [
        json_body([{"name": "Y", "parameters": {"classification": k, "binary_data": k == 3}}])
        for k in (1, 2, 3)
    ]
    answers = answer(Codec.V2_JSON, bodies, model(), predict)
    tops = [json.loads(each.body)["outputs"][0] for each in answers[:2]]
    assert [each["shape"] for each in tops] == [[1, 1], [1, 2]]
    assert tops[1]["data"] == ["4.000000:2", "3.000000:3:blue"]
    assert answers[2].body[answers[2].json_length :].endswith(b"\x10\0\0\x002.000000:1:green")


def test_nought_over_json_leaves_the_output_as_it_is(answer: Any) -> None:
    (found,) = answer(
        Codec.V2_JSON,
        [json_body([{"name": "Y", "parameters": {"classification": 0}}])],
        model(),
        predict,
    )
    assert json.loads(found.body)["outputs"][0]["data"] == [1, 2, 4, 3]


def grpc_body(count: int) -> bytes:
    message = ModelInferRequest(model_name="m")
    message.inputs.add(name="X", datatype="FP32", shape=[1, 4])
    message.raw_input_contents.append(np.array([1, 2, 4, 3], np.float32).tobytes())
    message.outputs.add(name="Y").parameters["classification"].int64_param = count
    return message.SerializeToString()


def test_grpc_has_the_same_and_refuses_nought(answer: Any) -> None:
    for found in answer(Codec.V2_GRPC, [grpc_body(2), grpc_body(2)], model(), predict):
        message = ModelInferResponse.FromString(found.body)
        assert list(message.outputs[0].shape) == [1, 2]
        texts = (b"4.000000:2", b"3.000000:3:blue")
        raw = b"".join(len(each).to_bytes(4, "little") + each for each in texts)
        assert message.raw_output_contents[0] == raw
    with pytest.raises(InvalidInput, match="'classification' 0"):
        codec_for(Codec.V2_GRPC).decode(grpc_body(0), 0, model())
