"""Tables as MLflow's clients send them, as tensors for a model: rows or columns, with names or not.

Which tensors that makes is for the model's metadata to say, as V1's values are:

    a tabular model with columns   its columns by name; those it does not know are left out
    several inputs                 a column for each, by name
    one input                      the column of its name; else the whole table as one matrix
    no inputs that it names        a tensor for each column, or the matrix if none has a name

A table without names is read by position.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from salver.errors import InvalidInput
from salver.inference.metadata import TensorMetadata
from salver.protocol.v1_values import column_tensor, free_tensor, typed_tensor
from salver.protocol.wire import ModelIdentity, WireTensor

AS_TABLE: Mapping[str, str] = {"content_type": "pd"}
"""The request's parameters that say that each of its tensors is a column."""
_MOST_SHOWN = 20


class Table(msgspec.Struct):
    """Columns of equal length. Without `names` they go by their position."""

    columns: list[list[Any]]
    names: tuple[str, ...] | None = None

    @property
    def rows(self) -> int:
        return len(self.columns[0]) if self.columns else 0


def table_of_rows(rows: Sequence[Any], names: Sequence[Any] | None, subject: str) -> Table:
    """A table of lists of values. Raises `InvalidInput` for a row of another length."""
    width = len(names) if names is not None else -1
    for index, row in enumerate(rows):
        if not isinstance(row, list):
            raise InvalidInput(f"{subject} has row {index} that is no list: send lists of values")
        width = len(row) if width < 0 else width
        if len(row) != width:
            raise InvalidInput(
                f"{subject} has {len(row)} values in row {index}, its columns are {width}: send "
                f"one value for each column"
            )
    columns = [list(column) for column in zip(*rows, strict=True)]
    return Table(columns, None if names is None else tuple(map(str, names)))


def table_of_records(records: Sequence[Any], subject: str) -> Table:
    """A table of objects; what one of them lacks is missing there."""
    names: dict[str, None] = {}
    for index, record in enumerate(records):
        if not isinstance(record, dict):
            raise InvalidInput(f"{subject} has entry {index} that is no object: send objects")
        names |= dict.fromkeys(record)
    columns = [[record.get(name) for record in records] for name in names]
    return Table(columns, tuple(names))


def tensors_of(table: Table, model: ModelIdentity) -> list[WireTensor]:
    """The table as the model's inputs. Raises `InvalidInput` naming what the model lacks."""
    if not table.rows:
        raise InvalidInput(f"the table for model {model.name!r} has no rows: send at least one")
    _check_names(table, model)
    metadata = model.metadata
    if metadata.column_names:
        picked = _picked(table, metadata.column_names, (), model)
        return [column_tensor(name, picked[name], model) for name in picked]
    if len(metadata.inputs) > 1:
        names = tuple(spec.name for spec in metadata.inputs)
        optional = tuple(spec.name for spec in metadata.inputs if spec.optional)
        picked = _picked(table, names, optional, model)
        return [
            _input(spec, picked[spec.name], model)
            for spec in metadata.inputs
            if spec.name in picked
        ]
    if metadata.inputs:
        return _for_one_input(table, metadata.inputs[0], model)
    if table.names is None and _is_uniform(table):
        return [free_tensor("data", _rows_of(table), model)]
    return _free_columns(table, model)


def _check_names(table: Table, model: ModelIdentity) -> None:
    names = table.names or ()
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise InvalidInput(
            f"the table for model {model.name!r} has the column {twice[:64]!r} twice: "
            f"send each once"
        )


def _picked(
    table: Table, wanted: Sequence[str], optional: Sequence[str], model: ModelIdentity
) -> dict[str, list[Any]]:
    """The wanted columns by name, in the model's order."""
    if table.names is None:
        if len(table.columns) != len(wanted):
            raise InvalidInput(
                f"the table for model {model.name!r} has {len(table.columns)} columns without "
                f"names, the model takes {len(wanted)}: send {_listed(wanted)}"
            )
        return dict(zip(wanted, table.columns, strict=True))
    given = dict(zip(table.names, table.columns, strict=True))
    missing = [name for name in wanted if name not in given and name not in optional]
    if missing:
        extra = [name for name in table.names if name not in wanted]
        more = f"; it does not know {_listed(extra)}" if extra else ""
        raise InvalidInput(f"model {model.name!r} is missing the inputs {_listed(missing)}{more}")
    return {name: given[name] for name in wanted if name in given}


def _for_one_input(table: Table, spec: TensorMetadata, model: ModelIdentity) -> list[WireTensor]:
    given = dict(zip(table.names or (), table.columns, strict=False))
    if spec.name in given:
        return [_input(spec, given[spec.name], model)]
    is_positional = table.names is None or model.metadata.positional_input
    if not is_positional and (spec.any_shape or len(spec.shape) != 2) and len(table.columns) > 1:
        raise InvalidInput(
            f"model {model.name!r} is missing the input {spec.name!r}; it does not know "
            f"{_listed(table.names or ())}"
        )
    if len(table.columns) == 1 and len(spec.shape) != 2:
        return [_input(spec, table.columns[0], model)]
    if spec.any_shape and not spec.shape and not _is_uniform(table):
        return _free_columns(table, model)
    return [_input(spec, _rows_of(table), model)]


def _input(spec: TensorMetadata, values: list[Any], model: ModelIdentity) -> WireTensor:
    if spec.any_shape and not spec.shape:
        tensor = free_tensor(spec.name, values, model, (spec.datatype, *spec.accepts))
    else:
        tensor = typed_tensor(spec, values, model)
    return as_declared(tensor, spec)


def as_declared(tensor: WireTensor, spec: TensorMetadata) -> WireTensor:
    """Texts for an input that takes base64 are that, as MLflow has it; bytes are bytes already."""
    is_text = tensor.datatype == "BYTES" and tensor.parameters is None
    if spec.content_type == "base64" and is_text and bytes not in map(type, tensor.data):
        tensor.parameters = {"content_type": "base64"}
    return tensor


def _free_columns(table: Table, model: ModelIdentity) -> list[WireTensor]:
    names = table.names or tuple(map(str, range(len(table.columns))))
    return [
        free_tensor(name, values, model) for name, values in zip(names, table.columns, strict=True)
    ]


def _rows_of(table: Table) -> list[Any]:
    return [list(row) for row in zip(*table.columns, strict=True)]


def _is_uniform(table: Table) -> bool:
    """Whether all values are of one kind, so that they may stand in one matrix."""
    kinds = {type(value) for column in table.columns for value in column}
    return kinds <= {int, float, type(None)} or kinds == {str} or kinds == {bool}


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(repr(name[:64]) for name in names[:_MOST_SHOWN])
    return shown + (f" and {len(names) - _MOST_SHOWN} more" if len(names) > _MOST_SHOWN else "")
