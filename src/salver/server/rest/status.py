"""What goes with HTTP statuses, for the HTTP protocol and for the ASGI application."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from types import MappingProxyType

from salver.protocol.http_statuses import HTTP_STATUS as HTTP_STATUS

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
