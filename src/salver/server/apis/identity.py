"""What an object is called: whether that fits the path it came by, and is a name at all. Pure."""

from __future__ import annotations

import re
from typing import Any

from salver.control.resources import JsonObject
from salver.server.apis.paths import ResourcePath
from salver.server.apis.status import Refusal, invalid

_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")


def identified(path: ResourcePath, given: JsonObject) -> JsonObject:
    """The object with its type, name and namespace, which must not contradict the path."""
    kind, version = given.get("kind"), given.get("apiVersion")
    if (kind or path.type.kind) != path.type.kind:
        raise Refusal(400, f"this path takes the kind {path.type.kind}, not {kind}")
    if (version or path.api_version) != path.api_version:
        raise Refusal(
            400,
            f"the API version in the data ({version}) does not match the expected API "
            f"version ({path.api_version})",
        )
    metadata = given.get("metadata")
    if metadata is not None and not isinstance(metadata, dict):
        raise Refusal(400, "metadata must be an object")
    metadata = dict(metadata or {})
    if path.name and metadata.setdefault("name", path.name) != path.name:
        raise Refusal(
            400,
            f"the name of the object ({metadata['name']}) does not match the name on the "
            f"URL ({path.name})",
        )
    if path.type.namespaced:
        if (metadata.get("namespace") or path.namespace) != path.namespace:
            raise Refusal(
                400,
                f"the namespace of the provided object ({metadata['namespace']}) does not "
                f"match the namespace sent on the request ({path.namespace})",
            )
        metadata["namespace"] = path.namespace
    own = {"apiVersion": path.api_version, "kind": path.type.kind}
    return {**own, **given, **own, "metadata": metadata}


def check_name(path: ResourcePath, name: Any) -> None:
    """Raises `Refusal` for a name or namespace that is none."""
    problems: list[tuple[str, str]] = []
    if not isinstance(name, str) or len(name) > 253 or not _NAME.fullmatch(name):
        fact = f"'{name}' is no name: use lower case letters, digits, '-' and '.', "
        problems.append(("metadata.name", f"{fact}beginning and ending with a letter or digit"))
    if path.type.namespaced and not (
        len(path.namespace) <= 63 and _LABEL.fullmatch(path.namespace)
    ):
        fact = f"'{path.namespace}' is no namespace: use at most 63 lower case letters, digits "
        ending = "and '-', beginning and ending with a letter or digit"
        problems.append(("metadata.namespace", fact + ending))
    if problems:
        raise invalid(path.type.kind, path.group, str(name), problems)


def check_preconditions(path: ResourcePath, options: JsonObject, old: JsonObject) -> None:
    """Raises `Refusal` if the object is not the one that is to be deleted."""
    for key, wanted in (options.get("preconditions") or {}).items():
        present = old["metadata"].get(key)
        if wanted and wanted != present:
            raise Refusal(
                409,
                f'{path.type.plural} "{path.name}": precondition failed: its {key} is {present}, '
                f"not {wanted}",
                details={"name": path.name, "group": path.group, "kind": path.type.plural},
            )
