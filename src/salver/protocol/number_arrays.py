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
from typing import Any, Literal

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


def numbers_of_request(body: bytes) -> tuple[dict[str, Any], list[memoryview]] | None:
    """A V2 request without the data of its inputs, and that data as little-endian bytes.

    The fields' types are not checked. None if any input's data is not such that the quick way
    reads exactly what the ordinary one would.
    """
    try:
        document = _parser_for(len(body)).parse(body)
        if not isinstance(document, simdjson.Object):
            return None
        fields = _shallow(document, but="inputs")
        tensors = document["inputs"]
        if fields is None or not isinstance(tensors, simdjson.Array):
            return None
        return _taken_apart(body, fields, tensors)
    except (ValueError, TypeError, RuntimeError, OverflowError, KeyError):
        return None


def _shallow(element: simdjson.Object, *, but: str) -> dict[str, Any] | None:
    """The element's plain fields without `but`; None if there are others, or one twice."""
    names = list(element.keys())
    fields = {name: element[name] for name in names if name != but}
    if len(fields) + 1 != len(names) or any(
        isinstance(value, simdjson.Object) for value in fields.values()
    ):
        return None
    return fields


def _taken_apart(
    body: bytes, fields: dict[str, Any], tensors: simdjson.Array
) -> tuple[dict[str, Any], list[memoryview]] | None:
    inputs: list[dict[str, Any]] = []
    blobs: list[memoryview] = []
    brackets = 1
    for tensor in tensors:
        named = _shallow(tensor, but="data") if isinstance(tensor, simdjson.Object) else None
        if named is None or not isinstance(tensor, simdjson.Object):
            return None
        data, shape = tensor["data"], named.get("shape")
        if not isinstance(data, simdjson.Array) or not isinstance(shape, simdjson.Array):
            return None
        sizes: list[Any] = shape.as_list()
        named["shape"] = sizes
        is_nested = len(data) > 0 and isinstance(data[0], simdjson.Array)
        blob = _raw_of(data, named.get("datatype"), sizes, is_nested=is_nested)
        if blob is None:
            return None
        brackets += 2 + (sizes[0] if is_nested else 0)
        inputs.append(named)
        blobs.append(blob)
    # The buffer hides values that are nested deeper than others; their brackets tell.
    if _opening_brackets(body, most=brackets) != brackets:
        return None
    return {**fields, "inputs": inputs}, blobs


def _raw_of(
    array: simdjson.Array, datatype: object, shape: list[Any], *, is_nested: bool
) -> memoryview | None:
    kind = _BUFFER_TYPES.get(datatype) if isinstance(datatype, str) else None
    if kind is None or (is_nested and not _has_rows(array, shape)):
        return None
    numbers = np.frombuffer(array.as_buffer(of_type=kind), np.float64 if kind == "d" else "<i8")
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


def _parser_for(size: int) -> simdjson.Parser:
    """A parser for the thread; it keeps its memory, unless the text is very large."""
    if size > _KEEP_PARSER_BYTES:
        return simdjson.Parser()
    parser: simdjson.Parser | None = getattr(_kept, "parser", None)
    if parser is None:
        parser = _kept.parser = simdjson.Parser()
    return parser


def _has_rows(array: simdjson.Array, shape: list[Any]) -> bool:
    """Whether the array consists of the shape's rows, all of its width."""
    return (
        len(shape) == 2
        and len(array) == shape[0]
        and all(isinstance(row, simdjson.Array) and len(row) == shape[1] for row in array)
    )
