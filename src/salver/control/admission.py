"""What becomes of an object before it is stored: read, refused with all its problems, converted."""

from __future__ import annotations

from collections.abc import Sequence

from salver.control.resources import Admission, JsonObject, ObjectRef, ResourceStore
from salver.errors import ManifestError, ResourceNotFound
from salver.spec.kinds import resource_type
from salver.spec.read import parse_object

DEFAULT_NAMESPACE = "default"
LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
_KEPT = ("salver.dev/paused", "salver.dev/pinned")
"""Annotations that commands set beside the manifest."""
_SERVER_FIELDS = (
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "managedFields",
    "selfLink",
)


class SpecAdmission:
    """Implements `Admission` by what `spec/` knows."""

    def admit(self, obj: JsonObject, old: JsonObject | None) -> tuple[JsonObject, Sequence[str]]:
        parsed = parse_object(obj)
        if parsed.problems:
            raise ManifestError([str(problem) for problem in parsed.problems])
        return parsed.object, [str(note) for note in parsed.notes]


def apply_object(
    store: ResourceStore, admission: Admission, obj: JsonObject
) -> tuple[ObjectRef, str]:
    """Creates the object, or gives the one of its name this content.

    Returns what it is called and created, configured or unchanged. Raises `ManifestError`.
    """
    admitted, _ = admission.admit(obj, None)
    group, _, version = admitted["apiVersion"].rpartition("/")
    kind = resource_type(group, version, admitted["kind"])
    assert kind is not None, "admission knows the kind"
    metadata = dict(admitted["metadata"])
    namespace = (metadata.get("namespace") or DEFAULT_NAMESPACE) if kind.namespaced else ""
    if namespace:
        metadata["namespace"] = namespace
    admitted = {**admitted, "metadata": metadata}
    ref = ObjectRef(kind.group, kind.plural, namespace, metadata["name"])
    try:
        old = store.get(ref)
    except ResourceNotFound:
        store.create(ref, admitted)
        return ref, "created"
    applied = _annotations(admitted).get(LAST_APPLIED)
    if (applied and applied == _annotations(old).get(LAST_APPLIED)) or (
        _content(old) == _content(admitted)
    ):
        # The same file again, e.g. at a restart: what was changed since stays.
        return ref, "unchanged"
    kept = {key: _annotations(old)[key] for key in _KEPT if key in _annotations(old)}
    metadata["annotations"] = {**kept, **_annotations(admitted)}
    store.update(ref, admitted)
    return ref, "configured"


def _annotations(obj: JsonObject) -> dict[str, str]:
    found: dict[str, str] = obj["metadata"].get("annotations") or {}
    return found


def _content(obj: JsonObject) -> JsonObject:
    """The object without what the server sets."""
    metadata = {
        name: value
        for name, value in obj["metadata"].items()
        if name not in _SERVER_FIELDS and value
    }
    return {**{key: value for key, value in obj.items() if key != "status"}, "metadata": metadata}
