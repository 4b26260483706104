"""Tensors as what an MLflow model takes: a pandas DataFrame, an array, a dict of arrays, a list.

Values are made what the signature says where nothing is lost by it; the rest is left for MLflow's
own enforcement to refuse. Imports pandas where a table is wanted.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from salver.errors import InvalidInput
from salver.inference.tensor import Array, InferRequest, Tensor
from salver.runtimes.arguments import text_or_numbers
from salver.runtimes.mlflow_signature import Column, Signature
from salver.runtimes.tabular import columns_of, decoded, is_one_matrix

_TYPES: Mapping[str, np.dtype[Any]] = MappingProxyType(
    {
        "boolean": np.dtype(np.bool_),
        "integer": np.dtype(np.int32),
        "long": np.dtype(np.int64),
        "float": np.dtype(np.float32),
        "double": np.dtype(np.float64),
    }
)


def data_for(signature: Signature, request: InferRequest, *, is_table: bool = False) -> Any:
    """What the model's `predict` is to be called with.

    `is_table`: without a signature, it takes tables only. Raises `InvalidInput` for values that
    are not what the signature says.
    """
    inputs = request.inputs
    if signature.form == "free":
        return _as_sent(request, is_table=is_table)
    if signature.form == "hints":
        return _listed(inputs[0])
    if signature.form == "array":
        return text_or_numbers(inputs[0].data)
    if signature.form == "arrays":
        return {tensor.name: text_or_numbers(tensor.data) for tensor in inputs}
    if signature.form == "unnamed" and len(signature.columns) == 1:
        return _table({0: _values(signature.columns[0], _flat(inputs[0]))})
    return _table_of(signature, request)


def params_for(signature: Signature, request: InferRequest) -> dict[str, Any]:
    """The request's parameters that are the model's."""
    return {name: value for name, value in request.parameters.items() if name in signature.params}


def _table_of(signature: Signature, request: InferRequest) -> Any:
    columns = signature.columns
    names = [column.name for column in columns]
    if is_one_matrix(request, len(columns)) and len(signature.inputs) == 1:
        matrix = request.inputs[0].data
        found = {
            column.name: _values_of(column, matrix[:, i], {}) for i, column in enumerate(columns)
        }
    elif signature.form == "matrix":
        vectors = columns_of(request, names)
        found = {
            column.name: _values_of(column, vector, {})
            for column, vector in zip(columns, vectors, strict=True)
        }
    else:
        given = {tensor.name: tensor for tensor in request.inputs}
        found = {
            column.name: _values(column, _flat(given[column.name]))
            for column in columns
            if column.name in given
        }
    if signature.form == "unnamed":
        return _table(dict(enumerate(found.values())))
    return _table(found)


def _table(columns: Mapping[Any, Any]) -> Any:
    import pandas as pd

    lengths = {name: len(values) for name, values in columns.items()}
    if len(set(lengths.values())) > 1:
        raise InvalidInput(f"the columns have {lengths} rows: send equally many in all")
    return pd.DataFrame(dict(columns))


def _flat(tensor: Tensor) -> Tensor:
    """A column of [n, 1] as [n]; one value as a column of it."""
    data = tensor.data
    if data.ndim == 0 or (data.ndim == 2 and data.shape[1] == 1):
        return Tensor(tensor.name, tensor.datatype, data.reshape(-1), tensor.parameters)
    return tensor


def _values(column: Column, tensor: Tensor) -> Any:
    return _values_of(column, tensor.data, tensor.parameters)


def _values_of(column: Column, data: Array, parameters: Mapping[str, Any]) -> Any:
    """One column's values as pandas is to have them."""
    if column.is_nested:
        return _nested(data, parameters)
    if data.ndim != 1:
        raise InvalidInput(
            f"column '{column.name}' has shape {list(data.shape)}; give it [n] or [n, 1]"
        )
    if column.is_number:
        return _cast(data, _TYPES[column.kind])
    if data.dtype != np.object_:
        return data
    if column.kind == "binary":
        return data
    values = _of_json(data) if _is_json(parameters) else decoded(data).tolist()
    return _dates(column, values) if column.kind == "datetime" else _objects(values)


def _cast(data: Array, wanted: np.dtype[Any]) -> Array:
    """The numbers in the wanted type; as they are if that would change one."""
    if data.dtype == wanted or data.dtype == np.object_:
        return data
    if wanted.kind == "f":
        return data.astype(wanted)
    with np.errstate(invalid="ignore", over="ignore"):
        cast = data.astype(wanted)
        return cast if np.array_equal(cast, data) else data


def _dates(column: Column, values: Sequence[Any]) -> Any:
    import pandas as pd

    texts = pd.Series(list(values), dtype="object")
    try:
        return pd.to_datetime(texts, format="ISO8601").astype("datetime64[ns]")
    except (ValueError, TypeError, OverflowError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InvalidInput(
            f"column '{column.name}' holds what is no date and time ({reason}): send ISO 8601"
        ) from error


def _nested(data: Array, parameters: Mapping[str, Any]) -> Any:
    if _is_json(parameters):
        return _objects(_of_json(data.reshape(-1)))
    return _objects(text_or_numbers(data).tolist())


def _objects(values: Sequence[Any]) -> Array:
    """A vector of these values, whatever they are: NumPy is not to look into lists."""
    found = np.empty(len(values), dtype=np.object_)
    for index, value in enumerate(values):
        found[index] = value
    return found


def _is_json(parameters: Mapping[str, Any]) -> bool:
    return parameters.get("content_type") == "json"


def _of_json(data: Array) -> list[Any]:
    return [json.loads(text) for text in data.tolist()]


def _listed(tensor: Tensor) -> list[Any]:
    """The entries of axis 0."""
    data = tensor.data.reshape(-1) if tensor.data.ndim == 0 else tensor.data
    if _is_json(tensor.parameters):
        return _of_json(data.reshape(-1))
    found: list[Any] = text_or_numbers(data).tolist()
    return found


def _as_sent(request: InferRequest, *, is_table: bool) -> Any:
    """For a model that does not say: a table if the request says so or looks like one."""
    inputs = request.inputs
    is_table = is_table or request.parameters.get("content_type") == "pd"
    if len(inputs) == 1 and inputs[0].data.ndim == 2 and is_table:
        import pandas as pd

        return pd.DataFrame(text_or_numbers(inputs[0].data))
    if len(inputs) == 1 and not is_table:
        tensor = inputs[0]
        return _listed(tensor) if _is_json(tensor.parameters) else text_or_numbers(tensor.data)
    flat = [_flat(tensor) for tensor in inputs]
    if is_table or all(tensor.data.ndim == 1 for tensor in flat):
        return _table({tensor.name: _plain(tensor) for tensor in flat})
    return {tensor.name: text_or_numbers(tensor.data) for tensor in inputs}


def _plain(tensor: Tensor) -> Any:
    if _is_json(tensor.parameters):
        return _objects(_of_json(tensor.data))
    data = text_or_numbers(tensor.data)
    return data if data.ndim == 1 else _objects(data.tolist())
