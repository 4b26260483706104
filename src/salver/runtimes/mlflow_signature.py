"""What an MLflow model's signature says, as metadata. Pure; imports nothing of MLflow's.

Owns the choice of a form, which is how tensors become what the model takes:

    free       no signature: a table, an array or a dict of arrays, as the request is
    hints      a Python model with type hints: a list
    array      a tensor without a name
    arrays     tensors by name
    matrix     columns of numbers that are all required: one matrix, or a tensor for each
    columns    any columns by name: a tensor for each
    unnamed    columns without names: one matrix, or the only column
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Literal

import msgspec
import numpy as np

from salver.inference.metadata import Datatype, TensorMetadata
from salver.inference.tensor import datatype_of
from salver.runtimes.answers import OUTPUT_NAME
from salver.runtimes.tabular import INPUT_NAME, NUMERIC, matrix_input

Form = Literal["free", "hints", "array", "arrays", "matrix", "columns", "unnamed"]

_DATATYPES: Mapping[str, Datatype] = MappingProxyType(
    {
        "boolean": "BOOL",
        "integer": "INT32",
        "long": "INT64",
        "float": "FP32",
        "double": "FP64",
        "string": "BYTES",
        "binary": "BYTES",
        "datetime": "BYTES",
    }
)
_NUMBERS = frozenset({"boolean", "integer", "long", "float", "double"})


class Column(msgspec.Struct, frozen=True):
    """A column; `kind` is MLflow's name of its type, `array` and the like for values of JSON."""

    name: str
    kind: str
    is_required: bool = True

    @property
    def datatype(self) -> Datatype:
        return _DATATYPES.get(self.kind, "BYTES")

    @property
    def is_number(self) -> bool:
        return self.kind in _NUMBERS

    @property
    def is_nested(self) -> bool:
        """Its values are lists, objects or anything."""
        return self.kind not in _DATATYPES


class Signature(msgspec.Struct, frozen=True):
    """A model's signature. `params` are the names of those it takes."""

    form: Form
    columns: tuple[Column, ...] = ()
    inputs: tuple[TensorMetadata, ...] = ()
    outputs: tuple[TensorMetadata, ...] = ()
    params: frozenset[str] = frozenset()

    @property
    def column_names(self) -> tuple[str, ...]:
        """The names of the columns, where callers may send a tensor for each or one matrix."""
        is_matrix = self.form == "matrix"
        return tuple(each.name for each in self.columns) if is_matrix else ()

    @property
    def column_datatypes(self) -> tuple[Datatype, ...]:
        """In the order of `column_names`."""
        is_matrix = self.form == "matrix"
        return tuple(each.datatype for each in self.columns) if is_matrix else ()


NO_SIGNATURE = Signature("free")


def parse_signature(document: Mapping[str, Any] | None, *, is_hinted: bool = False) -> Signature:
    """The signature of an MLmodel, whose values are JSON texts.

    `is_hinted`: it was made of a Python model's type hints. Raises `ValueError` and `KeyError`
    for what is no signature.
    """
    if not document:
        return NO_SIGNATURE
    entries = _entries(document, "inputs")
    form = _form(entries, is_hinted=is_hinted)
    is_columnar = form in ("matrix", "columns", "unnamed")
    columns = tuple(_column(entry, i) for i, entry in enumerate(entries)) if is_columnar else ()
    return Signature(
        form,
        columns,
        _inputs(form, columns, entries),
        _outputs(_entries(document, "outputs")),
        frozenset(str(entry["name"]) for entry in _entries(document, "params")),
    )


def _entries(document: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    text = document.get(key)
    if not text:
        return []
    entries = json.loads(text) if isinstance(text, str) else text
    if not isinstance(entries, list) or not all(isinstance(each, dict) for each in entries):
        raise ValueError(f"the signature's {key} are no list of objects")
    return entries


def _form(entries: Sequence[Mapping[str, Any]], *, is_hinted: bool) -> Form:
    if not entries:
        return "free"
    if is_hinted:
        return "hints"
    if entries[0].get("type") == "tensor":
        return "arrays" if entries[0].get("name") is not None else "array"
    if entries[0].get("name") is None:
        return "unnamed"
    columns = [_column(entry, 0) for entry in entries]
    all_plain = all(each.is_number and each.is_required for each in columns)
    return "matrix" if all_plain else "columns"


def _column(entry: Mapping[str, Any], index: int) -> Column:
    name = entry.get("name")
    kind = str(entry["type"])
    # Written by older versions.
    required = bool(entry.get("required", not entry.get("optional", False)))
    return Column(str(index) if name is None else str(name), kind, required)


def _inputs(
    form: Form, columns: Sequence[Column], entries: Sequence[Mapping[str, Any]]
) -> tuple[TensorMetadata, ...]:
    if form in ("array", "arrays"):
        return tuple(_tensor(entry, INPUT_NAME) for entry in entries)
    if form == "hints":
        return (_anything(INPUT_NAME),)
    if form == "columns":
        return tuple(_column_input(column) for column in columns)
    if form == "unnamed" and len(columns) == 1:
        return (msgspec.structs.replace(_column_input(columns[0]), name=INPUT_NAME),)
    if form == "unnamed" and not all(each.is_number for each in columns):
        return tuple(_column_input(column) for column in columns)
    return (matrix_input(len(columns)),) if columns else ()


def _anything(name: str) -> TensorMetadata:
    return TensorMetadata(name, "BYTES", (), any_shape=True, accepts=NUMERIC)


def _column_input(column: Column) -> TensorMetadata:
    """An input of any shape takes [n] and [n, 1], and values of any kind as JSON texts."""
    accepts: tuple[Datatype, ...] = ()
    if column.is_number:
        accepts = tuple(each for each in NUMERIC if each != column.datatype)
    elif column.is_nested:
        accepts = NUMERIC
    return TensorMetadata(
        column.name,
        column.datatype,
        (),
        any_shape=True,
        accepts=accepts,
        optional=not column.is_required,
        content_type="base64" if column.kind == "binary" else None,
    )


def _tensor(entry: Mapping[str, Any], unnamed: str) -> TensorMetadata:
    spec = entry["tensor-spec"]
    name = entry.get("name")
    datatype = datatype_of(np.dtype(str(spec["dtype"])))
    shape = tuple(int(size) for size in spec["shape"])
    return TensorMetadata(unnamed if name is None else str(name), datatype, shape)


def _outputs(entries: Sequence[Mapping[str, Any]]) -> tuple[TensorMetadata, ...]:
    found = []
    for index, entry in enumerate(entries):
        unnamed = OUTPUT_NAME if len(entries) == 1 else str(index)
        if entry.get("type") == "tensor":
            found.append(_tensor(entry, unnamed))
        else:
            name = entry.get("name")
            column = _column(entry, index)
            shape_is_known = not column.is_nested
            found.append(
                TensorMetadata(
                    unnamed if name is None else str(name),
                    column.datatype,
                    (-1,) if shape_is_known else (),
                    any_shape=not shape_is_known,
                )
            )
    return tuple(found)
