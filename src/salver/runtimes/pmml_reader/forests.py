"""Ensembles of plain trees, all of which are asked at once.

Plain: two children at each split, one number compared with one threshold, nothing derived within
a tree. Rows with missing values are left to `trees.py`, which knows what each tree does with them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from salver.inference.tensor import Array
from salver.runtimes.pmml_reader.document import Element
from salver.runtimes.pmml_reader.fields import mining_fields
from salver.runtimes.pmml_reader.trees import shares_of
from salver.runtimes.pmml_reader.values import Table, is_text, literal_number

_OPPOSITE = {
    "lessOrEqual": "greaterThan",
    "greaterThan": "lessOrEqual",
    "lessThan": "greaterOrEqual",
    "greaterOrEqual": "lessThan",
}
_CHUNK = 1 << 18


class NotPlain(Exception):
    """The trees need the slower way."""


class Forest:
    """Trees as arrays: a split goes left where its column is not above its threshold."""

    def __init__(self, trees: Sequence[Element], classes: Sequence[str]) -> None:
        self.fields: list[str] = []
        self._columns: list[int] = []
        self._thresholds: list[float] = []
        self._is_below: list[bool] = []
        self._left: list[int] = []
        self._right: list[int] = []
        self._scores: list[str] = []
        self._nodes: list[Element] = []
        self._depth = 0
        self._roots = np.asarray([self._add(_root(each), 0) for each in trees])
        self._next = np.asarray([self._right, self._left])
        self._column = np.asarray(self._columns)
        self._limits = self._limits_of(np.float64), self._limits_of(np.float32)
        self.values = np.asarray([literal_number(each) for each in self._scores])
        self.labels = np.asarray(self._scores, dtype=np.object_)
        self.shares = {name: self._shares(name) for name in classes}

    def leaves(self, table: Table) -> Array | None:
        """The leaf of each tree for each row, by tree; None if some value is missing."""
        columns = [table.column(name) for name in self.fields]
        if any(is_text(each) or np.isnan(each).any() for each in columns):
            return None
        single = np.asarray([each.dtype == np.float32 for each in columns])
        rows = np.column_stack(columns) if columns else np.zeros((table.rows, 1))
        double, narrow = self._limits
        limits = np.where(single[self._column], narrow, double) if single.any() else double
        size = max(1, _CHUNK // len(self._roots))
        parts = [self._reached(rows[at : at + size], limits) for at in range(0, len(rows), size)]
        return np.concatenate(parts).T

    def _reached(self, rows: Array, limits: Array) -> Array:
        at = np.broadcast_to(self._roots, (len(rows), len(self._roots)))
        row = np.arange(len(rows))[:, None]
        for _ in range(self._depth):
            goes_left = rows[row, self._column[at]] <= limits[at]
            at = self._next[goes_left.astype(np.intp), at]
        return at

    def _limits_of(self, dtype: type[np.floating[Any]]) -> Array:
        """A value below a threshold is not above the number before it."""
        limits = np.asarray(self._thresholds).astype(dtype)
        before = np.nextafter(limits, dtype(-np.inf))
        return np.where(self._is_below, before, limits).astype(np.float64)

    def _shares(self, name: str) -> Array:
        found = []
        for node, score in zip(self._nodes, self._scores, strict=True):
            shares, _ = shares_of(node)
            found.append(shares.get(name, 0.0) if shares else float(score == name))
        return np.asarray(found)

    def _add(self, node: Element, level: int) -> int:
        """The node's number. A leaf leads to itself."""
        number = len(self._columns)
        children = list(node.all("Node"))
        self._depth = max(self._depth, level)
        self._nodes.append(node)
        self._scores.append(_score(node, is_leaf=not children))
        column, threshold, is_below, is_first = _split(children, self.fields)
        self._columns.append(column)
        self._thresholds.append(threshold)
        self._is_below.append(is_below)
        self._left.append(number)
        self._right.append(number)
        if children:
            places = [self._add(each, level + 1) for each in children]
            self._left[number], self._right[number] = places if is_first else places[::-1]
        return number


def _root(tree: Element) -> Element:
    roots = list(tree.all("Node"))
    allowed = {"MiningSchema", "Node", "ModelStats"}
    if len(roots) != 1 or roots[0].first("True") is None:
        raise NotPlain
    if tree.tag != "TreeModel" or any(each.tag not in allowed for each in tree.children):
        raise NotPlain
    treated = ("asIs", None, False)
    if any(
        (each.outliers, each.replacement, each.refuses_missing) != treated
        for each in mining_fields(tree)
    ):
        raise NotPlain
    return roots[0]


def _score(node: Element, *, is_leaf: bool) -> str:
    score = node.attributes.get("score")
    if score is None:
        shares, _ = shares_of(node)
        score = max(shares, key=lambda each: shares[each]) if shares else None
    if score is None and is_leaf:
        raise NotPlain
    return score or ""


def _split(children: list[Element], fields: list[str]) -> tuple[int, float, bool, bool]:
    """Column, threshold, whether values at it go right, whether the first child is the left."""
    if not children:
        return 0, 0.0, False, True
    tests = [each.first("SimplePredicate") for each in children]
    first, second = tests if len(children) == 2 else (None, None)
    if first is None:
        raise NotPlain
    kind, name, value = (first.get(each) for each in ("operator", "field", "value"))
    if kind not in _OPPOSITE or not np.isfinite(literal_number(value)):
        raise NotPlain
    if second is None:
        if children[1].first("True") is None:
            raise NotPlain
    elif (second.get("operator"), second.get("field"), literal_number(second.get("value"))) != (
        _OPPOSITE[kind],
        name,
        literal_number(value),
    ):
        raise NotPlain
    if name not in fields:
        fields.append(name)
    is_below = kind in ("lessThan", "greaterOrEqual")
    return fields.index(name), literal_number(value), is_below, kind.startswith("less")
