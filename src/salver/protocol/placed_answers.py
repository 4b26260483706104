"""Answers whose outputs go into the client's shared memory, in whole or in part.

The answer then has the output's name, datatype, shape and place, and no data. Knows the two formats
that have shared memory, V2's JSON and V2's gRPC; who writes into memory is handed in.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import numpy as np

from salver.errors import InvalidInput
from salver.inference.tensor import NUMPY_TYPES, InferResponse, Tensor
from salver.protocol.elements import Blob, raw_of_array
from salver.protocol.inference_pb2 import ModelInferResponse
from salver.protocol.rows import ApartCodec
from salver.protocol.shared_memory import Place, PlacedRequest
from salver.protocol.v2_grpc import wire_parameter
from salver.protocol.v2_json import encode_placed
from salver.protocol.wire import Codec, EncodedResponse, ModelIdentity, WireCodec, WireRequest

PLACED = 0x100
"""Added to the number of a codec: that of the one which puts outputs into shared memory."""
PLACEABLE = (Codec.V2_JSON, Codec.V2_GRPC)
Write = Callable[[Place, Blob], None]
"""Puts bytes into shared memory. Raises `RequestError` if that cannot be done."""


class PlacingCodec(ApartCodec):
    """Implements `WireCodec` around another one, for `PlacedRequest`s."""

    def __init__(self, codec: WireCodec, number: Codec, write: Write) -> None:
        self._codec = codec
        self._is_json = number == Codec.V2_JSON
        self._write = write

    def decode(self, body: bytes | memoryview, aux: int, model: ModelIdentity) -> WireRequest:
        """As the other does."""
        return self._codec.decode(body, aux, model)

    def encode(
        self, response: InferResponse, request: WireRequest, model: ModelIdentity
    ) -> EncodedResponse:
        """Writes the outputs into memory, and then the answer that says where they are."""
        assert isinstance(request, PlacedRequest)
        placed = {t.name: t for t in response.outputs if t.name in request.places}
        if not placed:
            return self._codec.encode(response, request, model)
        blobs = {name: _bytes_of(tensor) for name, tensor in placed.items()}
        for name, blob in blobs.items():
            _check_room(name, request.places[name], len(blob))
        for name, blob in blobs.items():
            self._write(request.places[name], blob)
        found = InferResponse(
            tuple(_told(tensor, request) for tensor in response.outputs), response.parameters
        )
        if self._is_json:
            return encode_placed(found, request, model, frozenset(placed))
        return _encode_grpc(found, request, model)


def _bytes_of(tensor: Tensor) -> Blob:
    """The elements as they are to lie in memory, not copied where they do so already."""
    array, datatype = tensor.data, tensor.datatype
    if datatype in ("BYTES", "BF16") or sys.byteorder != "little":
        return raw_of_array(array, datatype)
    plain = np.ascontiguousarray(array, dtype=NUMPY_TYPES[datatype])
    return memoryview(plain.reshape(-1).view(np.uint8).data)


def _check_room(name: str, place: Place, size: int) -> None:
    if size > place.byte_size:
        raise InvalidInput(
            f"shared memory size specified with the request for output '{name[:64]}' "
            f"({place.byte_size} bytes) should be at least {size} bytes to hold the results"
        )


def _told(tensor: Tensor, request: PlacedRequest) -> Tensor:
    place = request.places.get(tensor.name)
    if place is None:
        return tensor
    parameters = {**tensor.parameters, **place.parameters()}
    return Tensor(tensor.name, tensor.datatype, tensor.data, parameters)


def _encode_grpc(
    response: InferResponse, request: PlacedRequest, model: ModelIdentity
) -> EncodedResponse:
    message = ModelInferResponse(
        model_name=model.name, model_version=model.version, id=request.id or ""
    )
    for name, value in response.parameters.items():
        message.parameters[name].CopyFrom(wire_parameter(value))
    for tensor in response.outputs:
        output = message.outputs.add(
            name=tensor.name, datatype=tensor.datatype, shape=tensor.data.shape
        )
        for name, value in tensor.parameters.items():
            output.parameters[name].CopyFrom(wire_parameter(value))
        # As Triton: one raw content for each output, so that clients find the others by position.
        is_placed = tensor.name in request.places
        message.raw_output_contents.append(
            b"" if is_placed else raw_of_array(tensor.data, tensor.datatype)
        )
    return EncodedResponse(message.SerializeToString())
