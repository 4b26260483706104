"""Seldon's messages to tensors and back: all kinds of data, in JSON and in protobuf."""

from __future__ import annotations

import base64
import json
from typing import Any

import numpy as np
import pytest
from google.protobuf.json_format import MessageToDict, ParseDict
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from salver.errors import InvalidInput
from salver.inference.metadata import ModelMetadata, TensorMetadata
from salver.inference.tensor import InferRequest, InferResponse, Tensor, tensor_from_array
from salver.protocol.codecs import codec_for
from salver.protocol.materialise import assemble
from salver.protocol.seldon_pb2 import SeldonMessage
from salver.protocol.seldon_values import SeldonRequest
from salver.protocol.step_messages import StepMessage
from salver.protocol.wire import Codec, ModelIdentity

BOTH = (Codec.SELDON_JSON, Codec.SELDON_GRPC)
ROWS = [[1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0]]
FLAT = [value for row in ROWS for value in row]
TENSOR = {"tensor": {"shape": [2, 4], "values": FLAT}}
WHOLE = ModelIdentity(
    "whole",
    "1",
    ModelMetadata(
        "python",
        (TensorMetadata("x", "INT32", (-1, 2)),),
        (TensorMetadata("y", "INT32", (-1,)),),
    ),
)
FREE = ModelIdentity("free", "1", ModelMetadata("python", (), (), batchable=False))


def body_of(codec: Codec, document: dict[str, Any]) -> bytes:
    if codec is Codec.SELDON_JSON:
        return json.dumps(document).encode()
    encoded: bytes = ParseDict(document, SeldonMessage()).SerializeToString()
    return encoded


def read(codec: Codec, document: dict[str, Any], model: ModelIdentity) -> InferRequest:
    request = codec_for(codec).decode(body_of(codec, document), 0, model)
    return assemble([request], model)[0]


def answered(codec: Codec, outputs: list[Tensor], kind: str = "ndarray") -> Any:
    request = SeldonRequest([], "p", kind=kind)
    response = InferResponse(tuple(outputs))
    body = codec_for(codec).encode(response, request, WHOLE).body
    if codec is Codec.SELDON_JSON:
        return json.loads(body)
    return MessageToDict(SeldonMessage.FromString(body))


def tf(dtype: str, shape: list[int], **values: Any) -> dict[str, Any]:
    dims = [{"size": str(size)} for size in shape]
    return {"tftensor": {"dtype": dtype, "tensorShape": {"dim": dims}, **values}}


@pytest.mark.parametrize("codec", BOTH)
@pytest.mark.parametrize(
    "data",
    [
        TENSOR,
        {"ndarray": ROWS},
        {"names": ["a"], "ndarray": ROWS},
        tf("DT_DOUBLE", [2, 4], doubleVal=FLAT),
        tf("DT_INT64", [2, 4], int64Val=[str(int(value)) for value in FLAT]),
        tf("DT_FLOAT", [2, 4], tensorContent=base64.b64encode(np.array(FLAT, "<f4")).decode()),
    ],
)
def test_every_kind_of_array_becomes_the_models_input(
    iris: ModelIdentity, codec: Codec, data: dict[str, Any]
) -> None:
    tensors = read(codec, {"data": data}, iris).inputs
    assert [each.name for each in tensors] == ["input-0"]
    np.testing.assert_array_equal(tensors[0].data, ROWS)


@pytest.mark.parametrize("codec", BOTH)
@pytest.mark.parametrize(
    "data", [{"ndarray": [[1, 2]]}, {"tensor": {"shape": [1, 2], "values": [1, 2]}}]
)
def test_doubles_that_are_whole_reach_a_model_of_integers(codec: Codec, data: Any) -> None:
    (tensor,) = read(codec, {"data": data}, WHOLE).inputs
    assert (tensor.datatype, tensor.data.tolist()) == ("INT32", [[1, 2]])
    half = json.loads(json.dumps(data).replace("1, 2]}", "1, 2.5]}").replace("2]]", "2.5]]"))
    with pytest.raises(InvalidInput, match=r"2\.5"):
        read(codec, {"data": half}, WHOLE)


@pytest.mark.parametrize("codec", BOTH)
def test_names_that_the_model_knows_name_its_columns(housing: ModelIdentity, codec: Codec) -> None:
    data = {"names": ["town", "rooms"], "ndarray": [["Rome", 3], ["Oslo", 4]]}
    by_name = {each.name: each for each in read(codec, {"data": data}, housing).inputs}
    assert by_name["town"].data.tolist() == [b"Rome", b"Oslo"]
    assert by_name["rooms"].data.tolist() == [3, 4]
    by_order = read(codec, {"data": {"ndarray": [[3, "Rome"], [4, "Oslo"]]}}, housing).inputs
    assert {each.name for each in by_order} == {"town", "rooms"}
    with pytest.raises(InvalidInput, match="'town'"):
        read(codec, {"data": {"names": ["rooms"], "ndarray": [[3.0]]}}, housing)
    with pytest.raises(InvalidInput, match="rows with 2 values, one for each of"):
        read(codec, {"data": {"names": ["rooms", "town"], "ndarray": [["a"]]}}, housing)


@pytest.mark.parametrize("codec", BOTH)
def test_several_inputs_are_columns(codec: Codec) -> None:
    specs = (TensorMetadata("a", "FP64", (-1, 1)), TensorMetadata("b", "INT64", (-1,)))
    model = ModelIdentity("two", "1", ModelMetadata("python", specs, ()))
    for data in (
        {"ndarray": [[0.5, 1], [1.5, 2]]},
        {"names": ["b", "a"], "tensor": {"shape": [2, 2], "values": [1, 0.5, 2, 1.5]}},
    ):
        by_name = {
            each.name: each.data.tolist() for each in read(codec, {"data": data}, model).inputs
        }
        assert by_name == {"a": [[0.5], [1.5]], "b": [1, 2]}
    with pytest.raises(InvalidInput, match="unknown input 'x'"):
        read(codec, {"data": {"names": ["a", "x"], "ndarray": [[0.5, 1]]}}, model)


@pytest.mark.parametrize("codec", BOTH)
@pytest.mark.parametrize(
    ("message", "element"),
    [
        ({"strData": "text"}, b"text"),
        ({"binData": "AP8="}, b"\x00\xff"),
        ({"jsonData": {"a": ["b"]}}, b'{"a":["b"]}'),
    ],
)
def test_what_is_no_array_is_one_element(codec: Codec, message: Any, element: bytes) -> None:
    (tensor,) = read(codec, message, FREE).inputs
    assert (tensor.datatype, tensor.data.tolist()) == ("BYTES", [element])


@pytest.mark.parametrize("codec", BOTH)
def test_json_data_of_rows_is_rows(iris: ModelIdentity, codec: Codec) -> None:
    (tensor,) = read(codec, {"jsonData": ROWS}, iris).inputs
    np.testing.assert_array_equal(tensor.data, ROWS)


@pytest.mark.parametrize("codec", BOTH)
@pytest.mark.parametrize(
    ("message", "fact"),
    [
        ({}, "holds nothing"),
        ({"data": {}}, "'data' of the message .* is empty"),
        ({"strData": "a"}, "has datatype BYTES"),
        ({"data": {"tensor": {"shape": [1, 4], "values": [1]}}}, r"\[1,4\] (needs 4|takes 32)"),
        ({"data": {"tensor": {"shape": [-1, 4], "values": FLAT}}}, "list of sizes"),
        ({"data": {"ndarray": [1, 2, 3, 4]}}, "put the number of rows first"),
        ({"data": {"ndarray": [[1, 2, 3, "x"]]}}, "the string 'x'"),
        ({"data": tf("DT_FLOAT", [-1, 4], floatVal=FLAT)}, "no number from 0"),
        ({"data": tf("DT_FLOAT", [1 << 40, 4], floatVal=[1.0])}, "absurd shape"),
    ],
)
def test_wrong_messages_are_refused(
    iris: ModelIdentity, codec: Codec, message: Any, fact: str
) -> None:
    with pytest.raises(InvalidInput, match=fact):
        read(codec, message, iris)


def test_a_tensor_of_a_kind_that_is_none_of_ours_is_refused(iris: ModelIdentity) -> None:
    complex_numbers = SeldonMessage()
    complex_numbers.data.tftensor.dtype = 8  # type: ignore[assignment]
    wire = codec_for(Codec.SELDON_GRPC)
    with pytest.raises(InvalidInput, match="has dtype '8': send one of DT_FLOAT"):
        wire.decode(complex_numbers.SerializeToString(), 0, iris)
    with pytest.raises(InvalidInput, match="has dtype 'DT_COMPLEX64'"):
        read(Codec.SELDON_JSON, {"data": tf("DT_COMPLEX64", [1])}, iris)


def test_bytes_that_are_no_message_are_refused(iris: ModelIdentity) -> None:
    for codec, body in ((Codec.SELDON_JSON, b"{"), (Codec.SELDON_GRPC, b"\xff")):
        with pytest.raises(InvalidInput, match="SeldonMessage"):
            codec_for(codec).decode(body, 0, iris)


def test_a_tftensors_last_value_stands_for_the_rest(iris: ModelIdentity) -> None:
    (tensor,) = read(Codec.SELDON_JSON, {"data": tf("DT_FLOAT", [2, 4], floatVal=[7])}, iris).inputs
    assert (tensor.data == 7).all()


@pytest.mark.parametrize("codec", BOTH)
@pytest.mark.parametrize("kind", ["tensor", "ndarray", "tftensor"])
def test_numbers_come_back_in_the_kind_that_was_sent(codec: Codec, kind: str) -> None:
    matrix = tensor_from_array("proba", np.array([[0.25, 0.75]], np.float32))
    data = answered(codec, [matrix], kind)["data"]
    assert data["names"] == ["t:0", "t:1"]
    assert set(data) == {"names", kind}
    vector = answered(codec, [tensor_from_array("y", np.array([1, 2]))], kind)
    assert vector["data"]["names"] == ["y"]
    assert vector["meta"]["puid"] == "p"


@pytest.mark.parametrize("codec", BOTH)
def test_texts_and_truth_come_back_as_ndarray(codec: Codec) -> None:
    for array, values in ((np.array(["a", "b"]), ["a", "b"]), (np.array([True]), [True])):
        found = answered(codec, [tensor_from_array("y", array)], "tensor")
        assert found["data"]["ndarray"] == values


@pytest.mark.parametrize("codec", BOTH)
def test_one_text_comes_back_as_the_kind_that_was_sent(codec: Codec) -> None:
    text = tensor_from_array("y", np.array(["7"]))
    assert answered(codec, [text], "strData")["strData"] == "7"
    assert answered(codec, [text], "binData")["binData"] == "Nw=="
    assert answered(codec, [text], "jsonData")["jsonData"] == 7
    assert answered(codec, [tensor_from_array("y", np.array([1.0]))], "strData")["data"]["tensor"]


@pytest.mark.parametrize("codec", BOTH)
def test_several_outputs_stand_side_by_side(codec: Codec) -> None:
    outputs = [
        tensor_from_array("class", np.array([1, 0])),
        tensor_from_array("proba", np.array([[0.1, 0.9], [0.8, 0.2]])),
    ]
    data = answered(codec, outputs)["data"]
    assert data["names"] == ["class", "proba:0", "proba:1"]
    assert data["ndarray"] == [[1, 0.1, 0.9], [0, 0.8, 0.2]]
    mixed = answered(codec, [outputs[0], tensor_from_array("name", np.array(["a", "b"]))])
    assert mixed["data"]["ndarray"] == [[1, "a"], [0, "b"]]
    apart = answered(codec, [outputs[0], tensor_from_array("all", np.array([1.5]))])
    assert apart["jsonData"] == {"class": [1, 0], "all": [1.5]}


@pytest.mark.parametrize("codec", BOTH)
@pytest.mark.parametrize("kind", ["tensor", "ndarray", "tftensor"])
def test_stacked_answers_are_what_each_would_have_got(
    iris: ModelIdentity, codec: Codec, kind: str
) -> None:
    array = np.arange(9, dtype=np.float64).reshape(3, 3)
    response = InferResponse((tensor_from_array("y", array),))
    requests: list[Any] = [SeldonRequest([], "a", kind=kind), SeldonRequest([], kind=kind)]
    wire = codec_for(codec)
    parts = wire.encode_rows(response, requests, [1, 2], iris)
    for part, rows, request in zip(parts, (array[:1], array[1:]), requests, strict=True):
        alone = wire.encode(InferResponse((tensor_from_array("y", rows),)), request, iris)
        if codec is Codec.SELDON_JSON:
            assert json.loads(part.body) == json.loads(alone.body)
        else:
            assert part.body == alone.body


@given(
    hnp.arrays(np.float64, hnp.array_shapes(min_dims=1, max_dims=4, max_side=4, min_side=0)),
    st.sampled_from(["tensor", "ndarray", "tftensor"]),
)
def test_protobuf_arrays_come_back_as_they_were(array: Any, kind: str) -> None:
    request = SeldonRequest([], kind=kind)
    wire = codec_for(Codec.SELDON_GRPC)
    body = wire.encode(InferResponse((tensor_from_array("y", array),)), request, FREE).body
    if kind == "ndarray" and 0 in array.shape:
        return  # nested lists cannot say how wide what is empty would be
    message = StepMessage(Codec.SELDON_GRPC, 0, body, "m", is_request=False)
    np.testing.assert_array_equal(message.tensors()[0].data, array)


@pytest.mark.parametrize("codec", BOTH)
def test_steps_see_content_columns_meta_and_document(codec: Codec) -> None:
    document = {"data": {"names": ["a", "b"], "ndarray": [[1.0, 2.0]]}, "meta": {"puid": "p"}}
    message = StepMessage(codec, 0, body_of(codec, document), "m", is_request=True)
    assert message.columns() == ["a", "b"]
    assert message.meta() == {"puid": "p"}
    assert message.document() == document
    assert (message.id, message.kind) == ("p", "ndarray")
    again = message.request_of_tensors(message.tensors())
    assert StepMessage(codec, 0, again.body, "m", is_request=True).id == "p"
    copied = message.response_of_document(document)
    assert StepMessage(codec, 0, copied.body, "m", is_request=False).document() == document
    text = StepMessage(codec, 0, body_of(codec, {"strData": "x"}), "m", is_request=True)
    assert text.content() == "x"
