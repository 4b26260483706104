"""Seldon's gRPC messages: a `seldon.protos.SeldonMessage` in, one of the same kind out.

Numbers travel as doubles, in a packed list (`tensor`) or one by one (`ndarray`). Knows no service
and no transport.
"""

from __future__ import annotations

import base64
from array import array
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import orjson
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import DecodeError

from salver.errors import InvalidInput
from salver.inference.tensor import Array, InferResponse, Tensor
from salver.protocol import wire_fields
from salver.protocol.rows import ApartCodec
from salver.protocol.seldon_answers import Answer, answer_of
from salver.protocol.seldon_meta_fields import written_meta, written_value
from salver.protocol.seldon_pb2 import SeldonMessage
from salver.protocol.seldon_tensorflow import read_tensor, tensor_message
from salver.protocol.seldon_values import (
    BIN,
    CUSTOM,
    JSON,
    NDARRAY,
    STR,
    TENSOR,
    TFTENSOR,
    Content,
    SeldonRequest,
    request_of,
    shape_of,
)
from salver.protocol.wire import EncodedResponse, ModelIdentity, WireRequest

_META, _DATA, _BIN, _STR, _JSON, _CUSTOM = 2, 3, 4, 5, 6, 7
_NAMES, _TENSOR, _NDARRAY, _TFTENSOR = 1, 2, 3, 4
_SHAPE, _VALUES = 1, 2
_NUMBER_BYTES = 11
"""A number in a list: the tag and size of its element, the tag of a double, the double."""


class SeldonGrpcCodec(ApartCodec):
    """See `wire.WireCodec`."""

    def decode(self, body: bytes | memoryview, aux: int, model: ModelIdentity) -> WireRequest:
        try:
            message = SeldonMessage.FromString(bytes(body))
            content = _content(message, body, model)
        except (DecodeError, RecursionError, UnicodeDecodeError) as error:
            raise InvalidInput(
                f"the message for model {model.name!r} is not a seldon.protos.SeldonMessage: "
                f"encode it with Seldon's prediction.proto"
            ) from error
        return request_of(content, message.meta.puid, model)

    def encode(
        self, response: InferResponse, request: WireRequest, model: ModelIdentity
    ) -> EncodedResponse:
        kind = request.kind if isinstance(request, SeldonRequest) else TENSOR
        return EncodedResponse(written(answer_of(response.outputs, kind), request.id or ""))


def _content(message: Any, body: bytes | memoryview, model: ModelIdentity) -> Content:
    kind = message.WhichOneof("data_oneof")
    if kind == "data":
        return _array(message.data, body, model)
    if kind == JSON:
        return Content(JSON, msgspec.json.encode(python_value(message.jsonData)))
    if kind == CUSTOM:
        return Content(CUSTOM, message.customData.SerializeToString())
    if kind in (STR, BIN):
        return Content(kind, getattr(message, kind))
    raise InvalidInput(
        f"the message for model {model.name!r} holds nothing: set one of data, jsonData, "
        f"strData, binData"
    )


def _array(data: Any, body: bytes | memoryview, model: ModelIdentity) -> Content:
    names = tuple(data.names)
    kind = data.WhichOneof("data_oneof")
    if kind == TENSOR:
        count = len(data.tensor.values)
        raw = _packed(body)
        if len(raw) != 8 * count:  # written one by one, or in pieces
            raw = array("d", data.tensor.values).tobytes()
        shape = shape_of([0.0] * count, list(data.tensor.shape), model)
        return Content(TENSOR, raw, shape, "FP64", names)
    if kind == NDARRAY:
        return Content(NDARRAY, [python_value(value) for value in data.ndarray.values], names=names)
    if kind == TFTENSOR:
        shape, datatype, elements = read_tensor(data.tftensor, model)
        return Content(TFTENSOR, elements, shape, datatype, names)
    raise InvalidInput(
        f"'data' of the message for model {model.name!r} is empty: set ndarray, tensor or tftensor"
    )


def _packed(body: bytes | memoryview) -> bytes:
    """The doubles of a `tensor` as they lie in the message."""
    for path in (_DATA, _TENSOR, _VALUES):
        body = b"".join([value for number, value in wire_fields.fields(body) if number == path])
    return bytes(body)


def python_value(value: Any) -> Any:
    """A google.protobuf.Value as JSON's values."""
    kind = value.WhichOneof("kind")
    if kind == "list_value":
        return [python_value(each) for each in value.list_value.values]
    if kind == "struct_value":
        return {key: python_value(each) for key, each in value.struct_value.fields.items()}
    return None if kind in (None, "null_value") else getattr(value, kind)


def message_document(body: bytes | memoryview) -> dict[str, Any]:
    """The message as the JSON that REST has for it. Raises `DecodeError`."""
    message = SeldonMessage.FromString(bytes(body))
    custom = message.customData
    packed = {"@type": custom.type_url, "value": base64.b64encode(custom.value).decode()}
    has_custom = message.HasField(CUSTOM)
    if has_custom:  # of what type it is, only its sender knows
        message.ClearField(CUSTOM)
    document: dict[str, Any] = MessageToDict(message)
    return {**document, CUSTOM: packed} if has_custom else document


# Answers.


def written(answer: Answer, puid: str = "", meta: bytes = b"") -> bytes:
    """The message that holds the answer; `meta` is its encoded meta, if there is one."""
    meta = meta or written_meta({"puid": puid})
    pieces = [wire_fields.text_field(_META, meta)] if meta else []
    if answer.kind == JSON:
        value = written_value(orjson.loads(answer.data))
        pieces.append(wire_fields.text_field(_JSON, value))
    elif answer.kind == STR:
        pieces.append(wire_fields.text_field(_STR, answer.data.encode()))
    elif answer.kind == BIN:
        pieces.append(wire_fields.text_field(_BIN, answer.data))
    elif answer.kind == CUSTOM:
        pieces.append(wire_fields.text_field(_CUSTOM, answer.data))
    else:
        pieces.append(wire_fields.text_field(_DATA, _data(answer)))
    return b"".join(pieces)


def _data(answer: Answer) -> bytes:
    names = [wire_fields.text_field(_NAMES, name.encode()) for name in answer.names]
    tensor = answer.tensor
    if tensor is None:
        listed = _list_value(answer.data)
        return b"".join((*names, wire_fields.text_field(_NDARRAY, listed)))
    if answer.kind == TENSOR:
        return b"".join((*names, wire_fields.text_field(_TENSOR, _tensor(tensor))))
    if answer.kind == TFTENSOR:
        proto = tensor_message(tensor).SerializeToString()
        return b"".join((*names, wire_fields.text_field(_TFTENSOR, proto)))
    values = np.atleast_1d(tensor.data).astype("<f8")
    return b"".join((*names, wire_fields.text_field(_NDARRAY, _list_of_numbers(values))))


def _tensor(tensor: Tensor) -> bytes:
    shape = b"".join(map(wire_fields.varint, tensor.data.shape))
    values = np.ascontiguousarray(tensor.data, dtype="<f8").tobytes()
    return wire_fields.text_field(_SHAPE, shape) + wire_fields.text_field(_VALUES, values)


def _list_of_numbers(values: Array) -> bytes:
    """The ListValue of an array of doubles, each row's bytes laid out at once."""
    if values.ndim == 1:
        elements = np.empty((len(values), _NUMBER_BYTES), dtype=np.uint8)
        elements[:, :3] = (0x0A, 9, 0x11)
        elements[:, 3:] = np.ascontiguousarray(values).view(np.uint8).reshape(-1, 8)
        return elements.tobytes()
    return _list_of_lists([_list_of_numbers(row) for row in values])


def _list_value(values: Sequence[Any]) -> bytes:
    """The ListValue of nested lists of anything."""
    return b"".join(wire_fields.text_field(1, written_value(value)) for value in values)


def _list_of_lists(lists: Sequence[bytes]) -> bytes:
    return b"".join(wire_fields.text_field(1, wire_fields.text_field(6, each)) for each in lists)
