"""The outermost fields of protobuf messages, read and written by hand.

The gateway routes on two strings of a message that a worker will parse, and answers a few
small messages itself. That needs no protobuf library in the gateway's memory and no parse
of the tensors. Refuses to know what the fields of any message mean.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MAX_VARINT_BYTES = 10


class MalformedMessageError(ValueError):
    """The bytes are no protobuf message."""


def name_and_version(message: bytes | bytearray) -> tuple[str, str]:
    """The strings of fields 1 and 2, wherever they stand; "" for one that is missing.

    Every request about a model has its name and version there. Walks over the other fields
    without looking inside, so the cost is per field, not per byte; as protobuf demands, the
    last of repeated fields wins. Raises `MalformedMessageError`.
    """
    first: bytes | bytearray = b""
    second: bytes | bytearray = b""
    position, end = 0, len(message)
    try:
        while position < end:
            tag = message[position]
            if tag & 0x87 != _BYTES:  # not length-delimited, or a field number above 15
                position = _read_field(message, position)[3]
                continue
            length = message[position + 1]
            start = position + 2
            if length > 0x7F:
                length, start = _read_varint(message, position + 1)
            position = start + length
            if tag == 0x0A:
                first = message[start:position]
            elif tag == 0x12:
                second = message[start:position]
            elif tag == 0x02:
                raise MalformedMessageError("a field has number 0")
        if position > end:
            raise MalformedMessageError("a field is longer than the message")
        return first.decode(), second.decode()
    except IndexError as error:
        raise MalformedMessageError("the message ends inside a field") from error
    except UnicodeDecodeError as error:
        raise MalformedMessageError("a string is not UTF-8") from error


def read_fields(message: bytes | bytearray) -> Iterator[tuple[int, int | bytes]]:
    """The number and value of every outermost field. Raises `MalformedMessageError`."""
    position = 0
    try:
        while position < len(message):
            number, _, value, position = _read_field(message, position)
            yield number, value
    except IndexError as error:
        raise MalformedMessageError("the message ends inside a field") from error


def _read_field(message: bytes | bytearray, position: int) -> tuple[int, int, int | bytes, int]:
    """Number, wire type, value and the position behind the field at `position`."""
    key, position = _read_varint(message, position)
    number, wire_type = key >> 3, key & 7
    if number == 0:
        raise MalformedMessageError("a field has number 0")
    if wire_type == _VARINT:
        value, position = _read_varint(message, position)
        return number, wire_type, value, position
    if wire_type == _BYTES:
        length, position = _read_varint(message, position)
    elif wire_type == _FIXED64:
        length = 8
    elif wire_type == _FIXED32:
        length = 4
    else:
        raise MalformedMessageError(f"field {number} has the unknown wire type {wire_type}")
    behind = position + length
    if behind > len(message):
        raise MalformedMessageError("a field is longer than the message")
    return number, wire_type, bytes(message[position:behind]), behind


def _read_varint(message: bytes | bytearray, position: int) -> tuple[int, int]:
    value = 0
    for index in range(_MAX_VARINT_BYTES):
        byte = message[position + index]
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return value, position + index + 1
    raise MalformedMessageError("a number has more than ten bytes")


def varint(value: int) -> bytes:
    """A number as protobuf's int64 writes it: negative ones take ten bytes."""
    value &= (1 << 64) - 1
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def text_field(number: int, value: str) -> bytes:
    """A string field; nothing for the empty string, as proto3 has it."""
    return bytes_field(number, value.encode()) if value else b""


def bytes_field(number: int, value: bytes | memoryview) -> bytes:
    """A field of bytes or of an encoded message, written even when empty."""
    return b"".join((varint(number << 3 | _BYTES), varint(len(value)), value))


def integers_field(number: int, values: Iterable[int]) -> bytes:
    """A packed repeated int64 field; nothing when there are no values."""
    packed = b"".join(varint(value) for value in values)
    return bytes_field(number, packed) if packed else b""


def number_field(number: int, value: int) -> bytes:
    """A number, enum or bool field; nothing for zero, as proto3 has it."""
    return varint(number << 3 | _VARINT) + varint(value) if value else b""
