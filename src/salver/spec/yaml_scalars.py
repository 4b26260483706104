"""What an unquoted scalar of YAML is: nothing, a truth value, a number, or a text."""

from __future__ import annotations

import re
from typing import Any

_WORDS = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
YES_NO = {"yes": True, "on": True, "y": True, "no": False, "off": False, "n": False}
_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9_]*)")
_OTHER_BASE = re.compile(r"([-+]?)0(?:(o?)([0-7_]+)|x([0-9a-fA-F_]+)|b([01_]+))")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9][0-9_]*(\.[0-9_]*)?)([eE][-+]?[0-9]+)?")


def plain_value(text: str) -> Any:
    """What an unquoted scalar is. `yes` and dates are texts, and infinities, which JSON lacks."""
    if text in _WORDS:
        return _WORDS[text]
    if len(text) > 400 or text[:1] not in "-+.0123456789":
        return text
    if _INTEGER.fullmatch(text):
        return _bounded(int(text.replace("_", "")))
    if other := _OTHER_BASE.fullmatch(text):
        sign, _, octal, hexadecimal, binary = other.groups()
        digits, base = next(
            (each, base) for each, base in ((octal, 8), (hexadecimal, 16), (binary, 2)) if each
        )
        plain = digits.replace("_", "")
        return _bounded(int(sign + plain, base)) if plain else text
    if _FLOAT.fullmatch(text):
        number = float(text.replace("_", ""))
        return number if abs(number) != float("inf") else text
    return text


def _bounded(number: int) -> int | float:
    """Integers beyond 64 bits become floats, as they do in most readers of JSON."""
    return number if -(2**63) <= number < 2**63 else float(number)
