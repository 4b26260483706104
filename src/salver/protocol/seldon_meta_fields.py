"""Seldon's `Meta` in protobuf, read and written field by field, as the dict that JSON has for it.

The gateway reads and writes it without a protobuf library. Malformed bytes raise `ValueError`.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Mapping
from typing import Any

from salver.protocol.wire_fields import places, text_field, varint, varints

Body = bytes | bytearray | memoryview
_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5
_PUID, _TAGS, _ROUTING, _PATH, _METRICS = 1, 2, 3, 4, 5
_KEY, _VALUE = 1, 2
_METRIC_TYPES = ("COUNTER", "GAUGE", "TIMER")
_MOST_NESTED = 64
_DOUBLE = struct.Struct("<d")


def read_meta(body: Body) -> dict[str, Any]:
    """The meta as JSON has it."""
    meta: dict[str, Any] = {}
    for number, value in _fields(body):
        if number == _PUID:
            meta["puid"] = _text(value)
        elif number == _TAGS:
            key, tag = _entry(value)
            meta.setdefault("tags", {})[key] = _value(_bytes(tag), 0)
        elif number == _ROUTING:
            key, branch = _entry(value)
            meta.setdefault("routing", {})[key] = branch if isinstance(branch, int) else 0
        elif number == _PATH:
            key, image = _entry(value)
            meta.setdefault("requestPath", {})[key] = _text(image)
        elif number == _METRICS:
            meta.setdefault("metrics", []).append(_metric(_bytes(value)))
    return meta


def written_meta(meta: Mapping[str, Any]) -> bytes:
    """The bytes of a meta given as JSON has it; what has no place in protobuf is left out."""
    pieces = [text_field(_PUID, meta["puid"].encode())] if meta.get("puid") else []
    for key, tag in (meta.get("tags") or {}).items():
        pieces.append(_written_entry(_TAGS, key, text_field(_VALUE, written_value(tag))))
    for key, branch in (meta.get("routing") or {}).items():
        pieces.append(_written_entry(_ROUTING, key, _written_int(_VALUE, branch)))
    for key, image in (meta.get("requestPath") or {}).items():
        pieces.append(_written_entry(_PATH, key, text_field(_VALUE, image.encode())))
    for metric in meta.get("metrics") or []:
        pieces.append(text_field(_METRICS, _written_metric(metric)))
    return b"".join(pieces)


def read_float(body: Body, number: int) -> float:
    """The float32 in that field; 0 if it is not there."""
    found = [value for at, value in _fields(body) if at == number and isinstance(value, float)]
    return found[-1] if found else 0.0


def _fields(body: Body) -> Iterator[tuple[int, int | float | memoryview]]:
    """Number and value of each field of a number below 16, which all of Seldon's have."""
    view = memoryview(body)
    for number, start, end in places(view):
        if number > 15:
            continue
        kind = view[start] & 7
        if kind == _VARINT:
            yield number, varints(view[start + 1 : end])[0]
        elif kind == _FIXED64:
            yield number, struct.unpack("<d", view[start + 1 : end])[0]
        elif kind == _FIXED32:
            yield number, struct.unpack("<f", view[start + 1 : end])[0]
        else:
            at = start + 1
            while view[at] & 0x80:
                at += 1
            yield number, view[at + 1 : end]


def _entry(value: int | float | memoryview) -> tuple[str, int | float | memoryview]:
    key, found = "", None
    for number, each in _fields(_bytes(value)):
        if number == _KEY:
            key = _text(each)
        elif number == _VALUE:
            found = each
    return key, memoryview(b"") if found is None else found


def _bytes(value: int | float | memoryview | None) -> memoryview:
    if isinstance(value, memoryview):
        return value
    raise ValueError("a number is where a message or text should be")


def _text(value: int | float | memoryview) -> str:
    return bytes(_bytes(value)).decode()


def _metric(body: memoryview) -> dict[str, Any]:
    metric: dict[str, Any] = {"key": "", "type": _METRIC_TYPES[0], "value": 0.0}
    for number, value in _fields(body):
        if number == 1:
            metric["key"] = _text(value)
        elif number == 2 and isinstance(value, int) and 0 <= value < len(_METRIC_TYPES):
            metric["type"] = _METRIC_TYPES[value]
        elif number == 3 and isinstance(value, float):
            metric["value"] = value
        elif number == 4:
            key, tag = _entry(value)
            metric.setdefault("tags", {})[key] = _text(tag)
    return metric


# google.protobuf.Value, whose kinds are fields 1 to 6.


def _value(body: memoryview, depth: int) -> Any:
    if depth > _MOST_NESTED:
        raise ValueError("a tag is nested too deeply")
    result: Any = None
    for number, value in _fields(body):
        if number in (2, 4):
            result = bool(value) if number == 4 else value
        elif number == 3:
            result = _text(value)
        elif number == 5:
            entries = [_entry(each) for at, each in _fields(_bytes(value)) if at == 1]
            result = {key: _value(_bytes(each), depth + 1) for key, each in entries}
        elif number == 6:
            listed = [each for at, each in _fields(_bytes(value)) if at == 1]
            result = [_value(_bytes(each), depth + 1) for each in listed]
    return result


def written_value(value: Any) -> bytes:
    """A google.protobuf.Value of one of JSON's values; anything else is null."""
    if isinstance(value, bool):
        return b"\x20" + (b"\x01" if value else b"\x00")
    if isinstance(value, int | float):
        return b"\x11" + _DOUBLE.pack(_double(value))
    if isinstance(value, str):
        return text_field(3, value.encode())
    if isinstance(value, Mapping):
        fields = [
            _written_entry(1, str(key), text_field(_VALUE, written_value(each)))
            for key, each in value.items()
        ]
        return text_field(5, b"".join(fields))
    if isinstance(value, list | tuple):
        return text_field(6, b"".join(text_field(1, written_value(each)) for each in value))
    return b"\x08\x00"


def _written_entry(number: int, key: str, value: bytes) -> bytes:
    return text_field(number, text_field(_KEY, key.encode()) + value)


def _written_int(number: int, value: int) -> bytes:
    return bytes((number << 3,)) + varint(value & (1 << 64) - 1)


def _written_metric(metric: Mapping[str, Any]) -> bytes:
    kind = metric.get("type", 0)
    index = _METRIC_TYPES.index(kind) if kind in _METRIC_TYPES else kind
    pieces = [
        text_field(1, str(metric.get("key", "")).encode()),
        _written_int(2, index if isinstance(index, int) else 0),
        b"\x1d" + struct.pack("<f", _float32(metric.get("value", 0.0))),
    ]
    for key, tag in (metric.get("tags") or {}).items():
        pieces.append(_written_entry(4, str(key), text_field(_VALUE, str(tag).encode())))
    return b"".join(pieces)


def _double(value: float) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def _float32(value: Any) -> float:
    try:
        number = float(value)
        struct.pack("<f", number)
    except (TypeError, ValueError, OverflowError):
        return math.nan
    return number
