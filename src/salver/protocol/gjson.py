"""GJSON: what a path finds in a JSON message. KServe's conditions are such paths.

Our own implementation of the public syntax; `spec/gjson_paths.py` reads paths. No path and no body
raises, and the work is bounded by their sizes: what would take more finds nothing. Two things
differ from GJSON on purpose: a number never equals a text that is none, and of a key that an
object has twice, the last one counts.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final

import msgspec

from salver.protocol.gjson_comparing import holds, matches
from salver.protocol.gjson_modifiers import MODIFIERS
from salver.protocol.gjson_values import MISSING, Exhausted, Fuel, opened, plain
from salver.spec.gjson_faults import fault
from salver.spec.gjson_paths import (
    Count,
    Each,
    Key,
    Literally,
    Modifier,
    Multi,
    Part,
    Parts,
    PathFault,
    Query,
    parse,
)

__all__ = ["MISSING", "CompiledPath", "check", "compiled", "exists", "get"]

_MOST_DIGITS = 18
_LEAST_FUEL: Final = 10_000


def check(path: str) -> str:
    """What is wrong with a path as a condition; empty if nothing is."""
    return fault(path)


def exists(path: str, body: bytes | bytearray | memoryview) -> bool:
    """Whether the path finds anything in the body; nothing is found in what is no JSON."""
    return compiled(path).exists(body)


def get(path: str, value: object) -> Any:
    """What the path finds in a JSON value; `MISSING` if nothing."""
    return compiled(path).find(msgspec.json.encode(value))


@lru_cache(maxsize=1024)
def compiled(path: str) -> CompiledPath:
    """The path, ready to be looked for many times. One that cannot be read finds nothing."""
    try:
        return CompiledPath(parse(path))
    except (PathFault, RecursionError):
        return CompiledPath(None)


class CompiledPath:
    """See `compiled`."""

    __slots__ = ("_parts",)

    def __init__(self, parts: Parts | None) -> None:
        self._parts = parts

    def exists(self, body: bytes | bytearray | memoryview) -> bool:
        """See `exists`."""
        return self._found(body) is not MISSING

    def find(self, body: bytes | bytearray | memoryview) -> Any:
        """What is found, as a JSON value; `MISSING` if nothing."""
        found = self._found(body)
        try:
            return plain(found, Fuel(_LEAST_FUEL + 8 * len(body)))
        except (Exhausted, RecursionError, ValueError):
            return MISSING

    def _found(self, body: bytes | bytearray | memoryview) -> Any:
        if self._parts is None:
            return MISSING
        try:
            fuel = Fuel(_LEAST_FUEL + 8 * len(body))
            return _walk(self._parts, 0, opened(msgspec.Raw(body), fuel), fuel)
        except (Exhausted, RecursionError, ValueError):
            # ValueError: no JSON, or no UTF-8; msgspec's errors are of that kind.
            return MISSING


def _walk(parts: Parts, at: int, value: Any, fuel: Fuel) -> Any:
    while at < len(parts):
        part = parts[at]
        if isinstance(part, Key) and part.pattern:
            value = opened(value, fuel)
            if isinstance(value, dict):
                return _walk_matches(parts, at, part, value, fuel)
        value = _step(part, value, fuel)
        if value is MISSING:
            return MISSING
        at += 1
    return value


def _walk_matches(parts: Parts, at: int, part: Key, value: dict[str, Any], fuel: Fuel) -> Any:
    """The first key that matches and leads on to the end."""
    for key, item in value.items():
        fuel.spend(1 + len(key) // 64)
        if matches(key, part.pattern):
            found = _walk(parts, at + 1, item, fuel)
            if found is not MISSING:
                return found
    return MISSING


def _step(part: Part, value: Any, fuel: Fuel) -> Any:
    if isinstance(part, Multi):
        return _multi(part, value, fuel)
    if isinstance(part, Literally):
        return part.value
    value = opened(value, fuel)
    if isinstance(part, Key):
        return _member(part, value)
    if isinstance(part, Modifier):
        if part.name == "dig":
            return _dug(part.path, plain(value, fuel), fuel)
        return MODIFIERS[part.name](value, part.argument, fuel)
    if not isinstance(value, list):
        return value.get("#", MISSING) if isinstance(part, Count) and _is_object(value) else MISSING
    fuel.spend(1)
    if isinstance(part, Count):
        return len(value)
    if isinstance(part, Each):
        return _each(part.path, value, fuel)
    return _queried(part, value, fuel)


def _is_object(value: Any) -> bool:
    return isinstance(value, dict)


def _member(part: Key, value: Any) -> Any:
    if isinstance(value, dict):
        return value.get(part.name, MISSING)
    name = part.name
    is_index = name.isascii() and name.isdigit() and len(name) <= _MOST_DIGITS
    if not is_index or not isinstance(value, list) or int(name) >= len(value):
        return MISSING
    return value[int(name)]


def _multi(part: Multi, value: Any, fuel: Fuel) -> Any:
    found = {}
    for at, (key, path) in enumerate(part.paths):
        fuel.spend(1)
        each = _walk(path, 0, value, fuel)
        if each is not MISSING:
            found[(key, at) if part.kind == "[" else (key, 0)] = each
    if part.kind == "[":
        return list(found.values())
    return {key: each for (key, _), each in found.items()}


def _each(path: Parts, items: list[Any], fuel: Fuel) -> list[Any]:
    found = []
    for item in items:
        fuel.spend(1)
        each = _walk(path, 0, item, fuel)
        if each is not MISSING:
            found.append(each)
    return found


def _queried(part: Query, items: list[Any], fuel: Fuel) -> Any:
    found = []
    for item in items:
        fuel.spend(1)
        subject = _walk(part.path, 0, item, fuel) if part.path else item
        if not holds(part, subject, fuel):
            continue
        if not part.is_all:
            return item
        each = _walk(part.then, 0, item, fuel)
        if each is not MISSING:
            found.append(each)
    return found if part.is_all else MISSING


def _dug(path: Parts, value: Any, fuel: Fuel) -> list[Any]:
    """What the path finds in the value and in everything within it, from the outside in."""
    found = []
    todo = [value]
    while todo:
        fuel.spend(1)
        item = todo.pop()
        each = _walk(path, 0, item, fuel)
        if each is not MISSING:
            found.append(each)
        if isinstance(item, dict):
            todo += reversed(list(item.values()))
        elif isinstance(item, list):
            todo += reversed(item)
    return found
