"""What a verdict on compiling holds for: this artifact, these libraries, this kind of machine.

Anything that might make an engine answer otherwise, or another one quicker, makes another key.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import platform
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path

from salver import __version__
from salver.runtimes.compiled.settings import CompileSettings
from salver.runtimes.ports import ModelSource

_LIBRARIES = (
    *("numpy", "scipy", "pandas", "scikit-learn", "xgboost", "xgboost-cpu", "lightgbm", "catboost"),
    *("treelite", "lignum", "onnxruntime", "skl2onnx", "onnxmltools", "onnx"),
)
_PIECE_BYTES = 4 << 20
_NO_KEY = ("compile", "compile_check", "compile_budget_s", "sample", "settings_file")
"""Parameters that are in the settings, or change no verdict."""


def verdict_key(source: ModelSource, settings: CompileSettings, pause: Callable[[], object]) -> str:
    """The key; reading a large artifact takes time, so it is read in pieces."""
    parameters = {name: value for name, value in source.parameters.items() if name not in _NO_KEY}
    facts = [
        *(source.runtime, source.attribute, source.threads, settings.mode, settings.budget_s),
        parameters,
        *_machine(),
    ]
    found = hashlib.sha256(json.dumps(facts, sort_keys=True, default=repr).encode())
    sample = settings.sample
    # One that is not there is refused by who reads its rows.
    samples = [sample] if sample is not None and sample.is_file() else []
    for path in (source.path, *samples):
        for piece in _pieces(path):
            found.update(piece)
            pause()
    return found.hexdigest()


def _pieces(path: Path) -> Iterator[bytes]:
    """Names, sizes and contents of all files."""
    files = sorted(each for each in path.rglob("*") if each.is_file()) if path.is_dir() else [path]
    for each in files:
        yield f"\0{each.relative_to(path)}\0{each.stat().st_size}\0".encode()
        with each.open("rb") as file:
            while piece := file.read(_PIECE_BYTES):
                yield piece


@lru_cache(maxsize=1)
def _machine() -> tuple[str, ...]:
    """What the process and its machine bring: our own code included."""
    cores = len(os.sched_getaffinity(0))
    versions = [f"{name} {_version(name)}" for name in _LIBRARIES]
    return (
        __version__,
        platform.python_version(),
        _own_code(),
        _processor(),
        str(cores),
        *versions,
    )


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _own_code() -> str:
    """The digest of this package's modules: a change of any may change what is found."""
    found = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        found.update(path.read_bytes())
    return found.hexdigest()


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    except OSError:
        return platform.processor()
    named = (line for line in lines if line.lower().startswith(("model name", "cpu part")))
    return next(named, platform.machine())
