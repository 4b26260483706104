"""CloudEvents 1.0 around requests and answers, in both modes. Pure.

In binary mode the attributes are headers (`ce-id`, ...) and the body is the request; in structured
mode one JSON object holds both. An answer has the mode of its request, and KServe's type and
source.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from urllib.parse import quote

import msgspec

from salver.errors import InvalidInput

STRUCTURED = "application/cloudevents+json"
BATCHED = "application/cloudevents-batch+json"
RESPONSE_TYPE = "io.kserve.inference.response"
ERROR_TYPE = "io.salver.inference.error"
_PREFIX = "ce-"
_JSON = "application/json"


class Event(msgspec.Struct, frozen=True):
    """An event that a request came in: what its answer must repeat."""

    id: str
    is_structured: bool


class _Envelope(msgspec.Struct, frozen=True):
    id: str
    source: str
    specversion: str
    type: str
    datacontenttype: str = _JSON
    data: msgspec.Raw = msgspec.Raw()
    data_base64: str | None = None


_read = msgspec.json.Decoder(_Envelope).decode
_write = msgspec.json.Encoder().encode


def is_structured(content_type: str) -> bool:
    """Whether the body is an event with the request within it."""
    return content_type == STRUCTURED


def unwrapped(body: bytes) -> tuple[Event, str, bytes]:
    """The event, the media type of its data, and the data. Raises `InvalidInput`."""
    try:
        found = _read(body)
        data = bytes(found.data)
        if found.data_base64 is not None:
            data = base64.b64decode(found.data_base64, validate=True)
    except (msgspec.DecodeError, binascii.Error, UnicodeDecodeError) as error:
        raise InvalidInput(f"the body is no CloudEvent in JSON: {error}") from error
    _check(found.specversion, found.id)
    if not data:
        raise InvalidInput("the CloudEvent has no data: put the request into 'data'")
    return Event(found.id, is_structured=True), found.datacontenttype, data


def event_of(headers: Mapping[str, str]) -> Event | None:
    """The event of headers; None if it is none. Raises `InvalidInput` for another version."""
    version = headers.get(_PREFIX + "specversion")
    if version is None:
        return None
    identity = headers.get(_PREFIX + "id", "")
    _check(version, identity)
    return Event(identity, is_structured=False)


def _check(version: str, identity: str) -> None:
    if version != "1.0":
        raise InvalidInput(f"the CloudEvent has specversion '{version[:20]}': send 1.0")
    if not identity:
        raise InvalidInput("the CloudEvent has no id: give it one")


def wrapped(
    event: Event, model: str, content_type: str, body: bytes, *, is_error: bool
) -> tuple[dict[str, str], bytes]:
    """Headers and body of the answer. Its id is the request's, so that an answer that is given
    twice is known to be the same."""
    attributes = {
        "specversion": "1.0",
        "id": event.id,
        "source": f"io.kserve.inference.{quote(model)}",
        "type": ERROR_TYPE if is_error else RESPONSE_TYPE,
    }
    if not event.is_structured:
        headers = {_PREFIX + name: value for name, value in attributes.items()}
        return {**headers, "content-type": content_type}, body
    envelope: dict[str, object] = {**attributes, "datacontenttype": content_type}
    if content_type == _JSON:
        envelope["data"] = msgspec.Raw(body)
    else:
        envelope["data_base64"] = base64.b64encode(body).decode()
    return {"content-type": STRUCTURED}, _write(envelope)
