"""Seldon's REST messages: a SeldonMessage in, one of the same kind out.

    {"data": {"names": [...], "tensor": {"shape": [...], "values": [...]}}, "meta": {...}}

and with `ndarray` or `tftensor` in place of `tensor`, or `binData`, `strData`, `jsonData` or
`customData` in place of `data`. What `meta` says beside the `puid` is for those who pass messages
on (`seldon_meta.py`).
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import orjson

from salver.errors import InvalidInput
from salver.inference.tensor import InferResponse, Tensor
from salver.protocol.json_text import check_rows, flat_rows, flat_text, nested_rows
from salver.protocol.rows import row_slices
from salver.protocol.seldon_answers import Answer, answer_of
from salver.protocol.seldon_tensorflow import read_tensor_json, tensor_json
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
    decoded_base64,
    request_of,
    shape_of,
)
from salver.protocol.v2_json import MALFORMED, malformed, parse_leniently
from salver.protocol.wire import EncodedResponse, ModelIdentity, WireRequest

_KIND = "SeldonMessage"


class _Tensor(msgspec.Struct):
    shape: Any = None
    values: list[Any] = []


class _Data(msgspec.Struct):
    names: list[str] | None = None
    tensor: _Tensor | None = None
    ndarray: list[Any] | None = None
    tftensor: dict[str, Any] | None = None


class _Meta(msgspec.Struct):
    puid: str | None = None


class _Message(msgspec.Struct):
    data: _Data | None = None
    binData: str | None = None  # noqa: N815 - the protocol's names
    strData: str | None = None  # noqa: N815
    jsonData: Any = msgspec.UNSET  # noqa: N815
    customData: dict[str, Any] | None = None  # noqa: N815
    meta: _Meta | None = None


_decode_message = msgspec.json.Decoder(_Message).decode
_encode = msgspec.json.Encoder().encode


class SeldonJsonCodec:
    """See `wire.WireCodec`."""

    def decode(self, body: bytes | memoryview, aux: int, model: ModelIdentity) -> WireRequest:
        message = _parsed(body, model)
        puid = (message.meta.puid if message.meta is not None else None) or ""
        return request_of(_content(message, model), puid, model)

    def encode(
        self, response: InferResponse, request: WireRequest, model: ModelIdentity
    ) -> EncodedResponse:
        kind = request.kind if isinstance(request, SeldonRequest) else NDARRAY
        return EncodedResponse(written(answer_of(response.outputs, kind), request.id or ""))

    def encode_rows(
        self,
        response: InferResponse,
        requests: list[WireRequest],
        rows: list[int],
        model: ModelIdentity,
    ) -> list[EncodedResponse]:
        if len(requests) == 1:
            return [self.encode(response, requests[0], model)]
        for tensor in response.outputs:
            check_rows(tensor, sum(rows), model.name)
        kinds = {request.kind for request in requests if isinstance(request, SeldonRequest)}
        quick = _quick_rows(response.outputs, kinds, rows)
        if quick is not None:
            before, texts, after = quick
            return [
                EncodedResponse(b"".join((before, text, after, _meta(request.id or ""))))
                for text, request in zip(texts, requests, strict=True)
            ]
        return [
            self.encode(part, request, model)
            for part, request in zip(row_slices(response, rows), requests, strict=True)
        ]


def _parsed(body: bytes | memoryview, model: ModelIdentity) -> _Message:
    try:
        return _decode_message(body)
    except MALFORMED as error:
        try:
            return msgspec.convert(parse_leniently(body), _Message)
        except MALFORMED:
            raise malformed(error, _KIND, model) from error


def _content(message: _Message, model: ModelIdentity) -> Content:
    if message.data is not None:
        return _array(message.data, model)
    if message.jsonData is not msgspec.UNSET:
        return Content(JSON, _encode(message.jsonData))
    if message.strData is not None:
        return Content(STR, message.strData)
    if message.binData is not None:
        return Content(BIN, decoded_base64(message.binData, model))
    if message.customData is not None:
        return Content(CUSTOM, _encode(message.customData))
    raise InvalidInput(
        f"the message for model {model.name!r} holds nothing: send one of 'data', 'jsonData', "
        f"'strData', 'binData'"
    )


def _array(data: _Data, model: ModelIdentity) -> Content:
    names = tuple(data.names or ())
    if data.tensor is not None:
        values = data.tensor.values
        shape = shape_of(values, data.tensor.shape, model)
        return Content(TENSOR, values, shape, names=names)
    if data.ndarray is not None:
        return Content(NDARRAY, data.ndarray, names=names)
    if data.tftensor is not None:
        shape, datatype, elements = read_tensor_json(data.tftensor, model)
        return Content(TFTENSOR, elements, shape, datatype, names)
    raise InvalidInput(
        f"'data' of the message for model {model.name!r} is empty: send 'ndarray', 'tensor' or "
        f"'tftensor' in it"
    )


# Answers.


def written(answer: Answer, puid: str = "", meta: bytes = b"") -> bytes:
    """The message that holds the answer; `meta` is the text of its meta, if there is one."""
    if answer.kind == JSON:
        field = b'"jsonData":%b' % answer.data
    elif answer.kind == STR:
        field = b'"strData":%b' % orjson.dumps(answer.data)
    elif answer.kind == BIN:
        field = b'"binData":"%b"' % base64.b64encode(answer.data)
    elif answer.kind == CUSTOM:
        field = b'"customData":%b' % answer.data
    else:
        field = b'"data":{"names":%b,"%b":%b}' % (
            orjson.dumps(answer.names),
            answer.kind.encode(),
            _elements(answer),
        )
    end = b',"meta":%b}' % meta if meta else _meta(puid)
    return b"{" + field + end


def _elements(answer: Answer) -> bytes:
    tensor = answer.tensor
    if tensor is None:
        return orjson.dumps(answer.data)
    if answer.kind == TFTENSOR:
        return tensor_json(tensor)
    array = np.atleast_1d(np.ascontiguousarray(tensor.data))
    if answer.kind == NDARRAY:
        return orjson.dumps(array, option=orjson.OPT_SERIALIZE_NUMPY)
    return b'{"shape":%b,"values":%b}' % (orjson.dumps(list(array.shape)), flat_text(tensor))


def _meta(puid: str) -> bytes:
    return b',"meta":{"puid":%b}}' % orjson.dumps(puid) if puid else b',"meta":{}}'


def _quick_rows(
    outputs: Sequence[Tensor], kinds: set[str], rows: list[int]
) -> tuple[bytes, list[bytes], bytes] | None:
    """What is before, in and behind each answer, if all are rows of one array of numbers."""
    if len(outputs) != 1 or len(kinds) != 1 or outputs[0].data.ndim > 2:
        return None
    tensor, (kind,) = outputs[0], kinds
    if tensor.datatype in ("BYTES", "BOOL") or kind not in (NDARRAY, TENSOR):
        return None
    names = orjson.dumps(answer_of(outputs, kind).names)
    if kind == NDARRAY:
        return b'{"data":{"names":%b,"ndarray":' % names, nested_rows(tensor, rows), b"}"
    width = tensor.data.shape[1:]
    texts = [
        b'{"shape":%b,"values":[%b]}' % (orjson.dumps([count, *width]), text)
        for count, text in zip(rows, flat_rows(tensor, rows), strict=True)
    ]
    return b'{"data":{"names":%b,"tensor":' % names, texts, b"}"
