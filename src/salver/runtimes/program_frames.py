"""The framed protocol between a worker and a program: messages to bytes and back. Pure.

Owns what `docs/framed-protocol.md` says of a message: its prefix, its head of lines and fields,
the escapes. Knows no process, no pipe and no tensor.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Sequence

import msgspec

MAGIC = b"SLVR"
PREFIX = struct.Struct("<4sII")
"""Before each message: the mark, the bytes of its head, the bytes of its body."""
MOST_HEAD_BYTES = 1 << 20
MOST_BODY_BYTES = (1 << 31) - 1

_ESCAPES = {"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"}
_PLAIN = {escaped: plain for plain, escaped in _ESCAPES.items()}
_ESCAPED = re.compile(r"\\[\\tnr]")
_TO_ESCAPE = re.compile(r"[\\\t\n\r]")
_SHOWN_BYTES = 200


class NotAMessage(ValueError):
    """What came is no message of the protocol; the text is what it was instead."""


class Message(msgspec.Struct, frozen=True):
    """The lines of the head, each a tuple of fields, and the body."""

    lines: tuple[tuple[str, ...], ...]
    body: bytes = b""

    @property
    def kind(self) -> str:
        return self.lines[0][0]

    @property
    def id(self) -> str:
        """What follows the kind; empty if nothing does."""
        return self.lines[0][1] if len(self.lines[0]) > 1 else ""

    def values(self, kind: str) -> Iterable[tuple[str, ...]]:
        """The fields of the lines of that kind, without the kind itself."""
        return (line[1:] for line in self.lines[1:] if line[0] == kind)


def head_of(lines: Sequence[Sequence[str]], body_bytes: int) -> bytes:
    """Prefix and head of a message whose body has so many bytes."""
    text = "\n".join(["\t".join([escaped(field) for field in line]) for line in lines])
    head = text.encode()
    return PREFIX.pack(MAGIC, len(head), body_bytes) + head


def sizes_of(prefix: bytes | bytearray) -> tuple[int, int]:
    """The bytes of head and body. Raises `NotAMessage` for sizes that no message has."""
    _, head_bytes, body_bytes = PREFIX.unpack_from(prefix)
    if not 0 < head_bytes <= MOST_HEAD_BYTES or body_bytes > MOST_BODY_BYTES:
        raise NotAMessage(f"a message whose head has {head_bytes} bytes, its body {body_bytes}")
    return head_bytes, body_bytes


def message_of(head: bytes | bytearray, body: bytes) -> Message:
    """The message of a head and a body. Raises `NotAMessage` for a head that is no UTF-8."""
    try:
        text = head.decode()
    except UnicodeDecodeError:
        raise NotAMessage(f"a head that is no UTF-8 text: {shown(head)}") from None
    lines = text.rstrip("\n").split("\n")
    return Message(tuple([_fields(line) for line in lines]), body)


def is_start(data: bytes | bytearray) -> bool:
    """Whether the bytes may be the beginning of a message."""
    return MAGIC.startswith(bytes(data[:4]))


def shown(data: bytes | bytearray) -> str:
    """The first line of what a program wrote by mistake, for people."""
    line = bytes(data[:_SHOWN_BYTES]).strip().split(b"\n")[0]
    return repr(line.decode(errors="backslashreplace"))


def escaped(text: str) -> str:
    """The text without tabs and line ends."""
    return _TO_ESCAPE.sub(lambda found: _ESCAPES[found[0]], text) if _needs(text) else text


def _needs(text: str) -> bool:
    return "\\" in text or "\t" in text or "\n" in text or "\r" in text


def _fields(line: str) -> tuple[str, ...]:
    fields = line.split("\t")
    if "\\" in line:
        fields = [_ESCAPED.sub(lambda found: _PLAIN[found[0]], field) for field in fields]
    return tuple(fields)
