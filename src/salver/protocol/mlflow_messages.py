"""What a gateway must know of MLflow's scoring protocol: media types and the form of errors.

Imports no NumPy: the bodies are the workers' affair.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import msgspec

from salver.errors import ErrorKind
from salver.protocol.wire_codes import Codec

MEDIA_TYPES: Mapping[bytes, Codec] = MappingProxyType(
    {
        b"text/csv": Codec.MLFLOW_CSV,
        b"application/json": Codec.MLFLOW_JSON,
        b"application/vnd.apache.parquet": Codec.MLFLOW_PARQUET,
    }
)
SCORING_CODECS = frozenset(int(codec) for codec in MEDIA_TYPES.values())
_ERROR_CODES: Mapping[int, str] = MappingProxyType(
    {
        400: "BAD_REQUEST",
        404: "RESOURCE_DOES_NOT_EXIST",
        429: "REQUEST_LIMIT_EXCEEDED",
        500: "INTERNAL_ERROR",
        501: "NOT_IMPLEMENTED",
        503: "TEMPORARILY_UNAVAILABLE",
        504: "DEADLINE_EXCEEDED",
    }
)
"""MLflow's names; those of other statuses are invalid parameters, being the caller's fault."""
_encode = msgspec.json.Encoder().encode


def scoring_codec(content_type: bytes) -> tuple[Codec, str]:
    """The codec for a body, and why it cannot be read if it cannot."""
    media_type, *parameters = (part.strip() for part in content_type.split(b";"))
    codec = MEDIA_TYPES.get(media_type.lower())
    shown = content_type.decode("latin-1")[:100]
    if codec is None:
        known = ", ".join(each.decode() for each in MEDIA_TYPES)
        return Codec.MLFLOW_JSON, f"content type '{shown}' is not supported: send one of {known}"
    for parameter in parameters:
        name, _, value = parameter.partition(b"=")
        if name.strip().lower() != b"charset":
            return codec, f"content type '{shown}' has a parameter that is unknown: leave it out"
        if value.strip().strip(b'"').lower() not in (b"utf-8", b"utf8"):
            return codec, f"content type '{shown}' is not supported: send UTF-8"
    return codec, ""


def error_body(status: int, message: str) -> bytes:
    """The JSON of an error as MLflow's clients read it."""
    return _encode(
        {"error_code": _ERROR_CODES.get(status, "INVALID_PARAMETER_VALUE"), "message": message}
    )


def is_unreadable(kind: ErrorKind, codec: int) -> bool:
    """Whether the worker lacks what reads such bodies, which is answered as a media type is."""
    return kind is ErrorKind.UNSUPPORTED and codec == Codec.MLFLOW_PARQUET
