"""The elements of tensors: Python values or little-endian bytes to arrays and back.

Strict on purpose: a string never becomes a number, 1.5 never an integer, nothing wraps
around. Knows datatypes and counts, but no shapes, no messages and no models; `subject` is
how an error names the tensor.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from itertools import chain
from types import MappingProxyType, NoneType
from typing import Any

import numpy as np

from salver.errors import InvalidInput
from salver.inference.tensor import NUMPY_TYPES, Array

Blob = bytes | bytearray | memoryview

_PACK_CODES = MappingProxyType(
    {
        "UINT8": "B",
        "UINT16": "H",
        "UINT32": "I",
        "UINT64": "Q",
        "INT8": "b",
        "INT16": "h",
        "INT32": "i",
        "INT64": "q",
        "FP16": "e",
        "BF16": "f",
        "FP32": "f",
        "FP64": "d",
    }
)
ELEMENT_SIZES = MappingProxyType(
    {
        name: 2 if name == "BF16" else dtype.itemsize
        for name, dtype in NUMPY_TYPES.items()
        if name != "BYTES"
    }
)
_FLOATING = frozenset({"FP16", "BF16", "FP32", "FP64"})
_FLOATING_TYPES = frozenset({float, int, NoneType})
_ALLOWED_TYPES = MappingProxyType(
    {
        **{name: frozenset({int}) for name in _PACK_CODES},
        **dict.fromkeys(_FLOATING, _FLOATING_TYPES),
        "BOOL": frozenset({bool}),
        "BYTES": frozenset({str, bytes}),
    }
)
_WANTED = MappingProxyType({"BOOL": "true or false", "BYTES": "strings"})
_LENGTH = struct.Struct("<I")
ZERO_COPY_BYTES = 64 << 10
"""Raw tensors above this size are read where they lie, and are read-only arrays then."""


def array_of_values(values: Sequence[Any], datatype: str, subject: str) -> Array:
    """A flat array of a flat list, which may hold JSON's types and `bytes`.

    null is NaN in the floating datatypes. Raises `InvalidInput` for any other element that
    the datatype does not hold exactly (floating ones: to the nearest).
    """
    types = set(map(type, values))
    if not types <= _ALLOWED_TYPES[datatype]:
        raise _alien_value(values, datatype, subject)
    if datatype == "BYTES":
        return _byte_strings(values, str in types, subject)
    if datatype == "BOOL":
        return np.array(values, dtype=np.bool_)
    if NoneType in types:
        values = [math.nan if value is None else value for value in values]
    array = np.empty(len(values), NUMPY_TYPES[datatype])
    try:
        struct.pack_into(f"<{len(values)}{_PACK_CODES[datatype]}", array.data, 0, *values)
    except (struct.error, OverflowError) as error:
        raise InvalidInput(
            f"{subject} has a value outside the range of {datatype}: "
            f"send values in range, or a wider datatype"
        ) from error
    return _rounded_to_bf16(array) if datatype == "BF16" else array


def _alien_value(values: Sequence[Any], datatype: str, subject: str) -> InvalidInput:
    allowed = _ALLOWED_TYPES[datatype]
    index, value = next((i, v) for i, v in enumerate(values) if type(v) not in allowed)
    wanted = _WANTED.get(datatype, "numbers" if datatype in _FLOATING else "whole numbers")
    return InvalidInput(
        f"{subject} has {_described(value)} as value {index} of a {datatype} tensor: send {wanted}"
    )


def _described(value: Any) -> str:
    if isinstance(value, list):
        return "an array"
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, str):
        return f"the string {value[:40]!r}"
    if isinstance(value, bool):
        return str(value).lower()
    return "null" if value is None else f"the number {_shown_number(value)}"


def _byte_strings(values: Sequence[Any], has_text: bool, subject: str) -> Array:
    array = np.empty(len(values), dtype=np.object_)
    if has_text:
        try:
            values = [v.encode() if isinstance(v, str) else v for v in values]
        except UnicodeEncodeError as error:
            raise InvalidInput(
                f"{subject} has a string that is not valid Unicode: send UTF-8"
            ) from error
    array[:] = values
    return array


def flattened(data: list[Any], shape: tuple[int, ...], subject: str) -> list[Any]:
    """The nested or flat list in row-major order; its lengths must be those of `shape`."""
    count = math.prod(shape)
    if not (data and isinstance(data[0], list)):
        if len(data) != count:
            raise InvalidInput(
                f"{subject} has {len(data)} values, its shape {shown(shape)} needs {count}: "
                f"make data and shape agree"
            )
        return data
    level = data
    for axis, size in enumerate(shape):
        if axis:
            level = _next_level(level, size, axis, shape, subject)
        elif len(level) != size:
            raise _ragged(len(level), size, axis, shape, subject)
    return level


def _next_level(
    rows: list[Any], size: int, axis: int, shape: tuple[int, ...], subject: str
) -> list[Any]:
    for row in rows:
        if not isinstance(row, list):
            raise InvalidInput(
                f"{subject} mixes arrays and values in its data: "
                f"nest it as its shape {shown(shape)} says, or send it flat"
            )
        if len(row) != size:
            raise _ragged(len(row), size, axis, shape, subject)
    return list(chain.from_iterable(rows))


def _ragged(found: int, size: int, axis: int, shape: tuple[int, ...], subject: str) -> InvalidInput:
    return InvalidInput(
        f"{subject} has {found} entries on axis {axis} of its data, "
        f"its shape {shown(shape)} says {size}: make data and shape agree, rows equally long"
    )


def shown(shape: Sequence[int]) -> str:
    """A shape as messages and clients write it, e.g. `[-1,4]`."""
    return "[" + ",".join(map(_shown_number, shape)) + "]"


def _shown_number(number: float) -> str:
    # Python refuses to write integers of more than a few thousand digits.
    is_short = not isinstance(number, int) or number.bit_length() <= 128
    return str(number) if is_short else "<too large>"


def array_of_raw(blobs: Sequence[Blob], datatype: str, subject: str) -> Array:
    """A flat array of the concatenated little-endian blobs.

    A single large blob is not copied: the array is a read-only view of it.
    """
    if datatype == "BYTES":
        return _split_byte_strings(blobs, subject)
    blob: Blob
    if len(blobs) == 1 and len(blobs[0]) > ZERO_COPY_BYTES:
        blob = memoryview(blobs[0]).toreadonly()
    else:
        blob = bytearray().join(blobs)
    if datatype == "BF16":
        halves = np.frombuffer(blob, dtype="<u2")
        return (halves.astype(np.uint32) << 16).view(np.float32)
    if datatype == "BOOL":
        bits = np.frombuffer(blob, dtype=np.uint8)
        if bits.size and bits.max() > 1:
            raise InvalidInput(f"{subject} has a byte other than 0 and 1: BOOL takes no other")
    return np.frombuffer(blob, dtype=NUMPY_TYPES[datatype].newbyteorder("<"))


def check_raw_size(blob: Blob, datatype: str, shape: tuple[int, ...], subject: str) -> None:
    """Raises `InvalidInput` unless the blob is as long as datatype and shape say."""
    if datatype == "BYTES":
        wanted = math.prod(shape)
        found = _count_byte_strings(blob, wanted, subject)
        if found != wanted:
            raise InvalidInput(
                f"{subject} has {'more' if found > wanted else found} strings in its binary "
                f"data, its shape {shown(shape)} needs {wanted}: make data and shape agree"
            )
    elif len(blob) != math.prod(shape) * ELEMENT_SIZES[datatype]:
        raise InvalidInput(
            f"{subject} has {len(blob)} bytes of binary data, {datatype} of shape "
            f"{shown(shape)} takes {math.prod(shape) * ELEMENT_SIZES[datatype]}: "
            f"make data and shape agree"
        )


def _count_byte_strings(blob: Blob, most: int, subject: str) -> int:
    count, position, size = 0, 0, len(blob)
    while position < size and count <= most:
        position = _end_of_string(blob, position, subject)
        count += 1
    return count


def _end_of_string(blob: Blob, position: int, subject: str) -> int:
    start = position + _LENGTH.size
    if start <= len(blob):
        end: int = start + _LENGTH.unpack_from(blob, position)[0]
        if end <= len(blob):
            return end
    raise InvalidInput(
        f"{subject} has a string at byte {position} of its binary data that runs past "
        f"the end at byte {len(blob)}: send each as a 4-byte little-endian length and its bytes"
    )


def _split_byte_strings(blobs: Sequence[Blob], subject: str) -> Array:
    strings: list[bytes] = []
    for blob in blobs:
        position = 0
        while position < len(blob):
            end = _end_of_string(blob, position, subject)
            strings.append(bytes(blob[position + _LENGTH.size : end]))
            position = end
    return _byte_strings(strings, False, subject)


def raw_of_array(array: Array, datatype: str) -> bytes:
    """The elements in row-major order, little-endian, as the binary extension has them."""
    if datatype == "BYTES":
        return b"".join(_LENGTH.pack(len(text)) + text for text in array.ravel().tolist())
    if datatype == "BF16":
        rounded = _rounded_to_bf16(np.ascontiguousarray(array, dtype=np.float32))
        return (rounded.view(np.uint32) >> 16).astype("<u2").tobytes()
    return array.astype(NUMPY_TYPES[datatype].newbyteorder("<"), copy=False).tobytes()


def _rounded_to_bf16(array: Array) -> Array:
    """Float32 rounded to the nearest bfloat16, ties to even; NaN stays NaN."""
    bits = array.view(np.uint32)
    rounded = bits + (((bits >> 16) & 1) + np.uint32(0x7FFF))
    result = np.where(np.isnan(array), np.uint32(0x7FC00000), rounded & np.uint32(0xFFFF0000))
    return result.astype(np.uint32, copy=False).view(np.float32)
