"""The numbers of a request that a contextual router sees, read without NumPy.

Which ones the router's parameters say: by name, or else the first row of the first tensor. Only
the first row counts, since one choice is made for the whole request. What cannot be read is
refused with the router's name: to choose blindly would teach it nonsense.
"""

from __future__ import annotations

import math
import struct
from array import array
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from salver.bandits.policies import ContextSpec
from salver.bandits.policy import Context
from salver.errors import InvalidInput
from salver.protocol.messages import Message, Tensor, json_view, tensors_of
from salver.protocol.wire_codes import Codec
from salver.spec.learning import MOST_DIMENSIONS

_SELDON = (Codec.SELDON_JSON, Codec.SELDON_GRPC)
_FORMATS = {
    "BOOL": "?",
    "INT8": "b",
    "UINT8": "B",
    "INT16": "h",
    "UINT16": "H",
    "INT32": "i",
    "UINT32": "I",
    "INT64": "q",
    "UINT64": "Q",
    "FP16": "e",
    "FP32": "f",
    "FP64": "d",
}

Columns = Mapping[str, list[Any]]
"""The first row's values by field or tensor; a tensor may have several."""


def read_context(message: Message, spec: ContextSpec, router: str) -> Context:
    """The numbers in the order of the names, and a 1 in the end if `spec.bias`.

    Raises `InvalidInput`.
    """
    columns = _columns(message, router)
    found = array("d")
    for name in spec.names or tuple(columns)[:1]:
        if name not in columns:
            raise InvalidInput(
                f"router '{router}' sees '{name}', which the request does not have (it has "
                f"{', '.join(list(columns)[:8]) or 'no values'}): send it, or change the router's "
                "parameter 'context'"
            )
        for value in columns[name]:
            found.append(_number(value, name, router))
    if spec.bias and found:
        found.append(1.0)
    _check_size(found, spec, router)
    return found


def _check_size(found: Context, spec: ContextSpec, router: str) -> None:
    if spec.dimension and len(found) != spec.dimension:
        raise InvalidInput(
            f"router '{router}' sees {spec.dimension} numbers, and the request gives {len(found)}: "
            "send rows as long, or change its parameter 'dimension'"
        )
    if not 0 < len(found) <= MOST_DIMENSIONS:
        raise InvalidInput(
            f"router '{router}' would see {len(found)} numbers of the request, and can see 1 to "
            f"{MOST_DIMENSIONS}: name some in its parameter 'context'"
        )


def _number(value: Any, name: str, router: str) -> float:
    if isinstance(value, int | float):
        number = float(value)
        if math.isfinite(number):
            return number
    raise InvalidInput(
        f"router '{router}' sees '{name}', whose value {str(value)[:40]!r} is no number: send one, "
        "or name others in its parameter 'context'"
    )


def _columns(message: Message, router: str) -> Columns:
    if message.coding:
        raise InvalidInput(
            f"router '{router}' cannot see into a packed body: send it without content-encoding"
        )
    try:
        if message.codec in _SELDON:
            return _of_seldon(message)
        if message.codec == Codec.V2_JSON:
            return {each.name: _first_row(each) for each in tensors_of(message)}
        return _of_json(message)
    except (msgspec.MsgspecError, struct.error, ValueError) as error:
        raise InvalidInput(
            f"router '{router}' cannot read the request: {' '.join(str(error).split())}"
        ) from error


def _of_json(message: Message) -> Columns:
    document = msgspec.json.decode(json_view(message))
    if message.codec == Codec.V1_JSON:
        return _of_v1(document)
    tensors = document.get("inputs") or document.get("outputs") or []
    return {each["name"]: _row(each["data"], each["shape"]) for each in tensors}


def _first_row(tensor: Tensor) -> list[Any]:
    if tensor.blob is None:
        # A tensor without data has none here, which is an object of msgspec's own.
        data = msgspec.json.decode(tensor.data) if isinstance(tensor.data, msgspec.Raw) else []
        return _row(data, tensor.shape)
    count = math.prod(tensor.shape[1:])
    code = _FORMATS.get(tensor.datatype)
    if code is None:
        return [tensor.datatype]
    return list(struct.unpack_from(f"<{count}{code}", tensor.blob))


def _row(data: Any, shape: Any) -> list[Any]:
    """The first row of values that may be nested or flat."""
    count = math.prod(shape[1:])
    values = _flat(data)
    return [value for value, _ in zip(values, range(count), strict=False)]


def _flat(data: Any) -> Iterator[Any]:
    if isinstance(data, list):
        for each in data:
            yield from _flat(each)
    else:
        yield data


def _of_v1(document: Any) -> Columns:
    if not isinstance(document, dict):
        raise msgspec.ValidationError("it is no JSON object")
    for key in ("instances", "predictions", "inputs", "outputs"):
        if key in document:
            return _of_rows(document[key], key)
    return _of_object(document)


def _of_rows(rows: Any, key: str) -> Columns:
    """Rows as lists, numbers or objects; or columns by name."""
    if isinstance(rows, dict):
        return {
            name: list(_flat(values[0] if isinstance(values, list) and values else values))
            for name, values in rows.items()
        }
    first = rows[0] if isinstance(rows, list) and rows else []
    return _of_object(first) if isinstance(first, dict) else {key: list(_flat(first))}


def _of_object(fields: Mapping[str, Any]) -> Columns:
    """An object's fields; those of objects in it by paths with dots."""
    found: dict[str, list[Any]] = {}
    for name, value in fields.items():
        if isinstance(value, dict):
            found.update({f"{name}.{key}": each for key, each in _of_object(value).items()})
        else:
            found[name] = list(_flat(value))
    return found


def _of_seldon(message: Message) -> Columns:
    document = _seldon_document(message)
    if "jsonData" in document:
        rows = document["jsonData"]
        return _of_object(rows) if isinstance(rows, dict) else _of_rows(rows, "jsonData")
    data = document.get("data") or {}
    if "tensor" in data:
        tensor = data["tensor"]
        row = _row(tensor.get("values") or [], tensor.get("shape") or [1])
    else:
        rows = data.get("ndarray") or [[]]
        row = list(_flat(rows[0]))
    names = data.get("names") or []
    if len(names) == len(row) and names:
        return {"data": row, **{str(name): [value] for name, value in zip(names, row, strict=True)}}
    return {"data": row}


def _seldon_document(message: Message) -> Mapping[str, Any]:
    if message.codec == Codec.SELDON_JSON:
        document = msgspec.json.decode(message.body)
    else:
        from google.protobuf.json_format import MessageToDict
        from google.protobuf.message import DecodeError

        from salver.protocol.seldon_pb2 import SeldonMessage

        try:
            document = MessageToDict(SeldonMessage.FromString(bytes(message.body)))
        except DecodeError as error:
            raise ValueError(f"it is no SeldonMessage ({error})") from error
    if not isinstance(document, dict):
        raise msgspec.ValidationError("it is no JSON object")
    return document
