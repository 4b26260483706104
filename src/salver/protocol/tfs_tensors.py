"""TensorFlow's TensorProto, both ways.

Its elements are in `tensor_content`, as bytes, or in the list for their datatype; of a list that is
too short the last value stands for all that follow, and of an empty one zero, as TensorFlow has it.
Answers have lists, as TensorFlow Serving's do: clients read `float_val` by name.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from salver.errors import InvalidInput
from salver.inference.metadata import STRUCT_CODES
from salver.inference.tensor import Tensor
from salver.protocol.elements import ELEMENT_SIZES, raw_of_array
from salver.protocol.tfs_pb2 import DataType, TensorProto, TensorShapeProto
from salver.protocol.tfs_signatures import DTYPES
from salver.protocol.wire import WireTensor
from salver.protocol.wire_fields import varint

MOST_REPEATED = 1 << 22
"""Elements that are not sent but stand for others: more are no honest tensor."""
_DATATYPES: Mapping[int, str] = MappingProxyType(
    {number: datatype for datatype, (_, number) in DTYPES.items()}
)
_LISTS: Mapping[str, str] = MappingProxyType(
    {
        "FP32": "float_val",
        "FP64": "double_val",
        "BYTES": "string_val",
        "INT64": "int64_val",
        "BOOL": "bool_val",
        "BF16": "half_val",
        "FP16": "half_val",
        "UINT32": "uint32_val",
        "UINT64": "uint64_val",
    }
)
"""Where the elements are; of all other datatypes in `int_val`."""
_PACKED_TAGS = MappingProxyType({"FP32": b"\x2a", "FP64": b"\x32", "BOOL": b"\x5a"})
"""Of the lists whose packed form is the elements' bytes."""
_HALVES = ("FP16", "BF16")
_LENGTH = struct.Struct("<I")
_MOST_DIMENSIONS = 32


def wire_tensor(name: str, proto: TensorProto, subject: str) -> WireTensor:
    """The tensor as it came. Raises `InvalidInput` for what cannot be one, naming `subject`."""
    datatype = _datatype(proto.dtype, subject)
    shape = _shape(proto.tensor_shape, subject)
    if proto.tensor_content:
        return WireTensor(name, shape, datatype, _content(proto, datatype, shape, subject))
    values = list(getattr(proto, _LISTS.get(datatype, "int_val")))
    _check_lists(proto, datatype, values, subject)
    count = math.prod(shape)
    if len(values) < count:
        return WireTensor(name, shape, datatype, _filled(values, count, datatype, subject))
    if datatype in _HALVES:
        return WireTensor(name, shape, datatype, _bits(values, subject))
    return WireTensor(name, shape, datatype, values)


def tensor_proto(tensor: Tensor) -> TensorProto:
    """The tensor with its elements in the list for its datatype."""
    dims = [TensorShapeProto.Dim(size=size) for size in tensor.data.shape]
    datatype = tensor.datatype
    proto = TensorProto(
        dtype=DataType.Name(DTYPES[datatype][1]), tensor_shape=TensorShapeProto(dim=dims)
    )
    if datatype in _PACKED_TAGS and tensor.data.size:
        raw = raw_of_array(tensor.data, datatype)
        proto.MergeFromString(_PACKED_TAGS[datatype] + varint(len(raw)) + raw)
    elif datatype in _HALVES:
        raw = raw_of_array(tensor.data, datatype)
        proto.half_val.extend(np.frombuffer(raw, dtype="<u2").tolist())
    else:
        field = getattr(proto, _LISTS.get(datatype, "int_val"))
        field.extend(tensor.data.ravel().tolist())
    return proto


def _datatype(dtype: int, subject: str) -> str:
    found = _DATATYPES.get(dtype)
    if found is None:
        known = DataType.values()
        shown = DataType.Name(dtype) if dtype in known else str(dtype)
        names = ", ".join(name for name, _ in DTYPES.values())
        raise InvalidInput(f"{subject} has dtype {shown}, which no model takes: send {names}")
    return found


def _shape(proto: TensorShapeProto, subject: str) -> tuple[int, ...]:
    shape = tuple(dim.size for dim in proto.dim)
    if proto.unknown_rank or any(size < 0 for size in shape):
        raise InvalidInput(f"{subject} has an unknown shape: send the size of each dimension")
    if len(shape) > _MOST_DIMENSIONS:
        raise InvalidInput(f"{subject} has {len(shape)} dimensions: send what the model takes")
    return shape


def _check_lists(proto: TensorProto, datatype: str, values: list[Any], subject: str) -> None:
    """Values in another datatype's list would be taken for none at all."""
    if values:
        return
    wanted = _LISTS.get(datatype, "int_val")
    for field, _ in proto.ListFields():
        if field.name.endswith("_val"):
            raise InvalidInput(
                f"{subject} has dtype {DTYPES[datatype][0]} and values in {field.name}: "
                f"put them in {wanted} or tensor_content"
            )


def _filled(values: list[Any], count: int, datatype: str, subject: str) -> list[Any] | bytes:
    if count > MOST_REPEATED:
        raise InvalidInput(
            f"{subject} has {len(values)} values for {count} elements: send all of them, only "
            f"tensors of up to {MOST_REPEATED} elements may be shortened"
        )
    missing = count - len(values)
    if datatype == "BYTES":
        return values + (values[-1:] or [b""]) * missing
    if datatype in _HALVES:
        bits = _bits(values, subject)
        return bits + (bits[-2:] or b"\0\0") * missing
    if not values:
        return bytes(missing * ELEMENT_SIZES[datatype])
    code = "<" + STRUCT_CODES[datatype]
    try:
        return b"".join(struct.pack(code, each) for each in values) + (
            struct.pack(code, values[-1]) * missing
        )
    except (struct.error, OverflowError) as error:
        raise InvalidInput(
            f"{subject} has a value outside the range of {datatype}: send values in range"
        ) from error


def _bits(values: list[int], subject: str) -> bytes:
    try:
        return b"".join(value.to_bytes(2, "little") for value in values)
    except OverflowError as error:
        raise InvalidInput(
            f"{subject} has a value in half_val that is no 16-bit number: send the bits of each"
        ) from error


def _content(proto: TensorProto, datatype: str, shape: tuple[int, ...], subject: str) -> bytes:
    content: bytes = proto.tensor_content
    if any(field.name.endswith("_val") for field, _ in proto.ListFields()):
        raise InvalidInput(f"{subject} has values twice: send tensor_content or a list, not both")
    if datatype != "BYTES":
        return content
    return _strings(content, math.prod(shape), subject)


def _strings(content: bytes, count: int, subject: str) -> bytes:
    """Strings in a tensor's content: all lengths come first, as varints."""
    lengths: list[int] = []
    position = value = shift = 0
    while len(lengths) < count and position < len(content) and shift < 35:
        byte = content[position]
        position += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            lengths.append(value)
            value = shift = 0
    if len(lengths) < count or position + sum(lengths) != len(content):
        raise InvalidInput(
            f"{subject} has a tensor_content that is not {count} strings: send their lengths as "
            f"varints and then their bytes, or use string_val"
        )
    pieces = []
    for length in lengths:
        pieces += [_LENGTH.pack(length), content[position : position + length]]
        position += length
    return b"".join(pieces)
