"""Bodies of other wire formats as SeldonMessages in JSON, and back, for components elsewhere.

A component that speaks Seldon's protocol may stand in a graph that is asked in V1 or V2, or over
gRPC. One array is all that has a meaning in each of them. Imports no NumPy.
"""

from __future__ import annotations

import gzip
import math
import zlib
from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from salver.errors import InvalidInput, ModelFailed, Unsupported
from salver.protocol.frame import ContentCoding
from salver.protocol.wire_codes import Codec

Body = bytes | bytearray | memoryview
Wants = Literal["request", "response"]
_ARRAYS = {Codec.V1_JSON: ("instances", "predictions"), Codec.V2_JSON: ("inputs", "outputs")}
_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode


def seldon_json(codec: int, body: Body, *, aux: int = 0, coding: int = 0) -> bytes:
    """A message of any wire format as a SeldonMessage. Raises `InvalidInput`, `Unsupported`."""
    plain = _decompressed(body, coding)
    if codec == Codec.SELDON_JSON:
        return plain
    if codec == Codec.SELDON_GRPC:
        return _json_of_grpc(plain)
    if codec not in _ARRAYS or aux:
        raise Unsupported(
            "a component elsewhere speaks Seldon's protocol in JSON: ask over Seldon's protocol, "
            "or in the JSON of V1 or V2, without binary tensors"
        )
    try:
        document = _decode(plain)
        found = next((document[key] for key in _ARRAYS[Codec(codec)] if key in document), None)
    except (msgspec.MsgspecError, TypeError) as error:
        raise InvalidInput(f"the body cannot be read: {error}") from error
    if not isinstance(found, list):
        raise InvalidInput(f"the body has none of {' and '.join(_ARRAYS[Codec(codec)])}")
    if codec == Codec.V1_JSON:
        return _encode({"data": {"names": [], "ndarray": found}})
    return _encode({"data": _data_of_v2(found)})


def from_seldon_json(codec: int, body: bytes, wants: Wants, model: str) -> bytes:
    """A SeldonMessage in another wire format. Raises `ModelFailed`."""
    if codec == Codec.SELDON_JSON:
        return body
    if codec == Codec.SELDON_GRPC:
        return _grpc_of_json(body)
    try:
        message = _decode(body)
        values, shape, names = _array_of(message)
    except (msgspec.MsgspecError, KeyError, TypeError, AttributeError, ValueError) as error:
        raise ModelFailed(
            f"its answer has no array, which is all that can be handed on here: {error}"
        ) from error
    key = _ARRAYS[Codec(codec)][0 if wants == "request" else 1]
    if codec == Codec.V1_JSON:
        return _encode({key: _nested(values, shape)})
    tensor = {
        "name": names[0] if len(names) == 1 else "predict",
        "datatype": _datatype(values),
        "shape": shape,
        "data": values,
    }
    head = {"model_name": model} if wants == "response" else {}
    return _encode({**head, key: [tensor]})


def without_meta(body: bytes) -> tuple[bytes, dict[str, Any]]:
    """An answer without its `meta`, and what of that is for the caller: tags and metrics.

    Raises `ModelFailed` if it is no JSON object.
    """
    try:
        message = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
        meta = _decode(message.pop("meta", msgspec.Raw(b"{}"))) or {}
        said = {key: meta[key] for key in ("tags", "metrics") if meta.get(key)}
        return _encode(message), said
    except (msgspec.MsgspecError, TypeError, AttributeError) as error:
        raise ModelFailed(f"its answer is no SeldonMessage: {error}") from error


def branch_of(body: bytes) -> int:
    """The branch that a router's answer names: its first number. Raises `ModelFailed`."""
    try:
        values, _, _ = _array_of(_decode(body))
        number = float(values[0])
        if number != int(number):
            raise ValueError(f"{number} is no whole number")
        return int(number)
    except (msgspec.MsgspecError, KeyError, IndexError, TypeError, ValueError) as error:
        raise ModelFailed(f"its answer names no branch: {error}; answer [[0]] or so") from error


def list_of(messages: list[bytes]) -> bytes:
    """A SeldonMessageList."""
    return b'{"seldonMessages":[%b]}' % b",".join(messages)


def _decompressed(body: Body, coding: int) -> bytes:
    try:
        if coding == ContentCoding.GZIP:
            return gzip.decompress(body)
        if coding == ContentCoding.DEFLATE:
            return zlib.decompress(body)
    except (OSError, EOFError, zlib.error) as error:
        raise InvalidInput(f"the body cannot be decompressed: {error}") from error
    return bytes(body)


def _data_of_v2(tensors: list[Any]) -> dict[str, Any]:
    if len(tensors) != 1:
        raise Unsupported(
            f"a component that speaks Seldon's protocol takes one array, found {len(tensors)} "
            "tensors: send one"
        )
    tensor = tensors[0]
    try:
        values = _flat(tensor["data"])
        shape = [int(each) for each in tensor["shape"]]
        if math.prod(shape) != len(values):
            raise ValueError(f"{len(values)} values do not have the shape {shape}")
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidInput(f"the tensor cannot be read: {error}") from error
    return {"names": [], "ndarray": _nested(values, shape)}


def _array_of(message: Mapping[str, Any]) -> tuple[list[Any], list[int], list[str]]:
    """The values of a message in a row, their shape, and their columns' names."""
    data = message["data"]
    names = data.get("names") or []
    if "tensor" in data:
        tensor = data["tensor"]
        return list(tensor["values"]), [int(each) for each in tensor["shape"]], names
    nested = data["ndarray"]
    shape, inner = [], nested
    while isinstance(inner, list):
        shape.append(len(inner))
        inner = inner[0] if inner else None
    values = _flat(nested)
    if math.prod(shape) != len(values):
        raise ValueError("its rows are of different lengths")
    return values, shape, names


def _flat(values: list[Any]) -> list[Any]:
    while values and isinstance(values[0], list):
        values = [each for row in values for each in row]
    return values


def _nested(values: list[Any], shape: list[int]) -> list[Any]:
    for size in reversed(shape[1:]):
        values = [values[at : at + size] for at in range(0, len(values), size or 1)]
    return values


def _datatype(values: list[Any]) -> str:
    kinds = {type(each) for each in values}
    if kinds == {bool}:
        return "BOOL"
    if kinds == {int}:
        return "INT64"
    return "FP64" if kinds <= {int, float} else "BYTES"


def _json_of_grpc(body: bytes) -> bytes:
    from google.protobuf import json_format
    from google.protobuf.message import DecodeError

    from salver.protocol.seldon_pb2 import SeldonMessage

    try:
        message = SeldonMessage.FromString(body)
        return json_format.MessageToJson(message, indent=None).encode()
    except (DecodeError, json_format.Error) as error:
        raise InvalidInput(f"the body is no SeldonMessage: {error}") from error


def _grpc_of_json(body: bytes) -> bytes:
    from google.protobuf import json_format

    from salver.protocol.seldon_pb2 import SeldonMessage

    try:
        message = json_format.Parse(body, SeldonMessage(), ignore_unknown_fields=True)
    except json_format.Error as error:
        raise ModelFailed(f"its answer is no SeldonMessage: {error}") from error
    return message.SerializeToString()
