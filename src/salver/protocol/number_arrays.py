"""The quick way for large JSON arrays of numbers: text to the bytes of a tensor.

A list of Python floats costs five times what the numbers in it do, so simdjson reads the
text straight into a buffer. All that is irregular (nulls, strings, ragged rows, numbers out
of range) is left to the ordinary way, which finds the words for it: None says so.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

import numpy as np
import simdjson

from salver.inference.tensor import NUMPY_TYPES

WORTHWHILE_BYTES = 2048
"""Below this, making the parser's document costs more than the list does."""
_KEEP_PARSER_BYTES = 8 << 20
_kept = threading.local()
_BUFFER_TYPES: Mapping[str, Literal["d", "i"]] = MappingProxyType(
    {"FP32": "d", "FP64": "d", "INT64": "i"}
)


def raw_numbers(text: bytes, datatype: str, shape: tuple[int, ...]) -> memoryview | None:
    """The little-endian bytes of a tensor whose elements `text` lists, flat or by rows."""
    kind = _BUFFER_TYPES.get(datatype)
    if kind is None:
        return None
    # Brackets first: the buffer would hide values that are nested deeper than others.
    brackets = _opening_brackets(text, most=shape[0] + 1 if len(shape) == 2 else 1)
    if brackets != 1 and (len(shape) != 2 or brackets != shape[0] + 1):
        return None
    try:
        buffer = _parsed(text, shape if brackets > 1 else None, kind)
    except (ValueError, TypeError, RuntimeError, OverflowError):
        return None
    if buffer is None:
        return None
    numbers = np.frombuffer(buffer, np.float64 if kind == "d" else "<i8")
    if numbers.size != math.prod(shape):
        return None
    if datatype == "FP32":
        with np.errstate(over="ignore"):
            narrow = numbers.astype(NUMPY_TYPES["FP32"])
        if np.isinf(narrow.max(initial=0.0)) or np.isinf(narrow.min(initial=0.0)):
            return None
        numbers = narrow
    return numbers.data.cast("B")


def _opening_brackets(text: bytes, *, most: int) -> int:
    """How many there are; counting ends soon after `most`. (`bytes.count` looks at each byte.)"""
    found = 0
    position = text.find(b"[")
    while position >= 0 and found <= most:
        found += 1
        position = text.find(b"[", position + 1)
    return found


def _parsed(text: bytes, rows: tuple[int, ...] | None, kind: Literal["d", "i"]) -> bytes | None:
    """The buffer of the array's numbers. None if it lacks the rows it should have."""
    array = _parser_for(len(text)).parse(text)
    if not isinstance(array, simdjson.Array) or (rows is not None and not _has_rows(array, rows)):
        return None
    return array.as_buffer(of_type=kind)


def _parser_for(size: int) -> simdjson.Parser:
    """A parser for the thread; it keeps its memory, unless the text is very large."""
    if size > _KEEP_PARSER_BYTES:
        return simdjson.Parser()
    parser: simdjson.Parser | None = getattr(_kept, "parser", None)
    if parser is None:
        parser = _kept.parser = simdjson.Parser()
    return parser


def _has_rows(array: simdjson.Array, shape: tuple[int, ...]) -> bool:
    """Whether the array consists of the shape's rows, all of its width."""
    return len(array) == shape[0] and all(
        isinstance(row, simdjson.Array) and len(row) == shape[1] for row in array
    )
