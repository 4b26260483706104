"""An event as a flat record, for files: its attributes, and the body as text if it is text."""

from __future__ import annotations

import base64
import zlib
from typing import Any

from salver.engine.payload_log import PayloadEvent

_WBITS = {"gzip": 31, "deflate": 47}
_MOST_UNPACKED_BYTES = 256 << 20


def plain_body(event: PayloadEvent) -> bytes:
    """The body without its content coding; as it is, if that cannot be undone."""
    if not event.coding:
        return bytes(event.body)
    try:
        unpacked = zlib.decompressobj(_WBITS[event.coding])
        return unpacked.decompress(bytes(event.body), _MOST_UNPACKED_BYTES)
    except zlib.error:
        return bytes(event.body)


def record_of(event: PayloadEvent) -> dict[str, Any]:
    """CloudEvents' JSON format: `data` for JSON, `data_base64` for anything else.

    `data` is given as JSON text, for the writer to embed or to keep.
    """
    body = plain_body(event)
    record: dict[str, Any] = {
        **event.attributes(),
        "datacontenttype": event.content_type,
    }
    if event.json_length:
        record["jsonlength"] = event.json_length
    if event.content_type == "application/json":
        record["data"] = body.decode(errors="replace")
    else:
        record["data_base64"] = base64.b64encode(body).decode()
    return record
