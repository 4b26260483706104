"""A SavedModel's own warm-up requests: TensorFlow Serving's file of records.

Owns the record format and the outer messages, read field by field; tensors within are left as
bytes for TensorFlow to parse. Pure. A record is

    u64 length | u32 of the length's checksum | data | u32 of the data's checksum

and its data a PredictionLog. Checksums are not compared: Python would need seconds for images, and
what is not a PredictionLog shows as that.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import msgspec

WARMUP_FILE = Path("assets.extra") / "tf_serving_warmup_requests"
MOST_RECORDS = 1000
"""As many as TensorFlow Serving takes."""
_MOST_BYTES = 1 << 30
_HEAD = struct.Struct("<QI")
_TAIL_BYTES = 4
_CLASSIFY, _REGRESS, _MULTI, _SESSION_RUN, _PREDICT = 2, 3, 4, 5, 6
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


class WarmupRequest(msgspec.Struct, frozen=True):
    """One request: `inputs` are serialised TensorProtos by name, or `examples` Examples."""

    signature: str = ""
    inputs: dict[str, bytes] = {}
    examples: tuple[bytes, ...] = ()


def warmup_requests(path: Path) -> list[WarmupRequest]:
    """All requests of the file. Raises `ValueError` with the reason if it is not such a file."""
    size = path.stat().st_size
    if size > _MOST_BYTES:
        raise ValueError(f"it has {size >> 20} MiB; keep fewer or smaller requests")
    found: list[WarmupRequest] = []
    for index, record in enumerate(_records(path.read_bytes())):
        if index >= MOST_RECORDS:
            raise ValueError(f"it has more than {MOST_RECORDS} records; keep fewer")
        try:
            found += _requests(record)
        except ValueError as error:
            raise ValueError(f"record {index} is no PredictionLog: {error}") from error
    return found


def _records(data: bytes) -> Iterator[bytes]:
    position = 0
    while position < len(data):
        if len(data) - position < _HEAD.size:
            raise ValueError("it is cut short within a record's head")
        length, _ = _HEAD.unpack_from(data, position)
        start = position + _HEAD.size
        if length > len(data) - start - _TAIL_BYTES:
            raise ValueError(f"a record of {length} bytes runs past its end")
        yield data[start : start + length]
        position = start + length + _TAIL_BYTES


def _requests(log: bytes) -> list[WarmupRequest]:
    for number, value in _fields(log):
        if number == _PREDICT:
            return [_predict(_first(value, 1))]
        if number in (_CLASSIFY, _REGRESS):
            request = _first(value, 1)
            return [
                WarmupRequest(_signature(_first(request, 1)), {}, _examples(_first(request, 2)))
            ]
        if number == _MULTI:
            request = _first(value, 1)
            examples = _examples(_first(request, 2))
            tasks = [each for field, each in _fields(request) if field == 1]
            return [WarmupRequest(_signature(_first(task, 1)), {}, examples) for task in tasks]
        if number == _SESSION_RUN:
            raise ValueError("it runs the session, which no request can; record predict requests")
    raise ValueError("it has no request")


def _predict(request: bytes) -> WarmupRequest:
    inputs = {}
    for number, value in _fields(request):
        if number == 2:
            inputs[_first(value, 1).decode()] = _first(value, 2)
    return WarmupRequest(_signature(_first(request, 1)), inputs)


def _examples(message: bytes) -> tuple[bytes, ...]:
    """The Examples of an Input; a context is merged into each, as one message after the other."""
    for number, value in _fields(message):
        fields = list(_fields(value))
        context = b"".join(each for field, each in fields if field == 2) if number == 2 else b""
        return tuple(context + each for field, each in fields if field == 1)
    return ()


def _signature(spec: bytes) -> str:
    return _first(spec, 3).decode()


def _first(message: bytes, wanted: int) -> bytes:
    """The last value of that field, as it counts; empty if there is none."""
    found = b""
    for number, value in _fields(message):
        if number == wanted:
            found = value
    return found


def _fields(message: bytes) -> Iterator[tuple[int, bytes]]:
    """The fields that have a length; others are passed over. Raises `ValueError`."""
    position = 0
    while position < len(message):
        tag, position = _varint(message, position)
        kind = tag & 7
        if kind == _VARINT:
            _, position = _varint(message, position)
            continue
        if kind == _BYTES:
            length, position = _varint(message, position)
        elif kind in (_FIXED64, _FIXED32):
            length = 8 if kind == _FIXED64 else 4
        else:
            raise ValueError(f"a field has the unknown wire type {kind}")
        if length > len(message) - position:
            raise ValueError("a field runs past its end")
        if kind == _BYTES:
            yield tag >> 3, message[position : position + length]
        position += length


def _varint(message: bytes, position: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 64, 7):
        if position >= len(message):
            raise ValueError("it is cut short")
        byte = message[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise ValueError("a number has too many bytes")
