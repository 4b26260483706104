"""Requests into rows for engines, with the checks that let an engine trust them.

Owns which kinds of input engines are asked with, and the guards of engines that hold only for
ordinary numbers: a guard looks at the sum of squares, which one pass gives and which no missing
or infinite value survives.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from salver.inference.tensor import Array, InferRequest
from salver.runtimes.compiled.ports import Declined, Entry, Rows, Subject
from salver.runtimes.tabular import is_one_matrix


class Guard(msgspec.Struct, frozen=True):
    """What an engine is kept away from: values whose squares sum up to more than `bound`, and
    missing ones if it does not take them."""

    bound: float
    takes_missing: bool
    declines: str


_FINITE, _NARROW = 1e300, 1e60
"""No value beyond 1e150 passes the first, none beyond 1e30 the second: float32 holds all of those,
and their products with ordinary weights."""
UNGUARDED = Guard(float("inf"), True, "")
GUARDS = (
    UNGUARDED,
    Guard(_FINITE, True, "infinite and extreme values"),
    Guard(_NARROW, True, "infinite values and those beyond float32"),
    Guard(_FINITE, False, "missing, infinite and extreme values"),
    Guard(_NARROW, False, "missing and infinite values, and those beyond float32"),
)
"""The weakest first."""
_EXACT_INTEGERS = 1 << 53

KINDS = {"d": "FP64", "f": "FP32", "q": "INT64", "columns": "columns"}
"""What a request's input may be, as an engine's acceptance is kept; and its name in reports."""
_CHARS = {"d": "d", "f": "f", "q": "q", "l": "q", "i": "q", "h": "q", "b": "q"}
_WIDENED = {**_CHARS, "B": "q", "H": "q", "I": "q"}


def kind_of(request: InferRequest) -> str | None:
    """The kind of the request's input; None if engines are never asked with such."""
    inputs = request.inputs
    if len(inputs) != 1:
        return "columns"
    return _WIDENED.get(inputs[0].data.dtype.char)


def entry_of(subject: Subject, guard: Guard) -> Entry:
    """The rows of a request, or `Declined`."""
    if subject.form == "columns":
        return _columns_entry(subject, guard)
    names, width = subject.names, subject.width

    def matrix(request: InferRequest) -> Rows:
        inputs = request.inputs
        if len(inputs) == 1:
            rows = inputs[0].data
            if rows.ndim != 2 or rows.shape[1] != width:
                raise Declined
        else:
            rows = _stacked(request, names)
        if rows.dtype.kind in "iu":
            rows = _as_doubles(rows)
        if guard is not UNGUARDED:
            _refuse_beyond(rows, guard)
        return rows

    return matrix


def _columns_entry(subject: Subject, guard: Guard) -> Entry:
    names, width, texts = subject.names, subject.width, frozenset(subject.text_columns)

    def columns(request: InferRequest) -> Rows:
        if is_one_matrix(request, width):
            rows = request.inputs[0].data
            if texts or rows.dtype.char not in _WIDENED or rows.dtype.char == "f":
                raise Declined
            picked = list((_as_doubles(rows) if rows.dtype.kind in "iu" else rows).T)
        else:
            picked = _picked(request, names)
            picked = [
                _text(each) if index in texts else _doubles(each)
                for index, each in enumerate(picked)
            ]
        if guard is not UNGUARDED:
            for index, each in enumerate(picked):
                if index not in texts:
                    _refuse_beyond(each, guard)
        return picked

    return columns


def _picked(request: InferRequest, names: Sequence[str]) -> list[Array]:
    given = {tensor.name: tensor.data for tensor in request.inputs}
    if len(given) != len(names):
        raise Declined
    try:
        picked = [given[name].reshape(-1) for name in names]
    except KeyError as error:
        raise Declined from error
    count = len(picked[0])
    if any(len(each) != count for each in picked):
        raise Declined
    return picked


def _stacked(request: InferRequest, names: Sequence[str]) -> Array:
    """One matrix of columns, if they are all float64: engines are probed with such."""
    picked = _picked(request, names)
    if any(each.dtype.char != "d" for each in picked):
        raise Declined
    return np.column_stack(picked)


def _doubles(column: Array) -> Array:
    if column.dtype.char == "d":
        return column
    if column.dtype.kind not in "iu":
        raise Declined
    return _as_doubles(column)


def _as_doubles(rows: Array) -> Array:
    is_wide = rows.itemsize == 8 and rows.size > 0
    # Beyond this, a framework that goes from integers to float32 rounds once, not twice.
    if is_wide and (rows.max() > _EXACT_INTEGERS or rows.min() < -_EXACT_INTEGERS):
        raise Declined
    return rows.astype(np.float64)


def _text(column: Array) -> Array:
    if column.dtype != np.object_:
        raise Declined
    return column


def _refuse_beyond(rows: Array, guard: Guard) -> None:
    flat = rows.ravel()
    # As a Python float: against a float32, NumPy would take the bound for infinite.
    if float(flat.dot(flat)) <= guard.bound:
        return
    if not guard.takes_missing:
        raise Declined
    known = flat[~np.isnan(flat)]
    if len(known) == len(flat) or not float(known.dot(known)) <= guard.bound:
        raise Declined
