"""Server-side apply: who manages which field, and what becomes of an object. Pure.

Lists are one field each, as they are for custom resources without list types. A field is a path
of keys; `managedFields` keeps each manager's as the Kubernetes API writes them. Fields that are
managed in another version are called otherwise there: they are left alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

import msgspec

from salver.control.resources import JsonObject
from salver.server.apis.status import Refusal

Path = tuple[str, ...]

_IDENTITY = frozenset({("apiVersion",), ("kind",), ("metadata", "name"), ("metadata", "namespace")})
_KEPT_BY_SERVER = frozenset(
    {
        "uid",
        "resourceVersion",
        "generation",
        "creationTimestamp",
        "deletionTimestamp",
        "managedFields",
        "selfLink",
    }
)
_ABSENT = object()


class Manager(msgspec.Struct, frozen=True):
    """One entry of `managedFields`."""

    name: str
    operation: str
    api_version: str
    time: str
    fields: frozenset[Path]
    subresource: str = ""

    @property
    def key(self) -> tuple[str, str, str, str]:
        return (self.name, self.operation, self.subresource, self.version)

    @property
    def version(self) -> str:
        """The version alone: a former group has the same fields."""
        return self.api_version.rpartition("/")[2]


def fields_of(obj: JsonObject) -> frozenset[Path]:
    """The fields that an object sets, but for its identity, status and what the server keeps."""
    return frozenset(
        path
        for path in _leaves(obj, ())
        if path
        and path not in _IDENTITY
        and path[0] != "status"
        and not (path[0] == "metadata" and len(path) > 1 and path[1] in _KEPT_BY_SERVER)
    )


def _leaves(value: Any, path: Path) -> Iterable[Path]:
    if isinstance(value, dict) and (value or not path):
        for key, inner in value.items():
            yield from _leaves(inner, (*path, key))
    else:
        yield path


def managers_of(obj: JsonObject) -> list[Manager]:
    """The entries of an object's `managedFields`; unreadable ones are left out."""
    entries = obj["metadata"].get("managedFields") or []
    return [
        Manager(
            entry["manager"],
            entry.get("operation", "Update"),
            entry.get("apiVersion", ""),
            entry.get("time", ""),
            frozenset(_read_fields(entry.get("fieldsV1") or {}, ())),
            entry.get("subresource", ""),
        )
        for entry in entries
        if isinstance(entry, dict) and isinstance(entry.get("manager"), str)
    ]


def _read_fields(tree: JsonObject, path: Path) -> Iterable[Path]:
    for key, inner in tree.items():
        if key == "." or not isinstance(inner, dict):
            continue
        if not key.startswith("f:"):
            # An element of a list with keys, as others write it: here the list is the field.
            yield path
        elif inner and any(name != "." for name in inner):
            yield from _read_fields(inner, (*path, key[2:]))
        else:
            yield (*path, key[2:])


def with_managers(obj: JsonObject, managers: Iterable[Manager]) -> JsonObject:
    """The object with these entries; managers without fields are dropped."""
    entries = [_entry(each) for each in managers if each.fields]
    metadata = {key: value for key, value in obj["metadata"].items() if key != "managedFields"}
    if entries:
        metadata["managedFields"] = entries
    return {**obj, "metadata": metadata}


def _entry(manager: Manager) -> JsonObject:
    tree: JsonObject = {}
    for path in sorted(manager.fields):
        node = tree
        for part in path:
            node = node.setdefault(f"f:{part}", {})
    entry = {
        "manager": manager.name,
        "operation": manager.operation,
        "apiVersion": manager.api_version,
        "time": manager.time,
        "fieldsType": "FieldsV1",
        "fieldsV1": tree,
    }
    return {**entry, "subresource": manager.subresource} if manager.subresource else entry


def updated(new: JsonObject, old: JsonObject | None, by: Manager) -> JsonObject:
    """The object with what changed since `old` managed by `by`, whose own fields are ignored."""
    before = old or {"metadata": {}}
    present = fields_of(new)
    changed = frozenset(path for path in present if _value_at(new, path) != _value_at(before, path))
    managers, kept = _by_version(managers_of(new), by)
    if not changed and all(each.fields <= present for each in managers):
        return new
    own = changed
    for each in managers:
        fields = frozenset(path for path in each.fields if path in present)
        if each.key == by.key:
            own |= fields
        else:
            kept.append(msgspec.structs.replace(each, fields=fields - changed))
    return with_managers(new, [*kept, msgspec.structs.replace(by, fields=own)])


def applied(
    wanted: JsonObject, current: JsonObject | None, by: Manager, *, force: bool
) -> JsonObject:
    """The object after `by` has applied `wanted`; what it applied before and now leaves out is
    removed, if nobody else manages it. Raises `Refusal` if others manage what it would change.
    """
    fields = fields_of(wanted)
    base = current or {key: wanted[key] for key in ("apiVersion", "kind")} | {"metadata": {}}
    managers, strangers = _by_version(managers_of(base), by)
    others = [each for each in managers if each.key != by.key]
    before = next((each for each in managers if each.key == by.key), None)
    conflicts = _conflicts(wanted, base, fields, others)
    if conflicts and not force:
        raise _conflict(conflicts)
    lost = {path for _, path in conflicts}
    others = [msgspec.structs.replace(each, fields=each.fields - lost) for each in others]
    merged = _merged(base, wanted)
    merged["metadata"] = {
        **merged["metadata"],
        **{key: value for key, value in base["metadata"].items() if key in _KEPT_BY_SERVER},
    }
    owned = frozenset(path for each in others for path in each.fields)
    for path in (before.fields if before else frozenset()) - fields:
        if not any(_overlap(path, other) for other in owned | fields):
            merged = _without(merged, path)
    own = msgspec.structs.replace(by, fields=fields)
    if before is not None and before.fields == fields:
        # Nothing new is managed: the time stays, so that applying again changes nothing.
        own = msgspec.structs.replace(own, time=before.time)
    return with_managers(merged, [*strangers, *others, own])


def _by_version(managers: list[Manager], by: Manager) -> tuple[list[Manager], list[Manager]]:
    """Those whose fields are of the version in which the change is made, and the others."""
    same = [each for each in managers if each.version == by.version]
    return same, [each for each in managers if each.version != by.version]


def _conflicts(
    wanted: JsonObject, base: JsonObject, fields: frozenset[Path], others: list[Manager]
) -> list[tuple[Manager, Path]]:
    changed = [path for path in fields if _changes(_value_at(wanted, path), _value_at(base, path))]
    return [
        (each, theirs)
        for each in others
        if each.subresource != "status"
        for theirs in sorted(each.fields)
        if any(_overlap(path, theirs) for path in changed)
        and _value_at(base, theirs) is not _ABSENT
    ]


def _changes(wanted: Any, present: Any) -> bool:
    # An empty object merges into what is there.
    return bool(wanted != present and not (wanted == {} and isinstance(present, dict)))


def _conflict(conflicts: list[tuple[Manager, Path]]) -> Refusal:
    causes = [
        {
            "reason": "FieldManagerConflict",
            "message": f'conflict with "{manager.name}" using {manager.api_version}',
            "field": "." + ".".join(path),
        }
        for manager, path in conflicts
    ]
    count = f"{len(causes)} conflict" + ("s" if len(causes) > 1 else "")
    listed = ", ".join(f"{cause['message']}: {cause['field']}" for cause in causes)
    return Refusal(409, f"Apply failed with {count}: {listed}", details={"causes": causes})


def _overlap(one: Path, other: Path) -> bool:
    length = min(len(one), len(other))
    return one[:length] == other[:length]


def _value_at(obj: Any, path: Path) -> Any:
    for part in path:
        if not isinstance(obj, dict) or part not in obj:
            return _ABSENT
        obj = obj[part]
    return obj


def _merged(value: Any, wanted: Any) -> Any:
    if not isinstance(wanted, dict) or not isinstance(value, dict):
        return wanted
    return {**value, **{key: _merged(value.get(key), inner) for key, inner in wanted.items()}}


def _without(obj: JsonObject, path: Path) -> JsonObject:
    """Without the field, and without the objects that this leaves empty."""
    key, *rest = path
    if key not in obj:
        return obj
    if rest and isinstance(obj[key], dict):
        inner = _without(obj[key], tuple(rest))
        if inner:
            return {**obj, key: inner}
    return {name: value for name, value in obj.items() if name != key}


def manager_name(field_manager: str, user_agent: str) -> str:
    """Who changes something: as the caller says, or else the first word of its user agent."""
    return (field_manager or user_agent.partition("/")[0] or "unknown")[:128]


def rfc3339(moment: datetime) -> str:
    """A time in whole seconds, as `managedFields` has it."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
