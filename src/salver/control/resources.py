"""Declared resources as the control plane keeps them: what they are called, and the store's port.

Objects are JSON values in the shape of the Kubernetes API (`apiVersion`, `kind`, `metadata`,
`spec`, `status`). Nothing here knows what is in `spec`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, Protocol

import msgspec

JsonObject = dict[str, Any]


class ObjectRef(msgspec.Struct, frozen=True, order=True):
    """Which object: type by group and plural, namespace (empty if cluster-wide) and name."""

    group: str
    plural: str
    namespace: str
    name: str


class WatchEvent(msgspec.Struct, frozen=True):
    """A change: the object as it is after it (before it, for DELETED), and its version."""

    type: Literal["ADDED", "MODIFIED", "DELETED"]
    ref: ObjectRef
    object: JsonObject
    version: int


class ResourceStore(Protocol):
    """Keeps objects, their versions and recent changes. A write outlives the process when it
    returns; when it outlives the machine, an implementation says.

    The store sets `metadata.uid`, `creationTimestamp`, `resourceVersion` (one counter for the
    whole store, as decimal text) and `generation` (raised when anything but `metadata` and
    `status` changes). Returned objects are the caller's own copies.
    """

    def get(self, ref: ObjectRef) -> JsonObject:
        """Raises `ResourceNotFound`."""

    def list(self, group: str, plural: str, namespace: str = "") -> tuple[list[JsonObject], int]:
        """The objects of a type, of all namespaces if none is given, and the store's version."""

    def create(self, ref: ObjectRef, obj: JsonObject) -> JsonObject:
        """Raises `AlreadyExists`."""

    def update(self, ref: ObjectRef, obj: JsonObject) -> JsonObject:
        """Replaces all but `status`. Raises `ResourceNotFound`, or `Conflict` if
        `metadata.resourceVersion` is given and is not the present one."""

    def update_status(self, ref: ObjectRef, obj: JsonObject) -> JsonObject:
        """Replaces `status` alone; the rest of `obj` is ignored but for `resourceVersion`."""

    def delete(self, ref: ObjectRef) -> JsonObject:
        """Removes it, and those whose `ownerReferences` name its uid. Returns what it was.
        Raises `ResourceNotFound`."""

    def changes_since(
        self, version: int, group: str, plural: str, namespace: str = ""
    ) -> Sequence[WatchEvent]:
        """Raises `WatchExpired` if changes since then are no longer all kept."""

    def subscribe(self, listener: Callable[[WatchEvent], None]) -> Callable[[], None]:
        """Calls the listener after each committed change, in order; returns how to stop it."""

    def transaction(self) -> Any:
        """A context manager: the writes within are kept and become visible together, or not at
        all; listeners hear of them after it."""


class Admission(Protocol):
    """What is decided about an object before it is stored."""

    def admit(self, obj: JsonObject, old: JsonObject | None) -> tuple[JsonObject, Sequence[str]]:
        """The object to store (converted, defaulted) and warnings for the caller.

        Raises `ManifestError` with all problems of the object.
        """
