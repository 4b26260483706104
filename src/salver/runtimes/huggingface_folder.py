"""A Hugging Face folder before it is loaded: its configuration, its weights, its pooling.

Reads small JSON files alone. Refuses weights that only a pickle reader could open, unless that
is allowed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from salver.errors import LoadFailed

_MOST_JSON_BYTES = 16 << 20
_PICKLES = ("pytorch_model*.bin", "*.pt", "*.pth", "*.ckpt", "*.h5", "*.msgpack")


class ModelFolder(msgspec.Struct, frozen=True):
    """`path` holds the transformer; `pooling` and `normalize` are what modules around it say."""

    path: Path
    config: dict[str, Any]
    pooling: str
    normalize: bool

    @property
    def architectures(self) -> tuple[str, ...]:
        listed = self.config.get("architectures")
        return tuple(map(str, listed)) if isinstance(listed, list) else ()

    @property
    def has_modules(self) -> bool:
        """It was saved by sentence-transformers."""
        return bool(self.pooling)


def model_folder(name: str, path: Path) -> ModelFolder:
    """Raises `LoadFailed` for a folder that is no model's."""
    path = path if path.is_dir() else path.parent
    pooling, normalize = "", False
    inner = path
    for module in _json(name, path / "modules.json", default=[]):
        if not isinstance(module, dict):
            raise LoadFailed(f"model '{name}': modules.json lists no modules; save the model again")
        kind = str(module.get("type", "")).rpartition(".")[2]
        where = path / str(module.get("path", ""))
        if not where.resolve().is_relative_to(path.resolve()):
            raise LoadFailed(f"model '{name}': modules.json names a folder outside of {path}")
        if kind == "Transformer":
            inner = where
        elif kind == "Pooling":
            pooling = _pooling(name, _json(name, where / "config.json", default={}))
        elif kind == "Normalize":
            normalize = True
        else:
            raise LoadFailed(
                f"model '{name}': modules.json has a {kind}, which the huggingface runtime does "
                "not know (it knows Transformer, Pooling, Normalize)"
            )
    return ModelFolder(inner, _json(name, inner / "config.json"), pooling, normalize)


def check_weights(name: str, folder: Path, *, allow_pickled: bool) -> bool:
    """Whether safetensors are to be read.

    Raises `LoadFailed` if only other weights are there, or if weights are to come from elsewhere.
    """
    _check_adapter(name, folder)
    if any(folder.glob("*.safetensors")):
        for index in sorted(folder.glob("*.safetensors.index.json")):
            _check_index(name, index)
        return True
    other = next((each for pattern in _PICKLES for each in sorted(folder.glob(pattern))), None)
    if other is None:
        raise LoadFailed(f"model '{name}': {folder} holds no weights; add model.safetensors")
    if not allow_pickled:
        raise LoadFailed(
            f"model '{name}': {other.name} may run code when it is read; save the model as "
            "safetensors, or, if you trust it, set allow_pickled_weights"
        )
    return False


def _check_adapter(name: str, folder: Path) -> None:
    """An adapter's base model may be anywhere, and where peft is missing it would go unnoticed."""
    if (folder / "adapter_config.json").is_file():
        raise LoadFailed(
            f"model '{name}': {folder} holds an adapter (adapter_config.json), which changes a "
            "model that lies elsewhere; merge both (peft's merge_and_unload) and save the result"
        )


def _check_index(name: str, index: Path) -> None:
    """Raises `LoadFailed` for an index that names other files than safetensors beside it."""
    files = _json(name, index).get("weight_map")
    if not isinstance(files, dict):
        raise LoadFailed(f"model '{name}': {index} lacks weight_map; save the model again")
    for each in dict.fromkeys(map(str, files.values())):
        if not each.endswith(".safetensors") or Path(each).name != each:
            raise LoadFailed(
                f"model '{name}': {index.name} names '{each[:200]}' for weights, which is no "
                "safetensors file of its folder; save the model again"
            )
        if not (index.parent / each).is_file():
            raise LoadFailed(
                f"model '{name}': {index.name} names {each}, which is not in {index.parent}; copy "
                "the whole folder"
            )


def _pooling(name: str, config: Mapping[str, Any]) -> str:
    modes = {"pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "cls"}
    wanted = [key for key, value in config.items() if key.startswith("pooling_mode_") and value]
    if len(wanted) != 1 or wanted[0] not in modes:
        raise LoadFailed(
            f"model '{name}': its pooling is {', '.join(wanted) or 'none'}; the huggingface "
            "runtime knows mean and cls"
        )
    return modes[wanted[0]]


def _json(name: str, path: Path, default: Any = None) -> Any:
    if not path.is_file() and default is not None:
        return default
    try:
        with path.open("rb") as file:
            found = json.loads(file.read(_MOST_JSON_BYTES))
    except (OSError, ValueError, RecursionError) as error:
        raise LoadFailed(
            f"model '{name}': {path} cannot be read: {error}; save the model again"
        ) from error
    kind = type(default) if default is not None else dict
    if not isinstance(found, kind):
        raise LoadFailed(f"model '{name}': {path} is no JSON {kind.__name__}; save the model again")
    return found
