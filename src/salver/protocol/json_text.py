"""Output arrays as JSON text, cut into the rows of each request.

A whole stacked output is written by one call and the text is cut, since that is several
times cheaper than writing each request's rows. NaN and infinity become null.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

import numpy as np
import orjson

from salver.errors import InvalidInput, ModelFailed
from salver.inference.tensor import Array, Tensor

_OPTIONS = orjson.OPT_SERIALIZE_NUMPY


def check_rows(tensor: Tensor, rows: int, model_name: str) -> None:
    """Raises `ModelFailed` unless the output has that many rows."""
    shape = tensor.data.shape
    if not shape or shape[0] != rows:
        raise ModelFailed(
            f"output {tensor.name!r} of model {model_name!r} has shape {list(shape)} for "
            f"{rows} rows of input: return one row for each, or declare the model not batchable"
        )


def flat_rows(tensor: Tensor, rows: Sequence[int]) -> list[bytes]:
    """For each request its next `rows[i]` rows, as comma-separated elements."""
    array = tensor.data
    total = array.shape[0]
    if tensor.datatype == "BYTES":
        texts = [b",".join(_texts(row)) for row in array.reshape(total, -1)]
    else:
        texts = _row_texts(np.ascontiguousarray(array).reshape(total, -1))
    if len(rows) == total and (total == 1 or max(rows) == 1):
        return texts
    result, start = [], 0
    for count in rows:
        result.append(b",".join(texts[start : start + count]))
        start += count
    return result


def flat_text(tensor: Tensor) -> bytes:
    """All elements in row-major order, as one JSON array."""
    if tensor.datatype == "BYTES":
        return b"[" + b",".join(_texts(tensor.data)) + b"]"
    return orjson.dumps(np.ascontiguousarray(tensor.data).ravel(), option=_OPTIONS)


def _row_texts(matrix: Array) -> list[bytes]:
    rows, width = matrix.shape
    if not rows or not width:
        return [b""] * rows
    if width == 1:
        return orjson.dumps(matrix.ravel(), option=_OPTIONS)[1:-1].split(b",")
    return orjson.dumps(matrix, option=_OPTIONS)[2:-2].split(b"],[")


def _texts(array: Array) -> list[bytes]:
    try:
        return [orjson.dumps(text.decode()) for text in array.ravel().tolist()]
    except UnicodeDecodeError as error:
        # The model has answered well: it is the caller who asked for what JSON cannot carry.
        raise InvalidInput(
            "an output holds bytes that are not UTF-8, which JSON cannot carry: "
            "ask for the output as binary data, or use gRPC"
        ) from error


def nested_values(tensor: Tensor) -> Any:
    """The array as nested lists; `json` content as the values it encodes."""
    array = tensor.data
    if tensor.datatype != "BYTES":
        return array.tolist()
    is_json = tensor.parameters.get("content_type") == "json"
    values = np.empty(array.size, dtype=np.object_)
    for index, element in enumerate(array.ravel().tolist()):
        values[index] = orjson.Fragment(element) if is_json else _text_or_base64(element)
    return values.reshape(array.shape).tolist()


def _text_or_base64(element: bytes) -> Any:
    try:
        return element.decode()
    except UnicodeDecodeError:
        return {"b64": base64.b64encode(element).decode()}


def nested_rows(tensor: Tensor, rows: Sequence[int]) -> list[bytes]:
    """For each request its next `rows[i]` rows, as one nested JSON array."""
    array = tensor.data
    if array.ndim <= 2 and tensor.datatype != "BYTES":
        texts = _row_texts(np.ascontiguousarray(array).reshape(array.shape[0], -1))
        before, between, after = (b"[", b",", b"]") if array.ndim == 1 else (b"[[", b"],[", b"]]")
        result, start = [], 0
        for count in rows:
            result.append(before + between.join(texts[start : start + count]) + after)
            start += count
        return result
    values = nested_values(tensor)
    result, start = [], 0
    for count in rows:
        result.append(orjson.dumps(values[start : start + count]))
        start += count
    return result
