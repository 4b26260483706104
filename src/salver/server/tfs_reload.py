"""TensorFlow Serving's declarative list of models, carried out through the repository's port.

What is listed is loaded, what is not is unloaded, and labels move. Nothing is unloaded and no label
moves unless all that is listed could be loaded, and every label means a version that is ready.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from salver.engine.directory import ModelDirectory
from salver.errors import InvalidInput, ModelNotFound, ModelNotReady, Unsupported
from salver.protocol.tfs_signatures import version_number

_READY = "READY"
_LOADED = (_READY, "LOADING")


class DeclaredModel(msgspec.Struct):
    """One model of the list; `versions` are those that must be there, none: whichever are."""

    name: str = ""
    versions: tuple[int, ...] = ()
    labels: Mapping[str, int] = {}


async def reload(directory: ModelDirectory, models: Sequence[DeclaredModel]) -> None:
    """Makes the models of the list the ones that are loaded.

    Raises `InvalidInput` for a list that cannot be meant, `ModelNotFound`, `LoadFailed`, and
    `ModelNotReady` for a label of a version that is not loaded.
    """
    _check(models)
    for model in models:
        directory.versions(model.name)
    for model in models:
        if not _is_there(directory, model):
            await directory.load(model.name)
    labels = {model.name: _labelled(directory, model) for model in models}
    for name, found in labels.items():
        directory.labels.assign(name, found)
    listed = set(labels)
    for name in _loaded(directory) - listed:
        await _unload(directory, name)


def _check(models: Sequence[DeclaredModel]) -> None:
    seen: set[str] = set()
    for model in models:
        if not model.name:
            raise InvalidInput("the list has a model without a name: fill in 'name' of each config")
        if model.name in seen:
            raise InvalidInput(f"the list has model '{model.name}' twice: list each once")
        seen.add(model.name)


def _is_there(directory: ModelDirectory, model: DeclaredModel) -> bool:
    states = {
        version_number(version): directory.find(model.name, version).is_ready
        for version in directory.versions(model.name)
    }
    wanted = {*model.versions, *model.labels.values()}
    return all(states.values()) and wanted <= states.keys()


def _labelled(directory: ModelDirectory, model: DeclaredModel) -> dict[str, str]:
    """The labels with their versions. Raises `ModelNotFound` and `ModelNotReady`."""
    versions = {version_number(each): each for each in directory.versions(model.name)}
    for number in model.versions:
        if number not in versions:
            raise _no_version(model.name, number, versions)
    found = {}
    for label, number in model.labels.items():
        if number not in versions:
            raise _no_version(model.name, number, versions)
        status = directory.find(model.name, versions[number]).status
        if status.state != _READY:
            raise ModelNotReady(
                f"label '{label}' of model '{model.name}' cannot move to version {number}, which "
                f"is {status.state}: wait until it is loaded"
            )
        found[label] = versions[number]
    return found


def _no_version(name: str, number: int, versions: Mapping[int | None, str]) -> ModelNotFound:
    known = ", ".join(versions.values())
    return ModelNotFound(f"model '{name}' has no version {number}: it has {known[:400]}")


def _loaded(directory: ModelDirectory) -> set[str]:
    return {status.name for status in directory.statuses() if status.state in _LOADED}


async def _unload(directory: ModelDirectory, name: str) -> None:
    try:
        await directory.unload(name)
    except Unsupported:
        # Declared by a manifest: it is that which says whether it is served.
        return
    directory.labels.assign(name, {})
