"""Expressions of derived fields, as functions of a table.

Owns Constant, FieldRef, NormContinuous, NormDiscrete, Discretize, MapValues and Apply, with
the functions that a document defines itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from salver.inference.tensor import Array
from salver.runtimes.pmml_reader.document import BadDocument, Element, Unsupported
from salver.runtimes.pmml_reader.fields import interval_of
from salver.runtimes.pmml_reader.functions import FUNCTIONS
from salver.runtimes.pmml_reader.values import (
    TEXT,
    Expression,
    Table,
    check_datatype,
    chosen,
    constant,
    converted,
    equal_to,
    missing_in,
    numbers,
    texts,
)

Functions = Mapping[str, "UserFunction"]
_INLINE_ROW = "row"


class UserFunction:
    """A DefineFunction: parameters and an expression of them."""

    def __init__(self, element: Element, functions: Functions) -> None:
        self.parameters = [each.need("name") for each in element.all("ParameterField")]
        self._datatype = element.get("dataType")
        bodies = [each for each in element.children if each.tag in _BUILDERS]
        if not bodies:
            raise BadDocument(f"{element.where} has no expression")
        self._body = expression_of(bodies[0], functions)

    def __call__(self, table: Table, given: list[Array]) -> Array:
        answer = self._body(table.inner(dict(zip(self.parameters, given, strict=True))))
        return converted(answer, self._datatype) if self._datatype else answer


def expression_of(element: Element, functions: Functions) -> Expression:
    """Raises `Unsupported` for an expression that is not known."""
    build = _BUILDERS.get(element.tag)
    if build is None:
        raise Unsupported(f"{element.where} is an expression")
    return build(element, functions)


def derived_fields(parent: Element | None, functions: Functions) -> dict[str, Expression]:
    """The DerivedFields of a TransformationDictionary or of LocalTransformations."""
    found: dict[str, Expression] = {}
    for field in parent.all("DerivedField") if parent is not None else ():
        name = field.need("name")
        datatype = check_datatype(field.get("dataType", "double"), f"the field '{name}'")
        bodies = [each for each in field.children if each.tag not in ("Value", "Interval")]
        if len(bodies) != 1:
            raise BadDocument(f"{field.where} needs one expression, it has {len(bodies)}")
        found[name] = _typed(expression_of(bodies[0], functions), datatype)
    return found


def _typed(expression: Expression, datatype: str) -> Expression:
    return lambda table: converted(expression(table), datatype)


def _constant(element: Element, _: Functions) -> Expression:
    datatype = element.get("dataType")
    if not datatype:
        try:
            float(element.text)
            datatype = "double"
        except ValueError:
            datatype = TEXT
    text = None if element.get("missing") == "true" else element.text
    return lambda table: constant(table.rows, text, datatype)


def _field(element: Element, _: Functions) -> Expression:
    name, replacement = element.need("field"), element.attributes.get("mapMissingTo")
    if replacement is None:
        return lambda table: table.column(name)
    return lambda table: _with_missing(table.column(name), replacement)


def _with_missing(column: Array, replacement: str) -> Array:
    missing = missing_in(column)
    if not missing.any():
        return column
    datatype = TEXT if column.dtype == np.object_ else "double"
    return chosen(missing, constant(len(column), replacement, datatype), column)


def _norm_continuous(element: Element, _: Functions) -> Expression:
    name = element.need("field")
    pairs = [(each.number("orig", 0), each.number("norm", 0)) for each in element.all("LinearNorm")]
    if len(pairs) < 2:
        raise BadDocument(f"{element.where} needs two LinearNorm, it has {len(pairs)}")
    origin, norm = (np.asarray(each) for each in zip(*pairs, strict=True))
    outliers = element.get("outliers", "asIs")
    missing = element.number("mapMissingTo", float("nan"))

    def derive(table: Table) -> Array:
        column = numbers(table.column(name))
        at = np.clip(np.searchsorted(origin, column, side="right") - 1, 0, len(origin) - 2)
        slope = (norm[at + 1] - norm[at]) / (origin[at + 1] - origin[at])
        answer = norm[at] + (column - origin[at]) * slope
        outside = (column < origin[0]) | (column > origin[-1])
        if outliers == "asMissingValues":
            answer[outside] = np.nan
        elif outliers == "asExtremeValues":
            answer = np.where(outside, np.where(column < origin[0], norm[0], norm[-1]), answer)
        return np.where(np.isnan(answer) & np.isnan(column), missing, answer)

    return derive


def _norm_discrete(element: Element, _: Functions) -> Expression:
    name, value = element.need("field"), element.need("value")
    missing = element.number("mapMissingTo", float("nan"))

    def derive(table: Table) -> Array:
        column = table.column(name)
        answer = equal_to(column, value).astype(np.float64)
        return np.where(missing_in(column), missing, answer)

    return derive


def _discretize(element: Element, _: Functions) -> Expression:
    name = element.need("field")
    bins = []
    for each in element.all("DiscretizeBin"):
        interval = each.first("Interval")
        if interval is None:
            raise BadDocument(f"{each.where} lacks its Interval")
        bins.append((interval_of(interval), each.need("binValue")))
    datatype = element.get("dataType", TEXT)
    missing, other = element.attributes.get("mapMissingTo"), element.attributes.get("defaultValue")

    def derive(table: Table) -> Array:
        column = numbers(table.column(name))
        answer = constant(table.rows, other, datatype)
        done = np.isnan(column)
        answer = chosen(done, constant(table.rows, missing, datatype), answer)
        for interval, value in bins:
            hit = interval.holds(column) & ~done
            answer = chosen(hit, constant(table.rows, value, datatype), answer)
            done |= hit
        return answer

    return derive


def _map_values(element: Element, _: Functions) -> Expression:
    output, datatype = element.need("outputColumn"), element.get("dataType", TEXT)
    pairs = [(e.need("field"), e.need("column")) for e in element.all("FieldColumnPair")]
    inline = element.first("InlineTable")
    if inline is None:
        raise Unsupported(f"{element.where} takes its table from elsewhere: TableLocator")
    known: dict[tuple[str, ...], str] = {}
    for row in inline.all(_INLINE_ROW):
        cells = {each.tag: each.text.strip() for each in row.children}
        if output in cells and all(column in cells for _, column in pairs):
            known.setdefault(tuple(cells[column] for _, column in pairs), cells[output])
    missing, other = element.attributes.get("mapMissingTo"), element.attributes.get("defaultValue")

    def derive(table: Table) -> Array:
        columns = [texts(table.column(field)).tolist() for field, _ in pairs]
        answer = np.empty(table.rows, dtype=np.object_)
        answer[:] = [
            missing if any(each is None for each in row) else known.get(row, other)
            for row in zip(*columns, strict=True)
        ]
        return converted(answer, datatype)

    return derive


def _apply(element: Element, functions: Functions) -> Expression:
    name = element.need("function")
    arguments = [expression_of(each, functions) for each in element.children]
    missing, other = element.attributes.get("mapMissingTo"), element.attributes.get("defaultValue")
    call = _called(name, len(arguments), element, functions)

    def derive(table: Table) -> Array:
        given = [each(table) for each in arguments]
        answer = call(table, given)
        if missing is not None:
            absent = np.logical_or.reduce([missing_in(each) for each in given])
            datatype = TEXT if answer.dtype == np.object_ else "double"
            answer = chosen(absent, constant(table.rows, missing, datatype), answer)
        return answer if other is None else _with_missing(answer, other)

    return derive


def _called(
    name: str, count: int, element: Element, functions: Functions
) -> Callable[[Table, list[Array]], Array]:
    own = functions.get(name)
    if own is not None:
        if count != len(own.parameters):
            raise BadDocument(f"{element.where} gives {count} arguments to '{name}'")
        return own
    known = FUNCTIONS.get(name)
    if known is None:
        raise Unsupported(f"{element.where} has the function '{name}'")
    function, fewest, most = known
    if not fewest <= count <= most:
        raise BadDocument(f"{element.where} gives {count} arguments to '{name}'")
    return lambda _, given: function(given)


_BUILDERS: dict[str, Callable[[Element, Functions], Expression]] = {
    "Constant": _constant,
    "FieldRef": _field,
    "NormContinuous": _norm_continuous,
    "NormDiscrete": _norm_discrete,
    "Discretize": _discretize,
    "MapValues": _map_values,
    "Apply": _apply,
}
