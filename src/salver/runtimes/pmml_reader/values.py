"""Columns of values as the reader knows them, and the scope in which fields have names.

A column is an array: float64 with NaN for what is missing (float32 where the document says
`float`), or objects, which are `str` or None. Booleans are numbers, 1 and 0.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from salver.inference.tensor import Array
from salver.runtimes.pmml_reader.document import BadDocument, Unsupported

TEXT = "string"
NUMBERS = frozenset({"double", "float", "integer", "boolean"})
_WORDS = {"true": 1.0, "false": 0.0}


class Table:
    """The rows that are scored, by field; derived fields are made when they are first asked for."""

    def __init__(
        self,
        rows: int,
        columns: Mapping[str, Array],
        derived: Mapping[str, Expression] | None = None,
        outer: Table | None = None,
    ) -> None:
        self.rows = rows
        self._columns = dict(columns)
        self._derived = derived or {}
        self._outer = outer

    def column(self, name: str) -> Array:
        """Raises `BadDocument` for a field that nothing gives."""
        found = self._columns.get(name)
        if found is not None:
            return found
        derive = self._derived.get(name)
        if derive is not None:
            made = self._columns[name] = derive(self)
            return made
        if self._outer is None:
            raise BadDocument(f"it uses the field '{name}', which nothing in it gives")
        return self._outer.column(name)

    def inner(
        self, columns: Mapping[str, Array], derived: Mapping[str, Expression] | None = None
    ) -> Table:
        return Table(self.rows, columns, derived, self)

    def picked(self, rows: Array) -> Table:
        """The same fields, of these rows alone."""
        return _Picked(self, rows)

    def add(self, columns: Mapping[str, Array]) -> None:
        """Fields that a model of a chain hands on to the next."""
        self._columns.update(columns)


class _Picked(Table):
    def __init__(self, whole: Table, rows: Array) -> None:
        super().__init__(len(rows), {})
        self._whole = whole
        self._places = rows

    def column(self, name: str) -> Array:
        found = self._columns.get(name)
        if found is None:
            found = self._columns[name] = self._whole.column(name)[self._places]
        return found


Expression = Callable[[Table], Array]


def check_datatype(datatype: str, what: str) -> str:
    """Raises `Unsupported` for dates and times."""
    if datatype not in NUMBERS and datatype != TEXT:
        raise Unsupported(f"{what} has the dataType {datatype}")
    return datatype


def is_text(column: Array) -> bool:
    return column.dtype == np.object_


def missing_in(column: Array) -> Array:
    if is_text(column):
        return np.fromiter((each is None for each in column), np.bool_, len(column))
    found: Array = np.isnan(column)
    return found


def literal_number(text: str) -> float:
    """The number that a literal means, NaN if none."""
    word = _WORDS.get(text.strip().lower())
    if word is not None:
        return word
    try:
        return float(text)
    except ValueError:
        return float("nan")


def constant(rows: int, text: str | None, datatype: str) -> Array:
    """A column of one value; None is a missing one."""
    if datatype == TEXT:
        column = np.empty(rows, dtype=np.object_)
        column[:] = text
        return column
    return np.full(rows, float("nan") if text is None else literal_number(text))


def numbers(column: Array) -> Array:
    """The column in float64; texts as the numbers they are written as."""
    if not is_text(column):
        return column if column.dtype == np.float64 else column.astype(np.float64)
    found = (float("nan") if each is None else literal_number(each) for each in column)
    return np.fromiter(found, np.float64, len(column))


def texts(column: Array) -> Array:
    """The column as texts; whole numbers without a point."""
    if is_text(column):
        return column
    found = np.empty(len(column), dtype=np.object_)
    found[:] = [text_of(each) for each in column.tolist()]
    return found


def text_of(value: float) -> str | None:
    if value != value:
        return None
    return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)


def converted(column: Array, datatype: str) -> Array:
    """The column as the document's dataType wants it."""
    if datatype == TEXT:
        return texts(column)
    if datatype == "float":
        with np.errstate(over="ignore"):
            return numbers(column).astype(np.float32)
    return numbers(column)


def equal_to(column: Array, text: str) -> Array:
    """Where the column has that value; missing values have none."""
    found: Array = np.asarray(column == (text if is_text(column) else literal_number(text)))
    return found


def chosen(condition: Array, first: Array, second: Array) -> Array:
    """Values of the first where the condition holds, else of the second."""
    if is_text(first) != is_text(second):
        # What is missing altogether has no kind of its own.
        first, second = (texts(first), second) if is_text(second) else (first, texts(second))
    return np.where(condition, first, second)
