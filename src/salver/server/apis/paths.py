"""Paths of the API: which type, object and sub-resource one names. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from salver.control.resources import ObjectRef
from salver.spec.kinds import CORE, ResourceType


class ResourcePath(msgspec.Struct, frozen=True):
    """A path of objects. `group` and `version` are the client's: an alias, perhaps."""

    type: ResourceType
    group: str
    version: str
    namespace: str = ""
    name: str = ""
    subresource: str = ""

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    def ref(self, name: str = "", namespace: str = "") -> ObjectRef:
        """Where the object is kept, whatever group the client asked in."""
        return ObjectRef(
            self.type.group, self.type.plural, namespace or self.namespace, name or self.name
        )


def group_versions(types: Sequence[ResourceType]) -> dict[str, list[str]]:
    """All groups and their versions, aliases included, in the order of their first mention."""
    found: dict[str, list[str]] = {}
    for each in types:
        for group, version in served(each):
            versions = found.setdefault(group, [])
            if version not in versions:
                versions.append(version)
    # A group's preferred version is its first; the most stable name comes first.
    return {group: sorted(versions, key=_stability) for group, versions in found.items()}


def served(type: ResourceType) -> list[tuple[str, str]]:
    """The (group, version) pairs that a type answers under."""
    return [*((type.group, version) for version in type.versions), *type.aliases]


def _stability(version: str) -> tuple[bool, bool, str]:
    return ("alpha" in version, "beta" in version, version)


def find_type(
    types: Sequence[ResourceType], group: str, version: str, plural: str
) -> ResourceType | None:
    """The type that this group and version serve under the plural name."""
    for each in types:
        if each.plural == plural and (group, version) in served(each):
            return each
    return None


def parse_path(types: Sequence[ResourceType], path: str) -> ResourcePath | None:
    """What the path names: `/api/v1/...` or `/apis/GROUP/VERSION/...`; None if nothing does."""
    root, *parts = path.strip("/").split("/")
    if root == "api" and len(parts) >= 2:
        group, (version, *rest) = CORE, parts
    elif root == "apis" and len(parts) >= 3:
        group, version, *rest = parts
    else:
        return None
    if not all(parts):
        return None
    namespace = ""
    if rest[0] == "namespaces" and len(rest) >= 3:
        inner = find_type(types, group, version, rest[2])
        if inner is not None and inner.namespaced:
            namespace, rest = rest[1], rest[2:]
    plural, name, subresource, *more = [*rest, "", ""]
    type = find_type(types, group, version, plural)
    if type is None or any(more) or (name and type.namespaced and not namespace):
        return None
    if subresource and subresource not in _subresources(type):
        return None
    return ResourcePath(type, group, version, namespace, name, subresource)


def _subresources(type: ResourceType) -> tuple[str, ...]:
    return (*type.subresources, "log") if type.plural == "pods" else type.subresources
