"""Looks through TorchScript's code before PyTorch reads it: programs that touch files are refused.

Some of that code runs while it is loaded (`__setstate__`), so it is held against names alone, which
cannot be hidden: PyTorch's reader takes them with spaces between, under aliases, and from
`getattr`. What is loaded is looked at once more, operator by operator.
"""

from __future__ import annotations

import re
import zipfile
from pathlib import Path
from typing import Any

from salver.errors import LoadFailed

_MOST_CODE_BYTES = 256 << 20
_TOUCHING = ("save", "from_file", "read_file", "write_file")
_OPERATORS = ("aten::save", "aten::from_file", "image::read_file", "image::write_file")
_NAMES = re.compile(rb"\b(" + "|".join(_TOUCHING).encode() + rb")\b")
_GETATTR = re.compile(rb"\bgetattr\b(\()?")
_PLAIN_NAME = re.compile(rb'.*,\s*"[^"\\]*"\s*\Z', re.DOTALL)
_STRING_OR_BRACKET = re.compile(rb"\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*'|[()]", re.DOTALL)


def check_code(name: str, path: Path) -> None:
    """Raises `LoadFailed` for an archive of the model `name` whose code touches files.

    A file that is no zip archive holds no such code.
    """
    if not zipfile.is_zipfile(path):
        return
    read = 0
    with zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            # PyTorch finds entries whatever the case of their names.
            if not entry.filename.lower().endswith(".py"):
                continue
            read += entry.file_size
            if read > _MOST_CODE_BYTES:
                raise LoadFailed(
                    f"model '{name}': {path} holds {read >> 20} MiB of code and more, which no "
                    "model has; save it again"
                )
            call = file_call_in(archive.read(entry))
            if call:
                raise _refusal(name, path, call)


def check_operators(name: str, path: Path, module: Any) -> None:
    """The same of a module that has been loaded: by the operators that `forward` consists of."""
    try:
        graph = module.inlined_graph
    except RuntimeError:
        # What cannot be inlined has an interface's method, whose operators are in the code.
        return
    for operator in _OPERATORS:
        if graph.findAllNodes(operator, True):
            raise _refusal(name, path, operator.partition("::")[2])


def _refusal(name: str, path: Path, call: str) -> LoadFailed:
    return LoadFailed(
        f"model '{name}': the code in {path} calls {call}, which touches files of this machine; "
        "save the model without it"
    )


def file_call_in(code: bytes) -> str:
    """The name in the code that touches files, or by which one may be hidden; else empty."""
    found = _NAMES.search(code)
    if found:
        return found[1].decode()
    for each in _GETATTR.finditer(code):
        # As PyTorch writes it: of something, by a plain name.
        if not each[1] or not _PLAIN_NAME.match(_arguments(code, each.end())):
            return "getattr by a hidden name"
    return ""


def _arguments(code: bytes, start: int) -> bytes:
    """What stands in the bracket that has been opened before `start`."""
    depth = 1
    for each in _STRING_OR_BRACKET.finditer(code, start):
        depth += {b"(": 1, b")": -1}.get(each[0], 0)
        if not depth:
            return code[start : each.start()]
    return b""
