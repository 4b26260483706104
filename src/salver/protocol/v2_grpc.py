"""The Open Inference Protocol's gRPC messages: ModelInferRequest in, ModelInferResponse out.

Takes typed `contents` and `raw_input_contents`, never both in one request; always answers
raw, as Triton does. `aux` has no meaning here. Knows no service and no transport.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType
from typing import Any

from google.protobuf.message import DecodeError

from salver.errors import InvalidInput
from salver.inference.metadata import DATATYPES
from salver.inference.tensor import InferResponse, Parameters, Tensor
from salver.protocol.class_names import PARAMETER as CLASSES
from salver.protocol.classification import classified, wants_classes
from salver.protocol.elements import raw_of_array
from salver.protocol.inference_pb2 import InferParameter, ModelInferRequest, ModelInferResponse
from salver.protocol.json_text import check_rows
from salver.protocol.rows import row_slices
from salver.protocol.shared_memory import REGION
from salver.protocol.wire import (
    EncodedResponse,
    ModelIdentity,
    WireOutput,
    WireRequest,
    WireTensor,
)

_CONTENTS_FIELDS = MappingProxyType(
    {
        "BOOL": "bool_contents",
        "INT8": "int_contents",
        "INT16": "int_contents",
        "INT32": "int_contents",
        "INT64": "int64_contents",
        "UINT8": "uint_contents",
        "UINT16": "uint_contents",
        "UINT32": "uint_contents",
        "UINT64": "uint64_contents",
        "FP32": "fp32_contents",
        "FP64": "fp64_contents",
        "BYTES": "bytes_contents",
    }
)
_RAW_OUTPUT_TAG = b"\x32"  # field 6, length-delimited
_RAW_INPUT_TAG = b"\x3a"  # field 7, length-delimited
_MOST_KNOWN = 256
_LONGEST_PREFIX = 1024
_ID_TAG = b"\x1a"  # field 3, length-delimited


class V2GrpcCodec:
    """See `wire.WireCodec`."""

    def __init__(self) -> None:
        self._known = _KnownMessages()

    def decode(self, body: bytes | memoryview, aux: int, model: ModelIdentity) -> WireRequest:
        known = self._known.request(body)
        if known is not None:
            return known
        try:
            message = ModelInferRequest.FromString(body)  # type: ignore[arg-type]
        except (DecodeError, ValueError, RecursionError) as error:
            raise InvalidInput(
                f"the message for model {model.name!r} is not a ModelInferRequest: "
                f"encode it with the Open Inference Protocol's inference.proto"
            ) from error
        request = WireRequest(_inputs(message, model), message.id or None)
        if len(message.parameters):
            request.parameters = parameters_of(message.parameters)
        if len(message.outputs):
            request.outputs = [_output(output) for output in message.outputs]
        self._known.learn(body, request)
        return request

    def encode(
        self, response: InferResponse, request: WireRequest, model: ModelIdentity
    ) -> EncodedResponse:
        if request.outputs is not None and wants_classes(request):
            response = classified(response, request, model)
        shapes = tuple([tensor.data.shape for tensor in response.outputs])
        before, after = _fixed_parts(response, shapes, model)
        blobs = [_raw_field(raw_of_array(t.data, t.datatype)) for t in response.outputs]
        return EncodedResponse(b"".join((before, _id_field(request.id), after, *blobs)))

    def encode_rows(
        self,
        response: InferResponse,
        requests: list[WireRequest],
        rows: list[int],
        model: ModelIdentity,
    ) -> list[EncodedResponse]:
        if len(requests) == 1:
            return [self.encode(response, requests[0], model)]
        total = sum(rows)
        for tensor in response.outputs:
            check_rows(tensor, total, model.name)
        # Requests for classes are stacked with their like.
        if wants_classes(requests[0]) or any(t.datatype == "BYTES" for t in response.outputs):
            parts = row_slices(response, rows)
            return [
                self.encode(part, request, model)
                for part, request in zip(parts, requests, strict=True)
            ]
        return _encode_rows(response, requests, rows, model)


class _KnownMessages:
    """Messages that differ only in the bytes of their one raw tensor, which comes last.

    A client sends the same fields over and over: once parsed, a body that starts with the
    same bytes up to and including the raw tensor's length, and that ends where that tensor
    does, can only mean the same request with other values. Kept by length, and bounded.
    """

    def __init__(self) -> None:
        self._by_length: dict[int, tuple[bytes, WireTensor]] = {}

    def request(self, body: bytes | memoryview) -> WireRequest | None:
        """The request, if a message like it is known."""
        known = self._by_length.get(len(body))
        if known is None:
            return None
        prefix, tensor = known
        if body[: len(prefix)] != prefix:
            return None
        raw = body[len(prefix) :]
        return WireRequest([WireTensor(tensor.name, tensor.shape, tensor.datatype, raw)])

    def learn(self, body: bytes | memoryview, request: WireRequest) -> None:
        """Keeps what the body looks like, if that settles all but the raw tensor."""
        if len(request.inputs) != 1 or request.id or request.parameters or request.outputs:
            return
        tensor = request.inputs[0]
        if tensor.parameters or not isinstance(tensor.data, bytes):
            return
        tail = _RAW_INPUT_TAG + _varint(len(tensor.data))
        prefix = bytes(body[: len(body) - len(tensor.data)])
        if len(prefix) > _LONGEST_PREFIX or not prefix.endswith(tail):
            return
        if _is_message_without_raw(prefix[: -len(tail)]):
            if len(self._by_length) >= _MOST_KNOWN:
                self._by_length.clear()
            shown = WireTensor(tensor.name, tensor.shape, tensor.datatype)
            self._by_length[len(body)] = (prefix, shown)


def _is_message_without_raw(fields: bytes) -> bool:
    # Else the tag found may lie within another field, and the bytes mean something else.
    try:
        return not ModelInferRequest.FromString(fields).raw_input_contents
    except DecodeError:
        return False


def _encode_rows(
    response: InferResponse,
    requests: list[WireRequest],
    rows: list[int],
    model: ModelIdentity,
) -> list[EncodedResponse]:
    fixed = {
        count: _fixed_parts(
            response, tuple([(count, *t.data.shape[1:]) for t in response.outputs]), model
        )
        for count in set(rows)
    }
    total = sum(rows)
    raws = [raw_of_array(tensor.data, tensor.datatype) for tensor in response.outputs]
    strides = [len(raw) // total for raw in raws]
    result, start = [], 0
    for request, count in zip(requests, rows, strict=True):
        before, after = fixed[count]
        end = start + count
        blobs = [
            _raw_field(raw[start * stride : end * stride])
            for raw, stride in zip(raws, strides, strict=True)
        ]
        message_id = b"" if request.id is None else _id_field(request.id)
        result.append(EncodedResponse(b"".join((before, message_id, after, *blobs))))
        start = end
    return result


def _inputs(message: ModelInferRequest, model: ModelIdentity) -> list[WireTensor]:
    raws = message.raw_input_contents
    if raws and len(raws) != len(message.inputs):
        here = [tensor for tensor in message.inputs if REGION not in tensor.parameters]
        if len(raws) == len(here) < len(message.inputs):
            return _partly_placed(message, raws, model)
        raise InvalidInput(
            f"the request to model {model.name!r} has {len(raws)} raw_input_contents for "
            f"{len(message.inputs)} inputs: send one for each input, in their order"
        )
    return wire_tensors(message.inputs, raws, model)


def _partly_placed(
    message: ModelInferRequest, raws: Sequence[bytes], model: ModelIdentity
) -> list[WireTensor]:
    """Inputs of which some lie in shared memory: the raw contents are those of the others."""
    left = iter(raws)
    return [
        _typed_tensor(tensor, model)
        if REGION in tensor.parameters
        else _tensor(tensor, next(left), model)
        for tensor in message.inputs
    ]


def wire_tensors(
    tensors: Sequence[Any], raws: Sequence[bytes], model: ModelIdentity
) -> list[WireTensor]:
    """The inputs of a request, or the outputs of a response, which have the same fields."""
    if not raws:
        return [_typed_tensor(tensor, model) for tensor in tensors]
    if len(raws) != len(tensors):
        raise InvalidInput(
            f"the message of model {model.name!r} has {len(raws)} raw contents for "
            f"{len(tensors)} tensors: send one for each, in their order"
        )
    return [_tensor(tensor, raw, model) for tensor, raw in zip(tensors, raws, strict=True)]


def _tensor(
    tensor: ModelInferRequest.InferInputTensor, raw: bytes, model: ModelIdentity
) -> WireTensor:
    if tensor.HasField("contents") and tensor.contents.ByteSize():
        raise InvalidInput(
            f"contents field must not be specified when using raw_input_contents for "
            f"{tensor.name[:64]!r} for model {model.name!r}: send one of them"
        )
    result = WireTensor(tensor.name, tuple(tensor.shape), tensor.datatype, raw)
    if len(tensor.parameters):
        result.parameters = parameters_of(tensor.parameters)
    return result


def _typed_tensor(tensor: ModelInferRequest.InferInputTensor, model: ModelIdentity) -> WireTensor:
    wanted = _CONTENTS_FIELDS.get(tensor.datatype)
    data: list[Any] = []
    for field, values in tensor.contents.ListFields():
        if field.name != wanted and tensor.datatype in DATATYPES:
            raise InvalidInput(
                f"input {tensor.name[:64]!r} of model {model.name!r} has datatype "
                f"{tensor.datatype[:40]} and values in {field.name}: "
                f"put them in {wanted or 'raw_input_contents'}"
            )
        data = list(values)
    result = WireTensor(tensor.name, tuple(tensor.shape), tensor.datatype, data)
    if len(tensor.parameters):
        result.parameters = parameters_of(tensor.parameters)
    return result


def _output(output: ModelInferRequest.InferRequestedOutputTensor) -> WireOutput:
    parameters = parameters_of(output.parameters)
    if CLASSES in parameters and parameters[CLASSES] == 0:
        raise InvalidInput(
            f"output {output.name[:64]!r} is asked for with 'classification' 0: give the number "
            "of classes that you want, or leave it out"
        )
    return WireOutput(output.name, parameters or None)


def parameters_of(parameters: Mapping[str, InferParameter]) -> dict[str, Any]:
    """The parameters as Python values."""
    result: dict[str, Any] = {}
    for name, parameter in parameters.items():
        choice = parameter.WhichOneof("parameter_choice")
        result[name] = None if choice is None else getattr(parameter, choice)
    return result


def _fixed_parts(
    response: InferResponse, shapes: tuple[tuple[int, ...], ...], model: ModelIdentity
) -> tuple[bytes, bytes]:
    """The message in front of the id, and between it and the raw contents."""
    outputs = tuple([(tensor.name, tensor.datatype) for tensor in response.outputs])
    if response.parameters or any(tensor.parameters for tensor in response.outputs):
        return _start(model.name, model.version), _described(response, shapes)
    return _cached_parts(model.name, model.version, outputs, shapes)


@lru_cache(maxsize=512)
def _cached_parts(
    name: str,
    version: str,
    outputs: tuple[tuple[str, str], ...],
    shapes: tuple[tuple[int, ...], ...],
) -> tuple[bytes, bytes]:
    tensors = [
        ModelInferResponse.InferOutputTensor(name=output, datatype=datatype, shape=shape)
        for (output, datatype), shape in zip(outputs, shapes, strict=True)
    ]
    return _start(name, version), ModelInferResponse(outputs=tensors).SerializeToString()


def _start(name: str, version: str) -> bytes:
    return ModelInferResponse(model_name=name, model_version=version).SerializeToString()


def _described(response: InferResponse, shapes: Sequence[tuple[int, ...]]) -> bytes:
    tensors = [
        ModelInferResponse.InferOutputTensor(
            name=tensor.name,
            datatype=tensor.datatype,
            shape=shape,
            parameters=_wire_parameters(tensor),
        )
        for tensor, shape in zip(response.outputs, shapes, strict=True)
    ]
    message = ModelInferResponse(outputs=tensors, parameters=_wire_parameters(response))
    return message.SerializeToString()


def _wire_parameters(owner: Tensor | InferResponse) -> dict[str, InferParameter]:
    return {name: wire_parameter(value) for name, value in owner.parameters.items()}


def wire_parameter(value: Parameters | Any) -> InferParameter:
    """The value as the protocol has it; what it has no type for, as text."""
    if isinstance(value, bool):
        return InferParameter(bool_param=value)
    if isinstance(value, int) and -(1 << 63) <= value < 1 << 63:
        return InferParameter(int64_param=value)
    if isinstance(value, int) and 0 <= value < 1 << 64:
        return InferParameter(uint64_param=value)
    if isinstance(value, float):
        return InferParameter(double_param=value)
    return InferParameter(string_param=str(value))


def _id_field(request_id: str | None) -> bytes:
    if not request_id:
        return b""
    text = request_id.encode()
    return _ID_TAG + _varint(len(text)) + text


def _raw_field(blob: bytes) -> bytes:
    return _RAW_OUTPUT_TAG + _varint(len(blob)) + blob


def _varint(number: int) -> bytes:
    if number < 0x80:
        return number.to_bytes(1, "little")
    groups = bytearray()
    while number >= 0x80:
        groups.append(number & 0x7F | 0x80)
        number >>= 7
    groups.append(number)
    return bytes(groups)
