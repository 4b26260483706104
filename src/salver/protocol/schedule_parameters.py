"""What a request says of its scheduling: the parameters `priority` and `timeout` of V2.

For the gateway, and only for models whose configuration lets requests say it: others' bodies are
not looked at. Looks at no tensor: of JSON, values other than the parameters are skipped, and
nothing is read where neither name occurs; of gRPC messages, fields are passed over by their length.
A body that cannot be read says nothing here; the worker says what is wrong with it.
"""

from __future__ import annotations

import json
import zlib
from typing import Any, NamedTuple

import msgspec

from salver.errors import InvalidInput
from salver.protocol.operations import Operation, operation_of
from salver.protocol.wire_codes import Codec
from salver.protocol.wire_fields import fields, numbers

PRIORITY, TIMEOUT = "priority", "timeout"
_NAMES = (PRIORITY, TIMEOUT)
_MOST_BYTES = 1 << 20
"""Of a compressed body, and of one that is no strict JSON: what is said beyond is not heard, so
that no request can hold the gateway up, or take its memory."""
_PARAMETERS, _KEY, _VALUE = 4, 1, 2
_INT64, _UINT64 = 2, 5
_LARGEST = 1 << 64


class Schedule(NamedTuple):
    """Both 0: the request does not say. `timeout_us` in microseconds."""

    priority: int = 0
    timeout_us: int = 0


UNSAID = Schedule()


class _Head(msgspec.Struct):
    parameters: dict[str, Any] | None = None


_UNREADABLE = (msgspec.MsgspecError, ValueError, RecursionError)
_decode = msgspec.json.Decoder(_Head).decode


def schedule_of(tag: int, aux: int, body: bytes | bytearray) -> Schedule:
    """What a request with that tag (`frame.py`) says. Raises `InvalidInput` for no numbers."""
    if operation_of(tag) not in (Operation.PREDICT, Operation.STREAM):
        return UNSAID
    codec = tag & 0xFF
    if codec == Codec.V2_GRPC:
        return _checked(_grpc_parameters(body))
    if codec == Codec.V2_JSON and aux >= 0:
        return _checked(_json_parameters(_head_of(tag, aux, body)))
    return UNSAID


def _head_of(tag: int, aux: int, body: bytes | bytearray) -> bytes | bytearray:
    """The JSON of a request, without the tensors behind it."""
    if tag >> 8 & 0xFF:
        try:
            # What a header says of the length is the caller's word.
            most = min(aux, _MOST_BYTES) or _MOST_BYTES
            body = zlib.decompressobj(47).decompress(body, most)
        except zlib.error:
            return b""
    return body[:aux] if aux else body


def _json_parameters(head: bytes | bytearray) -> dict[str, Any]:
    if not any(b'"%b"' % name.encode() in head for name in _NAMES):
        return {}
    try:
        return _decode(head).parameters or {}
    except _UNREADABLE:
        pass
    if len(head) > _MOST_BYTES or (b"NaN" not in head and b"Infinity" not in head):
        return {}
    try:
        # Python's own clients write such literals, which are no JSON; workers take them too.
        return msgspec.convert(json.loads(head), _Head).parameters or {}
    except _UNREADABLE:
        return {}


def _grpc_parameters(body: bytes | bytearray) -> dict[str, Any]:
    found: dict[str, Any] = {}
    try:
        for number, entry in fields(body):
            if number != _PARAMETERS:
                continue
            parts = dict(fields(entry))
            key = bytes(parts.get(_KEY, b"")).decode()
            if key in _NAMES:
                found[key] = _number(parts.get(_VALUE, memoryview(b"")))
    except ValueError:
        return {}
    return found


def _number(parameter: memoryview) -> int | None:
    """The number of an InferParameter; None if it holds something else."""
    value: int | None = None
    for number, found in numbers(parameter):
        if number in (_INT64, _UINT64):
            value = found - _LARGEST if number == _INT64 and found >> 63 else found
    return value


def _checked(parameters: dict[str, Any]) -> Schedule:
    found = []
    for name in _NAMES:
        value = parameters.get(name, 0)
        if type(value) is not int or not 0 <= value < _LARGEST:
            shown = "no number" if value is None else repr(value)[:64]
            raise InvalidInput(
                f"the parameter '{name}' must be a whole number of 0 or more, found {shown}"
            )
        found.append(value)
    return Schedule(*found)
