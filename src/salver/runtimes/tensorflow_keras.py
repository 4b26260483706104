"""Keras models: `.keras` archives and HDF5 files, made SavedModels when they are loaded.

Owns the refusals before Keras reads anything: layers that carry code or load other files, classes
of modules that are not Keras's, files that grow beyond measure or point elsewhere.
"""

from __future__ import annotations

import inspect
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from salver.errors import LoadFailed

_REMEDY = "save it as a SavedModel with model.export(folder), and serve that"
_CODE = frozenset({"Lambda", "__lambda__"})
_LOADERS = frozenset({"TFSMLayer", "TorchModuleWrapper", "JaxLayer", "FlaxLayer"})
"""Layers that are read from other files, or run by another framework."""
_MOST_INFLATION = 8
_ALWAYS_ALLOWED_BYTES = 64 << 20
_MOST_CONFIG_BYTES = 64 << 20
_ZIP_HEAD = b"PK\x03\x04"
_HDF5_HEAD = b"\x89HDF\r\n\x1a\n"


def is_keras(path: Path) -> bool:
    """Whether the file begins as one of Keras's formats does."""
    with path.open("rb") as file:
        return file.read(8).startswith((_ZIP_HEAD, _HDF5_HEAD))


def exported(tf: Any, name: str, path: Path, folder: Path) -> str:
    """Writes the model to `folder` as a SavedModel; what it was saved by is returned.

    Raises `LoadFailed` for a file that would run code or is not what it seems, and whatever Keras
    raises for one that it cannot read.
    """
    import keras

    with path.open("rb") as file:
        is_archive = file.read(4) == _ZIP_HEAD
    if is_archive:
        _check_archive(path)
    else:
        _check_hdf5(path)
    model = keras.saving.load_model(str(path), compile=False, safe_mode=True)
    if not isinstance(model, keras.Model):
        raise LoadFailed(f"model '{name}': {path} holds a {type(model).__name__}, not a model")
    _export(model, str(folder))
    # The functions that were traced for it are of no more use.
    keras.backend.clear_session()
    return f"Keras {keras.__version__}"


def _export(model: Any, folder: str) -> None:
    """Keras 2 has but one format to export in, and is never silent."""
    known = inspect.signature(model.export).parameters
    more = {"format": "tf_saved_model", "verbose": False}
    model.export(folder, **{name: value for name, value in more.items() if name in known})


def check_config(config: Any) -> None:
    """Raises `LoadFailed` for a configuration that needs code beside Keras's own."""
    for part in _objects(config):
        kind = str(part.get("class_name", ""))
        label = str(_named(part) or kind)[:64]
        if kind in _CODE:
            raise LoadFailed(
                f"its layer '{label}' is a Lambda, which runs Python code out of the file; "
                f"write it as a layer of Keras's own, or {_REMEDY}"
            )
        if kind in _LOADERS:
            raise LoadFailed(f"its layer '{label}' is a {kind}, which loads more code; {_REMEDY}")
        module = str(part.get("module") or "keras")
        registered = str(part.get("registered_name") or "")
        is_own = module.split(".")[0] in ("keras", "builtins") and ">" not in registered
        if not is_own:
            what = registered or f"{module}.{kind}"
            raise LoadFailed(
                f"'{label}' is of the class {what[:128]}, which is not Keras's own: its code is "
                f"not in the file, and none is imported for it; {_REMEDY}"
            )


def _objects(config: Any) -> Iterator[dict[str, Any]]:
    """Every object in the configuration that names a class. Not recursive: it may be deep."""
    stack = [config]
    while stack:
        value = stack.pop()
        if isinstance(value, dict):
            if isinstance(value.get("class_name"), str):
                yield value
            stack += value.values()
        elif isinstance(value, list):
            stack += value


def _named(part: dict[str, Any]) -> Any:
    inner = part.get("config")
    return inner.get("name") if isinstance(inner, dict) else None


def _check_archive(path: Path) -> None:
    size = path.stat().st_size
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        inflated = sum(entry.file_size for entry in entries)
        if inflated > _MOST_INFLATION * size + _ALWAYS_ALLOWED_BYTES:
            raise LoadFailed(_bomb(path, size, inflated))
        if archive.getinfo("config.json").file_size > _MOST_CONFIG_BYTES:
            raise LoadFailed(f"{path}: its config.json is over 64 MiB, which no model's is")
        check_config(json.loads(archive.read("config.json")))
        with archive.open("model.weights.h5") as weights:
            _check_contents(path, weights, size)


def _check_hdf5(path: Path) -> None:
    import h5py

    with h5py.File(path, "r") as file:
        config = file.attrs.get("model_config")
    if config is None:
        raise LoadFailed(
            f"{path} holds weights without their model; load them into it and {_REMEDY}"
        )
    check_config(json.loads(config))
    _check_contents(path, path, path.stat().st_size)


def _check_contents(path: Path, content: Any, size: int) -> None:
    """Raises `LoadFailed` for datasets in other files, or larger than what is stored of them."""
    import h5py

    with h5py.File(content, "r") as file:
        total = sum(_bytes_of(h5py, path, file, name) for name in _names(h5py, path, file))
    if total > _MOST_INFLATION * size + _ALWAYS_ALLOWED_BYTES:
        raise LoadFailed(_bomb(path, size, total))


def _names(h5py: Any, path: Path, file: Any) -> list[str]:
    """All datasets, by their paths; links into other files are refused, not followed."""
    found: list[str] = []
    stack = [""]
    while stack:
        prefix = stack.pop()
        group = file[prefix] if prefix else file
        for name in group:
            link = group.get(name, getlink=True)
            if not isinstance(link, h5py.HardLink):
                raise LoadFailed(f"{path}: its entry {prefix}/{name} is a link; save it again")
            whole = f"{prefix}/{name}"
            if group.get(name, getclass=True) is h5py.Group:
                if whole.count("/") > 64:
                    raise LoadFailed(f"{path}: its groups are nested without end; save it again")
                stack.append(whole)
            else:
                found.append(whole)
    return found


def _bytes_of(h5py: Any, path: Path, file: Any, name: str) -> int:
    dataset = file[name]
    if not isinstance(dataset, h5py.Dataset):
        return 0
    if dataset.external or dataset.is_virtual:
        raise LoadFailed(f"{path}: the values of {name} are in another file; save it again")
    return int(dataset.nbytes)


def _bomb(path: Path, size: int, inflated: int) -> str:
    return (
        f"{path} has {size >> 10} KiB and would grow to {inflated >> 20} MiB: Keras's own files "
        "do not; save the model again"
    )
