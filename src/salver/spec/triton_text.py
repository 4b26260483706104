"""Protobuf's text format as a tree of fields with their lines: what `config.pbtxt` is written in.

Owns the syntax alone: which fields there are and what their values mean is decided by whoever reads
the tree (`triton_read.py`). Bounded in size and depth, so that no text can take a server down.
Refuses extensions and `Any` messages (`[type.name]`), which no Triton configuration has.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

import msgspec

MOST_CHARACTERS = 4 << 20
_MOST_DEPTH = 32
_TOKEN = re.compile(
    r"""(?P<space>[ \t\r\n\f\v]+|\#[^\n]*)
    |(?P<text>"(?:[^"\\\n]|\\[^\n])*"|'(?:[^'\\\n]|\\[^\n])*')
    |(?P<number>-?\s*(?:0[xX][0-9a-fA-F]+|(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?[fF]?)(?![\w.]))
    |(?P<word>-?\s*[A-Za-z_]\w*)
    |(?P<mark>[{}<>\[\]:,;])""",
    re.VERBOSE,
)
_ESCAPE = re.compile(
    rb"""\\(?:x([0-9a-fA-F]{1,2})|([0-7]{1,3})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|(.))""",
    re.VERBOSE | re.DOTALL,
)
_LETTERS = {
    b"n": b"\n",
    b"t": b"\t",
    b"r": b"\r",
    b"a": b"\a",
    b"b": b"\b",
    b"f": b"\f",
    b"v": b"\v",
    b"\\": b"\\",
    b"'": b"'",
    b'"': b'"',
    b"?": b"?",
}
_CLOSERS = {"{": "}", "<": ">"}


class SyntaxFault(Exception):
    """The text is no text format; `line` counts from 1."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line


class Scalar(msgspec.Struct, frozen=True):
    """A value as written: a string's bytes, or the characters of a number or a word."""

    line: int
    text: str = ""
    data: bytes | None = None
    """The bytes of a string; None for a number or a word."""


class Message(msgspec.Struct, frozen=True):
    """The fields between braces, in their order; a repeated field comes several times."""

    line: int
    fields: tuple[Field, ...]


class Field(msgspec.Struct, frozen=True):
    """One value of a field; None for a list without any."""

    name: str
    line: int
    value: Scalar | Message | None


class _Token(NamedTuple):
    kind: str
    text: str
    line: int


_END = "end"


def read_text(text: str) -> Message:
    """The fields of a text. Raises `SyntaxFault` at the first thing that cannot be read."""
    if len(text) > MOST_CHARACTERS:
        raise SyntaxFault(1, f"has {len(text)} characters, more than the {MOST_CHARACTERS} allowed")
    reader = _Reader(_tokens(text.removeprefix("\ufeff")))
    fields = reader.fields(_END, 0)
    return Message(1, fields)


def _tokens(text: str) -> Iterator[_Token]:
    line, at = 1, 0
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None:
            raise SyntaxFault(line, _unreadable(text, at))
        kind = found.lastgroup or ""
        if kind != "space":
            yield _Token(kind, found[0], line)
        line += found[0].count("\n")
        at = found.end()
    yield _Token(_END, "", line)


def _unreadable(text: str, at: int) -> str:
    if text[at] in "\"'":
        return "a string begins here and does not end on its line: close it with the same quote"
    found = re.match(r"\S{1,20}", text[at:])
    return f"cannot be read from {(found[0] if found else text[at])!r} on: it is no text format"


class _Reader:
    """Reads one token ahead."""

    def __init__(self, tokens: Iterator[_Token]) -> None:
        self._tokens = tokens
        self._next = next(tokens)

    def fields(self, closer: str, depth: int) -> tuple[Field, ...]:
        """The fields up to the closing mark, or to the end of the text."""
        if depth > _MOST_DEPTH:
            raise SyntaxFault(self._next.line, f"is nested more than {_MOST_DEPTH} deep")
        found: list[Field] = []
        while not self._ends(closer):
            found += self._field(depth)
            if self._next.text in (",", ";"):
                self._take()
        return tuple(found)

    def _ends(self, closer: str) -> bool:
        token = self._next
        if token.kind == _END:
            if closer != _END:
                raise SyntaxFault(token.line, f"ends before a message is closed: {closer!r} lacks")
            return True
        if token.text == closer:
            self._take()
            return True
        return False

    def _field(self, depth: int) -> list[Field]:
        token = self._take()
        if token.kind != "word" or token.text.startswith("-"):
            raise SyntaxFault(token.line, f"expected the name of a field, found {token.text!r}")
        has_colon = self._next.text == ":"
        if has_colon:
            self._take()
        if self._next.text == "[" and self._next.kind == "mark":
            values: list[Scalar | Message] = self._list(token, depth, has_colon=has_colon)
        else:
            values = [self._value(token, depth, has_colon=has_colon)]
        if not values:
            return [Field(token.text, token.line, None)]
        return [Field(token.text, token.line, value) for value in values]

    def _list(self, name: _Token, depth: int, *, has_colon: bool) -> list[Scalar | Message]:
        self._take()
        values: list[Scalar | Message] = []
        while True:
            if self._next.text == "]":
                self._take()
                return values
            values.append(self._value(name, depth, has_colon=has_colon))
            if self._next.text == ",":
                self._take()
            elif self._next.text != "]":
                shown = self._next.text or "the end"
                raise SyntaxFault(
                    self._next.line, f"{name.text}: expected ',' or ']' in the list, found {shown}"
                )

    def _value(self, name: _Token, depth: int, *, has_colon: bool) -> Scalar | Message:
        token = self._take()
        if token.text in _CLOSERS and token.kind == "mark":
            return Message(token.line, self.fields(_CLOSERS[token.text], depth + 1))
        if not has_colon or token.kind in ("mark", _END):
            wanted = "a value" if has_colon else "':' and a value, or '{'"
            shown = repr(token.text) if token.text else "the end"
            raise SyntaxFault(token.line, f"{name.text}: expected {wanted}, found {shown}")
        if token.kind != "text":
            return Scalar(token.line, re.sub(r"\s", "", token.text))
        data = _unescaped(token)
        while self._next.kind == "text":
            data += _unescaped(self._take())
        return Scalar(token.line, "", data)

    def _take(self) -> _Token:
        token = self._next
        if token.kind != _END:
            self._next = next(self._tokens)
        return token


def _unescaped(token: _Token) -> bytes:
    """The bytes of a quoted string."""

    def replaced(found: re.Match[bytes]) -> bytes:
        hexadecimal, octal, short, long, letter = found.groups()
        if hexadecimal or octal:
            number = int(hexadecimal, 16) if hexadecimal else int(octal, 8)
            if number < 256:
                return bytes((number,))
        elif short or long:
            code = int(short or long, 16)
            if code < 0x110000 and not 0xD800 <= code < 0xE000:
                return chr(code).encode()
        elif letter in _LETTERS:
            return _LETTERS[letter]
        shown = found[0].decode(errors="replace")
        raise SyntaxFault(token.line, f"{shown!r} in a string is no escape")

    return _ESCAPE.sub(replaced, token.text[1:-1].encode("utf-8", "surrogatepass"))
