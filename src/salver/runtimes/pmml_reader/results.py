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


def blended(results: Sequence[tuple[Array, Result]], rows: int) -> Result:
    """Of several results, for each row the one whose mask has it; masks do not overlap."""
    first = results[0][1]
    is_text = first.value.dtype == np.object_
    value = np.full(rows, None, dtype=np.object_) if is_text else np.full(rows, np.nan)
    names = dict.fromkeys(name for _, each in results for name in each.probabilities)
    probabilities = {name: np.full(rows, np.nan) for name in names}
    entity = np.full(rows, None, dtype=np.object_)
    for mask, each in results:
        value[mask] = each.value[mask]
        for name, column in each.probabilities.items():
            probabilities[name][mask] = column[mask]
        if each.entity is not None:
            entity[mask] = each.entity[mask]
    return Result(value, probabilities, entity=entity)
