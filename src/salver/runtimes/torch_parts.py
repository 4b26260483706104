"""Which files make up a PyTorch model: its weights, and the Python file of its class.

Owns what is looked for beside what. Reads no content but the directory of a zip.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from salver.errors import LoadFailed
from salver.inference.torch_archives import TorchFormat, torch_format
from salver.runtimes.ports import ModelSource
from salver.runtimes.torch_settings import TorchSettings

_SUFFIXES = (".pt2", ".mar", ".pt", ".pth", ".safetensors", ".bin", ".ckpt")
_NOT_CODE = frozenset({"setup.py", "conftest.py", "__init__.py"})


class Parts(msgspec.Struct, frozen=True):
    """The weights with their format, and the code, where there is some."""

    weights: Path
    format: TorchFormat
    code: Path | None = None


def parts_of(source: ModelSource, settings: TorchSettings) -> Parts:
    """Raises `LoadFailed` saying what is missing, or what there is too much of."""
    path = source.path
    if path.is_dir() and torch_format(path) != "mar":
        path = _weights_in(source, path, settings)
    elif path.suffix == ".py":
        return _beside_code(source, path, settings)
    found = torch_format(path)
    if not found:
        raise LoadFailed(
            f"model '{source.name}': {path} is {_seen(path)}, no TorchScript, exported program, "
            "state dict or .mar; save it again with PyTorch"
        )
    code = _code_beside(source, path, settings) if found == "state_dict" else None
    return Parts(path, found, code)


def _seen(path: Path) -> str:
    if path.is_dir():
        return "a folder without MAR-INF/MANIFEST.json"
    with path.open("rb") as file:
        head = file.read(4)
    if not head:
        return "empty"
    if head == b"PK\x03\x04":
        return "a zip archive, cut short or of something else"
    if head[:1] == b"\x80":
        return "a pickle, not written by torch.save"
    return f"a file that begins with the bytes {head.hex(' ')}"


def _beside_code(source: ModelSource, code: Path, settings: TorchSettings) -> Parts:
    """`model.py:Class` was named: its weights lie beside it."""
    weights = _weights_in(source, code.parent, settings)
    return Parts(weights, torch_format(weights) or "state_dict", code)


def _weights_in(source: ModelSource, folder: Path, settings: TorchSettings) -> Path:
    if settings.weights:
        return _named(source, folder, settings.weights)
    files = sorted(each for each in folder.iterdir() if each.suffix in _SUFFIXES)
    if len(files) == 1:
        return files[0]
    named = [each for each in files if each.stem == source.path.stem]
    if len(named) == 1:
        return named[0]
    raise LoadFailed(
        f"model '{source.name}': {folder} holds {_listed(files) or 'nothing'} for weights; put one "
        f"file ({' '.join(_SUFFIXES)}) there, or name it with the argument weights"
    )


def _code_beside(source: ModelSource, weights: Path, settings: TorchSettings) -> Path:
    if settings.code:
        return _named(source, weights.parent, settings.code)
    files = sorted(each for each in weights.parent.glob("*.py") if each.name not in _NOT_CODE)
    for wanted in ("model.py", f"{weights.stem}.py"):
        named = [each for each in files if each.name == wanted]
        if named:
            return named[0]
    if len(files) == 1:
        return files[0]
    raise LoadFailed(
        f"model '{source.name}': {weights} holds weights without their code, and beside it lies "
        f"{_listed(files) or 'no Python file'}; put the class there as "
        "model.py, or save TorchScript or torch.export"
    )


def _named(source: ModelSource, folder: Path, name: str) -> Path:
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()) or not path.is_file():
        raise LoadFailed(f"model '{source.name}': {folder} has no file {name}; correct its name")
    return path


def _listed(files: Sequence[Path]) -> str:
    return ", ".join(each.name for each in files)
