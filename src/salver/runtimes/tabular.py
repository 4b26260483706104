"""Rows for tabular models: one matrix, or one tensor per column, into what a model takes.

Owns the order of columns and the search for values that a model forbids. Imports pandas only
to build a frame, which only models of mixed columns need.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np

from salver.errors import InvalidInput
from salver.inference.metadata import Datatype, TensorMetadata
from salver.inference.tensor import Array, InferRequest, Tensor

NUMERIC: tuple[Datatype, ...] = (
    "FP64",
    "FP32",
    "FP16",
    "BF16",
    "INT64",
    "INT32",
    "INT16",
    "INT8",
    "UINT64",
    "UINT32",
    "UINT16",
    "UINT8",
    "BOOL",
)
INPUT_NAME = "input-0"
"""What the single input of a model is called when the model has no name for it."""


def matrix_input(width: int, datatype: Datatype = "FP64") -> TensorMetadata:
    """The metadata of one numeric matrix of `width` columns (-1: the model does not say)."""
    accepts = tuple(each for each in NUMERIC if each != datatype)
    return TensorMetadata(INPUT_NAME, datatype, (-1, width), accepts=accepts)


def is_one_matrix(request: InferRequest, width: int) -> bool:
    """Whether the request carries the model's matrix rather than a tensor per column."""
    inputs = request.inputs
    return len(inputs) == 1 and inputs[0].data.ndim == 2 and inputs[0].data.shape[1] == width


def matrix_of(request: InferRequest, names: Sequence[str], width: int) -> Array:
    """The rows as one matrix in the model's order of columns."""
    inputs = request.inputs
    if not names or is_one_matrix(request, width):
        return inputs[0].data
    return np.column_stack(columns_of(request, names))


def columns_of(request: InferRequest, names: Sequence[str]) -> list[Array]:
    """One vector per column in the order of `names`.

    Raises `InvalidInput` naming a column that is missing or one too many.
    """
    given = {tensor.name: tensor for tensor in request.inputs}
    missing = [name for name in names if name not in given]
    if missing:
        raise InvalidInput(f"column '{missing[0]}' is missing; the model needs {_listed(names)}")
    if len(given) > len(names):
        extra = next(name for name in given if name not in names)
        raise InvalidInput(f"column '{extra}' is unknown; the model knows {_listed(names)}")
    columns = [_vector(given[name]) for name in names]
    rows = len(columns[0])
    for name, column in zip(names, columns, strict=True):
        if len(column) != rows:
            raise InvalidInput(
                f"column '{name}' has {len(column)} rows and column '{names[0]}' {rows}; "
                "all columns need the same number"
            )
    return columns


def _vector(tensor: Tensor) -> Array:
    data = tensor.data
    if data.ndim > 2 or (data.ndim == 2 and data.shape[1] != 1):
        shape = list(data.shape)
        raise InvalidInput(f"column '{tensor.name}' has shape {shape}; give it [n] or [n, 1]")
    return data.reshape(-1)


def decoded(array: Array) -> Array:
    """BYTES as `str`, other datatypes as they are.

    Raises `InvalidInput` for bytes that are no UTF-8.
    """
    if array.dtype != np.object_:
        return array
    texts = np.empty(array.size, dtype=np.object_)
    try:
        texts[:] = [
            each.decode() if isinstance(each, bytes) else each for each in array.ravel().tolist()
        ]
    except UnicodeDecodeError as error:
        raise InvalidInput(f"a string of the input is no UTF-8 text: {error}") from error
    return texts.reshape(array.shape)


def frame_of(request: InferRequest, names: Sequence[str]) -> Any:
    """The rows as a pandas DataFrame with the model's columns in the model's order."""
    import pandas as pd

    if is_one_matrix(request, len(names)):
        return pd.DataFrame(decoded(request.inputs[0].data), columns=list(names))
    columns = [decoded(column) for column in columns_of(request, names)]
    return pd.DataFrame(dict(zip(names, columns, strict=True)), columns=list(names))


def object_matrix_of(request: InferRequest, names: Sequence[str]) -> Array:
    """The rows as a matrix of Python objects, for mixed columns without a frame."""
    if is_one_matrix(request, len(names)):
        return decoded(request.inputs[0].data)
    columns = columns_of(request, names)
    rows = np.empty((len(columns[0]), len(names)), dtype=np.object_)
    for index, column in enumerate(columns):
        rows[:, index] = decoded(column)
    return rows


Categories = Mapping[str, Mapping[str, float]]
"""By column: the code that the model knows each text by."""


def coded_categories(
    rows: Array, names: Sequence[str], categories: Categories, *, unknown_is_missing: bool
) -> Array:
    """A matrix of objects as numbers, text columns by their codes.

    A text that is no category of its column is missing (NaN), or raises `InvalidInput`,
    as the framework has it.
    """
    coded = np.empty(rows.shape, dtype=np.float64)
    for index, name in enumerate(names):
        column = rows[:, index]
        codes = categories.get(name)
        if codes is None:
            coded[:, index] = column.astype(np.float64)
            continue
        if unknown_is_missing:
            coded[:, index] = [codes.get(text, np.nan) for text in column.tolist()]
            continue
        try:
            coded[:, index] = [codes[text] for text in column.tolist()]
        except KeyError as error:
            raise InvalidInput(
                f"column '{name}' has no category {error}; the model knows {_listed(list(codes))}"
            ) from error
    return coded


def refuse_non_finite(matrix: Array, names: Sequence[str] = ()) -> None:
    """Raises `InvalidInput` naming the first NaN or infinity, if there is one."""
    if matrix.dtype.kind != "f" or np.isfinite(matrix).all():
        return
    index = int(np.flatnonzero(~np.isfinite(matrix))[0])
    row, column = divmod(index, matrix.shape[1]) if matrix.ndim == 2 else (index, 0)
    value = matrix.reshape(-1)[index]
    what = "NaN" if np.isnan(value) else "infinity"
    label = f"column {column}" + (f" ('{names[column]}')" if names else "")
    raise InvalidInput(
        f"the input contains {what} at row {row}, {label}, which the model does not take; "
        "send finite numbers"
    )


def refused_by(framework: str, error: Exception) -> InvalidInput:
    """The framework's refusal of a caller's values, as the caller is told."""
    reason = " ".join(str(error).split("Stack trace:")[0].split())
    return InvalidInput(f"{framework} refused the input: {reason[:400] or type(error).__name__}")


Computation = Callable[[Any], Array]


def named_outputs(
    request: InferRequest, defaults: Sequence[str], known: Collection[str]
) -> Sequence[str]:
    """The outputs to compute. Raises `InvalidInput` for one that the model has not."""
    wanted = request.outputs or defaults
    for name in wanted:
        if name not in known:
            raise InvalidInput(f"output '{name}' is unknown; the model has {_listed(list(known))}")
    return wanted


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(f"'{name}'" for name in names[:20])
    return shown + (f" and {len(names) - 20} more" if len(names) > 20 else "")
