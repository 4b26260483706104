"""The quick way for large JSON arrays of numbers: text to the bytes of a tensor.

A list of Python floats costs five times what the numbers in it do, so simdjson reads the
text straight into a buffer. All that is irregular (nulls, strings, ragged rows, numbers out
of range) is left to the ordinary way, which finds the words for it: None says so.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

import numpy as np
import simdjson

from salver.inference.tensor import NUMPY_TYPES

WORTHWHILE_BYTES = 2048
"""Below this, making the parser's document costs more than the list does."""
_BUFFER_TYPES: Mapping[str, Literal["d", "i"]] = MappingProxyType(
    {"FP32": "d", "FP64": "d", "INT64": "i"}
)


def raw_numbers(text: bytes, datatype: str, shape: tuple[int, ...]) -> memoryview | None:
    """The little-endian bytes of a tensor whose elements `text` lists, flat or by rows."""
    kind = _BUFFER_TYPES.get(datatype)
    if kind is None:
        return None
    try:
        # Brackets first: the buffer would hide values that are nested deeper than others.
        brackets = text.count(b"[")
        if brackets != 1 and (len(shape) != 2 or brackets != shape[0] + 1):
            return None
        # A parser of its own: it refuses to be used again while an array of it lives.
        array = simdjson.Parser().parse(text)
        if not isinstance(array, simdjson.Array) or (brackets > 1 and not _has_rows(array, shape)):
            return None
        numbers = np.frombuffer(array.as_buffer(of_type=kind), np.float64 if kind == "d" else "<i8")
    except (ValueError, TypeError, RuntimeError, OverflowError):
        return None
    if numbers.size != math.prod(shape):
        return None
    if datatype == "FP32":
        with np.errstate(over="ignore"):
            narrow = numbers.astype(NUMPY_TYPES["FP32"])
        if np.isinf(narrow.max(initial=0.0)) or np.isinf(narrow.min(initial=0.0)):
            return None
        numbers = narrow
    return numbers.data.cast("B")


def _has_rows(array: simdjson.Array, shape: tuple[int, ...]) -> bool:
    """Whether the array consists of the shape's rows, all of its width."""
    return len(array) == shape[0] and all(
        isinstance(row, simdjson.Array) and len(row) == shape[1] for row in array
    )
