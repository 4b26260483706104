"""The one table from kinds of `RequestError` to HTTP statuses.

Imports nothing but the errors: the gateway's own HTTP protocol and the ASGI application
both read it.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from types import MappingProxyType

from salver.errors import ErrorKind

HTTP_STATUS: Mapping[ErrorKind, int] = MappingProxyType(
    {
        ErrorKind.OK: 200,
        ErrorKind.INVALID_INPUT: 400,
        ErrorKind.PAYLOAD_TOO_LARGE: 413,
        ErrorKind.MODEL_NOT_FOUND: 404,
        ErrorKind.MODEL_NOT_READY: 503,
        ErrorKind.UNSUPPORTED: 501,
        ErrorKind.QUEUE_FULL: 429,
        ErrorKind.UNAVAILABLE: 503,
        ErrorKind.DEADLINE_EXCEEDED: 504,
        ErrorKind.MODEL_FAILED: 500,
    }
)

_SELDON_REASONS: Mapping[int, tuple[int, str]] = MappingProxyType(
    {400: (-1, "MICROSERVICE_BAD_DATA"), 500: (-1, "MICROSERVICE_INTERNAL_ERROR")}
)
"""What Seldon's components say; whatever comes before them has the HTTP status as its code."""


def seldon_status(status: int) -> tuple[int, str]:
    """The `code` and the `reason` in a Seldon message that goes with an HTTP status."""
    own = (status, HTTPStatus(status).phrase.upper().replace(" ", "_"))
    return _SELDON_REASONS.get(status, own)


RETRY_AFTER_S: Mapping[int, int] = MappingProxyType({429: 1, 503: 1})
"""The statuses that carry `Retry-After`, and its seconds."""
