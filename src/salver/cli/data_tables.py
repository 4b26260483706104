"""Requests out of CSV and JSON files, and answers as rows for people. Pure.

Which columns go where, a model's V2 metadata says.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from salver.cli.options import nearest
from salver.errors import CommandFailed

Json = dict[str, Any]

_WHOLE = frozenset({"INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64"})
_BROKEN = frozenset({"FP16", "FP32", "FP64", "BF16"})
_TRUE, _FALSE = ("true", "1", "yes", "t"), ("false", "0", "no", "f")


class Table(NamedTuple):
    """A CSV file: the names of its columns (none if it has no header), and its rows."""

    source: str
    names: tuple[str, ...]
    rows: list[list[str]]
    first_line: int


def read_csv(text: str, source: str) -> Table:
    """The table; a first row of numbers alone is no header. Raises `CommandFailed`."""
    sample = text[:4096]
    try:
        dialect: Any = csv.Sniffer().sniff(sample, delimiters=",;\t")
    except csv.Error:
        dialect = csv.excel
    rows = [row for row in csv.reader(io.StringIO(text.lstrip("\ufeff")), dialect) if row]
    if not rows:
        raise CommandFailed(f"{source}: has no rows; check the file")
    has_header = not all(is_number(cell) for cell in rows[0])
    names = tuple(cell.strip() for cell in rows[0]) if has_header else ()
    body = rows[1:] if has_header else rows
    if not body:
        raise CommandFailed(f"{source}: has a header and no rows; check the file")
    for index, row in enumerate(body):
        if len(row) != len(rows[0]):
            line = index + 1 + has_header
            raise CommandFailed(
                f"{source}:{line}: has {len(row)} cells and the first row {len(rows[0])}"
            )
    return Table(source, names, body, 1 + has_header)


class Plan(NamedTuple):
    """Which of a table's columns become which inputs, and which are not sent."""

    inputs: list[tuple[str, str, list[int], bool]]
    """Name, datatype, the table's columns, and whether it is a matrix."""
    unused: tuple[str, ...]


def plan_columns(table: Table, metadata: Mapping[str, Any]) -> Plan:
    """How the table fits the model. Raises `CommandFailed` if it does not."""
    parameters = metadata.get("parameters") or {}
    inputs = [
        each
        for each in metadata.get("inputs") or []
        if not (each.get("parameters") or {}).get("optional")
    ]
    columns = [str(name) for name in parameters.get("column_names") or []]
    datatypes = [str(each) for each in parameters.get("column_datatypes") or []]
    model = str(metadata.get("name", ""))
    if columns and table.names:
        chosen = [_position(table, name, model) for name in columns]
        unused = tuple(name for name in table.names if name not in columns)
        if len(set(datatypes)) > 1 or not inputs:
            typed = zip(columns, datatypes or ["BYTES"] * len(columns), chosen, strict=True)
            return Plan([(name, kind, [at], True) for name, kind, at in typed], unused)
        return Plan([(inputs[0]["name"], inputs[0]["datatype"], chosen, True)], unused)
    return _by_inputs(table, inputs, columns, model)


def _by_inputs(
    table: Table, inputs: Sequence[Mapping[str, Any]], columns: Sequence[str], model: str
) -> Plan:
    names = [str(each["name"]) for each in inputs]
    if (table.names and len(inputs) > 1) or set(names) & set(table.names):
        chosen = [
            (
                each["name"],
                each["datatype"],
                [_position(table, each["name"], model)],
                len(each["shape"]) > 1,
            )
            for each in inputs
        ]
        return Plan(chosen, tuple(name for name in table.names if name not in names))
    if len(inputs) != 1:
        raise CommandFailed(
            f"{table.source}: model '{model}' has the inputs {', '.join(names) or 'none'}; "
            "give the file a header with these names"
        )
    only = inputs[0]
    shape = [int(size) for size in only["shape"]]
    width = shape[-1] if len(shape) > 1 else len(columns)
    have = len(table.rows[0])
    if width > 0 and have != width:
        raise CommandFailed(
            f"{table.source}: has {have} columns, and input '{only['name']}' of model '{model}' "
            f"takes {width}; leave the others out"
        )
    is_open = (only.get("parameters") or {}).get("any_shape")
    is_matrix = len(shape) > 1 or have > 1 or bool(is_open)
    return Plan([(only["name"], only["datatype"], list(range(have)), is_matrix)], ())


def _position(table: Table, name: str, model: str) -> int:
    if name in table.names:
        return table.names.index(name)
    near = nearest(name, list(table.names))
    hint = f"is it '{near}'?" if near else f"the file has {', '.join(table.names)}"
    raise CommandFailed(
        f"{table.source}: has no column '{name}', which model '{model}' needs; {hint}"
    )


def requests_of(table: Table, plan: Plan, rows_each: int) -> Iterator[Json]:
    """V2 requests, of `rows_each` rows at most. Raises `CommandFailed` for a cell of no use."""
    for start in range(0, len(table.rows), rows_each):
        rows = table.rows[start : start + rows_each]
        inputs = []
        for name, datatype, chosen, is_matrix in plan.inputs:
            data = [
                _value(row[at], datatype, table, start + index, at)
                for index, row in enumerate(rows)
                for at in chosen
            ]
            shape = [len(rows), len(chosen)] if is_matrix else [len(rows)]
            inputs.append({"name": name, "shape": shape, "datatype": datatype, "data": data})
        yield {"inputs": inputs}


def _value(cell: str, datatype: str, table: Table, row: int, column: int) -> Any:
    text = cell.strip()
    try:
        if datatype in _WHOLE:
            return int(text)
        if datatype in _BROKEN:
            return float(text)
    except ValueError:
        text_of = f"'{cell}' is not {'a whole number' if datatype in _WHOLE else 'a number'}"
        raise _bad_cell(table, row, column, text_of) from None
    if datatype == "BOOL":
        if text.lower() in _TRUE or text.lower() in _FALSE:
            return text.lower() in _TRUE
        raise _bad_cell(table, row, column, f"'{cell}' is neither true nor false")
    return cell


def _bad_cell(table: Table, row: int, column: int, what: str) -> CommandFailed:
    name = f"column '{table.names[column]}'" if table.names else f"column {column + 1}"
    return CommandFailed(f"{table.source}:{row + table.first_line}: {name}: {what}")


def is_v1(body: Any) -> bool:
    """Whether a request is of the V1 protocol: it has `instances`, or `inputs` that are no tensors.

    Raises `CommandFailed` for what is of neither.
    """
    if not isinstance(body, dict) or not ({"instances", "inputs"} & set(body)):
        raise CommandFailed(
            "the request has neither 'instances' (V1) nor 'inputs' (V2); see --help"
        )
    if "instances" in body:
        return True
    inputs = body["inputs"]
    are_tensors = isinstance(inputs, list) and all(
        isinstance(each, dict) and {"name", "datatype", "shape"} <= set(each) for each in inputs
    )
    return not are_tensors


def answer_rows(answer: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """The names of the outputs, and a row for each instance."""
    if "predictions" in answer:
        return _v1_rows(answer["predictions"])
    outputs = answer.get("outputs")
    if isinstance(outputs, dict):
        return _v1_rows(
            [dict(zip(outputs, row, strict=True)) for row in zip(*outputs.values(), strict=False)]
        )
    if not isinstance(outputs, list) or not all(isinstance(each, dict) for each in outputs):
        return _v1_rows(outputs if isinstance(outputs, list) else [answer])
    header: list[str] = []
    blocks: list[list[list[str]]] = []
    for output in outputs:
        shape = [int(size) for size in output.get("shape") or [len(output["data"])]]
        rows = _split(output["data"], shape)
        width = max((len(row) for row in rows), default=1)
        name = str(output["name"])
        header += [name] if len(shape) < 2 or width == 1 else [f"{name}[{i}]" for i in range(width)]
        blocks.append(rows)
    count = max((len(block) for block in blocks), default=0)
    joined = [
        [cell for block in blocks for cell in (block[i] if i < len(block) else [""])]
        for i in range(count)
    ]
    return header, joined


def _split(data: Sequence[Any], shape: Sequence[int]) -> list[list[str]]:
    """A tensor's values, flat or nested, as rows of texts."""
    flat = list(_flat(data))
    rows = shape[0] if shape else 1
    each = len(flat) // rows if rows else 0
    return [[cell_text(value) for value in flat[i * each : (i + 1) * each]] for i in range(rows)]


def _flat(data: Any) -> Iterator[Any]:
    for each in data:
        if isinstance(each, list):
            yield from _flat(each)
        else:
            yield each


def _v1_rows(predictions: Any) -> tuple[list[str], list[list[str]]]:
    rows = predictions if isinstance(predictions, list) else [predictions]
    if rows and all(isinstance(row, dict) for row in rows):
        names = list(dict.fromkeys(name for row in rows for name in row))
        return names, [[cell_text(row.get(name)) for name in names] for row in rows]
    if rows and all(isinstance(row, list) for row in rows):
        width = max(len(row) for row in rows)
        header = [f"prediction[{i}]" for i in range(width)] if width > 1 else ["prediction"]
        return header, [[cell_text(value) for value in row] for row in rows]
    return ["prediction"], [[cell_text(row)] for row in rows]


def cell_text(value: Any) -> str:
    """A value in a cell: numbers short enough to compare, all else as JSON would have it."""
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False)


def is_number(text: str) -> bool:
    """Whether a cell holds a number."""
    try:
        float(text)
    except ValueError:
        return False
    return True
