"""Brackets, quotes and escapes in GJSON paths: where what begins ends. Knows no paths."""

from __future__ import annotations

import json

OPERATORS = ("==", "!=", "<=", ">=", "!%", "=", "<", ">", "%")
CLOSING = {"(": ")", "[": "]", "{": "}"}
_CLOSES = frozenset(CLOSING.values())
_OPERATOR_STARTS = "=!<>%"


def after(text: str, at: int) -> int:
    """The place behind what begins at `at`: a quoted text, brackets, an escape, a character."""
    if text[at] == "\\":
        return min(at + 2, len(text))
    if text[at] == '"':
        end = at + 1
        while end < len(text) and text[end] != '"':
            end += 2 if text[end] == "\\" else 1
        return min(end + 1, len(text))
    if text[at] in CLOSING:
        end = closing(text, at)
        return len(text) if end < 0 else end + 1
    return at + 1


def closing(text: str, at: int) -> int:
    """Where the bracket at `at` is closed; -1 if it is not."""
    awaited = [CLOSING[text[at]]]
    at += 1
    while at < len(text):
        char = text[at]
        if char in CLOSING:
            awaited.append(CLOSING[char])
            at += 1
        elif char in _CLOSES:
            if char == awaited[-1]:
                awaited.pop()
                if not awaited:
                    return at
            at += 1
        else:
            at = after(text, at)
    return -1


def split_query(body: str) -> tuple[str, str, str]:
    """The path, operator and value of a query; a text that is none of the three is a value."""
    at = 0
    while at < len(body) and body[at] not in _OPERATOR_STARTS:
        at = after(body, at)
    path, rest = body[:at].strip(), body[at:]
    operator = next((each for each in OPERATORS if rest.startswith(each)), "")
    value = rest[len(operator) :].strip()
    return path, "==" if operator == "=" else operator, unquoted(value)


def unquoted(value: str) -> str:
    if len(value) < 2 or value[0] != '"' or value[-1] != '"':
        return value
    try:
        found = json.loads(value)
    except ValueError:
        return value[1:-1]
    return found if isinstance(found, str) else value[1:-1]


def split_top(body: str) -> list[str]:
    """The parts between commas that are in no brackets or quotes."""
    found, start, at = [], 0, 0
    while at < len(body):
        if body[at] == ",":
            found.append(body[start:at])
            start = at + 1
        at = after(body, at)
    return [*found, body[start:]] if body.strip() else []


def named_path(entry: str) -> tuple[str, str]:
    """The key and the path of one entry of `{...}`."""
    entry = entry.strip()
    if not entry.startswith('"'):
        return "", entry
    end = after(entry, 0)
    rest = entry[end:].lstrip()
    return (unquoted(entry[:end]), rest[1:]) if rest.startswith(":") else ("", entry)
