"""JSON values while a GJSON path is looked for: read one level at a time, with a bound on the work.

An object's members stay unread (`msgspec.Raw`) until a path goes through them, so that a condition
on one field of a large request costs one scan of it. Arrays are read whole.
"""

from __future__ import annotations

from typing import Any

import msgspec

_decode_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_any = msgspec.json.Decoder().decode
_BYTES_A_UNIT = 32
_SPACE = b" \t\r\n"


class _Missing:
    """The type of `MISSING`."""

    def __repr__(self) -> str:
        return "MISSING"


MISSING = _Missing()
"""What is found where nothing is; `None` is JSON's null."""


class Exhausted(Exception):
    """The path would take more work than its body's size allows."""


class Fuel:
    """How much work is left. One unit is about one value looked at."""

    __slots__ = ("left",)

    def __init__(self, units: int) -> None:
        self.left = units

    def spend(self, units: int) -> None:
        """Raises `Exhausted` when nothing is left."""
        self.left -= units
        if self.left < 0:
            raise Exhausted


def opened(value: Any, fuel: Fuel) -> Any:
    """The value, read if it is not yet: an object's members remain unread."""
    if type(value) is not msgspec.Raw:
        return value
    view = memoryview(value)
    fuel.spend(1 + len(view) // _BYTES_A_UNIT)
    return _decode_members(view) if _first_byte(view) == b"{" else _decode_any(view)


def _first_byte(view: memoryview) -> bytes:
    at = 0
    while at < len(view) and view[at] in _SPACE:
        at += 1
    return bytes(view[at : at + 1])


def plain(value: Any, fuel: Fuel) -> Any:
    """The value, read in full."""
    fuel.spend(1)
    if type(value) is msgspec.Raw:
        fuel.spend(len(memoryview(value)) // _BYTES_A_UNIT)
        return _decode_any(value)
    if isinstance(value, dict):
        return {key: plain(each, fuel) for key, each in value.items()}
    if isinstance(value, list):
        return [plain(each, fuel) for each in value]
    if isinstance(value, str):
        fuel.spend(len(value) // _BYTES_A_UNIT)
    return value
