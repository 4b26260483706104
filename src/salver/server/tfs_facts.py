"""What TensorFlow Serving's protocol tells of models, for REST and gRPC alike: which one is meant
by a ModelSpec, and the state of its versions.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from salver.engine.directory import ModelDirectory
from salver.engine.ports import ModelCatalog, ModelStatus, ServedModel
from salver.errors import InvalidInput, ModelNotFound
from salver.protocol.tfs_signatures import version_number

STATES = {"LOADING": ("LOADING", 20), "READY": ("AVAILABLE", 30), "UNLOADING": ("UNLOADING", 40)}
"""Names and numbers of the states by the repository index's; all others have reached their end."""
END = ("END", 50)
OK = ("OK", 0)
FAILED = ("UNAVAILABLE", 14)
_UNLOADED = "unloaded"


class Spec(msgspec.Struct):
    """A ModelSpec: a model, and at most one of a version's number and a label."""

    name: str = ""
    version: int | None = None
    label: str = ""
    signature: str = ""


class VersionStatus(msgspec.Struct, frozen=True):
    """A version's number (0 if it has none), its state, and what went wrong with it."""

    version: int
    state: tuple[str, int]
    error: tuple[str, int] = OK
    message: str = ""


def find(directory: ModelDirectory, spec: Spec, catalog: ModelCatalog) -> ServedModel:
    """The model that a ModelSpec means, of those that the catalog shows.

    Raises `InvalidInput` for a spec without a name and for an unknown label, and `ModelNotFound`.
    """
    if not spec.name:
        raise InvalidInput("the request names no model: fill in model_spec.name")
    return catalog.find(spec.name, version_of(directory, spec, catalog))


def version_of(directory: ModelDirectory, spec: Spec, catalog: ModelCatalog) -> str:
    """The version asked for; empty if none is. Raises as `find` does."""
    if spec.label:
        versions = catalog.versions(spec.name)
        return directory.labels.version(spec.name, spec.label, versions)
    if spec.version is None:
        return ""
    wanted = str(spec.version)
    try:
        catalog.find(spec.name, wanted)
    except ModelNotFound:
        # A revision such as `iris-00002` is what clients with numbers know as 2.
        for version in catalog.versions(spec.name):
            if version_number(version) == spec.version:
                return version
        raise
    return wanted


def version_statuses(
    directory: ModelDirectory, spec: Spec, catalog: ModelCatalog
) -> list[VersionStatus]:
    """The versions of the model, or the one asked for. Raises as `find` does."""
    asked = find(directory, spec, catalog)
    if spec.label or spec.version is not None:
        return [version_status(asked.status)]
    return statuses_of(catalog, spec.name)


def statuses_of(catalog: ModelCatalog, name: str) -> list[VersionStatus]:
    """All versions of a model. Raises `ModelNotFound`."""
    versions: Sequence[str] = catalog.versions(name)
    return [version_status(catalog.find(name, version).status) for version in versions]


def version_status(status: ModelStatus) -> VersionStatus:
    """The same in TensorFlow Serving's terms."""
    number = version_number(status.version) or 0
    state = STATES.get(status.state)
    if state is not None:
        return VersionStatus(number, state)
    if not status.reason or status.reason == _UNLOADED:
        return VersionStatus(number, END)
    return VersionStatus(number, END, FAILED, status.reason)


def status_documents(statuses: Sequence[VersionStatus]) -> list[dict[str, object]]:
    """The statuses as JSON, which has 64-bit integers as strings."""
    return [
        {
            "version": str(each.version),
            "state": each.state[0],
            "status": {"error_code": each.error[0], "error_message": each.message},
        }
        for each in statuses
    ]
