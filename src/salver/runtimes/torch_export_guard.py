"""Whether a program of `torch.export` does nothing but calculate, told without loading it.

`torch.export.load` unpickles, evaluates expressions and generates code from what it finds
in the file. So before that: pickles must be such as hold tensors only, expressions plain
arithmetic, operators PyTorch's own, names names. Native code is refused.
"""

from __future__ import annotations

import ast
import io
import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from salver.errors import LoadFailed

_MOST_JSON_BYTES = 512 << 20
_TARGET = re.compile(
    r"torch\.ops(?:\.[A-Za-z_]\w*){2,3}\Z|_operator\.[A-Za-z_]+\Z|math\.[a-z]\w*\Z"
    r"|torch\.sym_[a-z_]+\Z|torch\._sym_[a-z_]+\Z|torch\.(?:sqrt|_check)\Z|#\w+(?:[:.]\w+)*\Z"
)
_RISKY_OPERATORS = re.compile(r"torch\.ops\.aten\.(?:save|load|from_file)\b")
_RISKY_PYTHON = frozenset({"_operator.attrgetter", "_operator.methodcaller", "_operator.call"})
_PLAIN = re.compile(r"[\w.:,/@#+ \-]*\Z")
_FREE_TEXT = frozenset({"metadata", "as_string", "as_strings", "guards_code"})
"""Fields that PyTorch keeps as text: no code is made of them (guards are not asked for)."""
_CALL_NAMES = """
Symbol Integer Float Rational Mod PythonMod Max Min Abs Pow Add Mul Eq Ne Ge Gt Le Lt And Or Not
floor ceiling sqrt Piecewise Where FloorDiv CleanDiv CeilDiv LShift RShift ModularIndexing
PowByNatural FloatPow FloatTrueDiv IntTrueDiv CeilToInt FloorToInt TruncToInt TruncToFloat
RoundToInt RoundDecimal ToFloat Identity IsNonOverlappingAndDenseIndicator
"""
_CALLS = frozenset(_CALL_NAMES.split())
"""Functions of sizes that PyTorch writes."""
_NODES = (
    ast.Expression,
    ast.BinOp,
    ast.UnaryOp,
    ast.BoolOp,
    ast.Compare,
    ast.Name,
    ast.Load,
    ast.Constant,
    ast.Call,
    ast.keyword,
    ast.Tuple,
    ast.operator,
    ast.unaryop,
    ast.boolop,
    ast.cmpop,
)
_TREE_TYPES = frozenset(
    {None, "builtins.tuple", "builtins.list", "builtins.dict", "collections.OrderedDict"}
    | {"collections.namedtuple"}
)


def check_export(torch: Any, name: str, path: Path) -> None:
    """Raises `LoadFailed` naming what the program holds beside a calculation."""
    with zipfile.ZipFile(path) as archive:
        for problem in _problems(torch, archive):
            raise LoadFailed(
                f"model '{name}': {path} is refused, as it {problem}; export the model again "
                "without it, and only trust files that you know the maker of"
            )


def _problems(torch: Any, archive: zipfile.ZipFile) -> Iterator[str]:
    for entry in archive.infolist():
        inner = entry.filename.partition("/")[2] or entry.filename
        if "aotinductor/" in inner or inner.endswith((".so", ".cubin", ".o", ".dll")):
            yield f"holds native code ({inner})"
        if inner.rsplit("/", 1)[-1].startswith(("custom_obj_", "opaque_obj_")):
            yield f"holds a pickled object of a class ({inner})"
        if inner.endswith(".pt") and not _holds_tensors_only(torch, archive.read(entry)):
            yield f"holds a pickle with more than tensors ({inner})"
        if inner.endswith(".json"):
            if entry.file_size > _MOST_JSON_BYTES:
                yield f"describes itself in {entry.file_size >> 20} MiB of JSON"
            yield from _problems_of_json(torch, archive, entry, inner)


def _problems_of_json(
    torch: Any, archive: zipfile.ZipFile, entry: zipfile.ZipInfo, inner: str
) -> Iterator[str]:
    document = json.loads(archive.read(entry))
    if inner.endswith(("_weights_config.json", "_constants_config.json")):
        yield from _problems_of_payloads(torch, archive, entry.filename, document)
    elif inner.startswith("models/") or inner == "serialized_exported_program.json":
        yield from problems_of_program(document)


def _problems_of_payloads(
    torch: Any, archive: zipfile.ZipFile, config: str, document: Any
) -> Iterator[str]:
    folder = config.rpartition("/")[0]
    for payload in document.get("config", {}).values():
        if payload.get("use_pickle"):
            data = archive.read(f"{folder}/{payload['path_name']}")
            if not _holds_tensors_only(torch, data):
                yield f"holds a pickle with more than tensors ({payload['path_name']})"


def _holds_tensors_only(torch: Any, data: bytes) -> bool:
    if not data:
        return True
    try:
        torch.load(io.BytesIO(data), weights_only=True, map_location="cpu")
    except Exception:
        # Whatever it is: PyTorch would try again and unpickle it in full.
        return False
    return True


def problems_of_program(document: Any) -> Iterator[str]:
    """What in a serialised program is more than names, numbers and arithmetic. Pure."""
    pending: list[tuple[str, Any]] = [("", document)]
    while pending:
        key, value = pending.pop()
        if isinstance(value, str):
            problem = _problem_of_text(key, value)
            if problem:
                yield problem
        elif isinstance(value, dict):
            for field, part in value.items():
                if field in _FREE_TEXT:
                    continue
                if not _PLAIN.match(field):
                    yield f"has the name {field[:60]!r}"
                pending.append((field, part))
        elif isinstance(value, list):
            pending.extend((key, part) for part in value)


def _problem_of_text(key: str, text: str) -> str:
    if key == "target":
        is_risky = _RISKY_OPERATORS.match(text) or text in _RISKY_PYTHON
        is_known = _TARGET.match(text) and not is_risky
        return "" if is_known else f"calls {text[:80]!r}, which is no operator of a calculation"
    if key == "expr_str":
        return "" if _is_arithmetic(text) else f"evaluates {text[:80]!r}"
    if key in ("in_spec", "out_spec", "treespec"):
        return _problem_of_tree(text)
    return "" if _PLAIN.match(text) else f"has {text[:60]!r} as {key or 'a value'}"


def _is_arithmetic(text: str) -> bool:
    """Numbers, symbols, operators and the functions of sizes that PyTorch writes."""
    if len(text) > 100_000:
        return False
    try:
        tree = ast.parse(text, mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    for node in ast.walk(tree):
        if not isinstance(node, _NODES):
            return False
        if isinstance(node, ast.Call) and not (
            isinstance(node.func, ast.Name) and node.func.id in _CALLS
        ):
            return False
        if isinstance(node, ast.Constant) and not re.fullmatch(r"[\w.+-]+", str(node.value)):
            return False
    return True


def _problem_of_tree(text: str) -> str:
    """A tree of containers may be made of plain ones only: others import their class."""
    try:
        pending = [json.loads(text)]
    except ValueError:
        return "describes its containers in no JSON"
    while pending:
        node = pending.pop()
        if isinstance(node, list):
            pending.extend(node)
        elif isinstance(node, dict):
            if node.get("type") not in _TREE_TYPES:
                return f"takes or gives a {node.get('type')!r}, not a plain container"
            pending.extend(node.get("children_spec", ()))
    return ""
