"""MLflow's CSV requests: a line of column names, then a line a row, as `DataFrame.to_csv` writes.

CSV has no types. A column of text stays text where the model says that it is one; else it is read
as pandas reads it: whole numbers, numbers, true and false, text; empty fields and the usual words
for them are missing.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from typing import Any

from salver.errors import InvalidInput
from salver.protocol.mlflow_answers import MlflowAnswers
from salver.protocol.mlflow_json import request_of_table
from salver.protocol.mlflow_tables import Table
from salver.protocol.wire import ModelIdentity, WireRequest

_MISSING = frozenset(
    {
        *("", "<NA>", "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null", "-NaN", "-nan"),
        *("#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "1.#IND", "1.#QNAN"),
    }
)
"""The words that pandas takes for a missing value."""
_WHOLE = re.compile(r"\s*[+-]?[0-9]{1,18}\s*\Z")
_BOOLEANS = {
    **dict.fromkeys(("True", "TRUE", "true"), True),
    **dict.fromkeys(("False", "FALSE", "false"), False),
}


class MlflowCsvCodec(MlflowAnswers):
    """See `wire.WireCodec`."""

    def decode(self, body: bytes | memoryview, aux: int, model: ModelIdentity) -> WireRequest:
        try:
            text = bytes(body).decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise InvalidInput(
                f"the CSV for model {model.name!r} is no UTF-8 text: {error}"
            ) from error
        try:
            reader = csv.reader(io.StringIO(text, newline=""), strict=True)
            lines = [line for line in reader if line]
        except csv.Error as error:
            raise InvalidInput(
                f"the CSV for model {model.name!r} cannot be read: {error}"
            ) from error
        if not lines:
            raise InvalidInput(
                f"the CSV for model {model.name!r} is empty: send a line of column names, then rows"
            )
        return request_of_table(_table(lines[0], lines[1:], model), None, model)


def _table(names: list[str], rows: list[list[str]], model: ModelIdentity) -> Table:
    width = len(names)
    for index, row in enumerate(rows):
        if len(row) > width:
            raise InvalidInput(
                f"the CSV for model {model.name!r} has {len(row)} fields in row {index}, its head "
                f"{width}: send one for each column"
            )
        row += [""] * (width - len(row))
    texts = _text_columns(model)
    columns = [
        _typed([row[index] for row in rows], is_text=name in texts)
        for index, name in enumerate(names)
    ]
    return Table(columns, tuple(names))


def _text_columns(model: ModelIdentity) -> frozenset[str]:
    """The columns of which the model says that they hold text."""
    metadata = model.metadata
    columns = zip(metadata.column_names, metadata.column_datatypes, strict=False)
    inputs = ((spec.name, spec.datatype) for spec in metadata.inputs if not spec.accepts)
    return frozenset(name for name, datatype in [*columns, *inputs] if datatype == "BYTES")


def _typed(texts: Sequence[str], *, is_text: bool) -> list[Any]:
    """The column's values: of the narrowest kind that all of them have."""
    present = [text for text in texts if text not in _MISSING]
    if is_text or not present:
        return [None if text in _MISSING else text for text in texts]
    if all(text in _BOOLEANS for text in present) and len(present) == len(texts):
        return [_BOOLEANS[text] for text in texts]
    if all(map(_WHOLE.match, present)):
        return [None if text in _MISSING else int(text) for text in texts]
    try:
        return [None if text in _MISSING else _number(text) for text in texts]
    except ValueError:
        return [None if text in _MISSING else text for text in texts]


def _number(text: str) -> float:
    if "_" in text:
        raise ValueError(text)
    return float(text)
