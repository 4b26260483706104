"""How GJSON's queries compare, and its wildcards. Pure.

A number never equals a text that is none: there GJSON itself takes the text for 0.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

from salver.protocol.gjson_values import MISSING, Fuel, opened
from salver.spec.gjson_paths import ANY, ONE, Query

_NUMBER = re.compile(r"-?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,4})?")
_TRUE = ("1", "t", "true")
_FALSE = ("0", "f", "false")


def holds(query: Query, subject: Any, fuel: Fuel) -> bool:
    """Whether a query is true of what its path has found."""
    wanted, operator = query.value, query.operator
    subject = opened(subject, fuel) if subject is not MISSING else MISSING
    if wanted.startswith("~"):
        subject, wanted = _truth(wanted[1:], subject), "true"
    if subject is MISSING:
        return False
    if not operator:
        return True
    if isinstance(subject, bool):
        return _compare_truth(operator, subject, wanted)
    if isinstance(subject, str):
        fuel.spend(len(subject) // 64)
        if operator in ("%", "!%"):
            return matches(subject, _pattern(wanted)) == (operator == "%")
        return _compare(operator, subject, wanted)
    if isinstance(subject, int | float):
        if _NUMBER.fullmatch(wanted) is None:
            return operator == "!="
        return _compare(operator, subject, float(wanted))
    return False


def _compare(operator: str, left: Any, right: Any) -> bool:
    if operator in ("==", "!="):
        return bool(left == right) == (operator == "==")
    if left == right:
        return operator in ("<=", ">=")
    return (
        bool(left < right) if operator in ("<", "<=") else operator in (">", ">=") and left > right
    )


def _compare_truth(operator: str, subject: bool, wanted: str) -> bool:
    if wanted not in ("true", "false"):
        return operator == "!=" or operator == (">=" if subject else "<=")
    return _compare(operator, subject, wanted == "true")


def _truth(what: str, subject: Any) -> Any:
    """Whether a value is what `~true`, `~false`, `~null`, `~*` say."""
    if what == "*":
        return subject is not MISSING
    is_nothing = subject is MISSING or subject is None
    if what == "null":
        return is_nothing
    if what not in ("true", "false"):
        return MISSING
    if is_nothing:
        return what == "false"
    if isinstance(subject, str):
        return subject.lower() in (_TRUE if what == "true" else _FALSE)
    if isinstance(subject, bool | int | float):
        return bool(subject) == (what == "true")
    return False


@lru_cache(maxsize=256)
def _pattern(text: str) -> tuple[str | int, ...]:
    found: list[str | int] = []
    chars = iter(text)
    for char in chars:
        if char == "\\":
            found.append(next(chars, "\\"))
        else:
            found.append({"*": ANY, "?": ONE}.get(char, char))
    return tuple(found)


def matches(text: str, pattern: tuple[str | int, ...]) -> bool:
    """Wildcards without backtracking beyond the last `*`: at most length times length."""
    at = star = 0
    mark = -1
    place = 0
    while place < len(text):
        if at < len(pattern) and pattern[at] == ANY and not isinstance(pattern[at], str):
            mark, star = at, place
            at += 1
        elif at < len(pattern) and (pattern[at] == text[place] or pattern[at] == ONE):
            at += 1
            place += 1
        elif mark >= 0:
            star += 1
            at, place = mark + 1, star
        else:
            return False
    return all(each == ANY for each in pattern[at:])
