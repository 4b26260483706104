"""A tensor of a gRPC message whose elements are in typed fields, with its elements as raw contents.

One message has all its tensors in one of the two forms, so that tensors of several messages can
only be put together once they have the same. Owns that change; refuses to know whole messages.
"""

from __future__ import annotations

import struct

from google.protobuf.message import DecodeError

from salver.errors import InvalidInput
from salver.inference.metadata import STRUCT_CODES
from salver.protocol.inference_pb2 import ModelInferRequest

_Tensor = ModelInferRequest.InferInputTensor


def as_raw(tensor: bytes) -> tuple[bytes, bytes]:
    """The tensor's message without its contents, and these as raw contents have them.

    Raises `InvalidInput` for what is no such message, and for elements that its datatype has not.
    """
    try:
        message = _Tensor.FromString(tensor)
    except DecodeError as error:
        raise InvalidInput("a tensor of the message cannot be read: encode it anew") from error
    listed = message.contents.ListFields()
    values = list(listed[0][1]) if listed else []
    raw = _raw(message.name, message.datatype, values)
    message.ClearField("contents")
    return message.SerializeToString(), raw


def _raw(name: str, datatype: str, values: list[object]) -> bytes:
    try:
        if datatype == "BYTES":
            return b"".join(struct.pack("<I", len(each)) + each for each in values)  # type: ignore[arg-type,operator]
        return struct.pack(f"<{len(values)}{STRUCT_CODES[datatype]}", *values)
    except (KeyError, TypeError, struct.error) as error:
        raise InvalidInput(
            f"the contents of tensor '{name[:64]}' do not fit its datatype {datatype[:20]!r}: send "
            "raw_input_contents, or values that do"
        ) from error
