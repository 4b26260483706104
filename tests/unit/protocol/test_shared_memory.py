"""Which tensors of a request lie in shared memory, and how answers tell of it."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest

from salver.errors import InvalidInput
from salver.inference.metadata import ModelMetadata, TensorMetadata
from salver.inference.tensor import InferResponse, Tensor
from salver.protocol.elements import Blob
from salver.protocol.inference_pb2 import ModelInferRequest, ModelInferResponse
from salver.protocol.layout import layout_of
from salver.protocol.placed_answers import PLACEABLE, PlacingCodec
from salver.protocol.shared_memory import (
    Place,
    PlacedRequest,
    SharedMemoryAskedError,
    resolved,
)
from salver.protocol.v2_grpc import V2GrpcCodec
from salver.protocol.v2_json import V2JsonCodec
from salver.protocol.wire import Codec, ModelIdentity, WireOutput, WireRequest, WireTensor

IN_R = {"shared_memory_region": "r", "shared_memory_byte_size": 8}
METADATA = ModelMetadata(
    platform="test",
    inputs=(TensorMetadata("x", "FP32", (-1, 2)),),
    outputs=(TensorMetadata("y", "FP32", (-1, 2)), TensorMetadata("z", "INT64", (-1,))),
    batchable=True,
)
MODEL = ModelIdentity("m", "1", METADATA)


def request(
    parameters: dict[str, Any] | None, data: Any = None, outputs: Any = None
) -> WireRequest:
    return WireRequest([WireTensor("x", (1, 2), "FP32", data, parameters)], "7", None, outputs)


def read(place: Place, tensor: WireTensor) -> bytes:
    return np.arange(place.byte_size // 4, dtype="<f4").tobytes()


def test_a_request_that_names_memory_is_refused_unless_somebody_takes_it_apart() -> None:
    asked = request({**IN_R, "kept": 1}, outputs=[WireOutput("y", dict(IN_R)), WireOutput("z")])
    with pytest.raises(SharedMemoryAskedError, match=r"input 'x' of model 'm' .*shared memory"):
        layout_of(asked, MODEL)
    found, size = resolved(asked, "m", read)
    assert layout_of(found, MODEL).outputs == ("y", "z")
    assert (found.inputs[0].data, found.inputs[0].parameters) == (
        read(Place("r", 0, 8), found.inputs[0]),
        {"kept": 1},
    )
    assert (found.places, size, found.id) == ({"y": Place("r", 0, 8)}, 8, "7")


def test_an_output_alone_is_refused_too() -> None:
    with pytest.raises(SharedMemoryAskedError, match="output 'y' of model 'm'"):
        layout_of(request(None, [1.0, 2.0], [WireOutput("y", dict(IN_R))]), MODEL)


@pytest.mark.parametrize(
    ("parameters", "why"),
    [
        ({"shared_memory_region": "r"}, "without shared_memory_byte_size"),
        ({"shared_memory_byte_size": 8}, "no shared_memory_region"),
        ({**IN_R, "shared_memory_region": 7}, "no shared_memory_region that is a name"),
        ({**IN_R, "shared_memory_region": ""}, "no shared_memory_region that is a name"),
        ({**IN_R, "shared_memory_byte_size": -8}, "is no number of bytes"),
        ({**IN_R, "shared_memory_byte_size": "8"}, "is no number of bytes"),
        ({**IN_R, "shared_memory_byte_size": True}, "is no number of bytes"),
        ({**IN_R, "shared_memory_offset": 1 << 63}, "is no number of bytes"),
        ({**IN_R, "shared_memory_offset": 0.5}, "is no number of bytes"),
    ],
)
def test_parameters_that_make_no_place_are_refused(parameters: dict[str, Any], why: str) -> None:
    for asked in (request(parameters), request(None, [1.0], [WireOutput("y", parameters)])):
        with pytest.raises(InvalidInput, match=why):
            resolved(asked, "m", read)


@pytest.mark.parametrize("name", ["binary_data", "classification"])
def test_an_output_in_memory_is_asked_for_in_no_other_way(name: str) -> None:
    asked = request(None, [1.0], [WireOutput("y", {**IN_R, name: 3})])
    with pytest.raises(InvalidInput, match=f"both shared_memory_region and {name}"):
        resolved(asked, "m", read)


def test_data_and_memory_exclude_each_other() -> None:
    with pytest.raises(InvalidInput, match="both data and shared_memory_region"):
        resolved(request(IN_R, [1.0, 2.0]), "m", read)


class Memory:
    def __init__(self) -> None:
        self.written: dict[Place, bytes] = {}

    def write(self, place: Place, blob: Blob) -> None:
        self.written[place] = bytes(blob)


Y = np.array([[1, 2]], np.float32)
Z = np.array([5], np.int64)
RESPONSE = InferResponse((Tensor("y", "FP32", Y, {"unit": "m"}), Tensor("z", "INT64", Z)))


def asking(places: dict[str, Place], **more: Any) -> PlacedRequest:
    return PlacedRequest([WireTensor("x", (1, 2), "FP32")], "7", places=places, **more)


def test_json_tells_where_an_output_is_and_sends_the_others() -> None:
    memory = Memory()
    codec = PlacingCodec(V2JsonCodec(), Codec.V2_JSON, memory.write)
    place = Place("r", 16, 8)
    found = codec.encode(RESPONSE, asking({"y": place}), MODEL)
    assert msgspec.json.decode(found.body) == {
        "id": "7",
        "model_name": "m",
        "model_version": "1",
        "outputs": [
            {
                "name": "y",
                "datatype": "FP32",
                "shape": [1, 2],
                "parameters": {
                    "unit": "m",
                    "shared_memory_region": "r",
                    "shared_memory_byte_size": 8,
                    "shared_memory_offset": 16,
                },
            },
            {"name": "z", "datatype": "INT64", "shape": [1], "data": [5]},
        ],
    }
    assert memory.written == {place: Y.tobytes()}


def test_json_sends_the_others_as_binary_data_if_asked() -> None:
    codec = PlacingCodec(V2JsonCodec(), Codec.V2_JSON, Memory().write)
    wanted = asking({"y": Place("r", 0, 8)}, parameters={"binary_data_output": True})
    found = codec.encode(RESPONSE, wanted, MODEL)
    assert found.body[found.json_length :] == Z.tobytes()
    assert msgspec.json.decode(found.body[: found.json_length])["outputs"][1]["parameters"] == {
        "binary_data_size": 8
    }


def test_grpc_keeps_an_empty_content_for_an_output_in_memory() -> None:
    memory = Memory()
    codec = PlacingCodec(V2GrpcCodec(), Codec.V2_GRPC, memory.write)
    found = codec.encode(RESPONSE, asking({"y": Place("r", 0, 8)}), MODEL)
    message = ModelInferResponse.FromString(found.body)
    assert (message.id, message.model_name) == ("7", "m")
    assert list(message.raw_output_contents) == [b"", Z.tobytes()]
    assert message.outputs[0].parameters["shared_memory_region"].string_param == "r"
    assert message.outputs[0].parameters["shared_memory_byte_size"].int64_param == 8
    assert list(message.outputs[0].shape) == [1, 2]


@pytest.mark.parametrize("number", PLACEABLE)
def test_what_does_not_fit_is_refused_before_anything_is_written(number: Codec) -> None:
    memory = Memory()
    inner = V2JsonCodec() if number == Codec.V2_JSON else V2GrpcCodec()
    codec = PlacingCodec(inner, number, memory.write)
    places = {"y": Place("r", 0, 8), "z": Place("r", 8, 4)}
    with pytest.raises(InvalidInput, match=r"'z' \(4 bytes\) should be at least 8 bytes to hold"):
        codec.encode(RESPONSE, asking(places), MODEL)
    assert memory.written == {}


def test_a_stacked_answer_goes_to_the_places_of_its_requests() -> None:
    memory = Memory()
    codec = PlacingCodec(V2JsonCodec(), Codec.V2_JSON, memory.write)
    stacked = InferResponse((Tensor("y", "FP32", np.array([[1, 2], [3, 4]], np.float32)),))
    first, second = Place("r", 0, 8), Place("r", 8, 8)
    codec.encode_rows(stacked, [asking({"y": first}), asking({"y": second})], [1, 1], MODEL)
    assert memory.written == {
        first: np.array([1, 2], np.float32).tobytes(),
        second: np.array([3, 4], np.float32).tobytes(),
    }


def test_raw_contents_are_those_of_the_inputs_that_are_not_in_memory() -> None:
    message = ModelInferRequest(model_name="m")
    placed = message.inputs.add(name="a", datatype="FP32", shape=[2])
    placed.parameters["shared_memory_region"].string_param = "r"
    message.inputs.add(name="b", datatype="FP32", shape=[1])
    message.raw_input_contents.append(b"\0\0\x80\x3f")
    found = V2GrpcCodec().decode(message.SerializeToString(), 0, MODEL)
    assert [each.data for each in found.inputs] == [[], b"\0\0\x80\x3f"]
    message.raw_input_contents.append(b"more")
    message.inputs.add(name="c", datatype="FP32", shape=[1])
    message.inputs.add(name="d", datatype="FP32", shape=[1])
    with pytest.raises(InvalidInput, match="2 raw_input_contents for 4 inputs"):
        V2GrpcCodec().decode(message.SerializeToString(), 0, MODEL)
