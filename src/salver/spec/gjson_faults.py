"""GJSON paths that cannot be meant as conditions, and what to write instead. Pure.

GJSON itself never refuses a path: what it cannot read, it takes for a key that no object has. A
condition that can never hold is a mistake though.
"""

from __future__ import annotations

import re

from salver.spec.gjson_paths import MODIFIERS, Each, Key, Multi, Parts, PathFault, Query, parse
from salver.spec.problems import did_you_mean, quoted

_TEMPLATE = re.compile(r"\{\s*\.?([\w.]+)\s*(==|!=|<=|>=|<|>)\s*([^{}]*?)\s*\}")


def fault(path: str) -> str:
    """What is wrong with a path as a condition; empty if nothing is."""
    if found := _TEMPLATE.fullmatch(path.strip()):
        query = f"#({''.join(found.groups())})"
        return (
            f"is an expression of a template, {quoted(path)}, which KServe's router cannot read "
            f"either: conditions are GJSON paths, write '[@this].{query}'"
        )
    try:
        parts = parse(path)
    except PathFault as error:
        return str(error)
    return _oddity(parts)


def always_exists(path: str) -> bool:
    """Whether the last part finds something even where nothing matches: `#(...)#`, `#.x`."""
    try:
        last = parse(path)[-1]
    except (PathFault, IndexError):
        return False
    return isinstance(last, Each | Multi) or (isinstance(last, Query) and last.is_all)


def _oddity(parts: Parts) -> str:
    for part in parts:
        if isinstance(part, Key):
            if odd := _odd_key(part.name):
                return odd
        elif isinstance(part, Multi):
            for _, each in part.paths:
                if odd := _oddity(each):
                    return odd
        elif isinstance(part, Query | Each) and (odd := _oddity(part.path)):
            return odd
    return ""


def _odd_key(name: str) -> str:
    for operator in ("==", "!=", ">=", "<="):
        left, found, right = name.partition(operator)
        if found:
            query = f"#({left.strip().lstrip('.')}{operator}{right.strip()})"
            return (
                f"compares outside of a query, in {quoted(name)}: write '[@this].{query}' for a "
                f"field of the message, '{query}' behind an array"
            )
    if name.startswith("@") and (advice := did_you_mean(name[1:], MODIFIERS)):
        return f"has no modifier {quoted(name)}{advice.replace(chr(39), chr(39) + '@', 1)}"
    if name.startswith("$"):
        return f"is no GJSON path: {quoted(name)} is JSONPath; paths begin with a key, or '@this'"
    if not name:
        return "has an empty part: two dots in a row, or one at its end"
    return ""
