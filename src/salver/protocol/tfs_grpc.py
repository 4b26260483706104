"""TensorFlow Serving's PredictRequest in, PredictResponse out.

`signature_name` chooses what is asked, `output_filter` which outputs are given. `aux` has no
meaning here. Knows no service and no transport.
"""

from __future__ import annotations

from google.protobuf.message import DecodeError
from google.protobuf.wrappers_pb2 import Int64Value

from salver.errors import InvalidInput
from salver.inference.tensor import InferResponse
from salver.protocol.rows import ApartCodec
from salver.protocol.tfs_pb2 import ModelSpec, PredictRequest, PredictResponse
from salver.protocol.tfs_signatures import chosen, version_number
from salver.protocol.tfs_tensors import tensor_proto, wire_tensor
from salver.protocol.wire import (
    EncodedResponse,
    ModelIdentity,
    WireOutput,
    WireRequest,
)


class SignedRequest(WireRequest):
    """A request that named a signature, or was understood to mean one."""

    signature: str = ""


class TfsGrpcCodec(ApartCodec):
    """See `wire.WireCodec`."""

    def decode(self, body: bytes | memoryview, aux: int, model: ModelIdentity) -> WireRequest:
        try:
            message = PredictRequest.FromString(bytes(body))
        except (DecodeError, ValueError, RecursionError) as error:
            raise InvalidInput(
                f"the message for model {model.name!r} is not a PredictRequest: "
                f"encode it with TensorFlow Serving's predict.proto"
            ) from error
        signature = chosen(message.model_spec.signature_name, model)
        inputs = [
            wire_tensor(name, proto, f"input {name[:64]!r} of model {model.name!r}")
            for name, proto in message.inputs.items()
        ]
        outputs = tuple(message.output_filter) or signature.outputs
        request = SignedRequest(inputs, None, signature.parameters, signature=signature.name)
        if outputs:
            request.outputs = [WireOutput(name) for name in outputs]
        return request

    def encode(
        self, response: InferResponse, request: WireRequest, model: ModelIdentity
    ) -> EncodedResponse:
        message = PredictResponse(model_spec=model_spec(request, model))
        for tensor in response.outputs:
            message.outputs[tensor.name].CopyFrom(tensor_proto(tensor))
        return EncodedResponse(message.SerializeToString())


def model_spec(request: WireRequest, model: ModelIdentity) -> ModelSpec:
    """What answered: the model, its version if that is a number, the signature."""
    signature = request.signature if isinstance(request, SignedRequest) else ""
    spec = ModelSpec(name=model.name, signature_name=signature)
    number = version_number(model.version)
    if number is not None:
        spec.version.CopyFrom(Int64Value(value=number))
    return spec
