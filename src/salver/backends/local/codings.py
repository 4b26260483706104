"""Content codings of bodies, undone and applied in the worker: gzip and deflate. No I/O."""

from __future__ import annotations

import zlib

from salver.errors import InvalidInput, PayloadTooLarge
from salver.protocol.frame import ContentCoding, Data

COMPRESS_FROM_BYTES = 1024
"""Smaller answers are sent as they are: compressing them costs more than it saves."""
_GZIP_WBITS = 31


def decompress(body: Data, coding: ContentCoding, limit_bytes: int) -> bytes:
    """Undoes a content coding. Raises `PayloadTooLarge` before the result exceeds the limit."""
    if coding is ContentCoding.GZIP:
        wbits = _GZIP_WBITS
    else:
        # "deflate" means zlib's format, yet some clients send the bare stream.
        wbits = zlib.MAX_WBITS if bytes(body[:1]) == b"\x78" else -zlib.MAX_WBITS
    stream = zlib.decompressobj(wbits)
    try:
        plain = stream.decompress(body, limit_bytes + 1)
    except zlib.error as error:
        raise InvalidInput(f"the body is no valid {coding.name.lower()} data: {error}") from error
    if len(plain) > limit_bytes:
        raise PayloadTooLarge(
            f"the body unpacks to more than {limit_bytes} bytes: send less or raise --max-body-size"
        )
    if not stream.eof:
        raise InvalidInput(f"the {coding.name.lower()} body ends too early: send all of it")
    if stream.unused_data:
        raise InvalidInput(
            f"the {coding.name.lower()} body goes on after its end: send it as one stream"
        )
    return plain


def compress(body: bytes, coding: ContentCoding) -> bytes:
    """Applies a content coding at the quickest level."""
    wbits = _GZIP_WBITS if coding is ContentCoding.GZIP else zlib.MAX_WBITS
    stream = zlib.compressobj(1, zlib.DEFLATED, wbits)
    return stream.compress(body) + stream.flush()
