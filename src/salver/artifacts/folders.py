"""Tells which folders are models as a whole, by the names and heads of the files in them.

Owns the signatures of such folders: MLflow's, TensorFlow's SavedModel, Triton's, an unpacked
TorchServe archive, Hugging Face's. Opens small text files alone and executes nothing.
"""

from __future__ import annotations

import json
from pathlib import Path

from salver.artifacts.programs import PROGRAM_FILE
from salver.artifacts.recognised import Recognised

_MAX_CONFIG_BYTES = 4 << 20
_WEIGHTS = (".safetensors", ".bin", ".onnx")


def recognise_folder(path: Path) -> Recognised | None:
    """What the folder is as a whole; None if it is none of these, but may hold models."""
    if _has(path, "MLmodel"):
        return Recognised("mlflow", "MLflow model")
    if _has(path, PROGRAM_FILE):
        return Recognised("program", "program")
    if _has(path, "config.pbtxt"):
        return Recognised("triton", "model of a Triton repository")
    if _has(path, "saved_model.pb") or _has(path, "saved_model.pbtxt"):
        return Recognised("tensorflow", "TensorFlow SavedModel")
    if _has(path, "MAR-INF/MANIFEST.json"):
        return Recognised("torch", "unpacked TorchServe archive")
    if _has(path, "modules.json") and _has(path, "config_sentence_transformers.json"):
        return Recognised("huggingface", "sentence-transformers model")
    if _is_hugging_face(path):
        return Recognised("huggingface", "Hugging Face model")
    return None


def _has(path: Path, name: str) -> bool:
    return (path / name).is_file()


def _is_hugging_face(path: Path) -> bool:
    """A `config.json` that names an architecture, and weights beside it."""
    config = path / "config.json"
    if not config.is_file() or not _has_weights(path):
        return False
    try:
        with config.open("rb") as file:
            content = json.loads(file.read(_MAX_CONFIG_BYTES))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(content, dict) and ("model_type" in content or "architectures" in content)


def _has_weights(path: Path) -> bool:
    try:
        return any(entry.suffix in _WEIGHTS for entry in path.iterdir())
    except OSError:
        return False
