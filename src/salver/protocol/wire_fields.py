"""Protobuf's wire format, as far as moving fields between messages needs it.

Reads field numbers and the bytes of length-delimited fields; knows no message. Malformed bytes
raise `ValueError`.
"""

from __future__ import annotations

from collections.abc import Iterator

Body = bytes | bytearray | memoryview
_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5
_MAX_SHIFT = 63


def fields(body: Body) -> Iterator[tuple[int, memoryview]]:
    """Number and value of each length-delimited field, in order; others are passed over."""
    view = memoryview(body)
    for number, kind, start, end in _walk(view):
        if kind == _LENGTH:
            yield number, view[start:end]


def numbers(body: Body) -> Iterator[tuple[int, int]]:
    """Number and unsigned value of each varint field, in order; others are passed over."""
    view = memoryview(body)
    for number, kind, start, _ in _walk(view):
        if kind == _VARINT:
            yield number, _read_varint(view, start)[0]


def places(body: Body) -> Iterator[tuple[int, int, int]]:
    """Number, start and end of each field, its tag included."""
    view = memoryview(body)
    at = 0
    for number, _, _, end in _walk(view):
        yield number, at, end
        at = end


def whole_field(body: Body, start: int, end: int) -> bytes:
    """The bytes of one of the `places`."""
    return bytes(body[start:end])


def text_field(number: int, value: Body) -> bytes:
    """A length-delimited field."""
    return b"".join((varint(number << 3 | _LENGTH), varint(len(value)), value))


def varint(value: int) -> bytes:
    """A number of base 128."""
    if value < 0x80:
        return bytes((value,))
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def varints(body: Body) -> list[int]:
    """The signed numbers of a packed field."""
    view = memoryview(body)
    found: list[int] = []
    at = 0
    while at < len(view):
        value, at = _read_varint(view, at)
        found.append(value - (1 << 64) if value >> 63 else value)
    return found


def _walk(view: memoryview) -> Iterator[tuple[int, int, int, int]]:
    """Number, wire type, and where the value begins and ends."""
    at, size = 0, len(view)
    while at < size:
        tag, at = _read_varint(view, at)
        number, kind = tag >> 3, tag & 7
        start = at
        if kind == _LENGTH:
            length, start = _read_varint(view, at)
            at = start + length
        elif kind == _VARINT:
            _, at = _read_varint(view, at)
        elif kind in (_FIXED32, _FIXED64):
            at += 4 if kind == _FIXED32 else 8
        else:
            raise ValueError(f"field {number} has wire type {kind}, which is none")
        if at > size or number == 0:
            raise ValueError(f"field {number} runs past the end of the message")
        yield number, kind, start, at


def _read_varint(view: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(view):
            raise ValueError("the message ends within a number")
        byte = view[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > _MAX_SHIFT:
            raise ValueError("a number has more than ten bytes")
