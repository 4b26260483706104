"""What messages hold, in a few words for errors: `x FP32 [4, 2]`.

Reads no more than a message's beginning is worth: failures come when there is much to do.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from salver.protocol.messages import Message, Tensor, tensors_of
from salver.protocol.seldon_pb2 import SeldonMessage
from salver.protocol.wire_codes import Codec

_DESCRIBED_BYTES = 1 << 16


def describe(messages: Iterable[Message]) -> str:
    """What the messages hold."""
    return ", ".join(each for message in messages for each in _parts(message)) or "nothing"


def _parts(message: Message) -> list[str]:
    size = len(message.body)
    is_long = message.parts is None and message.aux <= 0 and size > _DESCRIBED_BYTES
    try:
        if not is_long and not message.coding:
            return _shown(message)
    except Exception:
        # Whatever it is, it is no reason to hide the failure that it is to explain.
        pass
    return [f"{size} bytes"]


def _shown(message: Message) -> list[str]:
    if message.codec == Codec.SELDON_JSON:
        return [_seldon_json(msgspec.json.decode(message.body))]
    if message.codec == Codec.SELDON_GRPC:
        return [_seldon_grpc(bytes(message.body))]
    return [_tensor(each) for each in tensors_of(message)]


def _tensor(tensor: Tensor) -> str:
    if tensor.datatype:
        return f"{tensor.name} {tensor.datatype} {list(tensor.shape)}"
    if not tensor.shape:
        return tensor.name
    first = tensor.data[0] if tensor.data else None
    inner = _shape(msgspec.json.decode(first)) if isinstance(first, msgspec.Raw) else []
    return f"{tensor.name} {[tensor.shape[0], *inner]}"


def _seldon_json(document: Any) -> str:
    data = document.get("data")
    if not isinstance(data, dict):
        return next((each for each in ("binData", "strData", "jsonData") if each in document), "")
    if "tensor" in data:
        return f"tensor {list(data['tensor']['shape'])}"
    if "ndarray" in data:
        return f"ndarray {_shape(data['ndarray'])}"
    return next(iter(data), "data")


def _seldon_grpc(body: bytes) -> str:
    message = SeldonMessage.FromString(body)
    data = message.data
    kind = data.WhichOneof("data_oneof") or message.WhichOneof("data_oneof") or "nothing"
    if kind == "tensor":
        return f"tensor {list(data.tensor.shape)}"
    if kind == "ndarray":
        rows = data.ndarray
        width = [len(rows.values[0].list_value.values)] if len(rows.values) else []
        return f"ndarray {[len(rows.values), *(each for each in width if each)]}"
    return str(kind)


def _shape(value: Any) -> list[int]:
    """That of nested lists, by the first of each."""
    shape = []
    while isinstance(value, list):
        shape.append(len(value))
        value = value[0] if value else None
    return shape
