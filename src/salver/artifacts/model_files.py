"""What in a folder may be a model, by name: files with a model's suffix, and their names.

Opens nothing, and says nothing of formats: a text may be a model of LightGBM's, or a text.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from salver.errors import ArtifactError

MODEL_SUFFIXES = frozenset(
    {
        ".R",
        ".bst",
        ".cbm",
        ".h5",
        ".jar",
        ".joblib",
        ".json",
        ".keras",
        ".lgb",
        ".mar",
        ".model",
        ".onnx",
        ".pickle",
        ".pkl",
        ".pmml",
        ".pt",
        ".pt2",
        ".pth",
        ".py",
        ".safetensors",
        ".skops",
        ".tflite",
        ".txt",
        ".ubj",
        ".xml",
    }
)
"""What counts as a model inside a folder; a file named by the user may be called anything."""

AMBIGUOUS_SUFFIXES = frozenset({".txt", ".json", ".py", ".xml", ".jar", ".R"})
"""Such files lie beside models for other reasons too."""

_COMPRESSED = frozenset({".gz", ".z", ".bz2", ".xz", ".lzma"})
_NOT_MODELS = frozenset(
    {
        "model-settings.json",
        "settings.json",
        "config.json",
        "metadata.json",
        "requirements.txt",
        "readme.txt",
        "license.txt",
        "setup.py",
        "__init__.py",
        "conftest.py",
    }
)


def stem_of(path: Path) -> str:
    """The file's name without its suffix, and without a compression's: `iris.joblib.gz`."""
    name = Path(path.name)
    if name.suffix in _COMPRESSED:
        name = name.with_suffix("")
    return name.stem if name.suffix in MODEL_SUFFIXES or path.is_file() else name.name


def looks_like_a_model(path: Path) -> bool:
    """Whether it is a file with a model's suffix, and not called as what lies beside models."""
    if not path.is_file() or path.name.lower() in _NOT_MODELS:
        return False
    name = Path(path.name)
    if name.suffix in _COMPRESSED:
        name = name.with_suffix("")
    return name.suffix in MODEL_SUFFIXES


def entries_in(path: Path) -> Iterator[Path]:
    """What the folder holds, by name, hidden things left out. Raises `ArtifactError`."""
    try:
        found = sorted(path.iterdir())
    except OSError as error:
        raise ArtifactError(
            f"{path} cannot be read: {error.strerror}; check its permissions"
        ) from error
    return (entry for entry in found if not entry.name.startswith((".", "__pycache__")))


def contents_of(path: Path) -> str:
    """The first few names in the folder, for messages."""
    names = [entry.name for entry in entries_in(path)]
    if not names:
        return "it is empty"
    shown = ", ".join(names[:5])
    return f"it has {shown}" + (f" and {len(names) - 5} more" if len(names) > 5 else "")
