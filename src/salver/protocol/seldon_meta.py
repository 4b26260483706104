"""What the gateway reads and writes of Seldon messages: their `meta`, and the parts of a Feedback.

The data of a message is never looked at: in JSON it stays the text that it was, in protobuf the
bytes. Imports neither NumPy nor a protobuf library. A message that cannot be read raises
`InvalidInput`, an answer that cannot be finished `ModelFailed`.
"""

from __future__ import annotations

from typing import Any

import msgspec

from salver.errors import InvalidInput, ModelFailed
from salver.protocol import wire_fields
from salver.protocol.seldon_meta_fields import read_float, read_meta, written_meta, written_value
from salver.protocol.wire_codes import Codec

Body = bytes | bytearray | memoryview
PUID_HEADER = b"seldon-puid"
_META = 2
_REQUEST, _RESPONSE, _REWARD, _TRUTH = 1, 2, 3, 4


class SeldonFacts(msgspec.Struct):
    """A message's `meta`: who asked, what components noted, and the way that it took.

    `routing` is the branch taken at each router, `request_path` the image of each node. Each
    metric has `key`, `type` (COUNTER, GAUGE, TIMER), `value` and maybe `tags`.
    """

    puid: str = ""
    routing: dict[str, int] = msgspec.field(default_factory=dict)
    request_path: dict[str, str] = msgspec.field(default_factory=dict)
    tags: dict[str, Any] = msgspec.field(default_factory=dict)
    metrics: list[dict[str, Any]] = msgspec.field(default_factory=list)


class FeedbackParts(msgspec.Struct):
    """A Feedback taken apart. `request`, `response` and `truth` are messages in its codec; empty
    ones stand for what is left out, but for `truth`, which is None then."""

    request: bytes
    response: bytes
    facts: SeldonFacts
    reward: float
    truth: bytes | None


class _MessageList(msgspec.Struct):
    seldonMessages: list[msgspec.Raw]  # noqa: N815 - the protocol's name


_decode_list = msgspec.json.Decoder(_MessageList | list[msgspec.Raw]).decode
_decode_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_any = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode


def finish(codec: int, body: Body, facts: SeldonFacts) -> bytes:
    """The answer with the facts in its `meta`, its data untouched.

    What the message's own meta has is kept; of equal keys the facts' value counts, and their
    metrics come after those there. Raises `ModelFailed` if the body is no Seldon message.
    """
    try:
        if codec == Codec.SELDON_GRPC:
            # Two messages in a row are read as one, field by field: that is protobuf's rule.
            meta_bytes = written_meta(_named(facts))
            return b"".join((body, wire_fields.text_field(_META, meta_bytes)))
        fields = _decode_object(body)
        fields["meta"] = msgspec.Raw(_encode(_merged(_json_meta(fields), _named(facts))))
        return _encode(fields)
    except (msgspec.MsgspecError, ValueError, TypeError) as error:
        raise ModelFailed(f"its answer is no SeldonMessage, or its meta none: {error}") from error


def puid_of(codec: int, body: Body) -> str:
    """The id that the message carries; empty if it has none."""
    return meta_of(codec, body).puid


def meta_of(codec: int, body: Body) -> SeldonFacts:
    """The meta of a request or an answer. Raises `InvalidInput`."""
    try:
        return _facts(meta_dict(codec, body))
    except ValueError as error:
        raise InvalidInput(f"the body is no SeldonMessage: {error}") from error


def meta_dict(codec: int, body: Body) -> dict[str, Any]:
    """The whole meta, as JSON has it. Raises `InvalidInput`."""
    try:
        if codec == Codec.SELDON_GRPC:
            # A field that comes twice is one message in two pieces.
            pieces = [bytes(value) for at, value in wire_fields.fields(body) if at == _META]
            return read_meta(b"".join(pieces))
        return _json_meta(_decode_object(body))
    except (msgspec.MsgspecError, ValueError) as error:
        raise InvalidInput(f"the body is no SeldonMessage: {error}") from error


def read_feedback(codec: int, body: Body) -> FeedbackParts:
    """The parts of a Feedback. Raises `InvalidInput`."""
    try:
        parts = _grpc_parts(body) if codec == Codec.SELDON_GRPC else _json_parts(body)
    except (msgspec.MsgspecError, ValueError) as error:
        raise InvalidInput(
            f"the body is no Feedback: {error}; send request, response, reward and truth"
        ) from error
    request, response, reward, truth = parts
    return FeedbackParts(request, response, meta_of(codec, response), reward, truth)


# Whole messages.


def messages_of_list(codec: int, body: Body) -> list[bytes]:
    """The messages of a SeldonMessageList. Raises `InvalidInput`."""
    try:
        if codec == Codec.SELDON_GRPC:
            return [bytes(value) for number, value in wire_fields.fields(body) if number == 1]
        listed = _decode_list(body)
        if isinstance(listed, _MessageList):
            listed = listed.seldonMessages
        return [bytes(each) for each in listed]
    except (msgspec.MsgspecError, ValueError) as error:
        raise InvalidInput(f"the body is no SeldonMessageList: {error}") from error


def empty_message(codec: int) -> bytes:
    """A message that holds nothing."""
    return b"" if codec == Codec.SELDON_GRPC else b"{}"


def branch_message(codec: int, branch: int) -> bytes:
    """A router's answer: an array of one number."""
    if codec == Codec.SELDON_JSON:
        return b'{"data":{"names":[],"ndarray":[[%d]]}}' % branch
    row = wire_fields.text_field(1, written_value(branch))
    array = wire_fields.text_field(1, wire_fields.text_field(6, row))
    return wire_fields.text_field(3, wire_fields.text_field(3, array))


def failure_message(code: int, reason: str, info: str) -> bytes:
    """The JSON of a message that says what went wrong."""
    status = {"code": code, "info": info, "reason": reason, "status": "FAILURE"}
    return _encode({"status": status})


def _json_parts(body: Body) -> tuple[bytes, bytes, float, bytes | None]:
    fields = _decode_object(body)
    reward = _decode_any(fields["reward"]) if "reward" in fields else 0.0
    if reward is not None and not isinstance(reward, int | float):
        raise ValueError("its reward is no number")
    truth = _part(fields, "truth")
    return (
        _part(fields, "request") or b"{}",
        _part(fields, "response") or b"{}",
        float(reward or 0.0),
        truth,
    )


def _part(fields: dict[str, msgspec.Raw], name: str) -> bytes | None:
    raw = bytes(fields[name]) if name in fields else b"null"
    if raw == b"null":
        return None
    if not raw.startswith(b"{"):
        raise ValueError(f"its {name} is no object")
    return raw


def _grpc_parts(body: Body) -> tuple[bytes, bytes, float, bytes | None]:
    found: dict[int, bytes] = {}
    for number, value in wire_fields.fields(body):
        found[number] = found.get(number, b"") + bytes(value)
    reward = read_float(body, _REWARD)
    return found.get(_REQUEST, b""), found.get(_RESPONSE, b""), reward, found.get(_TRUTH)


def _json_meta(fields: dict[str, msgspec.Raw]) -> dict[str, Any]:
    meta = _decode_any(fields["meta"]) if "meta" in fields else None
    if meta is None:
        return {}
    if isinstance(meta, dict):
        return meta
    raise ValueError("its 'meta' is no object")


def _facts(meta: dict[str, Any]) -> SeldonFacts:
    routing = {
        key: int(value) for key, value in _mapping(meta, "routing").items() if _is_whole(key, value)
    }
    metrics = meta.get("metrics") or []
    if not isinstance(metrics, list) or not all(isinstance(each, dict) for each in metrics):
        raise ValueError("its meta.metrics is no list of objects")
    path = {key: str(value) for key, value in _mapping(meta, "requestPath").items()}
    tags = _mapping(meta, "tags")
    return SeldonFacts(str(meta.get("puid") or ""), routing, path, tags, metrics)


def _mapping(meta: dict[str, Any], name: str) -> dict[str, Any]:
    value = meta.get(name) or {}
    if isinstance(value, dict):
        return value
    raise ValueError(f"its meta.{name} is no object")


def _is_whole(key: str, value: Any) -> bool:
    # Protobuf's JSON may have an int32 as a string, and 1.0 for 1.
    try:
        if int(value) == float(value):
            return True
    except (TypeError, ValueError, OverflowError):
        pass
    raise ValueError(f"its meta.routing names no branch at '{key[:64]}'")


def _named(facts: SeldonFacts) -> dict[str, Any]:
    """The facts by the names that they have in a message, without those that are empty."""
    named = {
        "puid": facts.puid,
        "tags": facts.tags,
        "routing": facts.routing,
        "requestPath": facts.request_path,
        "metrics": facts.metrics,
    }
    return {key: value for key, value in named.items() if value}


def _merged(meta: dict[str, Any], added: dict[str, Any]) -> dict[str, Any]:
    merged = dict(meta)
    for key, value in added.items():
        present = merged.get(key)
        if isinstance(value, dict) and isinstance(present, dict):
            merged[key] = {**present, **value}
        elif isinstance(value, list) and isinstance(present, list):
            merged[key] = [*present, *value]
        else:
            merged[key] = value
    return merged
