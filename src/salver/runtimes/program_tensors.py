"""Tensors as a program reads and writes them: little-endian bytes and a line that describes them.

Owns the form of elements in a message's body, and how shapes are written. Raises `ValueError`
for what a program got wrong, with the fact alone.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from typing import cast

import numpy as np

from salver.inference.metadata import DATATYPES, Datatype, TensorMetadata
from salver.inference.tensor import NUMPY_TYPES, Array, Tensor
from salver.runtimes.program_frames import Message

_ANY_SHAPE = "*"
_LENGTH = struct.Struct("<I")
MOST_SIZE = 1 << 40
MOST_RANK = 32
"""Of a shape, whatever is said of it: larger ones neither NumPy nor the protocols carry."""


def raw_of(tensor: Tensor) -> bytes | memoryview:
    """The elements in row-major order."""
    data = tensor.data
    if tensor.datatype == "BYTES":
        return b"".join([_LENGTH.pack(len(each)) + each for each in data.ravel().tolist()])
    if tensor.datatype == "BF16":
        bits = np.ascontiguousarray(data, dtype=np.float32).view(np.uint32) >> 16
        return bits.astype(np.uint16).tobytes()
    # A scalar has no buffer of bytes to be seen as, an empty array none that can be cast.
    if data.ndim == 0 or not data.size:
        return data.tobytes()
    return np.ascontiguousarray(data).reshape(-1).view(np.uint8).data


def tensors_of(message: Message, kind: str) -> tuple[Tensor, ...]:
    """The tensors that the lines of `kind` describe, cut from the body in their order."""
    found: list[Tensor] = []
    offset = 0
    for fields in message.values(kind):
        if len(fields) != 4:
            raise ValueError(
                f"its line {kind} has {len(fields)} fields: give name, datatype, shape and bytes"
            )
        name, datatype, shape, size = fields
        end = offset + _size(size, name)
        if end > len(message.body):
            raise ValueError(f"the body ends within {kind} '{name}'")
        found.append(tensor_of(name, datatype, _shape(shape, name), message.body[offset:end]))
        offset = end
    if offset != len(message.body):
        raise ValueError(f"the body has {len(message.body) - offset} bytes that belong to nothing")
    return tuple(found)


def tensor_of(name: str, datatype: str, shape: tuple[int, ...], raw: bytes) -> Tensor:
    """The tensor that these bytes are. Raises `ValueError`."""
    if datatype not in DATATYPES:
        raise ValueError(f"'{name}' has the unknown datatype {datatype!r}")
    if any(size < 0 for size in shape):
        raise ValueError(f"'{name}' has the shape {list(shape)}: each size must be known")
    array = _array(name, datatype, raw)
    if array.size != math.prod(shape):
        raise ValueError(
            f"'{name}' has {array.size} elements, its shape {list(shape)} {math.prod(shape)}"
        )
    return Tensor(name, cast(Datatype, datatype), array.reshape(shape))


def _array(name: str, datatype: str, raw: bytes) -> Array:
    if datatype == "BYTES":
        return _texts(name, raw)
    wanted = np.dtype(np.uint16) if datatype == "BF16" else NUMPY_TYPES[datatype]
    if len(raw) % wanted.itemsize:
        raise ValueError(f"'{name}' has {len(raw)} bytes, which are no {datatype} elements")
    array: Array = np.frombuffer(raw, dtype=np.uint8 if datatype == "BOOL" else wanted)
    if datatype == "BOOL":
        array = array != 0
    if datatype == "BF16":
        array = (array.astype(np.uint32) << 16).view(np.float32)
    return array


def _texts(name: str, raw: bytes) -> Array:
    found: list[bytes] = []
    offset = 0
    while offset < len(raw):
        start = offset + 4
        offset = start + (_LENGTH.unpack_from(raw, offset)[0] if start <= len(raw) else 0)
        if start > len(raw) or offset > len(raw):
            raise ValueError(f"'{name}' ends within an element")
        found.append(raw[start:offset])
    array = np.empty(len(found), dtype=np.object_)
    array[:] = found
    return array


def described(fields: Sequence[str], kind: str) -> TensorMetadata:
    """The metadata in a line of a hello: name, datatype, shape, and perhaps `optional`."""
    if len(fields) < 3:
        raise ValueError(f"its line {kind} has {len(fields)} fields: give name, datatype and shape")
    name, datatype, shape, *rest = fields
    if datatype not in DATATYPES:
        raise ValueError(f"{kind} '{name}' has the unknown datatype {datatype!r}")
    is_any = shape == _ANY_SHAPE
    return TensorMetadata(
        name,
        cast(Datatype, datatype),
        () if is_any else _shape(shape, name),
        any_shape=is_any,
        optional="optional" in rest,
    )


def shape_text(shape: Sequence[int]) -> str:
    """The sizes with commas between; nothing for a scalar."""
    return ",".join([str(size) for size in shape])


def _shape(text: str, name: str) -> tuple[int, ...]:
    try:
        shape = tuple([int(size) for size in text.split(",")]) if text else ()
    except ValueError:
        raise ValueError(f"'{name}' has the shape {text!r}: give numbers, as 2,4") from None
    if len(shape) > MOST_RANK or any(not -1 <= size <= MOST_SIZE for size in shape):
        raise ValueError(
            f"'{name}' has the shape {text[:100]!r}: give at most {MOST_RANK} sizes, each from -1 "
            f"to {MOST_SIZE}"
        )
    return shape


def _size(text: str, name: str) -> int:
    if not (text.isascii() and text.isdecimal()):
        raise ValueError(f"'{name}' has {text!r} for its number of bytes")
    return int(text)
