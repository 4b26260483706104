"""The JSON values of V1 requests, which come without datatypes, as wire tensors with them."""

from __future__ import annotations

import base64
import binascii
import contextlib
from collections.abc import Sequence
from types import NoneType
from typing import Any

import msgspec

from salver.errors import InvalidInput
from salver.inference.metadata import Datatype, TensorMetadata
from salver.protocol.elements import flattened
from salver.protocol.wire import ModelIdentity, WireTensor

_MOST_NESTED = 32


def typed_tensor(spec: TensorMetadata, values: list[Any], model: ModelIdentity) -> WireTensor:
    """The values of an input with a known datatype."""
    if spec.datatype == "BYTES":
        values = _without_base64(values, f"input {spec.name!r} of model {model.name!r}")
    return WireTensor(spec.name, nested_shape(values), spec.datatype, values)


def column_tensor(name: str, values: list[Any], model: ModelIdentity) -> WireTensor:
    """The values of one column, whose datatype they decide."""
    if values and all(type(value) is list and len(value) == 1 for value in values):
        values = [value[0] for value in values]
    datatype = _datatype(values)
    if datatype is None:
        raise InvalidInput(
            f"column {name[:64]!r} of the request to model {model.name!r} mixes kinds of "
            f"values: send numbers only, or strings only"
        )
    return WireTensor(name, (len(values),), datatype, values)


def free_tensor(
    name: str,
    values: list[Any],
    model: ModelIdentity,
    accepted: Sequence[Datatype] = (),
) -> WireTensor:
    """The values of an input that may be anything: numbers and strings as they are.

    What is neither, or is ragged, becomes one JSON text for each entry of `values`.
    """
    shape = nested_shape(values)
    flat: list[Any] = []
    datatype: Datatype | None = None
    with contextlib.suppress(InvalidInput):
        flat = flattened(values, shape, name[:64])
        datatype = _datatype(flat)
    if datatype is None and flat and all(_is_text(value) for value in flat):
        flat = _without_base64(flat, f"{name[:64]!r} of the request to model {model.name!r}")
        datatype = "BYTES"
    if datatype is None:
        texts = [_json_text(value, name, model) for value in values]
        return WireTensor(name, (len(texts),), "BYTES", texts, {"content_type": "json"})
    if accepted and datatype not in accepted and datatype != "BYTES":
        datatype = _nearest(datatype, accepted)
    return WireTensor(name, shape, datatype, flat)


def nested_shape(values: list[Any]) -> tuple[int, ...]:
    """The shape that the first entries show; whether all have it is found out later."""
    shape: list[int] = []
    level: Any = values
    while isinstance(level, list) and len(shape) <= _MOST_NESTED:
        shape.append(len(level))
        level = level[0] if level else None
    return tuple(shape)


def _datatype(values: list[Any]) -> Datatype | None:
    types = set(map(type, values))
    if types == {str}:
        return "BYTES"
    if types == {bool}:
        return "BOOL"
    if types == {int}:
        return "INT64"
    return "FP64" if types and types <= {int, float, NoneType} else None


def _is_text(value: Any) -> bool:
    """A string, or bytes as TensorFlow Serving writes them: `{"b64": ...}`."""
    return type(value) is str or (type(value) is dict and list(value) == ["b64"])


def _nearest(datatype: Datatype, accepted: Sequence[Datatype]) -> Datatype:
    floats: tuple[Datatype, ...] = ("FP64", "FP32")
    wider: tuple[Datatype, ...] = floats if datatype != "BOOL" else ()
    return next((name for name in wider if name in accepted), accepted[0])


def _json_text(value: Any, name: str, model: ModelIdentity) -> bytes:
    try:
        return msgspec.json.encode(value)
    except (msgspec.MsgspecError, ValueError, RecursionError, OverflowError) as error:
        raise InvalidInput(
            f"{name[:64]!r} of the request to model {model.name!r} cannot be passed on as JSON: "
            f"send less deeply nested values"
        ) from error


def _without_base64(values: list[Any], subject: str, depth: int = 0) -> list[Any]:
    if depth > _MOST_NESTED:
        raise InvalidInput(f"{subject} is nested too deeply: send at most {_MOST_NESTED} levels")
    result: list[Any] = []
    for value in values:
        if isinstance(value, list):
            result.append(_without_base64(value, subject, depth + 1))
        elif isinstance(value, dict) and list(value) == ["b64"]:
            result.append(_base64_bytes(value["b64"], subject))
        else:
            result.append(value)
    return result


def _base64_bytes(text: Any, subject: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (TypeError, ValueError, binascii.Error) as error:
        raise InvalidInput(f"{subject} has a 'b64' that is not base64: correct it") from error
