"""What a message asks for, and how its answer is written: headers and bodies, both ways. Pure.

`salver-protocol` says what the body is: `v2` (the default), `v1` or `mlflow`; `content-type` says
its form. `salver-model` and `salver-version` name the model where the topic does not; MLServer's
names for these headers are read too.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import msgspec

from salver.errors import ErrorKind, InvalidInput, Unsupported
from salver.protocol.frame import ContentCoding
from salver.protocol.http_statuses import HTTP_STATUS
from salver.protocol.mlflow_messages import SCORING_CODECS, error_body, scoring_codec
from salver.protocol.wire_codes import RAW_BODY_AUX, Codec
from salver.server.topics.cloud_events import (
    BATCHED,
    Event,
    event_of,
    is_structured,
    unwrapped,
    wrapped,
)
from salver.telemetry.logs import accepted_request_id

REQUEST_ID = "salver-request-id"
STATUS = "salver-status"
_JSON, _BINARY, _PROTOBUF = "application/json", "application/octet-stream", "application/x-protobuf"
_PROTOBUFS = (_PROTOBUF, "application/protobuf", "application/vnd.google.protobuf")
_CODINGS = {"gzip": ContentCoding.GZIP, "deflate": ContentCoding.DEFLATE}
_CODING_NAMES = {int(coding): name for name, coding in _CODINGS.items()}
_MOST_ERROR = 500
"""Characters of an error that a header of a dead letter has."""
_JSON_LENGTH = "inference-header-content-length"


class TopicMessage(msgspec.Struct, frozen=True):
    """A message as a broker gave it. `model` is the one of its topic, empty if that has none.

    `id` is the broker's own: the same when it gives the message again. Names of headers are in
    lower case, CloudEvents' attributes begin with `ce-`.
    """

    topic: str
    model: str
    id: str
    headers: Mapping[str, str]
    body: bytes


class Asked(msgspec.Struct, frozen=True):
    """What the message asks for; `tag` says how the worker is to read the body."""

    model: str
    version: str
    tag: int
    aux: int
    body: bytes
    request_id: str
    event: Event | None = None


class TopicReply(msgspec.Struct, frozen=True):
    """The message that goes back. `error` is empty if it is the model's answer."""

    headers: Mapping[str, str]
    body: bytes
    kind: ErrorKind = ErrorKind.OK
    error: str = ""


def request_id_of(message: TopicMessage) -> str:
    """What the sender calls the request, as far as that can be echoed; else the broker's id."""
    for name in (REQUEST_ID, "x-request-id", "nats-msg-id", "ce-id"):
        found = accepted_request_id(message.headers.get(name))
        if found is not None:
            return found
    return message.id


def asked_by(message: TopicMessage) -> Asked:
    """Reads the message, except for the request itself. Raises `InvalidInput`, `Unsupported`."""
    headers, body = message.headers, message.body
    content_type = headers.get("content-type", "")
    event = event_of(headers)
    if is_structured(_media_type(content_type)):
        event, content_type, body = unwrapped(body)
    method = headers.get("mlserver-method", "infer")
    if method != "infer":
        raise Unsupported(f"method '{method[:50]}' is not offered over topics: ask 'infer'")
    coding = headers.get("content-encoding", "").lower()
    if coding not in ("", "identity", *_CODINGS):
        raise Unsupported(f"content-encoding '{coding[:50]}' is not supported: use gzip")
    protocol = headers.get("salver-protocol", "v2").lower()
    codec = _codec(protocol, content_type)
    tag = int(codec) | int(_CODINGS.get(coding, ContentCoding.IDENTITY)) << 8
    return Asked(
        model=message.model or _either(headers, "model"),
        version=_either(headers, "version"),
        tag=tag,
        aux=_json_length(headers, codec),
        body=body,
        request_id=request_id_of(message),
        event=event,
    )


def _either(headers: Mapping[str, str], what: str) -> str:
    return headers.get(f"salver-{what}") or headers.get(f"mlserver-{what}", "")


def _media_type(content_type: str) -> str:
    return content_type.partition(";")[0].strip().lower()


def _codec(protocol: str, content_type: str) -> Codec:
    media_type = _media_type(content_type)
    if media_type == BATCHED:
        raise Unsupported("batches of CloudEvents are not supported: send one event a message")
    if protocol == "mlflow":
        codec, unreadable = scoring_codec((content_type or _JSON).encode("latin-1", "replace"))
        if unreadable:
            raise Unsupported(unreadable)
        return codec
    if protocol not in ("v1", "v2"):
        raise Unsupported(f"salver-protocol '{protocol[:50]}' is unknown: use v2, v1 or mlflow")
    if protocol == "v2" and media_type in _PROTOBUFS:
        return Codec.V2_GRPC
    if media_type in ("", _JSON) or (protocol == "v2" and media_type == _BINARY):
        return Codec.V2_JSON if protocol == "v2" else Codec.V1_JSON
    raise Unsupported(
        f"content type '{media_type[:100]}' is not supported with salver-protocol {protocol}: "
        f"send {_JSON}"
    )


def _json_length(headers: Mapping[str, str], codec: Codec) -> int:
    text = headers.get(_JSON_LENGTH, "")
    if not text or codec is not Codec.V2_JSON:
        return 0
    if not text.isascii() or not text.isdigit() or len(text) > 12:
        raise InvalidInput(f"{_JSON_LENGTH} is '{text[:50]}': send the length of the JSON in bytes")
    return int(text) or RAW_BODY_AUX


def answer_to(asked: Asked, body: bytes, aux: int, coding: int) -> TopicReply:
    """The model's answer as a message."""
    codec = Codec(asked.tag & 0xFF)
    content_type = _PROTOBUF if codec is Codec.V2_GRPC else _BINARY if aux else _JSON
    headers = _headers(asked.model, asked.request_id, 200)
    if aux:
        headers[_JSON_LENGTH] = str(aux)
    if coding:
        headers["content-encoding"] = _CODING_NAMES[coding]
    return _enveloped(asked.event, asked.model, headers, content_type, body, ErrorKind.OK, "")


def refusal_of(
    message: TopicMessage, asked: Asked | None, kind: ErrorKind, error: str
) -> TopicReply:
    """The error as a message, in the form that the request's protocol has. `asked` is None if the
    message could not be read so far."""
    status = HTTP_STATUS[kind]
    is_scoring = asked is not None and asked.tag & 0xFF in SCORING_CODECS
    body = error_body(status, error) if is_scoring else json.dumps({"error": error}).encode()
    model = asked.model if asked is not None else message.model
    event = asked.event if asked is not None else None
    headers = _headers(model, request_id_of(message), status)
    return _enveloped(event, model, headers, _JSON, body, kind, error)


def _headers(model: str, request_id: str, status: int) -> dict[str, str]:
    headers = {STATUS: str(status)}
    if request_id:
        headers[REQUEST_ID] = request_id
    if accepted_request_id(model):
        headers["salver-model"] = model
    return headers


def _enveloped(
    event: Event | None,
    model: str,
    headers: dict[str, str],
    content_type: str,
    body: bytes,
    kind: ErrorKind,
    error: str,
) -> TopicReply:
    if event is None:
        return TopicReply({**headers, "content-type": content_type}, body, kind, error)
    more, body = wrapped(event, model, content_type, body, is_error=kind is not ErrorKind.OK)
    return TopicReply({**headers, **more}, body, kind, error)


def dead_letter_headers(message: TopicMessage, reply: TopicReply, attempts: int) -> dict[str, str]:
    """The headers with which a message that is given up goes to the dead letters: its own, but
    for those that were for the broker, and why it is there."""
    own = {name: value for name, value in message.headers.items() if not name.startswith("nats-")}
    line = " ".join(reply.error.split())[:_MOST_ERROR]
    return {
        **own,
        STATUS: str(HTTP_STATUS[reply.kind]),
        "salver-error": line.encode("ascii", "replace").decode(),
        "salver-attempts": str(attempts),
        "salver-topic": message.topic,
        "salver-message-id": message.id,
    }


def header_pairs(headers: Mapping[str, str]) -> Sequence[tuple[bytes, bytes]]:
    """The headers as the engine has them."""
    return [
        (name.encode("latin-1", "replace"), value.encode("utf-8"))
        for name, value in headers.items()
    ]
