"""The one table from kinds of `RequestError` to HTTP statuses. Imports nothing but the errors."""

from __future__ import annotations

from collections.abc import Mapping
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
