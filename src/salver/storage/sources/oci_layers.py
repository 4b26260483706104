"""Puts a model together from the layers of an image or the files of an ORAS artifact."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from salver.errors import StorageError
from salver.storage.transfer import Transfer
from salver.storage.tree import inner_path
from salver.storage.unpack import Limits, unpack

_MODELS = "models"
_TITLE = "org.opencontainers.image.title"
_UNPACK = "io.deis.oras.content.unpack"
_WHITEOUT = ".wh."
_OPAQUE = ".wh..wh..opq"


class Layer(msgspec.Struct, frozen=True):
    """One layer, as the manifest describes it."""

    digest: str
    media_type: str
    size_bytes: int
    annotations: Mapping[str, str]


def assembled(
    layers: Sequence[Layer], blobs: Path, work: Path, limits: Limits, transfer: Transfer
) -> Path:
    """The model's folder. Layers with a title are files, the others tars of an image.

    Raises `StorageError` if an image has no `/models`.
    """
    folder = work / "assembled"
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir()
    is_image = not any(layer.annotations.get(_TITLE) for layer in layers)
    for number, layer in enumerate(layers):
        transfer.check()
        blob = blobs / layer.digest.partition(":")[2]
        if is_image:
            _apply(blob, layer, folder, work / f"layer-{number}", limits, transfer)
        elif layer.annotations.get(_TITLE):
            _add_file(blob, layer, folder, work / f"layer-{number}", limits, transfer)
    if not any(folder.iterdir()):
        raise StorageError(
            f"{transfer.uri}: the image has no /{_MODELS} folder with files; put the model there"
        )
    return folder


def _apply(
    blob: Path, layer: Layer, folder: Path, scratch: Path, limits: Limits, transfer: Transfer
) -> None:
    """Lays one layer over those below: its files win, its whiteouts remove."""
    _refuse_zstd(layer, transfer)
    if scratch.exists():
        shutil.rmtree(scratch)
    unpack(blob, ".tar", scratch, limits, transfer, only=_MODELS)
    source = scratch / _MODELS
    if (scratch / (_WHITEOUT + _MODELS)).exists():
        _clear(folder)
    if source.is_dir() and not source.is_symlink():
        _lay_over(source, folder)
    shutil.rmtree(scratch)


def _lay_over(source: Path, target: Path) -> None:
    if (source / _OPAQUE).exists():
        _clear(target)
    for each in sorted(source.iterdir()):
        if each.name == _OPAQUE:
            continue
        if each.name.startswith(_WHITEOUT):
            _remove(target / each.name.removeprefix(_WHITEOUT))
            continue
        place = target / each.name
        if each.is_dir() and not each.is_symlink():
            if place.is_symlink() or (place.exists() and not place.is_dir()):
                place.unlink()
            place.mkdir(exist_ok=True)
            _lay_over(each, place)
        else:
            _remove(place)
            each.rename(place)


def _add_file(
    blob: Path, layer: Layer, folder: Path, scratch: Path, limits: Limits, transfer: Transfer
) -> None:
    name = inner_path(layer.annotations[_TITLE], transfer.uri)
    place = folder / name
    place.parent.mkdir(parents=True, exist_ok=True)
    if layer.annotations.get(_UNPACK) != "true":
        shutil.copyfile(blob, place)
        return
    if scratch.exists():
        shutil.rmtree(scratch)
    unpack(blob, ".tar", scratch, limits, transfer)
    inner = scratch / name
    place.mkdir(parents=True, exist_ok=True)
    _lay_over(inner if inner.is_dir() else scratch, place)
    shutil.rmtree(scratch)


def _refuse_zstd(layer: Layer, transfer: Transfer) -> None:
    if layer.media_type.endswith("zstd"):
        raise StorageError(
            f"{transfer.uri}: a layer is compressed with zstd, which is not read; push it with gzip"
        )


def _clear(folder: Path) -> None:
    for each in folder.iterdir():
        _remove(each)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
