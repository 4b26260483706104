"""The patch that `apply` sends: what the file adds or changes, and what it no longer has.

kubectl's three-way merge on JSON merge patches (RFC 7386): `original` is what was applied last
(kept in an annotation), `modified` what is to be, `current` what the server has. Fields that
others set and the file never had are left alone. Pure.
"""

from __future__ import annotations

import copy
import json
from typing import Any

LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"

Json = dict[str, Any]


def three_way_patch(original: Json, modified: Json, current: Json) -> Json:
    """The merge patch that makes `current` as `modified` wants it; empty if it is."""
    additions = _without_nulls(two_way_patch(current, modified))
    removals = _present(_removals(original, modified), current)
    return _merged(additions, removals)


def two_way_patch(before: Json, after: Json) -> Json:
    """The merge patch from one object to another; null for what is to go."""
    patch: Json = {}
    for key, value in after.items():
        if key not in before:
            patch[key] = copy.deepcopy(value)
        elif isinstance(value, dict) and isinstance(before[key], dict):
            inner = two_way_patch(before[key], value)
            if inner:
                patch[key] = inner
        elif value != before[key] or isinstance(value, bool) != isinstance(before[key], bool):
            patch[key] = copy.deepcopy(value)
    for key in before:
        if key not in after:
            patch[key] = None
    return patch


def merge(target: Any, patch: Any) -> Any:
    """The target after the merge patch, as RFC 7386 has it; the target is not changed."""
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merge(result.get(key), value)
    return result


def with_last_applied(manifest: Json) -> Json:
    """The manifest with itself in its annotation, byte for byte as kubectl writes it."""
    bare = _with_annotation(manifest, None)
    text = json.dumps(bare, sort_keys=True, separators=(",", ":"), ensure_ascii=False) + "\n"
    return _with_annotation(manifest, text)


def last_applied(current: Json) -> Json | None:
    """What was applied last, or None if nothing was, or nothing that can be read."""
    annotations = (current.get("metadata") or {}).get("annotations") or {}
    try:
        found = json.loads(annotations.get(LAST_APPLIED, ""))
    except (TypeError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def without_last_applied(obj: Json) -> Json:
    """The object without what only `apply` needs."""
    metadata = dict(obj.get("metadata") or {})
    annotations = dict(metadata.get("annotations") or {})
    if annotations.pop(LAST_APPLIED, None) is None:
        return obj
    metadata["annotations"] = annotations
    if not annotations:
        del metadata["annotations"]
    return {**obj, "metadata": metadata}


def _with_annotation(manifest: Json, text: str | None) -> Json:
    metadata = dict(manifest.get("metadata") or {})
    annotations = dict(metadata.get("annotations") or {})
    annotations.pop(LAST_APPLIED, None)
    if text is not None:
        annotations[LAST_APPLIED] = text
    return {**manifest, "metadata": {**metadata, "annotations": annotations}}


def _without_nulls(patch: Json) -> Json:
    """Only what adds or changes: a null would remove what the file never had."""
    kept: Json = {}
    for key, value in patch.items():
        if isinstance(value, dict):
            inner = _without_nulls(value)
            if inner or not value:
                kept[key] = inner
        elif value is not None:
            kept[key] = value
    return kept


def _removals(original: Json, modified: Json) -> Json:
    """Nulls for what was in the file and is not any more."""
    removed: Json = {}
    for key, value in original.items():
        if key not in modified or (modified[key] is None and value is not None):
            removed[key] = None
        elif isinstance(value, dict) and isinstance(modified[key], dict):
            inner = _removals(value, modified[key])
            if inner:
                removed[key] = inner
    return removed


def _present(removals: Json, current: Json) -> Json:
    """Only the nulls that would remove something, so that an empty patch means no change."""
    kept: Json = {}
    for key, value in removals.items():
        if value is None and key in current:
            kept[key] = None
        elif isinstance(value, dict) and isinstance(current.get(key), dict):
            inner = _present(value, current[key])
            if inner:
                kept[key] = inner
    return kept


def _merged(first: Json, second: Json) -> Json:
    result = dict(first)
    for key, value in second.items():
        both = isinstance(value, dict) and isinstance(result.get(key), dict)
        result[key] = _merged(result[key], value) if both else value
    return result
