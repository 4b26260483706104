"""Tells from a file's content which runtime can load it, without importing any framework.

Owns the signatures of the formats. A pickle is read opcode by opcode (`pickles.py`), a
Python file as a syntax tree; neither is run. The file's suffix is never trusted, since a
`.bst` may be XGBoost or LightGBM; it only words the error.
"""

from __future__ import annotations

import ast
import json
import zipfile
from pathlib import Path

from salver.artifacts.folders import recognise_folder
from salver.artifacts.formats import recognise_network
from salver.artifacts.graph_modules import graphs_in
from salver.artifacts.pickles import PickleContents, pickle_contents
from salver.artifacts.programs import recognise_program
from salver.artifacts.python_files import syntax_tree
from salver.artifacts.recognised import Recognised
from salver.artifacts.recorded import xgboost_binary_version
from salver.artifacts.torch_files import torch_format
from salver.artifacts.zip_files import UNREADABLE_ZIP
from salver.errors import UnrecognisedArtifact

_HEAD_BYTES = 64 << 10
_MOST_SCHEMA_BYTES = 8 << 20
_PRELOADED = frozenset(
    {
        "joblib",
        "lightgbm",
        "numpy",
        "onnxruntime",
        "pandas",
        "scipy",
        "skops",
        "sklearn",
        "xgboost",
    }
)


def recognise(path: Path, attribute: str = "") -> Recognised:
    """The runtime for the file or folder at `path`; `attribute` is a class named by the caller.

    Raises `UnrecognisedArtifact` saying what was seen, also for files that cannot be read.
    """
    if path.is_dir():
        return _recognise_folder(path)
    _check_regular(path)
    if path.suffix == ".py" or (attribute and not torch_format(path)):
        return _recognise_python(path, attribute)
    program = recognise_program(path)
    if program is not None:
        return program
    head = _head_of(path)
    found = (
        _recognise_skops(path, head)
        or _recognise_lightgbm(head)
        or _recognise_xgboost(path, head)
        or recognise_network(path, head)
        or _recognise_pickle(path, head)
        or _recognise_onnx(head)
    )
    if found is None:
        raise UnrecognisedArtifact(
            f"{path} is no model that Salver knows: it {_described(path, head)}"
        )
    return found


def _check_regular(path: Path) -> None:
    """A pipe would be waited for without end, and a device may have none."""
    if path.exists() and not path.is_file():
        raise UnrecognisedArtifact(
            f"{path} is no regular file but a pipe, socket or device; copy the model into a file"
        )


def _recognise_folder(path: Path) -> Recognised:
    found = recognise_folder(path)
    if found is None:
        raise UnrecognisedArtifact(
            f"{path} is a folder of no kind that Salver knows; name the model file in it, or its "
            "runtime with --runtime"
        )
    return found


def _head_of(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_HEAD_BYTES)
    except OSError as error:
        raise UnrecognisedArtifact(
            f"{path} cannot be read: {error.strerror or error}; check the path and its permissions"
        ) from error


def _described(path: Path, head: bytes) -> str:
    """What was seen, and what to do about it."""
    if not head:
        return "is empty; save or copy the model again"
    if head.startswith(b"version https://git-lfs"):
        return "is a Git LFS pointer, not the model itself; run `git lfs pull`"
    if head.startswith(b"PK\x03\x04") and not zipfile.is_zipfile(path):
        return "is a zip archive that is cut short; save or copy the model again"
    return f"{_seen(head)}; name its runtime with --runtime (sklearn, xgboost, onnx, torch, ...)"


def _seen(head: bytes) -> str:
    if head.startswith(b"PK\x03\x04"):
        return "is a zip archive of no known kind (skops, Keras, PyTorch), or damaged"
    text = head[:24]
    if all(32 <= byte < 127 or byte in b"\t\r\n" for byte in text):
        return f"is text that begins with {text.decode()!r}"
    return f"begins with the bytes {head[:8].hex(' ')}"


# --- scikit-learn ------------------------------------------------------------------------


def _recognise_skops(path: Path, head: bytes) -> Recognised | None:
    if not head.startswith(b"PK\x03\x04"):
        return None
    try:
        with zipfile.ZipFile(path) as archive:
            if "schema.json" not in archive.namelist():
                return None
            with archive.open("schema.json") as file:
                text = file.read(_MOST_SCHEMA_BYTES + 1)
        # A larger one is not looked into here, where others' requests wait meanwhile.
        schema = json.loads(text) if len(text) <= _MOST_SCHEMA_BYTES else {}
    except UNREADABLE_ZIP:
        return None
    if not isinstance(schema, dict):
        return None
    root = f"{schema.get('__module__', '')}.{schema.get('__class__', '')}"
    preload = ("skops.io", *_modules_in_schema(schema))
    return Recognised("sklearn", f"skops file of {root}", tuple(dict.fromkeys(preload)))


def _modules_in_schema(node: object) -> list[str]:
    found: list[str] = []
    pending = [node]
    while pending:
        current = pending.pop()
        if isinstance(current, dict):
            module = current.get("__module__")
            if isinstance(module, str) and module.split(".")[0] in ("sklearn", "scipy"):
                found.append(module)
            pending.extend(current.values())
        elif isinstance(current, list):
            pending.extend(current)
    return found


def _recognise_pickle(path: Path, head: bytes) -> Recognised | None:
    contents = pickle_contents(path, head)
    if contents is None:
        return None
    if not contents.globals:
        raise _not_a_model(path, "a pickle of plain Python values")
    return _runtime_of_pickle(path, contents)


def _runtime_of_pickle(path: Path, contents: PickleContents) -> Recognised:
    # Protocols 0 and 1 wrap every object in copyreg's helper.
    own = [each for each in contents.globals if each[0] not in ("copy_reg", "copyreg")]
    module, name = (own or contents.globals)[0]
    packages = {each.split(".")[0] for each in contents.modules}
    preload = tuple(each for each in contents.modules if _is_worth_preloading(each))
    detail = f"pickle of {module}.{name}"
    if name == "Booster" and module.split(".")[0] in ("xgboost", "lightgbm"):
        return Recognised(module.split(".")[0], detail, preload)
    if module.split(".")[0] in ("sklearn", "xgboost", "lightgbm"):
        return Recognised("sklearn", detail, preload)
    if module == "__main__":
        raise UnrecognisedArtifact(
            f"{path} is a pickle of {name} from the script that saved it (__main__), which no "
            "other process can load; move the class into a module, or serve it as my_model.py:Class"
        )
    if packages & {"sklearn", "xgboost", "lightgbm"} and module.split(".")[0] != "numpy":
        return Recognised("sklearn", detail, preload)
    raise _not_a_model(path, f"a {detail}")


def _not_a_model(path: Path, what: str) -> UnrecognisedArtifact:
    return UnrecognisedArtifact(
        f"{path} is {what}, not a model of a known framework; if it has a scikit-learn style "
        "predict, name its runtime with --runtime sklearn"
    )


def _is_worth_preloading(module: str) -> bool:
    """Only packages known to survive a fork, and to be the same in every process."""
    return module.split(".")[0] in _PRELOADED


# --- boosters ----------------------------------------------------------------------------


def _recognise_lightgbm(head: bytes) -> Recognised | None:
    if head.replace(b"\r\n", b"\n").startswith(b"tree\nversion="):
        return Recognised("lightgbm", "LightGBM text model", ("lightgbm",))
    return None


def _recognise_xgboost(path: Path, head: bytes) -> Recognised | None:
    """JSON and UBJSON begin with the key `learner` (or, rarely, `version`).

    The old binary format is a model too: an older XGBoost in an environment of its own reads it.
    """
    if xgboost_binary_version(head) is not None:
        return Recognised("xgboost", "XGBoost model in the old binary format", ("xgboost",))
    if head.startswith((b"binf", b"bs64")):
        raise UnrecognisedArtifact(
            f"{path} begins as an XGBoost model in an old format, but goes on as none; save it "
            "again as .ubj or .json"
        )
    if head.startswith(b"{L") and b"learner{" in head[:4096]:
        return Recognised("xgboost", "XGBoost UBJSON model", ("xgboost",))
    if head.lstrip().startswith(b"{") and _has_learner(path, head):
        return Recognised("xgboost", "XGBoost JSON model", ("xgboost",))
    return None


def _has_learner(path: Path, head: bytes) -> bool:
    if b'"learner"' in head:
        return True
    if len(head) < _HEAD_BYTES:
        return False
    with path.open("rb") as file:
        file.seek(-_HEAD_BYTES, 2)
        return b'"learner"' in file.read()


# --- ONNX --------------------------------------------------------------------------------

_ONNX_STRING_FIELDS = {2, 3, 4, 6}
_ONNX_FIELDS = {1: 0, 2: 2, 3: 2, 4: 2, 5: 0, 6: 2, 7: 2, 8: 2, 14: 2, 20: 2, 25: 2, 26: 2}
"""ModelProto's field numbers and wire types."""


def _recognise_onnx(head: bytes) -> Recognised | None:
    """Walks ModelProto's top-level fields up to the graph, which must be there."""
    offset = 0
    seen: set[int] = set()
    while offset < len(head):
        tag, offset = _varint(head, offset)
        field, wire_type = tag >> 3, tag & 7
        if _ONNX_FIELDS.get(field) != wire_type:
            return None
        seen.add(field)
        value, offset = _varint(head, offset)
        if value < 0:
            return None
        if field == 1 and not 1 <= value <= 1000:
            return None
        if wire_type == 2:
            offset += value
    if {1, 7} <= seen:
        return Recognised("onnx", "ONNX model", ("onnxruntime",))
    return None


def _varint(data: bytes, offset: int) -> tuple[int, int]:
    """The number at `offset`, -1 if there is none, and where the next field begins."""
    value = 0
    for shift in range(0, 70, 7):
        if offset >= len(data):
            return -1, offset
        byte = data[offset]
        offset += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, offset
    return -1, offset


# --- Python classes ----------------------------------------------------------------------


def _recognise_python(path: Path, attribute: str) -> Recognised:
    tree = _parsed(path)
    classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
    preload = _imports_of(tree)
    if attribute:
        if attribute not in _top_level_names(tree):
            raise UnrecognisedArtifact(
                f"{path} has no class {attribute}; it has {_listed(list(classes))}"
            )
        return Recognised("python", f"class {attribute}", preload, attribute)
    suitable = [name for name, node in classes.items() if _has_predict(node)]
    if len(suitable) == 1:
        return Recognised("python", f"class {suitable[0]}", preload, suitable[0])
    if not suitable and (graphs := graphs_in(tree)):
        raise UnrecognisedArtifact(
            f"{path} declares the graph {graphs[0]} and no model: serve the file itself, as "
            f"salver serve {path.name}"
        )
    if not suitable:
        raise UnrecognisedArtifact(
            f"{path} has no class with a predict method; add one, or name it: {path.name}:Class"
        )
    raise UnrecognisedArtifact(
        f"{path} has several classes with a predict method ({_listed(suitable)}); "
        f"name one: {path.name}:{suitable[0]}"
    )


def _parsed(path: Path) -> ast.Module:
    try:
        return syntax_tree(path)
    except OSError as error:
        raise UnrecognisedArtifact(
            f"{path} cannot be read: {error.strerror or error}; check the path and its permissions"
        ) from error
    except ValueError as error:
        raise UnrecognisedArtifact(f"{path} {error}; correct it and serve again") from error


def _has_predict(node: ast.ClassDef) -> bool:
    return any(
        isinstance(member, ast.FunctionDef | ast.AsyncFunctionDef) and member.name == "predict"
        for member in node.body
    )


def _top_level_names(tree: ast.Module) -> set[str]:
    names: set[str] = set()
    for node in tree.body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names.update((alias.asname or alias.name).split(".")[0] for alias in node.names)
        elif isinstance(node, ast.Assign):
            names.update(target.id for target in node.targets if isinstance(target, ast.Name))
    return names


def _imports_of(tree: ast.Module) -> tuple[str, ...]:
    """Absolute imports at the top of the file: what a fork server can import for it."""
    modules: list[str] = []
    for node in tree.body:
        if isinstance(node, ast.Import):
            modules.extend(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            modules.append(node.module)
    return tuple(each for each in dict.fromkeys(modules) if _is_worth_preloading(each))


def _listed(names: list[str]) -> str:
    return ", ".join(names) if names else "no class"
