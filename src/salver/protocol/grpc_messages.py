"""The halves of the gRPC format that a server does not need: requests out, responses in.

For steps around a model, which write the request that the model gets and read its answer.
"""

from __future__ import annotations

from typing import Any

from google.protobuf.message import DecodeError

from salver.errors import ModelFailed
from salver.inference.tensor import Tensor
from salver.protocol.elements import raw_of_array
from salver.protocol.inference_pb2 import ModelInferRequest, ModelInferResponse
from salver.protocol.v2_grpc import parameters_of, wire_parameter, wire_tensors
from salver.protocol.wire import ModelIdentity, WireRequest, WireTensor


def read_response(
    body: bytes | memoryview, model: ModelIdentity
) -> tuple[list[WireTensor], str | None, dict[str, Any] | None]:
    """The tensors, the id and the parameters of a ModelInferResponse. Raises `ModelFailed`."""
    try:
        message = ModelInferResponse.FromString(bytes(body))
    except (DecodeError, ValueError, RecursionError) as error:
        raise ModelFailed(f"its answer is no ModelInferResponse: {error}") from error
    tensors = wire_tensors(message.outputs, message.raw_output_contents, model)
    parameters = parameters_of(message.parameters) if len(message.parameters) else None
    return tensors, message.id or None, parameters


def write_request(tensors: tuple[Tensor, ...], request: WireRequest, name: str) -> bytes:
    """A ModelInferRequest of these tensors, with what else the request says."""
    message = ModelInferRequest(model_name=name, id=request.id or "")
    for key, value in (request.parameters or {}).items():
        message.parameters[key].CopyFrom(wire_parameter(value))
    for tensor in tensors:
        entry = message.inputs.add(
            name=tensor.name, datatype=tensor.datatype, shape=tensor.data.shape
        )
        for key, value in tensor.parameters.items():
            entry.parameters[key].CopyFrom(wire_parameter(value))
        message.raw_input_contents.append(raw_of_array(tensor.data, tensor.datatype))
    for output in request.outputs or ():
        asked = message.outputs.add(name=output.name)
        for key, value in (output.parameters or {}).items():
            asked.parameters[key].CopyFrom(wire_parameter(value))
    encoded: bytes = message.SerializeToString()
    return encoded
