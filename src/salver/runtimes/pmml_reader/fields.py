"""The fields of a document: what they may hold, and what a model does with what they should not.

Owns DataDictionary and MiningSchema: missing, invalid and outlying values.
"""

from __future__ import annotations

import math

import msgspec
import numpy as np

from salver.errors import InvalidInput
from salver.inference.tensor import Array
from salver.runtimes.pmml_reader.document import BadDocument, Element, Unsupported
from salver.runtimes.pmml_reader.values import (
    TEXT,
    check_datatype,
    chosen,
    constant,
    converted,
    equal_to,
    is_text,
    literal_number,
    missing_in,
)

_INVALID = ("returnInvalid", "asIs", "asMissing", "asValue")
_OUTLIERS = ("asIs", "asMissingValues", "asExtremeValues")


class Interval(msgspec.Struct, frozen=True):
    """Numbers between margins, each of which may be within."""

    low: float
    high: float
    has_low: bool
    has_high: bool

    def holds(self, column: Array) -> Array:
        above = column >= self.low if self.has_low else column > self.low
        below = column <= self.high if self.has_high else column < self.high
        found: Array = above & below
        return found


def interval_of(element: Element) -> Interval:
    closure = element.get("closure", "openOpen")
    return Interval(
        element.number("leftMargin", -math.inf),
        element.number("rightMargin", math.inf),
        closure.startswith("closed"),
        closure.endswith("Closed"),
    )


class DataField(msgspec.Struct, frozen=True):
    """An entry of the DataDictionary."""

    name: str
    optype: str
    datatype: str
    valid: tuple[str, ...] = ()
    invalid: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    intervals: tuple[Interval, ...] = ()

    @property
    def is_text(self) -> bool:
        return self.datatype == TEXT


def data_field(element: Element) -> DataField:
    name = element.need("name")
    kinds: dict[str, list[str]] = {"valid": [], "invalid": [], "missing": []}
    for each in element.all("Value"):
        kinds.setdefault(each.get("property", "valid"), []).append(each.need("value"))
    return DataField(
        name,
        element.get("optype", "continuous"),
        check_datatype(element.get("dataType", "double"), f"the field '{name}'"),
        tuple(kinds["valid"]),
        tuple(kinds["invalid"]),
        tuple(kinds["missing"]),
        tuple(interval_of(each) for each in element.all("Interval")),
    )


class MiningField(msgspec.Struct, frozen=True):
    """How one model treats one of its fields."""

    name: str
    usage: str
    outliers: str = "asIs"
    low: float = -math.inf
    high: float = math.inf
    replacement: str | None = None
    refuses_missing: bool = False
    invalid: str = "returnInvalid"
    invalid_replacement: str | None = None

    @property
    def is_target(self) -> bool:
        return self.usage in ("target", "predicted")

    @property
    def is_active(self) -> bool:
        return self.usage == "active"


def mining_field(element: Element) -> MiningField:
    """Raises `Unsupported` for a treatment that is not known."""
    invalid = element.get("invalidValueTreatment", "returnInvalid")
    outliers = element.get("outliers", "asIs")
    if invalid not in _INVALID or outliers not in _OUTLIERS:
        raise Unsupported(f"{element.where} has the treatment {invalid}, {outliers}")
    return MiningField(
        element.need("name"),
        element.get("usageType", "active"),
        outliers,
        element.number("lowValue", -math.inf),
        element.number("highValue", math.inf),
        element.attributes.get("missingValueReplacement"),
        element.get("missingValueTreatment") == "returnInvalid",
        invalid,
        element.attributes.get("invalidValueReplacement"),
    )


def mining_fields(model: Element) -> tuple[MiningField, ...]:
    schema = model.first("MiningSchema")
    if schema is None:
        raise BadDocument(f"{model.where} lacks its MiningSchema")
    return tuple(mining_field(each) for each in schema.all("MiningField"))


def treated(column: Array, field: MiningField, data: DataField | None) -> Array:
    """The column as the model is to see it. Raises `InvalidInput` naming the first bad value."""
    if data is not None:
        column = _checked(converted(column, data.datatype), field, data)
    if not is_text(column) and field.outliers != "asIs":
        column = _without_outliers(column, field)
    missing = missing_in(column)
    if not missing.any():
        return column
    if field.refuses_missing:
        raise InvalidInput(
            f"field '{field.name}' is missing at row {int(missing.argmax())}, which the model does "
            "not take; send a value"
        )
    if field.replacement is None:
        return column
    datatype = TEXT if is_text(column) else "double"
    filled = chosen(missing, constant(len(column), field.replacement, datatype), column)
    return filled.astype(column.dtype, copy=False)


def _checked(column: Array, field: MiningField, data: DataField) -> Array:
    for text in data.missing:
        column = _blanked(column, equal_to(column, text))
    if field.invalid == "asIs":
        return column
    wrong = _invalid_in(column, data)
    if wrong is None or not wrong.any():
        return column
    if field.invalid == "asMissing":
        return _blanked(column, wrong)
    if field.invalid == "asValue" and field.invalid_replacement is not None:
        datatype = TEXT if is_text(column) else "double"
        return chosen(wrong, constant(len(column), field.invalid_replacement, datatype), column)
    row = int(wrong.argmax())
    raise InvalidInput(
        f"field '{field.name}' has the value {column[row]!s:.80} at row {row}, which the model's "
        f"document calls invalid; send {_allowed(data)}"
    )


def _invalid_in(column: Array, data: DataField) -> Array | None:
    """Where values are invalid, None if the field allows whatever there is."""
    missing = missing_in(column)
    wrong = np.zeros(len(column), dtype=np.bool_)
    for text in data.invalid:
        wrong |= equal_to(column, text)
    if data.intervals and not is_text(column):
        within = [each.holds(column) for each in data.intervals]
        wrong |= ~np.logical_or.reduce(within) & ~missing
    elif data.valid and data.optype != "continuous":
        known: set[object] = set(data.valid)
        if not is_text(column):
            known = {literal_number(each) for each in data.valid}
        wrong |= np.fromiter((each not in known for each in column.tolist()), bool, len(column))
        wrong &= ~missing
    return wrong


def _allowed(data: DataField) -> str:
    if data.valid:
        return ", ".join(data.valid[:10]) + (" or another of its values" if data.valid[10:] else "")
    return " or ".join(f"{each.low:g} to {each.high:g}" for each in data.intervals[:5]) or "another"


def _without_outliers(column: Array, field: MiningField) -> Array:
    if field.outliers == "asExtremeValues":
        return np.clip(column, field.low, field.high).astype(column.dtype, copy=False)
    return _blanked(column, (column < field.low) | (column > field.high))


def _blanked(column: Array, where: Array) -> Array:
    column = column.copy()
    column[where] = None if is_text(column) else np.nan
    return column
