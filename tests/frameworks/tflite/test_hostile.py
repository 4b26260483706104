"""Hostile TFLite files: what LiteRT lacks is named, and what ends a process ends no other."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import flatbuffers
import pytest
from ai_edge_litert import schema_py_generated as schema
from tests.unit.runtimes.requests import load

from salver.errors import LoadFailed

CUSTOM = 32


def changed(zoo: Any, path: Path, change: Callable[[Any], None]) -> Path:
    """The model with its tables changed."""
    model = schema.ModelT.InitFromObj(
        schema.Model.GetRootAs((zoo.folder / "two.tflite").read_bytes(), 0)
    )
    change(model)
    builder = flatbuffers.Builder(1 << 16)
    builder.Finish(model.Pack(builder), b"TFL3")
    path.write_bytes(bytes(builder.Output()))
    return path


def custom(model: Any) -> None:
    operator = model.operatorCodes[0]
    operator.builtinCode = operator.deprecatedBuiltinCode = CUSTOM
    operator.customCode = "ShoutLoudly"


def newer(model: Any) -> None:
    model.operatorCodes[0].version = 999


def of_another_schema(model: Any) -> None:
    model.version = 9


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (custom, "ShoutLoudly"),
        (newer, "(?i)version.*999"),
        (of_another_schema, "(?i)version 9"),
    ],
)
def test_what_the_interpreter_lacks_is_named(
    zoo: Any, tmp_path: Path, change: Callable[[Any], None], message: str
) -> None:
    with pytest.raises(LoadFailed, match=message) as caught:
        load(changed(zoo, tmp_path / "x.tflite", change), "tflite")
    assert str(caught.value).isprintable()


def outlying(model: Any) -> None:
    model.subgraphs[0].operators[0].inputs = [99999]


def bufferless(model: Any) -> None:
    for tensor in model.subgraphs[0].tensors:
        tensor.buffer = 99999


TRIAL = """
import sys
from pathlib import Path
from salver.errors import LoadFailed
from tests.unit.runtimes.requests import load
try:
    load(Path(sys.argv[1]), "tflite")
except LoadFailed:
    sys.exit(3)
"""


@pytest.mark.parametrize("change", [outlying, bufferless])
def test_tables_that_lead_nowhere_are_refused(
    zoo: Any, tmp_path: Path, change: Callable[[Any], None]
) -> None:
    """By a reason, or by the end of the worker: LiteRT does not look at all of them."""
    path = changed(zoo, tmp_path / "x.tflite", change)
    root = Path(__file__).parents[3]
    command = [sys.executable, "-c", TRIAL, str(path)]
    done = subprocess.run(command, cwd=root, capture_output=True, timeout=60)
    assert done.returncode == 3 or done.returncode < 0
