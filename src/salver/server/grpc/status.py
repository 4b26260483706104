"""The one table from Salver's errors to gRPC statuses."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from salver.errors import ErrorKind, RequestError, SalverError
from salver.server.grpc.ports import NO_METADATA, RETRY_AFTER, Code, Metadata

GRPC_CODE: Mapping[int, Code] = MappingProxyType(
    {
        ErrorKind.INVALID_INPUT: Code.INVALID_ARGUMENT,
        ErrorKind.PAYLOAD_TOO_LARGE: Code.RESOURCE_EXHAUSTED,
        ErrorKind.MODEL_NOT_FOUND: Code.NOT_FOUND,
        ErrorKind.MODEL_NOT_READY: Code.UNAVAILABLE,
        ErrorKind.UNSUPPORTED: Code.UNIMPLEMENTED,
        ErrorKind.QUEUE_FULL: Code.RESOURCE_EXHAUSTED,
        ErrorKind.UNAVAILABLE: Code.UNAVAILABLE,
        ErrorKind.DEADLINE_EXCEEDED: Code.DEADLINE_EXCEEDED,
        ErrorKind.MODEL_FAILED: Code.INTERNAL,
    }
)

_RETRIED = frozenset({ErrorKind.QUEUE_FULL, ErrorKind.UNAVAILABLE})

_MAX_MESSAGE_BYTES = 1500
"""Statuses travel in trailers, of which clients take 8 KiB, percent-encoded."""


def code_of(error: SalverError) -> Code:
    """The status code of an error; what is no request's fault is INTERNAL."""
    return GRPC_CODE[error.kind] if isinstance(error, RequestError) else Code.INTERNAL


def reason_of(error: SalverError) -> str:
    """The error as a metric label."""
    kind = error.kind if isinstance(error, RequestError) else ErrorKind.MODEL_FAILED
    return kind.reason


def trailing_of(kind: int) -> Metadata:
    """Tells the caller when to try again, where that helps."""
    return RETRY_AFTER if kind in _RETRIED else NO_METADATA


def status_message(message: str) -> str:
    """The message, cut to what fits into a trailer."""
    encoded = message.encode("utf-8", "replace")
    if len(encoded) <= _MAX_MESSAGE_BYTES:
        return message
    return encoded[:_MAX_MESSAGE_BYTES].decode("utf-8", "ignore") + "..."
