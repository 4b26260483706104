"""What a model of a document gives for its rows, before targets and outputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import msgspec
import numpy as np

from salver.inference.tensor import Array
from salver.runtimes.pmml_reader.values import Table


class Result(msgspec.Struct, frozen=True):
    """`value` is the prediction: numbers with NaN, or texts with None, for what is missing.

    `probabilities` and `confidences` are by class; `entity` is the id of a node or segment;
    `reasons` are reason codes, the first the most important, one array for each rank.
    """

    value: Array
    probabilities: Mapping[str, Array] = {}
    confidences: Mapping[str, Array] = {}
    entity: Array | None = None
    reasons: tuple[Array, ...] = ()


Scorer = Callable[[Table], Result]


def result_of_classes(probabilities: Mapping[str, Array], rows: int) -> Result:
    """The most probable class of each row, the first of equals; missing where all are."""
    labels = np.empty(len(probabilities) + 1, dtype=np.object_)
    labels[:-1] = list(probabilities)
    labels[-1] = None
    matrix = np.vstack(list(probabilities.values()))
    unknown = np.isnan(matrix).any(axis=0)
    best = np.where(unknown, -1, np.where(np.isnan(matrix), -1.0, matrix).argmax(axis=0))
    return Result(labels[best], probabilities)


def scattered(results: Sequence[tuple[Array, Result]], rows: int) -> Result:
    """Results of some rows each, put to where those rows are; no row is in two of them."""
    found = [each for _, each in results]
    texts = any(each.value.dtype == np.object_ for each in found)
    value = _spread(results, rows, lambda each: each.value, is_text=texts)
    return Result(
        np.full(rows, np.nan) if value is None else value,
        _by_class(results, rows, lambda each: each.probabilities),
        _by_class(results, rows, lambda each: each.confidences),
        _spread(results, rows, lambda each: each.entity, is_text=True),
    )


def _spread(
    results: Sequence[tuple[Array, Result]],
    rows: int,
    part: Callable[[Result], Array | None],
    *,
    is_text: bool,
) -> Array | None:
    column: Array = np.full(rows, None, dtype=np.object_) if is_text else np.full(rows, np.nan)
    is_there = False
    for places, each in results:
        values = part(each)
        if values is not None:
            column[places], is_there = values, True
    return column if is_there else None


def _by_class(
    results: Sequence[tuple[Array, Result]],
    rows: int,
    part: Callable[[Result], Mapping[str, Array]],
) -> dict[str, Array]:
    names = dict.fromkeys(name for _, each in results for name in part(each))
    found = {name: np.full(rows, np.nan) for name in names}
    for places, each in results:
        for name, column in part(each).items():
            found[name][places] = column
    return found
