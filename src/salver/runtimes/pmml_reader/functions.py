"""The functions that a document may apply, on columns.

A missing argument gives a missing result, but for those that ask for it. Owns their names and
numbers of arguments; expressions are `expressions.py`'s.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from salver.inference.tensor import Array
from salver.runtimes.pmml_reader.values import chosen, is_text, missing_in, numbers, texts

Function = Callable[[Sequence[Array]], Array]


def _numeric(function: Callable[..., Array]) -> Function:
    """On numbers; NaN goes through arithmetic by itself."""

    def apply(given: Sequence[Array]) -> Array:
        with np.errstate(all="ignore"):
            answer = np.asarray(function(*(numbers(each) for each in given)), dtype=np.float64)
        answer[_any_missing(given)] = np.nan
        return answer

    return apply


def _any_missing(given: Sequence[Array]) -> Array:
    found: Array = np.logical_or.reduce([missing_in(each) for each in given])
    return found


def _aggregate(function: Callable[[Array], Array]) -> Function:
    """Over the arguments that are there; missing if none is."""

    def apply(given: Sequence[Array]) -> Array:
        rows = np.vstack([numbers(each) for each in given])
        empty = np.isnan(rows).all(axis=0)
        rows[:, empty] = 0.0
        answer = function(rows)
        return np.where(empty, np.nan, answer)

    return apply


def _text(function: Callable[..., object]) -> Function:
    def apply(given: Sequence[Array]) -> Array:
        columns = [texts(each).tolist() for each in given]
        answer = np.empty(len(given[0]), dtype=np.object_)
        answer[:] = [
            None if any(each is None for each in row) else function(*row)
            for row in zip(*columns, strict=True)
        ]
        return answer

    return apply


def _comparison(compare: Callable[[Array, Array], Array]) -> Function:
    def apply(given: Sequence[Array]) -> Array:
        first, second = given
        if is_text(first) and is_text(second):
            pairs = zip(first.tolist(), second.tolist(), strict=True)
            found = [
                float("nan") if a is None or b is None else float(compare(a, b)) for a, b in pairs
            ]
            return np.asarray(found, dtype=np.float64)
        answer = compare(numbers(first), numbers(second)).astype(np.float64)
        answer[_any_missing(given)] = np.nan
        return answer

    return apply


def _is_in(given: Sequence[Array]) -> Array:
    first, *others = given
    hits = [_comparison(lambda a, b: a == b)((first, each)) == 1.0 for each in others]
    return np.where(missing_in(first), np.nan, np.logical_or.reduce(hits).astype(np.float64))


def _and(given: Sequence[Array]) -> Array:
    rows = np.vstack([numbers(each) for each in given])
    false = (rows == 0).any(axis=0)
    return np.where(false, 0.0, np.where(np.isnan(rows).any(axis=0), np.nan, 1.0))


def _or(given: Sequence[Array]) -> Array:
    rows = np.vstack([numbers(each) for each in given])
    true = (rows == 1).any(axis=0)
    return np.where(true, 1.0, np.where(np.isnan(rows).any(axis=0), np.nan, 0.0))


def _if(given: Sequence[Array]) -> Array:
    condition = numbers(given[0])
    nothing = np.full(len(condition), np.nan)
    other = given[2] if len(given) > 2 else nothing
    answer = chosen(condition == 1, given[1], other)
    return chosen(np.isnan(condition), nothing, answer) if np.isnan(condition).any() else answer


def _substring(text: str, start: str, length: str) -> str:
    first = int(float(start)) - 1
    return text[max(first, 0) : max(first, 0) + int(float(length))]


def _concatenated(*given: str) -> str:
    return "".join(given)


def _rounded(column: Array) -> Array:
    found: Array = np.floor(column + 0.5)
    return found


def _reverse_is(answer: float) -> Function:
    return lambda given: np.where(missing_in(given[0]), answer, 1.0 - answer)


_erf = np.frompyfunc(math.erf, 1, 1)


def _normal_cdf(x: Array, mean: Array, deviation: Array) -> Array:
    z = (x - mean) / (deviation * math.sqrt(2.0))
    answer: Array = 0.5 * (1.0 + np.asarray(_erf(z), dtype=np.float64))
    return answer


FUNCTIONS: dict[str, tuple[Function, int, int]] = {
    "+": (_numeric(np.add), 2, 2),
    "-": (_numeric(np.subtract), 2, 2),
    "*": (_numeric(np.multiply), 2, 2),
    "/": (_numeric(lambda a, b: np.where(b == 0, np.nan, a / b)), 2, 2),
    "abs": (_numeric(np.abs), 1, 1),
    "exp": (_numeric(np.exp), 1, 1),
    "expm1": (_numeric(np.expm1), 1, 1),
    "ln": (_numeric(np.log), 1, 1),
    "ln1p": (_numeric(np.log1p), 1, 1),
    "log10": (_numeric(np.log10), 1, 1),
    "sqrt": (_numeric(np.sqrt), 1, 1),
    "pow": (_numeric(np.power), 2, 2),
    "threshold": (_numeric(lambda a, b: (a > b).astype(np.float64)), 2, 2),
    "floor": (_numeric(np.floor), 1, 1),
    "ceil": (_numeric(np.ceil), 1, 1),
    "round": (_numeric(_rounded), 1, 1),
    "rint": (_numeric(np.rint), 1, 1),
    "modulo": (_numeric(np.mod), 2, 2),
    "sin": (_numeric(np.sin), 1, 1),
    "cos": (_numeric(np.cos), 1, 1),
    "tan": (_numeric(np.tan), 1, 1),
    "asin": (_numeric(np.arcsin), 1, 1),
    "acos": (_numeric(np.arccos), 1, 1),
    "atan": (_numeric(np.arctan), 1, 1),
    "sinh": (_numeric(np.sinh), 1, 1),
    "cosh": (_numeric(np.cosh), 1, 1),
    "tanh": (_numeric(np.tanh), 1, 1),
    "normalCDF": (_numeric(_normal_cdf), 3, 3),
    "min": (_aggregate(lambda rows: np.nanmin(rows, axis=0)), 1, 999),
    "max": (_aggregate(lambda rows: np.nanmax(rows, axis=0)), 1, 999),
    "sum": (_aggregate(lambda rows: np.nansum(rows, axis=0)), 1, 999),
    "avg": (_aggregate(lambda rows: np.nanmean(rows, axis=0)), 1, 999),
    "median": (_aggregate(lambda rows: np.nanmedian(rows, axis=0)), 1, 999),
    "product": (_aggregate(lambda rows: np.nanprod(rows, axis=0)), 1, 999),
    "equal": (_comparison(lambda a, b: a == b), 2, 2),
    "notEqual": (_comparison(lambda a, b: a != b), 2, 2),
    "lessThan": (_comparison(lambda a, b: a < b), 2, 2),
    "lessOrEqual": (_comparison(lambda a, b: a <= b), 2, 2),
    "greaterThan": (_comparison(lambda a, b: a > b), 2, 2),
    "greaterOrEqual": (_comparison(lambda a, b: a >= b), 2, 2),
    "and": (_and, 2, 999),
    "or": (_or, 2, 999),
    "not": (lambda given: 1.0 - numbers(given[0]), 1, 1),
    "isMissing": (_reverse_is(1.0), 1, 1),
    "isNotMissing": (_reverse_is(0.0), 1, 1),
    "isIn": (_is_in, 2, 999),
    "isNotIn": (lambda given: 1.0 - _is_in(given), 2, 999),
    "if": (_if, 2, 3),
    "uppercase": (_text(str.upper), 1, 1),
    "lowercase": (_text(str.lower), 1, 1),
    "trimBlanks": (_text(str.strip), 1, 1),
    "concat": (_text(_concatenated), 1, 999),
    "substring": (_text(_substring), 3, 3),
    "stringLength": (lambda given: numbers(_text(lambda text: str(len(text)))(given)), 1, 1),
}
"""By name: what it does, and the fewest and most arguments that it takes."""
