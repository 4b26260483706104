"""What becomes of an object before it is stored: read, refused with all its problems, converted."""

from __future__ import annotations

import base64
from collections.abc import Sequence

from salver.control.resources import Admission, JsonObject, ObjectRef, ResourceStore
from salver.errors import ResourceNotFound
from salver.spec.conversion import changed_through, is_former
from salver.spec.kinds import resource_type
from salver.spec.problems import Problem, manifest_error, path_text, quoted
from salver.spec.read import parse_object

DEFAULT_NAMESPACE = "default"
LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
_KEPT = ("salver.dev/paused", "salver.dev/pinned")
"""Annotations that commands set beside the manifest."""
_CACHES = ("LocalModelCache", "LocalModelNamespaceCache")
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
            raise manifest_error(parsed.problems)
        admitted = parsed.object
        if old is not None and is_former(obj["apiVersion"]):
            changed = parse_object(changed_through(old, obj))
            if changed.problems:
                raise manifest_error(changed.problems)
            admitted = changed.object
        if old is not None:
            refuse_changes(old, admitted)
        if admitted["kind"] == "Secret":
            admitted = with_string_data(admitted)
        return admitted, [str(note) for note in parsed.notes]


def refuse_changes(old: JsonObject, new: JsonObject) -> None:
    """Raises `ManifestError` if a field has changed that cannot."""
    path = ("spec", "sourceModelUri")
    if new["kind"] not in _CACHES or old["spec"][path[1]] == new["spec"][path[1]]:
        return
    message = (
        f"cannot be changed; it is {quoted(old['spec'][path[1]])}: make another {new['kind']} for "
        f"{quoted(new['spec'][path[1]])}"
    )
    raise manifest_error([Problem("", 0, 0, path_text(path), message)])


def with_string_data(secret: JsonObject) -> JsonObject:
    """The Secret with its `stringData` in its `data`, as Kubernetes keeps it."""
    texts = secret.get("stringData")
    if not isinstance(texts, dict):
        return secret
    data = {key: str(base64.b64encode(str(text).encode()), "ascii") for key, text in texts.items()}
    kept = {key: value for key, value in secret.items() if key != "stringData"}
    return {**kept, "data": {**(secret.get("data") or {}), **data}}


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
    refuse_changes(old, admitted)
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
