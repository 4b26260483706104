"""What people call resources: `isvc`, `pods`, `isvc/iris`, `isvc,tm iris`, and their URLs.

Pure; the names come from `spec/kinds.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple
from urllib.parse import quote

from salver.cli.options import nearest
from salver.errors import CommandFailed
from salver.spec.kinds import RESOURCE_TYPES, ResourceType

ALL = "all"


class Target(NamedTuple):
    """A type, and the one object of it that is meant; all of them if there is no name."""

    type: ResourceType
    name: str = ""


def find_type(word: str) -> ResourceType:
    """The type by its plural, singular, kind or short name, with or without its group.

    Raises `CommandFailed` that names the nearest known one.
    """
    name, _, group = word.lower().partition(".")
    for each in RESOURCE_TYPES:
        if name in names_of(each) and _is_group(group, each):
            return each
    near = nearest(name, sorted(set().union(*(names_of(each) for each in RESOURCE_TYPES))))
    hint = f"did you mean {near}?" if near else f"there are {', '.join(type_names())}"
    raise CommandFailed(f"there is no resource type '{word}'; {hint}")


def names_of(type: ResourceType) -> set[str]:
    """All that a type is called, in lower case."""
    return {type.plural, type.singular, type.kind.lower(), *type.short_names}


def type_names() -> list[str]:
    """The plurals of all types."""
    return [each.plural for each in RESOURCE_TYPES]


def _is_group(group: str, type: ResourceType) -> bool:
    """`serving.kserve.io` or `v1beta1.serving.kserve.io`; no group fits every type."""
    known = {type.group, *(alias for alias, _ in type.aliases)}
    return not group or any(group == each or group.endswith("." + each) for each in known if each)


def find_types(word: str) -> list[ResourceType]:
    """The types of `isvc`, of `isvc,tm`, or of the category `all`."""
    found: list[ResourceType] = []
    for part in word.split(","):
        members = [each for each in RESOURCE_TYPES if part in each.categories]
        found += members or [find_type(part)]
    return list(dict.fromkeys(found))


def read_targets(words: Sequence[str]) -> list[Target]:
    """What `TYPE`, `TYPE NAME...` or `TYPE/NAME...` mean. Raises `CommandFailed`."""
    if not words:
        raise CommandFailed(
            "say which type of resource, e.g. inferenceservices; "
            "salver explain lists those that there are"
        )
    if any("/" in word for word in words):
        return [_slashed(word) for word in words]
    types = find_types(words[0])
    if len(words) == 1:
        return [Target(each) for each in types]
    return [Target(each, name) for each in types for name in words[1:]]


def read_service(words: Sequence[str], default: str = "isvc") -> Target:
    """The one object meant by `NAME`, `TYPE NAME` or `TYPE/NAME`. Raises `CommandFailed`."""
    if len(words) == 1 and "/" not in words[0]:
        return Target(find_type(default), words[0])
    targets = read_targets(words)
    if len(targets) != 1 or not targets[0].name:
        raise CommandFailed(f"give one resource, as NAME or TYPE/NAME, not '{' '.join(words)}'")
    return targets[0]


def _slashed(word: str) -> Target:
    kind, slash, name = word.partition("/")
    if not slash or not kind or not name or "/" in name:
        raise CommandFailed(f"'{word}' is not TYPE/NAME; give such as isvc/iris")
    return Target(find_type(kind), name)


def collection_path(type: ResourceType, namespace: str, version: str = "", group: str = "") -> str:
    """The URL path of a type's objects, of all namespaces if none is given."""
    group = group or type.group
    version = version or type.versions[0]
    base = f"/apis/{group}/{version}" if group else f"/api/{version}"
    scope = f"/namespaces/{quote(namespace, safe='')}" if type.namespaced and namespace else ""
    return f"{base}{scope}/{type.plural}"


def object_path(type: ResourceType, namespace: str, name: str, sub: str = "") -> str:
    """The URL path of one object, or of a sub-resource of it."""
    path = f"{collection_path(type, namespace)}/{quote(name, safe='')}"
    return f"{path}/{sub}" if sub else path


def full_name(type: ResourceType, name: str) -> str:
    """How a result names an object: `inferenceservice.serving.kserve.io/iris`."""
    return f"{qualified(type)}/{name}"


def qualified(type: ResourceType) -> str:
    """`inferenceservice.serving.kserve.io`; only `secret` for what has no group."""
    return f"{type.singular}.{type.group}" if type.group else type.singular
