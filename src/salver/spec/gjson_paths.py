"""GJSON paths: text to parts, and what is wrong with a path. Says nothing about JSON values.

What the parts mean is in `protocol/gjson.py`, which paths cannot be meant in `gjson_faults.py`.
"""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any, Literal

import msgspec

from salver.spec.gjson_texts import CLOSING, after, closing, named_path, split_query, split_top
from salver.spec.problems import quoted

MODIFIERS = (
    "this",
    "valid",
    "ugly",
    "pretty",
    "reverse",
    "flatten",
    "join",
    "keys",
    "values",
    "tostr",
    "fromstr",
    "group",
    "dig",
)
MAX_LENGTH = 4096
MAX_DEPTH = 32


class Key(msgspec.Struct, frozen=True, tag="key"):
    """A key of an object, or an index of an array. `pattern` is set if it has wildcards: the
    characters to match, and for `*` and `?` numbers."""

    name: str
    pattern: tuple[str | int, ...] = ()


ANY, ONE = 0, 1
"""In a pattern: any characters; one character."""


class Count(msgspec.Struct, frozen=True, tag="count"):
    """`#`: the length of an array."""


class Each(msgspec.Struct, frozen=True, tag="each"):
    """`#.PATH`: what the path finds in each element."""

    path: Parts


class Query(msgspec.Struct, frozen=True, tag="query"):
    """`#(PATH OPERATOR VALUE)`: the first element it is true of; with `is_all`, all of them, and
    `then` on each. No operator: elements that have the path."""

    path: Parts
    operator: str
    value: str
    is_all: bool
    then: tuple[Part, ...] = ()


class Modifier(msgspec.Struct, frozen=True, tag="modifier"):
    """`@NAME:ARGUMENT`. `path` is the argument of `dig`."""

    name: str
    argument: str = ""
    path: Parts = ()


class Multi(msgspec.Struct, frozen=True, tag="multi"):
    """`[PATH,PATH]` or `{KEY:PATH,PATH}`: a new array or object of what the paths find."""

    kind: Literal["[", "{"]
    paths: tuple[tuple[str, tuple[Part, ...]], ...]


class Literally(msgspec.Struct, frozen=True, tag="literally"):
    """`!JSON`: the value that is written there."""

    value: Any


Part = Key | Count | Each | Query | Modifier | Multi | Literally
Parts = tuple[Part, ...]


class PathFault(Exception):
    """Why a text is no path, or none that was meant."""


@lru_cache(maxsize=1024)
def parse(path: str) -> Parts:
    """The parts of a path. Raises `PathFault`."""
    if len(path) > MAX_LENGTH:
        raise PathFault(f"is longer than {MAX_LENGTH} characters")
    if not path.strip():
        raise PathFault("is empty: give the GJSON path that has to exist")
    return _Parser(path, 0).read()


class _Parser:
    """Reads one path; paths within it have parsers of their own."""

    def __init__(self, text: str, depth: int) -> None:
        if depth > MAX_DEPTH:
            raise PathFault(f"is nested deeper than {MAX_DEPTH} levels")
        self.text = text
        self.depth = depth
        self.at = 0

    def read(self) -> Parts:
        """All parts, up to the end of the text."""
        parts: list[Part] = []
        while True:
            parts.append(self._part())
            if self.at >= len(self.text):
                return tuple(parts)
            separator = self.text[self.at]
            if separator not in ".|":
                raise PathFault(
                    f"has {quoted(self.text[self.at :])} where '.', '|' or its end is expected"
                )
            self.at += 1

    def _part(self) -> Part:
        rest = self.text[self.at : self.at + 2]
        first = rest[:1]
        if first == "#":
            if rest in ("#(", "#["):
                return self._query(rest[1])
            if rest in ("#", "#.", "#|"):
                self.at += 1
                return self._each() if rest == "#." else Count()
        if first in ("[", "{"):
            return self._multi(first)
        if first == "!":
            return self._literal()
        if first == "@" and (found := self._modifier()) is not None:
            return found
        return self._key()

    def _key(self) -> Key:
        """A key up to the next separator; a backslash takes its special meaning from what is
        behind it."""
        pattern: list[str | int] = []
        while self.at < len(self.text) and (char := self.text[self.at]) not in ".|":
            self.at += 1
            if char == "\\" and self.at < len(self.text):
                pattern.append(self.text[self.at])
                self.at += 1
            elif char == "*":
                pattern.append(ANY)
            elif char == "?":
                pattern.append(ONE)
            else:
                pattern.append(char)
        if all(isinstance(each, str) for each in pattern):
            return Key("".join(map(str, pattern)))
        name = "".join("*?"[each] if isinstance(each, int) else each for each in pattern)
        return Key(name, tuple(pattern))

    def _rest_on_each(self) -> Parts:
        """The path that is applied to each element: up to a pipe or the end."""
        self.at += 1
        start = self.at
        self._skip_to("|")
        return _Parser(self.text[start : self.at], self.depth + 1).read()

    def _each(self) -> Each:
        return Each(self._rest_on_each())

    def _query(self, opening: str) -> Query:
        self.at += 1
        body = self._within(opening)
        path, operator, value = split_query(body)
        if value and not operator:
            raise PathFault(f"has an unknown comparison in {quoted(body)}: use ==, !=, <, >, %, !%")
        parts = _Parser(path, self.depth + 1).read() if path else ()
        if not path and not operator:
            raise PathFault(f"has a query without a question: '#{opening}{CLOSING[opening]}'")
        is_all = self.text[self.at : self.at + 1] == "#"
        then: Parts = ()
        if is_all:
            self.at += 1
            if self.text[self.at : self.at + 1] == "." and not self._is_piped(self.at + 1):
                then = self._rest_on_each()
        return Query(parts, operator, value, is_all, then)

    def _is_piped(self, at: int) -> bool:
        """Behind `#(...)#`, a dot before a modifier or multipath is a pipe."""
        if self.text[at : at + 1] == "@":
            return self.text[at + 1 :].split(".")[0].split("|")[0].split(":")[0] in MODIFIERS
        return self.text[at : at + 1] in ("[", "{", "!")

    def _multi(self, opening: str) -> Multi:
        body = self._within(opening)
        paths = []
        for entry in split_top(body):
            key, text = named_path(entry) if opening == "{" else ("", entry)
            text = text.strip()
            if not text:
                raise PathFault(f"has an empty path in {quoted(opening + body)}")
            parts = _Parser(text, self.depth + 1).read()
            paths.append((key or _last_name(parts), parts))
        return Multi("[" if opening == "[" else "{", tuple(paths))

    def _literal(self) -> Literally:
        self.at += 1
        start = self.at
        if self.text[start : start + 1] in ('"', "[", "{"):
            self.at = after(self.text, start)
        else:
            # A number may have a dot in it.
            self._skip_to("|")
        try:
            return Literally(json.loads(self.text[start : self.at]))
        except (ValueError, RecursionError):
            shown = quoted(self.text[start : self.at])
            raise PathFault(f"has no JSON behind the '!': {shown}") from None

    def _modifier(self) -> Modifier | None:
        end = self.at + 1
        while end < len(self.text) and self.text[end] not in ".|:":
            end += 1
        name = self.text[self.at + 1 : end]
        if name not in MODIFIERS:
            return None
        self.at = end
        argument = ""
        if self.text[end : end + 1] == ":":
            self.at += 1
            start = self.at
            self._skip_to("|" if name == "dig" else ".|")
            argument = self.text[start : self.at]
        path = _Parser(argument, self.depth + 1).read() if name == "dig" and argument else ()
        return Modifier(name, argument, path)

    def _within(self, opening: str) -> str:
        """What is between the bracket here and the one that closes it."""
        start = self.at + 1
        end = closing(self.text, self.at)
        if end < 0:
            raise PathFault(f"has no '{CLOSING[opening]}' for {quoted(self.text[self.at :])}")
        self.at = end + 1
        return self.text[start:end]

    def _skip_to(self, stops: str) -> None:
        while self.at < len(self.text) and self.text[self.at] not in stops:
            self.at = after(self.text, self.at)


def _last_name(parts: Parts) -> str:
    last = parts[-1]
    return last.name if isinstance(last, Key) and not last.pattern else "_"
