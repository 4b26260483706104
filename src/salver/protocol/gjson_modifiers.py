"""GJSON's modifiers, but for `@dig`: a value and an argument in, a value out. Raise nothing but
`Exhausted`, and what msgspec raises for a text that is no JSON."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from salver.protocol.gjson_values import MISSING, Fuel, opened, plain

_Modifier = Callable[[Any, str, Fuel], Any]
_CHARACTERS_A_UNIT = 8


def _same(value: Any, argument: str, fuel: Fuel) -> Any:
    return value


def _reverse(value: Any, argument: str, fuel: Fuel) -> Any:
    if isinstance(value, list):
        fuel.spend(len(value))
        return value[::-1]
    if isinstance(value, dict):
        fuel.spend(len(value))
        return dict(reversed(value.items()))
    return value


def _keys(value: Any, argument: str, fuel: Fuel) -> Any:
    if isinstance(value, dict):
        fuel.spend(len(value))
        return list(value)
    size = len(value) if isinstance(value, list) else 1
    fuel.spend(size)
    return [None] * size


def _values(value: Any, argument: str, fuel: Fuel) -> Any:
    if isinstance(value, dict):
        fuel.spend(len(value))
        return list(value.values())
    return value if isinstance(value, list) else [value]


def _flatten(value: Any, argument: str, fuel: Fuel) -> Any:
    """The elements of arrays within an array, instead of the arrays; `{"deep":true}`: of all."""
    if not isinstance(value, list):
        return value
    is_deep = _option(argument, "deep")
    flat: list[Any] = []
    todo = [(0, each) for each in reversed(value)]
    while todo:
        fuel.spend(1)
        depth, item = todo.pop()
        item = opened(item, fuel)
        if isinstance(item, list) and (depth == 0 or is_deep):
            fuel.spend(len(item))
            todo += [(depth + 1, each) for each in reversed(item)]
        else:
            flat.append(item)
    return flat


def _join(value: Any, argument: str, fuel: Fuel) -> Any:
    """One object of an array's objects; of a key that several have, the last one counts."""
    if not isinstance(value, list):
        return value
    joined: dict[str, Any] = {}
    for each in value:
        item = opened(each, fuel)
        if isinstance(item, dict):
            fuel.spend(1 + len(item))
            joined |= item
    return joined


def _to_text(value: Any, argument: str, fuel: Fuel) -> Any:
    text = msgspec.json.encode(plain(value, fuel)).decode()
    fuel.spend(len(text) // _CHARACTERS_A_UNIT)
    return text


def _from_text(value: Any, argument: str, fuel: Fuel) -> Any:
    if not isinstance(value, str):
        return value
    fuel.spend(1 + len(value) // _CHARACTERS_A_UNIT)
    return msgspec.json.decode(value)


def _group(value: Any, argument: str, fuel: Fuel) -> Any:
    """An object of arrays as an array of objects."""
    if not isinstance(value, dict):
        return MISSING
    rows: list[dict[str, Any]] = []
    for key, each in value.items():
        column = opened(each, fuel)
        if not isinstance(column, list):
            continue
        fuel.spend(1 + len(column))
        rows += [{} for _ in range(len(column) - len(rows))]
        for row, item in zip(rows, column, strict=False):
            row[key] = item
    return rows


def _option(argument: str, name: str) -> bool:
    try:
        found = msgspec.json.decode(argument) if argument else {}
    except msgspec.MsgspecError:
        return False
    return isinstance(found, dict) and found.get(name) is True


MODIFIERS: Mapping[str, _Modifier] = {
    "this": _same,
    "valid": _same,
    "ugly": _same,
    "pretty": _same,
    "reverse": _reverse,
    "flatten": _flatten,
    "join": _join,
    "keys": _keys,
    "values": _values,
    "tostr": _to_text,
    "fromstr": _from_text,
    "group": _group,
}
