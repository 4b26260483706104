"""A model's outputs as the one thing that a Seldon message holds, and the names of its columns.

As Seldon's wrapper does: numbers come back in the kind of array that the request had, or as a
`tensor` if it had none; texts and truth values as `ndarray`. One text, blob or JSON value comes
back in the kind of the request too. Several outputs are put side by side as columns; those that
cannot be become `jsonData` by name.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import orjson

from salver.inference.tensor import Array, Tensor
from salver.protocol.json_text import nested_values
from salver.protocol.seldon_values import ARRAYS, BIN, JSON, NDARRAY, STR, TENSOR


class Answer(msgspec.Struct):
    """`kind` says where it goes. `tensor` is there for arrays of numbers; else `data`, nested for
    `ndarray`, text for `jsonData`."""

    kind: str
    names: list[str] = []
    tensor: Tensor | None = None
    data: Any = None


def answer_of(outputs: Sequence[Tensor], kind: str, names: Sequence[str] = ()) -> Answer:
    """The outputs for a request of that kind. `names` of the columns, if they are known."""
    tensor = outputs[0] if len(outputs) == 1 else _joined(outputs)
    if tensor is None:
        values = {each.name: nested_values(each) for each in outputs}
        return Answer(JSON, data=orjson.dumps(values))
    if len(outputs) == 1:
        shown = list(names) or _column_names(tensor)
    else:
        shown = list(names) or [name for each in outputs for name in _names_beside(each)]
    if tensor.datatype == "BYTES":
        return _of_texts(tensor, kind, shown)
    if tensor.datatype == "BOOL":
        return Answer(NDARRAY, shown, data=tensor.data.tolist())
    return Answer(kind if kind in ARRAYS else TENSOR, shown, tensor)


def _of_texts(tensor: Tensor, kind: str, names: list[str]) -> Answer:
    is_one = tensor.data.size == 1
    is_json = tensor.parameters.get("content_type") == "json"
    if is_one and (kind == JSON or (is_json and kind not in ARRAYS)):
        text = tensor.data.ravel()[0]
        if is_json or _is_json(text):
            return Answer(JSON, data=text)
        kind = STR
    if is_one and kind == BIN:
        return Answer(BIN, data=tensor.data.ravel()[0])
    values = nested_values(tensor)
    if is_json:
        values = orjson.loads(orjson.dumps(values))
    if is_one and kind == STR and tensor.data.ndim <= 1:
        text = values[0] if tensor.data.ndim else values
        if isinstance(text, str):
            return Answer(STR, data=text)
    if tensor.data.ndim == 0:
        values = [values]
    return Answer(NDARRAY, names, data=values)


def _is_json(text: bytes) -> bool:
    try:
        orjson.loads(text)
    except ValueError:
        return False
    return True


def _column_names(tensor: Tensor) -> list[str]:
    """What Seldon calls the columns of a matrix; a list of values is called as the output is."""
    if tensor.data.ndim == 2:
        return [f"t:{index}" for index in range(tensor.data.shape[1])]
    return [tensor.name] if tensor.data.ndim == 1 else []


def _names_beside(tensor: Tensor) -> list[str]:
    if tensor.data.ndim == 1 or tensor.data.shape[1] == 1:
        return [tensor.name]
    return [f"{tensor.name}:{index}" for index in range(tensor.data.shape[1])]


def _joined(outputs: Sequence[Tensor]) -> Tensor | None:
    """The outputs side by side; None if they have no rows in common, or more axes than two."""
    if not outputs or {each.data.ndim for each in outputs} - {1, 2}:
        return None
    if len({each.data.shape[0] for each in outputs}) > 1:
        return None
    columns = [each.data.reshape(each.data.shape[0], -1) for each in outputs]
    if all(each.datatype not in ("BYTES", "BOOL") for each in outputs):
        return Tensor("outputs", "FP64", np.concatenate(columns, axis=1).astype(np.float64))
    texts: Array = np.concatenate([_as_texts(column) for column in columns], axis=1)
    return Tensor("outputs", "BYTES", texts, {"content_type": "json"})


def _as_texts(column: Array) -> Array:
    """Each value as JSON, so that columns of several kinds fit into one array."""
    texts = np.empty(column.size, dtype=np.object_)
    for index, value in enumerate(column.ravel().tolist()):
        texts[index] = orjson.dumps(
            value.decode(errors="replace") if isinstance(value, bytes) else value
        )
    return texts.reshape(column.shape)
