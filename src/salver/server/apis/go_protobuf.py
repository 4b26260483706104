"""Objects in Kubernetes' own protobuf, as kubectl sends a few kinds that it has types for
(`kubectl create namespace|secret|configmap|serviceaccount`). Read only; answers are JSON. Pure.

The format: four magic bytes, then `Unknown` with the type's name and the object's bytes.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from salver.control.resources import JsonObject

MEDIA_TYPE = "application/vnd.kubernetes.protobuf"

_MAGIC = b"k8s\x00"
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5

Decode = Callable[[Any], Any]
Fields = Mapping[int, tuple[str, str, Decode]]
"""Number -> name, how it repeats ("one", "list" or "map"), and the decoder of its value."""


def read_object(body: bytes) -> JsonObject:
    """The object in the body. Raises `ValueError` if it is none, or of a kind not known here."""
    if not body.startswith(_MAGIC):
        raise ValueError("it does not begin with Kubernetes' magic bytes")
    type_meta: JsonObject = {}
    raw = b""
    for number, value in _fields(body[len(_MAGIC) :]):
        if number == 1:
            type_meta = _message(_TYPE_META)(value)
        elif number == 2:
            raw = value
    kind = type_meta.get("kind", "")
    if kind not in _KINDS:
        raise ValueError(f"the kind {kind or 'without name'} is read as JSON or YAML only")
    return {**type_meta, **_message(_KINDS[kind])(raw)}


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            raise ValueError("it ends amid a number")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7


def _fields(data: bytes) -> Iterator[tuple[int, Any]]:
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        wire = tag & 7
        if wire == _VARINT:
            value, at = _varint(data, at)
            yield tag >> 3, value
            continue
        if wire == _BYTES:
            length, at = _varint(data, at)
        elif wire in (_FIXED64, _FIXED32):
            length = 8 if wire == _FIXED64 else 4
        else:
            raise ValueError(f"it has the unknown wire type {wire}")
        if at + length > len(data):
            raise ValueError("it ends amid a field")
        yield tag >> 3, data[at : at + length]
        at += length


def _message(fields: Fields) -> Decode:
    def decode(data: Any) -> JsonObject:
        found: JsonObject = {}
        for number, value in _fields(_as_bytes(data)):
            if number not in fields:
                continue
            name, how, inner = fields[number]
            if how == "list":
                found.setdefault(name, []).append(inner(value))
            elif how == "map":
                key, item = _map_entry(value, inner)
                found.setdefault(name, {})[key] = item
            else:
                found[name] = inner(value)
        # Go writes empty texts and messages too; in JSON they are left out.
        return {key: value for key, value in found.items() if value not in ("", {}, [])}

    return decode


def _map_entry(data: Any, decode: Decode) -> tuple[str, Any]:
    parts = dict(_fields(_as_bytes(data)))
    return _text(parts.get(1, b"")), decode(parts.get(2, b""))


def _as_bytes(value: Any) -> bytes:
    if not isinstance(value, bytes):
        raise ValueError("a number stands where a message or text is wanted")  # noqa: TRY004
    return value


def _text(value: Any) -> str:
    return _as_bytes(value).decode()


def _base64(value: Any) -> str:
    return base64.b64encode(_as_bytes(value)).decode()


_TYPE_META: Fields = {1: ("apiVersion", "one", _text), 2: ("kind", "one", _text)}
_OWNER: Fields = {
    1: ("kind", "one", _text),
    3: ("name", "one", _text),
    4: ("uid", "one", _text),
    5: ("apiVersion", "one", _text),
    6: ("controller", "one", bool),
    7: ("blockOwnerDeletion", "one", bool),
}
_META: Fields = {
    1: ("name", "one", _text),
    2: ("generateName", "one", _text),
    3: ("namespace", "one", _text),
    6: ("resourceVersion", "one", _text),
    11: ("labels", "map", _text),
    12: ("annotations", "map", _text),
    13: ("ownerReferences", "list", _message(_OWNER)),
    14: ("finalizers", "list", _text),
}
_METADATA = ("metadata", "one", _message(_META))
_KINDS: Mapping[str, Fields] = {
    "Namespace": {1: _METADATA},
    "Secret": {
        1: _METADATA,
        2: ("data", "map", _base64),
        3: ("type", "one", _text),
        4: ("stringData", "map", _text),
        5: ("immutable", "one", bool),
    },
    "ConfigMap": {
        1: _METADATA,
        2: ("data", "map", _text),
        3: ("binaryData", "map", _base64),
        4: ("immutable", "one", bool),
    },
    "ServiceAccount": {
        1: _METADATA,
        2: ("secrets", "list", _message({3: ("name", "one", _text)})),
        3: ("imagePullSecrets", "list", _message({1: ("name", "one", _text)})),
        4: ("automountServiceAccountToken", "one", bool),
    },
    "DeleteOptions": {
        1: ("gracePeriodSeconds", "one", int),
        2: (
            "preconditions",
            "one",
            _message({1: ("uid", "one", _text), 2: ("resourceVersion", "one", _text)}),
        ),
        3: ("orphanDependents", "one", bool),
        4: ("propagationPolicy", "one", _text),
        5: ("dryRun", "list", _text),
    },
}
