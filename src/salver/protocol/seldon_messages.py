"""Seldon messages as steps see them: what is in them beside tensors, and new ones made of parts.

For both codecs, and for requests and answers alike, which are the same message. Runs in workers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import orjson
from google.protobuf.json_format import ParseDict, ParseError
from google.protobuf.message import DecodeError

from salver.errors import InvalidInput, ModelFailed
from salver.inference.tensor import Tensor
from salver.protocol import seldon_grpc, seldon_json
from salver.protocol.seldon_answers import Answer, answer_of
from salver.protocol.seldon_meta import meta_dict
from salver.protocol.seldon_meta_fields import written_meta
from salver.protocol.seldon_pb2 import SeldonMessage
from salver.protocol.seldon_values import BIN, CUSTOM, JSON, NDARRAY, STR, SeldonRequest
from salver.protocol.wire import EncodedResponse, WireRequest
from salver.protocol.wire_codes import Codec

Body = bytes | bytearray | memoryview
SELDON = frozenset({Codec.SELDON_JSON, Codec.SELDON_GRPC})


def content_of(wire: WireRequest) -> Any:
    """What a message carries in place of an array: text, bytes or JSON values; else `UNSET`."""
    kind = kind_of(wire)
    if kind not in (STR, BIN, JSON, CUSTOM):
        return msgspec.UNSET
    data = wire.inputs[0].data[0]
    if kind == JSON:
        return orjson.loads(data)
    return data


def kind_of(wire: WireRequest) -> str:
    """The field of the message that holds its data."""
    return wire.kind if isinstance(wire, SeldonRequest) else NDARRAY


def names_of(wire: WireRequest) -> list[str]:
    """What the message calls the columns of its array."""
    return list(wire.names) if isinstance(wire, SeldonRequest) else []


def document_of(codec: Codec, body: Body) -> dict[str, Any]:
    """The message as REST has it. Raises `InvalidInput`."""
    try:
        if codec is Codec.SELDON_GRPC:
            return seldon_grpc.message_document(bytes(body))
        document = orjson.loads(body)
    except (ValueError, DecodeError, RecursionError) as error:
        raise InvalidInput(f"the body is no SeldonMessage: {error}") from error
    if isinstance(document, dict):
        return document
    raise InvalidInput("the body is no SeldonMessage: it is no JSON object")


def meta_document(codec: Codec, body: Body) -> dict[str, Any]:
    """The message's meta, as JSON has it. Raises `InvalidInput`."""
    return meta_dict(codec, body)


def message_of_tensors(
    codec: Codec,
    tensors: Sequence[Tensor],
    kind: str,
    names: Sequence[str] = (),
    meta: Mapping[str, Any] | None = None,
) -> EncodedResponse:
    """A message with these tensors, in that kind of array if it can be."""
    return _written(codec, answer_of(tensors, kind, names), meta)


def message_of_content(
    codec: Codec, content: Any, meta: Mapping[str, Any] | None = None
) -> EncodedResponse:
    """A message with a text, bytes, or JSON values. Raises `ModelFailed` for anything else."""
    if isinstance(content, str):
        answer = Answer(STR, data=content)
    elif isinstance(content, bytes | bytearray):
        answer = Answer(BIN, data=bytes(content))
    else:
        answer = Answer(JSON, data=_json(content))
    return _written(codec, answer, meta)


def message_of_document(codec: Codec, document: Mapping[str, Any]) -> EncodedResponse:
    """The message that REST would have like this. Raises `ModelFailed` if it is none."""
    text = _json(document)
    if codec is Codec.SELDON_JSON:
        return EncodedResponse(text)
    try:
        message = ParseDict(orjson.loads(text), SeldonMessage(), ignore_unknown_fields=True)
    except (ParseError, TypeError, ValueError) as error:
        raise ModelFailed(f"it returned a dict that is no SeldonMessage: {error}") from error
    return EncodedResponse(message.SerializeToString())


def _written(codec: Codec, answer: Answer, meta: Mapping[str, Any] | None) -> EncodedResponse:
    if codec is Codec.SELDON_GRPC:
        return EncodedResponse(seldon_grpc.written(answer, meta=written_meta(meta or {})))
    return EncodedResponse(seldon_json.written(answer, meta=_json(meta or {})))


def _json(value: Any) -> bytes:
    options = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS
    try:
        return orjson.dumps(value, default=_plain, option=options)
    except (TypeError, RecursionError) as error:
        raise ModelFailed(
            f"it returned what is no JSON: {error}; return numbers, strings, lists, dicts"
        ) from error


def _plain(value: Any) -> Any:
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, bytes):
        return value.decode()
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")
