"""What of a call goes to a service elsewhere, and what its answer means here. Pure."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NamedTuple
from urllib.parse import quote

from salver.backends.remote.http_client import Answer
from salver.engine.call import Call
from salver.errors import ErrorKind
from salver.protocol.frame import ContentCoding
from salver.protocol.operations import ACCEPTED_CODING, Operation, operation_of
from salver.protocol.wire_codes import RAW_BODY_AUX, Codec

PROPAGATED: tuple[bytes, ...] = (
    b"x-request-id",
    b"traceparent",
    b"tracestate",
    b"b3",
    b"x-b3-traceid",
    b"x-b3-spanid",
    b"x-b3-parentspanid",
    b"x-b3-sampled",
    b"x-b3-flags",
    b"authorization",
    b"ce-id",
)
"""The caller's headers that a service behind this one is given."""
_CODING_NAMES = {ContentCoding.GZIP: b"gzip", ContentCoding.DEFLATE: b"deflate"}
_CODINGS = {b"gzip": ContentCoding.GZIP, b"deflate": ContentCoding.DEFLATE, b"x-gzip": 1}
_KINDS = {
    404: ErrorKind.MODEL_NOT_FOUND,
    405: ErrorKind.UNSUPPORTED,
    408: ErrorKind.DEADLINE_EXCEEDED,
    413: ErrorKind.PAYLOAD_TOO_LARGE,
    429: ErrorKind.QUEUE_FULL,
    501: ErrorKind.UNSUPPORTED,
    502: ErrorKind.UNAVAILABLE,
    503: ErrorKind.UNAVAILABLE,
    504: ErrorKind.DEADLINE_EXCEEDED,
}
_MOST_SHOWN = 500
_REGION = b'"shared_memory_region"'


def target_of(call: Call, name: str) -> str:
    """The path that asks the model of that name for what the call wants."""
    quoted = quote(name, safe="")
    if operation_of(call.codec) is Operation.EXPLAIN:
        return f"/v1/models/{quoted}:explain"
    if call.codec & 0xFF == Codec.V1_JSON:
        return f"/v1/models/{quoted}:predict"
    return f"/v2/models/{quoted}/infer"


def names_memory(call: Call) -> bool:
    """Whether a V2 request seems to name shared memory; of a packed one nobody can say."""
    if call.codec & 0xFF != Codec.V2_JSON or call.aux == RAW_BODY_AUX:
        return False
    return call.body.find(_REGION, 0, call.aux or len(call.body)) >= 0


def headers_of(call: Call, propagated: Sequence[bytes]) -> list[tuple[bytes, bytes]]:
    """The headers of the request: how its body is to be read, and those handed on."""
    is_binary = call.aux != 0
    headers = [(b"content-type", b"application/octet-stream" if is_binary else b"application/json")]
    if is_binary:
        length = 0 if call.aux == RAW_BODY_AUX else call.aux
        headers.append((b"inference-header-content-length", b"%d" % length))
    coding = call.codec >> 8 & 0xFF
    if coding:
        headers.append((b"content-encoding", _CODING_NAMES[ContentCoding(coding)]))
    accepted = call.codec >> 16 & ACCEPTED_CODING
    if accepted:
        headers.append((b"accept-encoding", _CODING_NAMES[ContentCoding(accepted)]))
    for name in propagated:
        value = call.header(name)
        if value:
            headers.append((name, value))
    return headers


def coding_of(value: bytes) -> int:
    """The `ContentCoding` of a Content-Encoding header; -1 for one that is not known here."""
    name = value.strip().lower()
    return 0 if name in (b"", b"identity") else int(_CODINGS.get(name, -1))


def kind_of(status: int) -> ErrorKind:
    """The kind of error that a status of the service means to its caller."""
    kind = _KINDS.get(status)
    if kind is not None:
        return kind
    return ErrorKind.INVALID_INPUT if 400 <= status < 500 else ErrorKind.MODEL_FAILED


class Outcome(NamedTuple):
    """What an answer means to the caller: an error (`kind` not OK), or the body's description.

    `is_own`: an error that the service puts into words itself; its status and body may be handed
    on as they are.
    """

    kind: ErrorKind
    message: str = ""
    coding: int = 0
    json_length: int = 0
    is_own: bool = False


def outcome_of(call: Call, answer: Answer, name: str, protocol: str) -> Outcome:
    """The answer of the service for the model of that name, which speaks `protocol`."""
    if 200 <= answer.status < 300:
        coding = coding_of(answer.header(b"content-encoding"))
        length = answer.header(b"inference-header-content-length")
        if coding < 0 or not (length == b"" or length.isdigit()):
            message = f"model '{name}' answered with headers that cannot be handed on"
            return Outcome(ErrorKind.MODEL_FAILED, message)
        return Outcome(ErrorKind.OK, coding=coding, json_length=int(length or 0))
    said = reason_of(answer.body)
    wanted = "v1" if call.codec & 0xFF == Codec.V1_JSON else "v2"
    if answer.status == 404 and protocol in ("v1", "v2") and protocol != wanted:
        return Outcome(
            ErrorKind.UNSUPPORTED,
            f"model '{name}' speaks {protocol}, and answers 404 to {wanted}: {said}",
        )
    is_own = (
        answer.status >= 400
        and bool(answer.body)
        and coding_of(answer.header(b"content-encoding")) == 0
    )
    message = f"model '{name}' answered {answer.status}: {said}"
    return Outcome(kind_of(answer.status), message, is_own=is_own)


def reason_of(body: bytes) -> str:
    """What an error's body says, on one line: its `error`, `detail` or `message`, or its text,
    or what the status of a SeldonMessage says."""
    try:
        parsed: Any = json.loads(body)
    except ValueError:
        parsed = body.decode(errors="replace")
    if isinstance(parsed, dict) and isinstance(parsed.get("status"), dict):
        # Seldon's way: the status of a message.
        status = parsed["status"]
        parsed = status.get("info") or status.get("reason") or parsed
    if isinstance(parsed, dict):
        named = [parsed[key] for key in ("error", "detail", "message", "cause") if key in parsed]
        parsed = named[0] if named else parsed
    text = parsed if isinstance(parsed, str) else json.dumps(parsed)
    return " ".join(text.split())[:_MOST_SHOWN]
