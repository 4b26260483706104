"""Predicates on rows, in three values: they hold, they do not, or a missing value hides it.

A predicate gives an array of `TRUE`, `UNKNOWN` and `FALSE`, so ordered that `and` is the least
of them and `or` the greatest.
"""

from __future__ import annotations

import operator
import shlex
from collections.abc import Callable, Mapping

import numpy as np

from salver.inference.tensor import Array
from salver.runtimes.pmml_reader.document import BadDocument, Element, Unsupported
from salver.runtimes.pmml_reader.values import (
    Table,
    is_text,
    literal_number,
    missing_in,
)

FALSE, UNKNOWN, TRUE = 0, 1, 2
Predicate = Callable[[Table, Array], Array]
"""Of a table, for the rows of these numbers."""

TAGS = ("SimplePredicate", "SimpleSetPredicate", "CompoundPredicate", "True", "False")
_COMPARISONS: Mapping[str, Callable[..., Array]] = {
    "equal": operator.eq,
    "notEqual": operator.ne,
    "lessThan": operator.lt,
    "lessOrEqual": operator.le,
    "greaterThan": operator.gt,
    "greaterOrEqual": operator.ge,
}


def predicate_of(parent: Element) -> Predicate:
    """The predicate among the children of a node or segment."""
    element = parent.first(*TAGS)
    if element is None:
        raise BadDocument(f"{parent.where} has no predicate")
    return _built(element)


def _built(element: Element) -> Predicate:
    if element.tag == "True":
        return lambda _, rows: np.full(len(rows), TRUE, dtype=np.int8)
    if element.tag == "False":
        return lambda _, rows: np.zeros(len(rows), dtype=np.int8)
    if element.tag == "SimplePredicate":
        return _simple(element)
    return _in_set(element) if element.tag == "SimpleSetPredicate" else _compound(element)


def _simple(element: Element) -> Predicate:
    name, kind = element.need("field"), element.need("operator")
    if kind in ("isMissing", "isNotMissing"):
        wanted = kind == "isMissing"
        return lambda table, rows: _certain(missing_in(table.column(name)[rows]) == wanted)
    compare = _COMPARISONS.get(kind)
    if compare is None:
        raise Unsupported(f"{element.where} has the operator {kind}")
    text = element.need("value")
    number = literal_number(text)

    def decide(table: Table, rows: Array) -> Array:
        column = table.column(name)[rows]
        missing = missing_in(column)
        if not is_text(column):
            answer = compare(column, number)
        elif kind in ("equal", "notEqual"):
            answer = np.asarray(compare(column, text), dtype=np.bool_)
        else:
            known = (each is not None and bool(compare(each, text)) for each in column)
            answer = np.fromiter(known, np.bool_, len(column))
        return _hidden(answer, missing)

    return decide


def _in_set(element: Element) -> Predicate:
    name, kind = element.need("field"), element.need("booleanOperator")
    array = element.first("Array")
    if array is None or kind not in ("isIn", "isNotIn"):
        raise BadDocument(f"{element.where} needs an Array, and isIn or isNotIn")
    values = array_texts(array)
    known_texts, known_numbers = frozenset(values), frozenset(map(literal_number, values))

    def decide(table: Table, rows: Array) -> Array:
        column = table.column(name)[rows]
        known: frozenset[object] = frozenset(known_texts if is_text(column) else known_numbers)
        hits = np.fromiter((each in known for each in column.tolist()), np.bool_, len(column))
        return _hidden(hits if kind == "isIn" else ~hits, missing_in(column))

    return decide


def array_texts(array: Element) -> list[str]:
    """The values of an Array, quoted or not."""
    if '"' not in array.text:
        return array.text.split()
    lexer = shlex.shlex(array.text, posix=True, punctuation_chars=False)
    lexer.whitespace_split, lexer.quotes, lexer.commenters = True, '"', ""
    lexer.escapedquotes = '"'
    try:
        return list(lexer)
    except ValueError as error:
        raise BadDocument(f"{array.where} is no list of values: {error}") from error


def _compound(element: Element) -> Predicate:
    kind = element.need("booleanOperator")
    parts = [_built(each) for each in element.children if each.tag in TAGS]
    join = {"and": _least, "or": _greatest, "xor": _exclusive, "surrogate": _first_known}.get(kind)
    if join is None or not parts:
        raise Unsupported(f"{element.where} has the operator {kind}")
    return lambda table, rows: join([part(table, rows) for part in parts])


def _least(parts: list[Array]) -> Array:
    found: Array = np.minimum.reduce(parts)
    return found


def _greatest(parts: list[Array]) -> Array:
    found: Array = np.maximum.reduce(parts)
    return found


def _exclusive(parts: list[Array]) -> Array:
    unknown = np.logical_or.reduce([each == UNKNOWN for each in parts])
    odd = np.add.reduce([each == TRUE for each in parts], dtype=np.int64) % 2 == 1
    return np.where(unknown, UNKNOWN, np.where(odd, TRUE, FALSE)).astype(np.int8)


def _first_known(parts: list[Array]) -> Array:
    answer = parts[0].copy()
    for each in parts[1:]:
        answer = np.where(answer == UNKNOWN, each, answer)
    return answer


def _certain(holds: Array) -> Array:
    return holds.astype(np.int8) * np.int8(TRUE)


def _hidden(holds: Array, missing: Array) -> Array:
    answer = _certain(holds)
    answer[missing] = UNKNOWN
    return answer
