"""One-hot and ordinal encoding of columns by dictionaries.

Texts are looked up as the bytes that came over the wire. Refuses options it does not know, and
declines a value that the encoder itself would refuse.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from salver.inference.tensor import Array
from salver.runtimes.compiled.ports import Declined, NotCompiled

ColumnsStep = Callable[[list[Array]], Array]
_UNKNOWN = -1
_NOT_SEEN = -2
"""Looked up and not found: it may be unknown, missing, or no text at all."""


def encoder_of(step: Any) -> ColumnsStep:
    """A function from columns to a float64 matrix. Raises `NotCompiled`."""
    kind = type(step).__name__
    if getattr(step, "_infrequent_enabled", False):
        raise NotCompiled(f"its {kind} groups rare categories")
    if kind == "OneHotEncoder":
        return _one_hot(step)
    if kind == "OrdinalEncoder":
        return _ordinal(step)
    raise NotCompiled(f"there is no engine for the step {kind}")


class _Codes:
    """The position of each category of one column."""

    def __init__(self, categories: Array, *, may_be_unknown: bool) -> None:
        self._positions: dict[Any, int] = {}
        self._missing = _UNKNOWN
        self._may_be_unknown = may_be_unknown
        for position, value in enumerate(categories.tolist()):
            if value is None or value != value:
                self._missing = position
            else:
                self._positions[value] = position
                if isinstance(value, str):
                    self._positions[value.encode()] = position

    def of(self, values: list[Any]) -> list[int]:
        found = self._positions.get
        codes = [found(value, _NOT_SEEN) for value in values]
        if _NOT_SEEN in codes:
            return [
                self._unknown(value) if code == _NOT_SEEN else code
                for value, code in zip(values, codes, strict=True)
            ]
        return codes

    def _unknown(self, value: Any) -> int:
        if isinstance(value, bytes):
            try:
                value.decode()
            except UnicodeDecodeError as error:
                raise Declined from error
        elif isinstance(value, float) and value != value and self._missing >= 0:
            return self._missing
        if not self._may_be_unknown:
            raise Declined
        return _UNKNOWN


def _tables(step: Any, *, may_be_unknown: bool) -> list[_Codes]:
    return [_Codes(np.asarray(each), may_be_unknown=may_be_unknown) for each in step.categories_]


def _one_hot(step: Any) -> ColumnsStep:
    if step.handle_unknown not in ("error", "ignore", "infrequent_if_exist"):
        raise NotCompiled(f"its OneHotEncoder has handle_unknown={step.handle_unknown}")
    tables = _tables(step, may_be_unknown=step.handle_unknown != "error")
    places, width = _places(step)
    dtype = np.dtype(step.dtype)

    def encoded(columns: list[Array]) -> Array:
        rows = len(columns[0])
        matrix = np.zeros((rows, width), dtype=dtype)
        for column, table, place in zip(columns, tables, places, strict=True):
            codes = table.of(column.tolist())
            if rows == 1:
                if (at := place[codes[0]]) >= 0:
                    matrix[0, at] = 1
                continue
            found = np.asarray(place)[codes]
            known = np.flatnonzero(found >= 0)
            matrix[known, found[known]] = 1
        return matrix

    return encoded


def _places(step: Any) -> tuple[list[list[int]], int]:
    """By column and code: the column of the answer that is set, -1 for none.

    The last entry of each is that of an unknown value, whose code is -1.
    """
    dropped: Sequence[Any] = [None] * len(step.categories_)
    if step.drop_idx_ is not None:
        dropped = list(step.drop_idx_)
    places, width = [], 0
    for categories, drop in zip(step.categories_, dropped, strict=True):
        place = []
        for code in range(len(categories)):
            if drop is not None and code == drop:
                place.append(_UNKNOWN)
            else:
                place.append(width)
                width += 1
        places.append([*place, _UNKNOWN])
    return places, width


def _ordinal(step: Any) -> ColumnsStep:
    may_be_unknown = step.handle_unknown == "use_encoded_value"
    tables = _tables(step, may_be_unknown=may_be_unknown)
    unknown = float(step.unknown_value) if may_be_unknown else np.nan
    codes = []
    for categories in step.categories_:
        own = [
            float(step.encoded_missing_value) if value is None or value != value else float(code)
            for code, value in enumerate(categories.tolist())
        ]
        codes.append(np.asarray([*own, unknown]))
    dtype = np.dtype(step.dtype)

    def encoded(columns: list[Array]) -> Array:
        matrix = np.empty((len(columns[0]), len(columns)), dtype=dtype)
        for index, (column, table) in enumerate(zip(columns, tables, strict=True)):
            matrix[:, index] = codes[index][table.of(column.tolist())]
        return matrix

    return encoded
