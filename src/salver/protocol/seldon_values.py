"""What a Seldon message holds, as tensors for a model: both of its codecs end here.

A message has one array with names for its columns, or one text, blob or JSON value. Which tensors
that makes is for the model's metadata to say, as V1's values are:

    a tabular model with columns   one matrix, or its columns by the names that are known to it
    several inputs                 a column for each, by name, or by position without names
    one input, of a datatype       the array, its numbers in that datatype
    anything else                  the array as it is; a text, a blob, JSON as one element of BYTES

Names that a model knows none of are only names: Seldon's own servers never look at them.
"""

from __future__ import annotations

import base64
import binascii
from array import array
from collections.abc import Sequence
from typing import Any

import msgspec

from salver.errors import InvalidInput
from salver.inference.metadata import TensorMetadata
from salver.protocol.elements import array_of_raw, flattened
from salver.protocol.v1_json import V1JsonCodec
from salver.protocol.v1_values import column_tensor, free_tensor, nested_shape, typed_tensor
from salver.protocol.wire import ModelIdentity, WireRequest, WireTensor

TENSOR, NDARRAY, TFTENSOR = "tensor", "ndarray", "tftensor"
BIN, STR, JSON, CUSTOM = "binData", "strData", "jsonData", "customData"
ARRAYS = (TENSOR, NDARRAY, TFTENSOR)
KINDS = (*ARRAYS, BIN, STR, JSON, CUSTOM)
_WHOLE = frozenset({"INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64"})
_v1 = V1JsonCodec()


class Content(msgspec.Struct):
    """The one thing in a message. `kind` is the field that it stands in.

    An array: `data` is nested (`shape` None), flat, or little-endian bytes of `datatype`. Else
    `data` is a str, bytes, or for `jsonData` the value's text.
    """

    kind: str
    data: Any
    shape: tuple[int, ...] | None = None
    datatype: str = ""
    names: tuple[str, ...] = ()


class SeldonRequest(WireRequest):
    """A request of this protocol; its id is the `puid`. The answer comes in its `kind`."""

    kind: str = NDARRAY
    names: tuple[str, ...] = ()


def request_of(content: Content, puid: str, model: ModelIdentity) -> SeldonRequest:
    """The content as the model's inputs. Raises `InvalidInput`."""
    if content.kind in ARRAYS:
        tensors = _of_array(content, model)
    elif content.kind == JSON:
        tensors = _of_json(content.data, model)
    else:
        tensors = [WireTensor(_only_name(content.kind, model), (1,), "BYTES", [content.data])]
    return SeldonRequest(tensors, puid or None, kind=content.kind, names=content.names)


def _of_array(content: Content, model: ModelIdentity) -> list[WireTensor]:
    metadata = model.metadata
    if metadata.column_names:
        columns = _columns_by_name(content, metadata.column_names, model)
        if columns is not None:
            return [column_tensor(name, values, model) for name, values in columns]
    if len(metadata.inputs) > 1:
        return _inputs_by_column(content, model)
    if not metadata.inputs:
        return [_free("data", content, model)]
    spec = metadata.inputs[0]
    if spec.any_shape and not spec.shape:
        return [_free(spec.name, content, model, (spec.datatype, *spec.accepts))]
    return [_typed(spec, content, model)]


def _columns_by_name(
    content: Content, known: Sequence[str], model: ModelIdentity
) -> list[tuple[str, list[Any]]] | None:
    """Each column with its name; None if the array is best taken as the matrix that it is."""
    names = list(content.names)
    if names and set(names).isdisjoint(known):
        names = []
    if names == list(known):
        names = []  # already in the model's own order
    if not names:
        if content.kind != NDARRAY or not _has_text(content.data):
            return None
        names = list(known)
    return list(zip(names, _transposed(content, names, model), strict=True))


def _has_text(data: Any) -> bool:
    """Whether a row has a string: then columns differ in kind, and are no matrix."""
    return any(type(value) is str for row in data[:1] if type(row) is list for value in row)


def _transposed(content: Content, names: Sequence[str], model: ModelIdentity) -> list[list[Any]]:
    """The array's columns, which must be as many as the names."""
    data = content.data
    if content.shape is not None:
        data = _nested(_listed(content, model), content.shape, model)
    if not data or not all(type(row) is list and len(row) == len(names) for row in data):
        raise InvalidInput(
            f"the data for model {model.name!r} is no list of rows with {len(names)} values, "
            f"one for each of {', '.join(map(repr, names))[:300]}: send such rows"
        )
    return [list(column) for column in zip(*data, strict=True)]


def _inputs_by_column(content: Content, model: ModelIdentity) -> list[WireTensor]:
    specs = {spec.name: spec for spec in model.metadata.inputs}
    names = content.names if not specs.keys().isdisjoint(content.names) else tuple(specs)
    tensors = []
    for name, values in zip(names, _transposed(content, names, model), strict=True):
        spec = specs.get(name)
        if spec is None:  # refused later, with the names that there are
            tensors.append(WireTensor(name, (len(values),), "BYTES", values))
        elif spec.any_shape and not spec.shape:
            tensors.append(free_tensor(name, values, model, (spec.datatype, *spec.accepts)))
        else:
            rows = [[value] for value in values] if len(spec.shape) == 2 else values
            tensors.append(typed_tensor(spec, _whole(rows, spec.datatype), model))
    return tensors


def _free(
    name: str, content: Content, model: ModelIdentity, accepted: Sequence[Any] = ()
) -> WireTensor:
    if content.shape is None:
        return free_tensor(name, content.data, model, accepted)
    datatype = content.datatype or "FP64"
    if not accepted or datatype in accepted:
        return WireTensor(name, content.shape, datatype, content.data)
    values = _nested(_listed(content, model), content.shape, model)
    return free_tensor(name, values, model, accepted)


def _typed(spec: TensorMetadata, content: Content, model: ModelIdentity) -> WireTensor:
    if content.shape is None:
        return typed_tensor(spec, _whole(content.data, spec.datatype), model)
    if content.datatype == spec.datatype:
        return WireTensor(spec.name, content.shape, spec.datatype, content.data)
    values = _listed(content, model)
    if spec.datatype == "BYTES" and content.datatype != "BYTES":  # refused later: numbers no text
        return WireTensor(spec.name, content.shape, content.datatype or "FP64", values)
    return WireTensor(spec.name, content.shape, spec.datatype, _whole(values, spec.datatype))


def _whole(values: list[Any], datatype: str) -> list[Any]:
    """Whole numbers as integers, for a model that takes those: Seldon's numbers are doubles."""
    if datatype not in _WHOLE:
        return values
    return [
        _whole(value, datatype)
        if type(value) is list
        else int(value)
        if type(value) is float and value.is_integer()
        else value
        for value in values
    ]


def _listed(content: Content, model: ModelIdentity) -> list[Any]:
    """The elements as a flat list."""
    data = content.data
    if isinstance(data, list):
        return data
    if content.datatype == "FP64":
        if len(data) % 8 == 0:
            return array("d", bytes(data)).tolist()
        raise InvalidInput(f"the tensor for model {model.name!r} has half a number: send doubles")
    subject = f"the tensor for model {model.name!r}"
    try:
        values: list[Any] = array_of_raw([data], content.datatype, subject).tolist()
    except ValueError as error:
        raise InvalidInput(f"{subject} does not have the bytes of its datatype") from error
    return values


def _nested(values: list[Any], shape: tuple[int, ...], model: ModelIdentity) -> list[Any]:
    flat = flattened(values, shape, f"the tensor for model {model.name!r}")
    for size in reversed(shape[1:]):
        flat = [flat[at : at + size] for at in range(0, len(flat), size)] if size else []
    return flat


def _of_json(text: bytes, model: ModelIdentity) -> list[WireTensor]:
    metadata = model.metadata
    only = metadata.inputs[0] if len(metadata.inputs) == 1 else None
    takes_anything = only is None or (only.any_shape and not only.shape) or _is_text(only)
    if not metadata.column_names and takes_anything and len(metadata.inputs) < 2:
        name = _only_name(JSON, model)
        return [WireTensor(name, (1,), "BYTES", [bytes(text)], {"content_type": "json"})]
    key = "instances" if bytes(text[:1]) == b"[" else "inputs"
    return _v1.decode(b'{"%b":%b}' % (key.encode(), bytes(text)), 0, model).inputs


def _is_text(spec: TensorMetadata) -> bool:
    return spec.datatype == "BYTES"


def _only_name(kind: str, model: ModelIdentity) -> str:
    inputs = model.metadata.inputs
    return inputs[0].name if len(inputs) == 1 else kind


def shape_of(values: Any, shape: Any, model: ModelIdentity) -> tuple[int, ...]:
    """The shape of a `tensor`, by what it says or by its values. Raises `InvalidInput`."""
    if not shape:
        return nested_shape(values) if isinstance(values, list) else ()
    if isinstance(shape, list) and all(type(size) is int and size >= 0 for size in shape):
        return tuple(shape)
    raise InvalidInput(
        f"the tensor for model {model.name!r} has a shape that is no list of sizes: "
        f'send {{"shape": [rows, columns], "values": [...]}}'
    )


def decoded_base64(text: Any, model: ModelIdentity) -> bytes:
    """Bytes as JSON has them, with or without padding, in either alphabet. `InvalidInput`."""
    try:
        plain = text.replace("-", "+").replace("_", "/")
        return base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except (AttributeError, ValueError, binascii.Error) as error:
        raise InvalidInput(
            f"the message for model {model.name!r} has bytes that are not base64: correct them"
        ) from error
