"""What the API does with objects: checks of identity, admission, ownership, storing, deleting.

JSON objects in and out; requests, headers and streams are `handlers.py`'s. Each operation is
one transaction of the store.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence

import msgspec

from salver.control.admission import with_string_data
from salver.control.resources import Admission, JsonObject, ObjectRef
from salver.errors import AlreadyExists, ManifestError, ResourceNotFound
from salver.server.apis.identity import check_name, check_preconditions, identified
from salver.server.apis.ownership import Manager, applied, rfc3339, updated
from salver.server.apis.paths import ResourcePath, find_type
from salver.server.apis.ports import Clock, Convert, PagedStore, Scaling
from salver.server.apis.scaling import scale_object
from salver.server.apis.status import Refusal, causes_of, invalid
from salver.spec.kinds import CORE, ResourceType

DEFAULT_NAMESPACE = "default"
_NAMESPACES = ObjectRef(CORE, "namespaces", "", "")
_SET_BY_STORE = ("uid", "resourceVersion", "creationTimestamp", "generation", "selfLink")


class Caller(msgspec.Struct, frozen=True):
    """How a change is asked for: by which field manager, and whether to keep it."""

    manager: str
    is_dry_run: bool = False


class _DryRun(Exception):
    """Takes back the transaction of a change that was only tried."""


class Operations:
    """The operations on one store."""

    def __init__(
        self,
        store: PagedStore,
        admission: Admission,
        types: Sequence[ResourceType],
        *,
        clock: Clock,
        convert: Convert,
        scaling: Scaling,
    ) -> None:
        self.store = store
        self._admission = admission
        self._types = types
        self._clock = clock
        self._convert = convert
        self._scaling = scaling

    def presented(self, path: ResourcePath, obj: JsonObject) -> JsonObject:
        """A stored object in the version that the client asked in."""
        if obj.get("apiVersion") == path.api_version:
            return obj
        return self._convert(obj, path.api_version)

    def get(self, path: ResourcePath) -> JsonObject:
        """Raises `ResourceNotFound`."""
        return self.presented(path, self.store.get(path.ref()))

    def create(
        self, path: ResourcePath, given: JsonObject, caller: Caller
    ) -> tuple[JsonObject, Sequence[str]]:
        """The created object and warnings. Raises `ResourceError` or `Refusal`."""
        obj = identified(path, given)
        metadata = dict(obj["metadata"])
        if metadata.get("resourceVersion"):
            raise Refusal(400, "resourceVersion should not be set on objects to be created")
        for key in (*_SET_BY_STORE, "deletionTimestamp", "managedFields"):
            metadata.pop(key, None)
        if not metadata.get("name"):
            metadata["name"] = self._generated_name(path, metadata)
        obj["metadata"] = metadata
        if "status" in path.type.subresources:
            obj.pop("status", None)
        with self._change(caller):
            return self._create(path, obj, lambda new: updated(new, None, self._by(path, caller)))

    def _create(
        self, path: ResourcePath, obj: JsonObject, owned: Callable[[JsonObject], JsonObject]
    ) -> tuple[JsonObject, Sequence[str]]:
        name = obj["metadata"]["name"]
        check_name(path, name)
        new, warnings = self._admitted(path, owned(_with_data(path, obj)), None)
        if path.type.namespaced:
            self.ensure_namespace(path.namespace)
        created = self.store.create(path.ref(name), _with_phase(path, new))
        return self.presented(path, created), warnings

    def _generated_name(self, path: ResourcePath, metadata: JsonObject) -> str:
        prefix = metadata.get("generateName")
        if not isinstance(prefix, str) or not prefix:
            problem = "Required value: name or generateName is required"
            raise invalid(path.type.kind, path.group, "", [("metadata.name", problem)])
        return prefix[:58] + self._clock.suffix()

    def update(
        self, path: ResourcePath, given: JsonObject, caller: Caller
    ) -> tuple[JsonObject, Sequence[str]]:
        """Replaces the object, or its status, by the one given."""
        return self.change(path, lambda current: given, caller)

    def change(
        self, path: ResourcePath, edit: Callable[[JsonObject], JsonObject], caller: Caller
    ) -> tuple[JsonObject, Sequence[str]]:
        """The object after `edit` of its present state, in the client's version."""
        with self._change(caller):
            old = self.store.get(path.ref())
            current = self.presented(path, old)
            obj = identified(path, edit(current))
            if path.subresource == "status":
                return self.presented(path, self.store.update_status(path.ref(), obj)), ()
            if "managedFields" in current["metadata"]:
                obj["metadata"].setdefault("managedFields", current["metadata"]["managedFields"])
            obj = updated(obj, current, self._by(path, caller))
            return self._store_changed(path, obj, old)

    def apply(
        self, path: ResourcePath, given: JsonObject, caller: Caller, *, force: bool
    ) -> tuple[JsonObject, Sequence[str], bool]:
        """Server-side apply: the object, warnings, and whether it was created."""
        wanted = identified(path, given)
        wanted = _with_data(path, wanted)
        if wanted["metadata"].get("managedFields"):
            raise Refusal(400, "metadata.managedFields must be nil")
        by = msgspec.structs.replace(self._by(path, caller), operation="Apply")
        with self._change(caller):
            try:
                old = self.store.get(path.ref())
            except ResourceNotFound:
                if path.subresource:
                    raise
                wanted.pop("status", None)
                obj, warnings = self._create(
                    path, wanted, lambda new: applied(new, None, by, force=force)
                )
                return obj, warnings, True
            current = self.presented(path, old)
            obj = applied(wanted, current, by, force=force)
            if path.subresource == "status":
                stored = self.store.update_status(path.ref(), obj)
                return self.presented(path, stored), (), False
            changed, warnings = self._store_changed(path, obj, old)
            return changed, warnings, False

    def _store_changed(
        self, path: ResourcePath, obj: JsonObject, old: JsonObject
    ) -> tuple[JsonObject, Sequence[str]]:
        new, warnings = self._admitted(path, _with_data(path, obj), old)
        metadata = dict(new["metadata"])
        metadata.pop("deletionTimestamp", None)
        is_leaving = "deletionTimestamp" in old["metadata"]
        if is_leaving:
            metadata["deletionTimestamp"] = old["metadata"]["deletionTimestamp"]
        changed = self.store.update(path.ref(), {**new, "metadata": metadata})
        if is_leaving and not metadata.get("finalizers"):
            self._remove(path, changed)
        return self.presented(path, changed), warnings

    def _admitted(
        self, path: ResourcePath, obj: JsonObject, old: JsonObject | None
    ) -> tuple[JsonObject, Sequence[str]]:
        try:
            return self._admission.admit(obj, old)
        except ManifestError as error:
            name = obj["metadata"].get("name", "")
            raise invalid(path.type.kind, path.group, name, causes_of(error)) from error

    # Scale.

    def scale(self, path: ResourcePath) -> JsonObject:
        """The object's `Scale`."""
        obj = self.store.get(path.ref())
        return scale_object(obj, self._scaling.read(obj))

    def change_scale(
        self, path: ResourcePath, edit: Callable[[JsonObject], JsonObject], caller: Caller
    ) -> tuple[JsonObject, Sequence[str]]:
        """The `Scale` after `edit` of the present one."""
        with self._change(caller):
            old = self.store.get(path.ref())
            scale = edit(scale_object(old, self._scaling.read(old)))
            replicas = (scale.get("spec") or {}).get("replicas", 0)
            if not isinstance(replicas, int) or isinstance(replicas, bool) or replicas < 0:
                problem = f"must be an integer of at least 0, not {replicas!r}"
                raise invalid("Scale", "autoscaling", path.name, [("spec.replicas", problem)])
            new = self._scaling.write(old, replicas)
            version = (scale.get("metadata") or {}).get("resourceVersion")
            new = {**new, "metadata": {**new["metadata"], "resourceVersion": version}}
            by = msgspec.structs.replace(self._by(path, caller), subresource="scale")
            _, warnings = self._store_changed(path, updated(new, old, by), old)
            return self.scale(path), warnings

    # Deleting.

    def delete(
        self, path: ResourcePath, options: JsonObject, caller: Caller
    ) -> tuple[JsonObject, bool]:
        """What was deleted, and whether it is gone: finalizers keep it until they are removed."""
        with self._change(caller):
            old = self.store.get(path.ref())
            check_preconditions(path, options, old)
            if options.get("propagationPolicy") == "Orphan" or options.get("orphanDependents"):
                self._orphan(old["metadata"]["uid"])
            if old["metadata"].get("finalizers"):
                if "deletionTimestamp" in old["metadata"]:
                    return self.presented(path, old), False
                stamp = rfc3339(self._clock.now())
                metadata = {**old["metadata"], "deletionTimestamp": stamp}
                marked = self.store.update(path.ref(), {**old, "metadata": metadata})
                return self.presented(path, marked), False
            self._remove(path, old)
            return self.presented(path, old), True

    def _remove(self, path: ResourcePath, obj: JsonObject) -> None:
        name = obj["metadata"]["name"]
        if path.type.group == CORE and path.type.plural == _NAMESPACES.plural:
            if name == DEFAULT_NAMESPACE:
                raise Refusal(
                    403, f'namespaces "{name}" is forbidden: this namespace may not be deleted'
                )
            self._empty_namespace(name)
        self.store.delete(path.ref(name, obj["metadata"].get("namespace", "")))

    def _empty_namespace(self, namespace: str) -> None:
        for type in self._types:
            if type.namespaced:
                for obj in self.store.list(type.group, type.plural, namespace)[0]:
                    ref = ObjectRef(type.group, type.plural, namespace, obj["metadata"]["name"])
                    # One may have gone with its owner.
                    with contextlib.suppress(ResourceNotFound):
                        self.store.delete(ref)

    def _orphan(self, uid: str) -> None:
        for type in self._types:
            for obj in self.store.list(type.group, type.plural)[0]:
                metadata = obj["metadata"]
                owners = metadata.get("ownerReferences") or []
                kept = [owner for owner in owners if owner.get("uid") != uid]
                if len(kept) < len(owners):
                    namespace = metadata.get("namespace", "")
                    ref = ObjectRef(type.group, type.plural, namespace, metadata["name"])
                    new = {**obj, "metadata": {**metadata, "ownerReferences": kept}}
                    self.store.update(ref, new)

    def ensure_namespace(self, name: str) -> None:
        """Makes the namespace if there is none of that name."""
        type = find_type(self._types, CORE, "v1", _NAMESPACES.plural)
        if type is None:
            return
        ref = msgspec.structs.replace(_NAMESPACES, name=name)
        with contextlib.suppress(AlreadyExists):
            self.store.create(
                ref,
                {
                    "apiVersion": "v1",
                    "kind": "Namespace",
                    "metadata": {"labels": {"kubernetes.io/metadata.name": name}},
                    "spec": {},
                    "status": {"phase": "Active"},
                },
            )

    def _by(self, path: ResourcePath, caller: Caller) -> Manager:
        now = rfc3339(self._clock.now())
        return Manager(caller.manager, "Update", path.api_version, now, frozenset())

    @contextlib.contextmanager
    def _change(self, caller: Caller) -> Iterator[None]:
        """One transaction, taken back again if the change is only tried."""
        with contextlib.suppress(_DryRun), self.store.transaction():
            yield
            if caller.is_dry_run:
                raise _DryRun


def _with_data(path: ResourcePath, obj: JsonObject) -> JsonObject:
    """A secret's `stringData` moved to `data`, in base64."""
    return with_string_data(obj) if path.type.kind == "Secret" else obj


def _with_phase(path: ResourcePath, obj: JsonObject) -> JsonObject:
    return {**obj, "status": {"phase": "Active"}} if path.type.kind == "Namespace" else obj
