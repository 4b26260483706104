"""V2 gRPC: the wire against tritonclient's own messages, typed and raw contents."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton
from hypothesis import given
from hypothesis import strategies as st
from tritonclient.grpc import service_pb2

from salver.errors import InvalidInput, ModelFailed
from salver.inference.tensor import InferResponse, Tensor
from salver.protocol import inference_pb2
from salver.protocol.codecs import codec_for
from salver.protocol.materialise import group_key
from salver.protocol.v2_grpc import V2GrpcCodec
from salver.protocol.wire import Codec

GRPC = Codec.V2_GRPC
SHARED_MESSAGES = [
    name
    for name in inference_pb2.DESCRIPTOR.message_types_by_name
    if name in service_pb2.DESCRIPTOR.message_types_by_name
]


def iris_message(**fields: Any) -> Any:
    tensor = triton.InferInput("input-0", [1, 4], "FP64")
    tensor.set_data_from_numpy(np.array([[5.0, 3.0, 1.0, 0.0]]))
    message = service_pb2.ModelInferRequest(model_name="iris", **fields)
    message.inputs.append(tensor._get_tensor())
    message.raw_input_contents.append(tensor._get_content())
    return message


def fields_of(descriptor: Any) -> dict[int, tuple[str, int, bool]]:
    return {f.number: (f.name, f.type, f.is_repeated) for f in descriptor.fields}


@pytest.mark.parametrize("name", SHARED_MESSAGES)
def test_every_message_has_the_fields_of_the_protocol(name: str) -> None:
    ours = inference_pb2.DESCRIPTOR.message_types_by_name[name]
    theirs = service_pb2.DESCRIPTOR.message_types_by_name[name]
    # KServe's clients read a name and a flag that Triton's empty answers lack.
    assert fields_of(theirs).items() <= fields_of(ours).items()
    for nested in theirs.nested_types:
        assert fields_of(nested) == fields_of(ours.nested_types_by_name[nested.name])
    assert len(SHARED_MESSAGES) >= 19


def test_raw_rows_are_answered_raw_with_the_id(answer: Any, iris: Any) -> None:
    body = iris_message(id="7").SerializeToString()
    for encoded in answer(GRPC, [body, body], iris):
        result = service_pb2.ModelInferResponse.FromString(encoded.body)
        assert (result.model_name, result.model_version, result.id) == ("iris", "1", "7")
        [output] = result.outputs
        assert (output.name, output.datatype, list(output.shape)) == ("predict", "INT64", [1])
        assert list(result.raw_output_contents) == [(9).to_bytes(8, "little")]


def test_a_response_is_what_the_protobuf_library_writes(answer: Any, iris: Any) -> None:
    body = iris_message(id="x" * 200).SerializeToString()
    [encoded] = answer(GRPC, [body], iris)
    message = service_pb2.ModelInferResponse.FromString(encoded.body)
    assert message.SerializeToString(deterministic=True) == encoded.body
    assert triton.InferResult(message).as_numpy("predict").tolist() == [9]


def test_large_raw_outputs_keep_their_length(answer: Any, iris: Any) -> None:
    data = np.arange(100_000, dtype=np.float64).reshape(2, -1)
    response = InferResponse((Tensor("p", "FP64", data),))
    body = iris_message().SerializeToString()
    for row, encoded in enumerate(answer(GRPC, [body, body], iris, lambda _: response)):
        result = triton.InferResult(service_pb2.ModelInferResponse.FromString(encoded.body))
        np.testing.assert_array_equal(result.as_numpy("p"), data[row : row + 1])


@pytest.mark.parametrize("requests", [1, 2])
def test_strings_and_parameters_are_answered(answer: Any, iris: Any, requests: int) -> None:
    strings = np.array([[b"a\xff"], [b""]], object)[:requests]
    parameters = {"b": True, "i": -1, "u": (1 << 64) - 1, "f": 0.5, "s": "x", "huge": 1 << 64}
    response = InferResponse((Tensor("p", "BYTES", strings, parameters),), {"k": 1})
    body = iris_message().SerializeToString()
    encoded = answer(GRPC, [body] * requests, iris, lambda _: response)[0]
    message = service_pb2.ModelInferResponse.FromString(encoded.body)
    assert triton.InferResult(message).as_numpy("p").tolist() == [[b"a\xff"]]
    assert message.parameters["k"].int64_param == 1
    given = message.outputs[0].parameters
    assert given["b"].bool_param is True
    assert (given["i"].int64_param, given["u"].uint64_param) == (-1, (1 << 64) - 1)
    assert (given["f"].double_param, given["s"].string_param) == (0.5, "x")
    assert given["huge"].string_param == str(1 << 64)


def test_an_output_with_too_few_rows_is_the_models_fault(answer: Any, iris: Any) -> None:
    response = InferResponse((Tensor("p", "INT64", np.zeros(1, np.int64)),))
    with pytest.raises(ModelFailed, match="for 2 rows"):
        answer(GRPC, [iris_message().SerializeToString()] * 2, iris, lambda _: response)


TYPED = [
    ("BOOL", "bool_contents", [True, False]),
    ("INT8", "int_contents", [-128, 127]),
    ("INT16", "int_contents", [-1, 1]),
    ("INT32", "int_contents", [-1, 1]),
    ("INT64", "int64_contents", [-(1 << 63), 1]),
    ("UINT8", "uint_contents", [0, 255]),
    ("UINT16", "uint_contents", [0, 1]),
    ("UINT32", "uint_contents", [0, (1 << 32) - 1]),
    ("UINT64", "uint64_contents", [0, (1 << 64) - 1]),
    ("FP32", "fp32_contents", [0.5, float("inf")]),
    ("FP64", "fp64_contents", [0.1, 1e300]),
    ("BYTES", "bytes_contents", [b"a", b"\xff"]),
]


def typed_message(datatype: str, field: str, values: list[Any]) -> Any:
    message = service_pb2.ModelInferRequest(model_name="echo")
    tensor = message.inputs.add(name="x", datatype=datatype, shape=[len(values)])
    getattr(tensor.contents, field).extend(values)
    return message


@pytest.mark.parametrize(("datatype", "field", "values"), TYPED)
def test_typed_contents_are_read(
    one_request: Any, echo: Any, datatype: str, field: str, values: list[Any]
) -> None:
    body = typed_message(datatype, field, values).SerializeToString()
    [tensor] = one_request(GRPC, body, echo).inputs
    assert (tensor.name, tensor.datatype, tensor.data.tolist()) == ("x", datatype, values)


def test_parameters_and_outputs_are_read(iris: Any) -> None:
    message = iris_message()
    message.parameters["b"].bool_param = True
    message.parameters["none"].SetInParent()
    message.inputs[0].parameters["content_type"].string_param = "np"
    message.outputs.add(name="predict")
    message.outputs.add(name="predict_proba").parameters["i"].int64_param = 3
    request = codec_for(GRPC).decode(message.SerializeToString(), 0, iris)
    assert request.parameters == {"b": True, "none": None}
    assert request.inputs[0].parameters == {"content_type": "np"}
    assert request.outputs is not None
    assert [(o.name, o.parameters) for o in request.outputs] == [
        ("predict", None),
        ("predict_proba", {"i": 3}),
    ]
    typed = typed_message("FP64", "fp64_contents", [1.0])
    typed.inputs[0].parameters["d"].double_param = 0.5
    decoded = codec_for(GRPC).decode(typed.SerializeToString(), 0, iris)
    assert decoded.inputs[0].parameters == {"d": 0.5}


def test_contents_beside_raw_contents_are_refused_as_triton_does(iris: Any) -> None:
    message = iris_message()
    message.inputs[0].contents.fp64_contents.append(1.0)
    with pytest.raises(InvalidInput, match="contents field must not be specified when using raw"):
        codec_for(GRPC).decode(message.SerializeToString(), 0, iris)


def test_too_many_raw_contents_are_refused(iris: Any) -> None:
    message = iris_message()
    message.raw_input_contents.append(b"")
    with pytest.raises(InvalidInput, match="has 2 raw_input_contents for 1 inputs"):
        codec_for(GRPC).decode(message.SerializeToString(), 0, iris)


@pytest.mark.parametrize(
    ("datatype", "hint"), [("FP32", "fp32_contents"), ("FP16", "raw_input_contents")]
)
def test_values_in_the_field_of_another_datatype_are_refused(
    iris: Any, datatype: str, hint: str
) -> None:
    body = typed_message(datatype, "int64_contents", [1]).SerializeToString()
    with pytest.raises(InvalidInput, match=f"values in int64_contents: put them in {hint}"):
        codec_for(GRPC).decode(body, 0, iris)


@pytest.mark.parametrize("body", [b"\xff", b"\x0a\xff", b"\x0a\x01\xff", b"\x2a\x02\x0a\x05"])
def test_what_is_no_message_is_refused(iris: Any, body: bytes) -> None:
    with pytest.raises(InvalidInput, match="is not a ModelInferRequest"):
        codec_for(GRPC).decode(body, 0, iris)


def test_a_message_seen_before_is_read_the_same_way(iris: Any) -> None:
    codec = V2GrpcCodec()
    first = iris_message()
    second = iris_message()
    second.raw_input_contents[0] = np.arange(4.0).tobytes()
    for message in (first, second, first, second):
        body = message.SerializeToString()
        for form in (body, memoryview(body)):
            request = codec.decode(form, 0, iris)
            assert bytes(request.inputs[0].data) == message.raw_input_contents[0]
            assert request == V2GrpcCodec().decode(form, 0, iris)
            assert group_key(request, iris) is not None


def test_a_raw_tensor_quoted_within_another_field_is_not_taken_for_the_tensor(iris: Any) -> None:
    body = iris_message().SerializeToString()
    raw = body[-32:]
    quoted = b"\x3a\x20" + raw
    # An unknown field (number 99) that ends just as a message with a raw tensor does.
    tricky = body + b"\x9a\x06" + bytes([len(quoted)]) + quoted
    other = tricky[:-32] + bytes(32)
    codec = V2GrpcCodec()
    for message in (tricky, other, tricky, other):
        assert codec.decode(message, 0, iris).inputs[0].data == raw


def test_messages_are_remembered_within_a_bound(echo: Any) -> None:
    codec = V2GrpcCodec()
    for size in range(600):
        message = service_pb2.ModelInferRequest(raw_input_contents=[bytes(size)])
        message.inputs.add(name="x" * 900, datatype="UINT8", shape=[size])
        message.inputs[0].name += "y" * (200 if size % 3 == 0 else 0)
        decoded = codec.decode(message.SerializeToString(), 0, echo)
        assert decoded.inputs[0].data == bytes(size)
    assert len(codec._known._by_length) <= 256


@given(st.lists(st.binary(max_size=12), max_size=6), st.data())
def test_remembering_messages_never_changes_what_they_mean(
    iris: Any, raws: list[bytes], data: Any
) -> None:
    codec = V2GrpcCodec()
    for raw in raws:
        message = iris_message()
        message.raw_input_contents[0] = raw
        body = bytearray(message.SerializeToString())
        for _ in range(data.draw(st.integers(0, 2))):
            body[data.draw(st.integers(0, len(body) - 1))] ^= 1 << data.draw(st.integers(0, 7))
        try:
            wanted = V2GrpcCodec().decode(bytes(body), 0, iris)
        except InvalidInput:
            with pytest.raises(InvalidInput):
                codec.decode(bytes(body), 0, iris)
        else:
            assert codec.decode(bytes(body), 0, iris) == wanted
