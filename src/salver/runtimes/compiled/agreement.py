"""Whether two answers agree, and by how much they differ.

Pure. Numbers are compared relative to their own size or to the output's typical one, whichever
is larger, so that a rounding near zero is not taken for an error, nor a small output's error for
a rounding. Labels and texts agree only if equal.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
import numpy as np

from salver.inference.tensor import Array, InferResponse


class Disagreement(msgspec.Struct, frozen=True):
    """`difference` is None where the answers differ in more than size."""

    reason: str
    difference: float | None = None


def typical_sizes(response: InferResponse) -> dict[str, Array]:
    """By output: the median size of each of its columns."""
    found = {}
    for tensor in response.outputs:
        if tensor.data.dtype.kind == "f" and tensor.data.size:
            sizes = np.abs(tensor.data.astype(np.float64))
            sizes[~np.isfinite(sizes)] = 0.0
            found[tensor.name] = np.median(sizes, axis=0)
    return found


def difference_of(
    expected: InferResponse, given: InferResponse, typical: Mapping[str, Array]
) -> float | Disagreement:
    """The largest relative difference; a `Disagreement` where it cannot be told as one."""
    largest = 0.0
    for ours, theirs in zip(given.outputs, expected.outputs, strict=True):
        found = _tensor_difference(theirs.data, ours.data, typical.get(theirs.name, 0.0))
        if isinstance(found, str):
            return Disagreement(f"output '{theirs.name}': {found}")
        largest = max(largest, found)
    return largest


def _tensor_difference(expected: Array, given: Array, typical: Array | float) -> float | str:
    if expected.dtype != given.dtype:
        return f"datatype {given.dtype} for {expected.dtype}"
    if expected.shape != given.shape:
        return f"shape {list(given.shape)} for {list(expected.shape)}"
    if expected.dtype.kind != "f":
        wrong = int(np.count_nonzero(np.not_equal(expected, given)))
        return f"{wrong} of {expected.size} labels differ" if wrong else 0.0
    ordinary = np.isfinite(expected)
    if not np.array_equal(expected[~ordinary], given[~ordinary], equal_nan=True):
        return "infinite or missing values differ"
    if not np.isfinite(given[ordinary]).all():
        return "a finite value became infinite or missing"
    if np.array_equal(expected, given, equal_nan=True):
        return 0.0
    size = np.maximum(np.abs(expected, dtype=np.float64), typical)[ordinary]
    gap = np.abs(expected[ordinary].astype(np.float64) - given[ordinary])
    return float((gap / np.maximum(size, np.finfo(np.float64).tiny)).max(initial=0.0))
