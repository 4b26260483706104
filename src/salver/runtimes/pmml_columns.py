"""A request's rows as the columns of a PMML document, and what the document takes.

A missing number is NaN, a missing text an empty one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from salver.inference.metadata import TensorMetadata
from salver.inference.tensor import Array, InferRequest
from salver.runtimes.pmml_reader.fields import DataField
from salver.runtimes.pmml_reader.values import literal_number
from salver.runtimes.tabular import NUMERIC, columns_of, decoded, is_one_matrix, matrix_input


def input_metadata(fields: Sequence[DataField]) -> tuple[TensorMetadata, ...]:
    """One matrix of numbers; or a tensor for each column where some are texts."""
    if not any(each.is_text for each in fields):
        return (matrix_input(len(fields)),)
    numbers = tuple(each for each in NUMERIC if each != "FP64")
    return tuple(
        TensorMetadata(each.name, "BYTES", (-1, 1))
        if each.is_text
        else TensorMetadata(each.name, "FP64", (-1, 1), accepts=numbers)
        for each in fields
    )


def columns_of_request(request: InferRequest, fields: Sequence[DataField]) -> dict[str, Array]:
    """Raises `InvalidInput` for a column that is missing, or one too many."""
    if is_one_matrix(request, len(fields)):
        given = list(decoded(request.inputs[0].data).T)
    else:
        given = [decoded(each) for each in columns_of(request, [each.name for each in fields])]
    return {
        field.name: _texts(column) if field.is_text else column.astype(np.float64)
        for field, column in zip(fields, given, strict=True)
    }


def _texts(column: Array) -> Array:
    if column.dtype != np.object_:
        return column.astype(np.float64)
    found = np.empty(len(column), dtype=np.object_)
    found[:] = [each or None for each in column.tolist()]
    return found


def first_row(fields: Sequence[DataField]) -> dict[str, Array]:
    """A row that the document should take."""
    found: dict[str, Array] = {}
    for field in fields:
        value = field.valid[0] if field.valid else "a" if field.is_text else "0"
        if not field.is_text and field.intervals:
            within = field.intervals[0]
            edges = [each for each in (within.low, within.high) if math.isfinite(each)]
            value = str(sum(edges) / len(edges)) if edges else "0"
        if field.is_text:
            found[field.name] = np.full(1, value, dtype=np.object_)
        else:
            found[field.name] = np.full(1, literal_number(value))
    return found
