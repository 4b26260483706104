"""JSON merge patch (RFC 7396) and JSON patch (RFC 6902). Pure: nothing given is changed."""

from __future__ import annotations

import copy
from typing import Any

from salver.server.apis.status import Refusal

_MAX_OPERATIONS = 10_000


def merge_patch(value: Any, patch: Any) -> Any:
    """The value with the patch merged in; null removes. `$patch` directives are ignored."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(value) if isinstance(value, dict) else {}
    for key, change in patch.items():
        if key.startswith("$"):
            continue
        if change is None:
            merged.pop(key, None)
        else:
            merged[key] = merge_patch(merged.get(key), change)
    return merged


def strategic_patch(value: Any, patch: Any) -> Any:
    """As `merge_patch`, but the lists of Kubernetes' own types that have keys merge by them."""
    if not isinstance(patch, dict) or patch.get("$patch") == "replace":
        return _plain(patch)
    merged = dict(value) if isinstance(value, dict) else {}
    for key, change in patch.items():
        if key.startswith("$deleteFromPrimitiveList/"):
            name = key.partition("/")[2]
            merged[name] = [each for each in merged.get(name) or [] if each not in change]
        elif key.startswith("$"):
            continue
        elif change is None:
            merged.pop(key, None)
        elif isinstance(change, list) and key in _LIST_KEYS:
            merged[key] = _merged_list(merged.get(key) or [], change, _LIST_KEYS[key])
        else:
            merged[key] = strategic_patch(merged.get(key), change)
    return merged


_LIST_KEYS = {
    "secrets": "name",
    "imagePullSecrets": "name",
    "ownerReferences": "uid",
    "conditions": "type",
    "finalizers": "",
}
"""Lists that merge, and the key of their elements; none for plain values."""


def _merged_list(present: list[Any], changes: list[Any], key: str) -> list[Any]:
    if not key:
        return present + [each for each in changes if each not in present]
    if any(isinstance(each, dict) and each.get("$patch") == "replace" for each in changes):
        return [_plain(each) for each in changes if "$patch" not in each]
    by_key = {each.get(key): each for each in present}
    for change in changes:
        if change.get("$patch") == "delete":
            by_key.pop(change.get(key), None)
        else:
            by_key[change.get(key)] = strategic_patch(by_key.get(change.get(key)), change)
    return list(by_key.values())


def _plain(value: Any) -> Any:
    """Without directives, which are no data."""
    if not isinstance(value, dict):
        return value
    return {key: inner for key, inner in value.items() if not key.startswith("$")}


def json_patch(value: Any, operations: Any) -> Any:
    """The value after these operations. Raises `Refusal`, 422 for one that cannot be done."""
    if not isinstance(operations, list) or len(operations) > _MAX_OPERATIONS:
        raise Refusal(400, f"a JSON patch is a list of at most {_MAX_OPERATIONS} operations")
    result = copy.deepcopy(value)
    for number, operation in enumerate(operations):
        try:
            result = _apply(result, operation)
        except (KeyError, IndexError, ValueError, TypeError, AttributeError) as error:
            raise Refusal(
                422, f"operation {number} of the JSON patch cannot be done: {operation}: {error}"
            ) from error
    return result


def _apply(value: Any, operation: Any) -> Any:
    path = _pointer(operation["path"])
    match operation["op"]:
        case "add":
            return _add(value, path, copy.deepcopy(operation["value"]))
        case "replace":
            _at(value, path)
            return _replace(value, path, copy.deepcopy(operation["value"]))
        case "remove":
            return _remove(value, path)
        case "move":
            source = _pointer(operation["from"])
            moved = _at(value, source)
            return _add(_remove(value, source), path, moved)
        case "copy":
            return _add(value, path, copy.deepcopy(_at(value, _pointer(operation["from"]))))
        case "test":
            if _at(value, path) != operation["value"]:
                raise ValueError("the value is another")
            return value
        case other:
            raise ValueError(f"no such operation: {other}")


def _pointer(text: str) -> list[str]:
    if text == "":
        return []
    if not text.startswith("/"):
        raise ValueError(f"the path '{text}' does not begin with /")
    return [part.replace("~1", "/").replace("~0", "~") for part in text[1:].split("/")]


def _at(value: Any, path: list[str]) -> Any:
    for part in path:
        value = value[_index(part, len(value))] if isinstance(value, list) else value[part]
    return value


def _index(part: str, length: int) -> int:
    if not part.isdigit() or int(part) >= length:
        raise IndexError(f"no element {part}")
    return int(part)


def _add(value: Any, path: list[str], new: Any) -> Any:
    if not path:
        return new
    parent = _at(value, path[:-1])
    if isinstance(parent, list):
        last = path[-1]
        parent.insert(len(parent) if last == "-" else _index(last, len(parent) + 1), new)
    else:
        parent[path[-1]] = new
    return value


def _replace(value: Any, path: list[str], new: Any) -> Any:
    if not path:
        return new
    parent = _at(value, path[:-1])
    parent[_index(path[-1], len(parent)) if isinstance(parent, list) else path[-1]] = new
    return value


def _remove(value: Any, path: list[str]) -> Any:
    if not path:
        return None
    parent = _at(value, path[:-1])
    del parent[_index(path[-1], len(parent)) if isinstance(parent, list) else path[-1]]
    return value
