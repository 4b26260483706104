"""Reading small JSON bodies and writing JSON answers; every error is `{"error": message}`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from salver.errors import ErrorKind, InvalidInput, PayloadTooLarge, RequestError
from salver.server.rest.status import HTTP_STATUS, RETRY_AFTER_S

_MAX_CONTROL_BODY = 1 << 20
"""No body of these routes needs more; it bounds what a caller can make the gateway hold."""


def json_answer(
    body: object, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """The body as JSON, with `Retry-After` where the status calls for it."""
    extra = dict(headers or {})
    if status in RETRY_AFTER_S:
        extra["Retry-After"] = str(RETRY_AFTER_S[status])
    return Response(msgspec.json.encode(body), status, extra, media_type="application/json")


def error_answer(
    status: int, message: str, headers: Mapping[str, str] | None = None, **more: object
) -> Response:
    """`{"error": message}`; `more` are further members of the object."""
    return json_answer({**more, "error": message}, status, headers)


def refusal(error: RequestError) -> Response:
    """The answer to a request that ended in this error."""
    return error_answer(HTTP_STATUS[error.kind], str(error))


def not_ready(message: str, **more: object) -> Response:
    """503 with the reason; `more` are the members that readiness routes have besides."""
    return error_answer(HTTP_STATUS[ErrorKind.MODEL_NOT_READY], message, None, **more)


async def read_json_object(request: Request, max_bytes: int) -> dict[str, Any]:
    """The request's JSON object; an empty body is an empty object, whatever its type says.

    Raises `PayloadTooLarge` or `InvalidInput`.
    """
    limit = min(max_bytes, _MAX_CONTROL_BODY)
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > limit:
                raise PayloadTooLarge(
                    f"the body of {request.url.path} is over {limit} bytes; send a smaller one"
                )
    except ClientDisconnect:
        raise InvalidInput("the client left before its body was complete") from None
    if not body:
        return {}
    try:
        value = msgspec.json.decode(body)
    except msgspec.DecodeError as error:
        raise InvalidInput(f"the body is no JSON: {error}") from error
    if not isinstance(value, dict):
        raise InvalidInput(
            f"the body must be a JSON object, not {type(value).__name__}; send {{}} or nothing"
        )
    return value
