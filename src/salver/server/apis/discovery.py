"""Which groups, versions and types there are, in the forms that clients ask for. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from salver.control.resources import JsonObject
from salver.server.apis.paths import group_versions, served
from salver.spec.kinds import CORE, ResourceType

AGGREGATED = "application/json;g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList"
VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")
READ_VERBS = ("get", "list", "watch")

_SCALE = {"group": "autoscaling", "version": "v1", "kind": "Scale"}


class Discovery:
    """The documents about these types; those of `read_only` plurals can only be read."""

    def __init__(self, types: Sequence[ResourceType], read_only: frozenset[str]) -> None:
        self._types = types
        self._read_only = read_only
        self._groups = group_versions(types)

    def core_versions(self) -> JsonObject:
        """`/api`."""
        return {
            "kind": "APIVersions",
            "versions": self._groups.get(CORE, []),
            "serverAddressByClientCIDRs": [],
        }

    def groups(self) -> JsonObject:
        """`/apis`."""
        groups = [self.group(name) for name in self._groups if name != CORE]
        return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}

    def group(self, name: str) -> JsonObject | None:
        """`/apis/GROUP`, None if there is no such group."""
        if name == CORE or name not in self._groups:
            return None
        versions = [
            {"groupVersion": f"{name}/{version}", "version": version}
            for version in self._groups[name]
        ]
        return {
            "kind": "APIGroup",
            "apiVersion": "v1",
            "name": name,
            "versions": versions,
            "preferredVersion": versions[0],
        }

    def resources(self, group: str, version: str) -> JsonObject | None:
        """`/api/v1` or `/apis/GROUP/VERSION`, None if there is no such version."""
        if version not in self._groups.get(group, []):
            return None
        resources: list[JsonObject] = []
        for each in self._of(group, version):
            resources += [self._resource(each, group), *self._subresources(each)]
        name = f"{group}/{version}" if group else version
        return {
            "kind": "APIResourceList",
            "apiVersion": "v1",
            "groupVersion": name,
            "resources": resources,
        }

    def aggregated(self, version: str, *, core: bool) -> JsonObject:
        """All of `/api`, or all of `/apis`, in one document."""
        items = [
            {
                "metadata": {"name": name, "creationTimestamp": None},
                "versions": [self._aggregated_version(name, each) for each in versions],
            }
            for name, versions in self._groups.items()
            if (name == CORE) == core
        ]
        return {
            "kind": "APIGroupDiscoveryList",
            "apiVersion": f"apidiscovery.k8s.io/{version}",
            "metadata": {},
            "items": items,
        }

    def verbs(self, type: ResourceType) -> tuple[str, ...]:
        """What can be done with objects of the type."""
        return READ_VERBS if type.plural in self._read_only else VERBS

    def _of(self, group: str, version: str) -> list[ResourceType]:
        return [each for each in self._types if (group, version) in served(each)]

    def _resource(self, type: ResourceType, group: str) -> JsonObject:
        # Under an alias it has no short name: clients would warn that two groups have it.
        is_alias = group != type.group
        short_names = () if is_alias else type.short_names
        categories = () if is_alias else type.categories
        return {
            "name": type.plural,
            "singularName": type.singular,
            "namespaced": type.namespaced,
            "kind": type.kind,
            "verbs": list(self.verbs(type)),
            **({"shortNames": list(short_names)} if short_names else {}),
            **({"categories": list(categories)} if categories else {}),
        }

    def _subresources(self, type: ResourceType) -> list[JsonObject]:
        found = [
            {
                "name": f"{type.plural}/{name}",
                "singularName": "",
                "namespaced": type.namespaced,
                "kind": "Scale" if name == "scale" else type.kind,
                "verbs": ["get", "patch", "update"],
                **({k: _SCALE[k] for k in ("group", "version")} if name == "scale" else {}),
            }
            for name in type.subresources
        ]
        if type.plural == "pods":
            log = {"name": "pods/log", "singularName": "", "namespaced": True, "kind": "Pod"}
            found.append({**log, "verbs": ["get"]})
        return found

    def _aggregated_version(self, group: str, version: str) -> JsonObject:
        resources = []
        for each in self._of(group, version):
            subresources = [
                {
                    "subresource": sub["name"].partition("/")[2],
                    "responseKind": _SCALE
                    if sub["kind"] == "Scale"
                    else {"group": group, "version": version, "kind": sub["kind"]},
                    "verbs": sub["verbs"],
                }
                for sub in self._subresources(each)
            ]
            plain = self._resource(each, group)
            resources.append(
                {
                    "resource": each.plural,
                    "responseKind": {"group": group, "version": version, "kind": each.kind},
                    "scope": "Namespaced" if each.namespaced else "Cluster",
                    "singularResource": each.singular,
                    "verbs": plain["verbs"],
                    "shortNames": plain.get("shortNames", []),
                    "categories": plain.get("categories", []),
                    **({"subresources": subresources} if subresources else {}),
                }
            )
        return {"version": version, "freshness": "Current", "resources": resources}
