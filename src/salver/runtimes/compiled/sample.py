"""The user's own rows as further probes: a file of JSON, CSV or NumPy.

Owns reading it. JSON is a list of rows, `{"instances": rows}`, or a list of objects by column;
CSV has a line of names if its columns are named.
"""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np

from salver.errors import LoadFailed
from salver.inference.tensor import Array
from salver.runtimes.compiled.ports import Subject
from salver.runtimes.compiled.probes import Probe, request_of

MOST_ROWS = 2000


def sample_probes(subject: Subject, path: Path) -> list[Probe]:
    """The sample as probes. Raises `LoadFailed` for a file that holds no rows for the model."""
    try:
        columns = _columns(subject, _rows(path)[:MOST_ROWS])
    except (OSError, ValueError, TypeError, KeyError, IndexError, csv.Error) as error:
        raise LoadFailed(
            f"model '{subject.name}': the sample {path} holds no rows of its {subject.width} "
            f"columns ({error!r}); give a .json, .csv or .npy file of such rows"
        ) from error
    kind = "columns" if subject.form == "columns" else "d"
    return [Probe("sample", kind, len(columns[0]), request_of(subject, kind, columns))]


def _rows(path: Path) -> list[Any]:
    if path.suffix == ".npy":
        return list(np.load(path, allow_pickle=False).tolist())
    if path.suffix == ".csv":
        with path.open(newline="") as file:
            return [row for row in csv.reader(file) if row]
    found = json.loads(path.read_bytes())
    if isinstance(found, dict):
        found = found["instances"]
    return list(found)


def _columns(subject: Subject, rows: list[Any]) -> list[Array]:
    if rows and isinstance(rows[0], dict):
        rows = [[row[name] for name in subject.names] for row in rows]
    elif rows and subject.names and set(rows[0]) == set(subject.names):
        order = [rows[0].index(name) for name in subject.names]
        rows = [[row[index] for index in order] for row in rows[1:]]
    if not rows or any(len(row) != subject.width for row in rows):
        raise ValueError(f"{len(rows)} rows, not all of {subject.width} columns")
    texts = set(subject.text_columns)
    return [
        np.asarray([str(row[index]) for row in rows], dtype=object)
        if index in texts
        else np.asarray([_number(row[index]) for row in rows], dtype=np.float64)
        for index in range(subject.width)
    ]


def _number(value: Any) -> float:
    return float("nan") if value is None or value == "" else float(value)
