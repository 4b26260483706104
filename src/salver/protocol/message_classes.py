"""Outputs of graphs as classes: Triton's classification on a message's tensors, without arrays.

For the gateway, which takes small answers apart only where a caller asks for classes of a graph's
output. What classes look like is `class_names.py`'s.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

import msgspec

from salver.errors import InvalidInput
from salver.inference.metadata import STRUCT_CODES
from salver.protocol import wire_fields
from salver.protocol.class_names import check_datatype, class_text
from salver.protocol.messages import Message, Tensor, elements
from salver.protocol.wire_codes import Codec

MOST_ELEMENTS = 65_536
"""More would keep the gateway from its other requests."""
_NAME, _DATATYPE, _SHAPE = 1, 2, 3
"""Of a tensor in gRPC."""


def with_classes(
    tensor: Tensor, message: Message, count: int, labels: Sequence[str], *, has_rows: bool
) -> Tensor:
    """The output in BYTES, of shape `[rows, count]`, or `[count]` if it has no rows.

    Raises `InvalidInput` if its values cannot be ranked.
    """
    subject = f"output '{tensor.name}' of the graph"
    check_datatype(tensor.datatype, subject)
    values = _values(tensor, message, subject)
    rows = tensor.shape[0] if has_rows and tensor.shape else 1
    width = len(values) // rows if rows else 0
    texts = [
        class_text(values[start + index], index, labels)
        for start in range(0, rows * width, width or 1)
        for index in _highest(values[start : start + width])[:count]
    ]
    shape = (rows, min(count, width)) if has_rows else (min(count, width),)
    return _written(tensor, message, texts, shape)


def _values(tensor: Tensor, message: Message, subject: str) -> list[Any]:
    code = STRUCT_CODES.get(tensor.datatype)
    size = 1
    for each in tensor.shape:
        size *= each
    if code is None or size > MOST_ELEMENTS:
        fact = f"datatype {tensor.datatype}" if code is None else f"{size} values"
        raise InvalidInput(
            f"{subject} has {fact}, of which a graph gives no classes: ask its model"
        )
    found = elements(tensor, message)
    if len(found) != size:
        raise InvalidInput(f"{subject} has {len(found)} values for its shape: ask for its values")
    if code in "ef":
        # JSON has the shortest text of a number, which is another number in double precision.
        return list(struct.unpack(f"<{size}{code}", struct.pack(f"<{size}{code}", *found)))
    return [float(each) for each in found] if code == "d" else found


def _highest(row: Sequence[Any]) -> list[int]:
    """The indexes of the values, highest first; equal ones by index, NaN last."""
    return sorted(range(len(row)), key=lambda at: (row[at] != row[at], -row[at]))


def _written(
    tensor: Tensor, message: Message, texts: Sequence[str], shape: tuple[int, ...]
) -> Tensor:
    raw = b"".join(len(text.encode()).to_bytes(4, "little") + text.encode() for text in texts)
    if message.codec == Codec.V2_GRPC:
        head = wire_fields.text_field(_NAME, tensor.name.encode())
        head += wire_fields.text_field(_DATATYPE, b"BYTES")
        head += wire_fields.text_field(_SHAPE, b"".join(map(wire_fields.varint, shape)))
        return Tensor(tensor.name, "BYTES", shape, data=head, blob=raw)
    if tensor.blob is not None:
        return Tensor(tensor.name, "BYTES", shape, {"binary_data_size": len(raw)}, blob=raw)
    return Tensor(tensor.name, "BYTES", shape, data=msgspec.Raw(msgspec.json.encode(texts)))
