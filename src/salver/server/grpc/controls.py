"""TraceSetting and LogSettings, read and written field by field as the `.proto` numbers them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec

from salver.engine.ports import ModelCatalog
from salver.errors import InvalidInput
from salver.server.controls import ServerControls, traced_settings
from salver.server.grpc import fields
from salver.telemetry.log_settings import LogSettings

_SETTINGS, _MODEL_NAME = 1, 2
_KEY, _VALUE = 1, 2
_BOOL, _UINT32, _STRING = 1, 2, 3
_LOG_TYPES = {"log_file": _STRING, "log_format": _STRING, "log_verbose_level": _UINT32}
_WORDS = {_BOOL: "boolean", _UINT32: "uint32", _STRING: "string"}


ControlMethod = Callable[[bytes, Callable[[], None]], bytes]
"""Takes a message, and what raises `NotAllowedError` if its caller may change nothing."""


def control_methods(controls: ServerControls, catalog: ModelCatalog) -> dict[str, ControlMethod]:
    """The methods by name. They raise `SalverError` and `MalformedMessageError`."""

    def trace(payload: bytes, check_change: Callable[[], None]) -> bytes:
        wanted = {name: _texts(value) or None for name, value in _entries(payload)}
        if wanted:
            check_change()
        model = "".join(_texts(payload, _MODEL_NAME)[-1:])
        shown = traced_settings(controls, catalog, model, wanted or None)
        return b"".join(
            _entry(name, b"".join(fields.bytes_field(1, each.encode()) for each in values))
            for name, values in shown.items()
        )

    def logs(payload: bytes, check_change: Callable[[], None]) -> bytes:
        wanted = {name: _log_value(name, value) for name, value in _entries(payload)}
        if wanted:
            check_change()
        return _log_settings(controls.logs.update(wanted))

    return {"TraceSetting": trace, "LogSettings": logs}


def _entries(payload: bytes) -> Iterator[tuple[str, bytes]]:
    """The entries of the map of settings; values are messages."""
    for number, entry in fields.read_fields(payload):
        if number == _SETTINGS and isinstance(entry, bytes):
            key, value = "", b""
            for part, found in fields.read_fields(entry):
                if part == _KEY and isinstance(found, bytes):
                    key = _text(found)
                elif part == _VALUE and isinstance(found, bytes):
                    value = found
            yield key, value


def _texts(message: bytes, wanted: int = 1) -> tuple[str, ...]:
    return tuple(
        _text(value)
        for number, value in fields.read_fields(message)
        if number == wanted and isinstance(value, bytes)
    )


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise fields.MalformedMessageError("a string is not UTF-8") from error


def _log_value(name: str, message: bytes) -> Any:
    """The value of a log setting: in gRPC, one without a value is refused, as Triton does."""
    given = dict(fields.read_fields(message))
    kind = _LOG_TYPES.get(name, _BOOL)
    value = given.get(kind)
    if name not in LogSettings.__struct_fields__:
        return None  # The settings refuse it by its name.
    if len(given) != 1 or value is None or isinstance(value, bytes) != (kind == _STRING):
        raise InvalidInput(f"expect {_WORDS[kind]} for '{name}'")
    if isinstance(value, bytes):
        return _text(value)
    return bool(value) if kind == _BOOL else value


def _log_settings(settings: LogSettings) -> bytes:
    shown: Mapping[str, Any] = msgspec.structs.asdict(settings)
    return b"".join(_entry(name, _log_field(name, value)) for name, value in shown.items())


def _log_field(name: str, value: Any) -> bytes:
    """Written even if it is false, nought or empty: in a `oneof`, absence has a meaning."""
    kind = _LOG_TYPES.get(name, _BOOL)
    if kind == _STRING:
        return fields.bytes_field(kind, value.encode())
    return fields.varint(kind << 3) + fields.varint(int(value))


def _entry(name: str, value: bytes) -> bytes:
    entry = fields.text_field(_KEY, name) + fields.bytes_field(_VALUE, value)
    return fields.bytes_field(_SETTINGS, entry)
