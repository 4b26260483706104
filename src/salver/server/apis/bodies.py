"""Bodies of the API: read within a bound, as JSON or YAML; written as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from salver.control.resources import JsonObject
from salver.server.apis import go_protobuf
from salver.server.apis.status import Refusal, status_body

_YAML = ("application/yaml", "application/apply-patch+yaml", "text/yaml", "application/x-yaml")
_JSON = ("application/json", "")


async def read_bytes(request: Request, limit: int) -> bytes:
    """The body. Raises `Refusal`, 413 if it is larger than the limit."""
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > limit:
                raise Refusal(413, f"the body is over {limit} bytes: send a smaller object")
    except ClientDisconnect:
        raise Refusal(400, "the client left before its body was complete") from None
    return bytes(body)


def media_type(request: Request) -> str:
    """The content type, without its parameters."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def parsed(body: bytes, media: str, accepted: Sequence[str] = (*_JSON, *_YAML)) -> Any:
    """The value in the body. Raises `Refusal`."""
    if media not in accepted:
        names = ", ".join(name for name in accepted if name)
        raise Refusal(415, f"the body's media type '{media}' is not supported: send {names}")
    if media in _YAML:
        return _parsed_yaml(body)
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Refusal(400, f"the body is no JSON: {error}") from error


def parsed_object(body: bytes, media: str) -> JsonObject:
    """The JSON object in the body. Raises `Refusal`."""
    if media == go_protobuf.MEDIA_TYPE:
        try:
            return go_protobuf.read_object(body)
        except ValueError as error:
            raise Refusal(415, f"cannot read the protobuf body: {error}") from error
    value = parsed(body, media)
    if not isinstance(value, dict):
        raise Refusal(400, f"the body must be an object, not {type(value).__name__}")
    return value


def _parsed_yaml(body: bytes) -> Any:
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        value = yaml.load(body, Loader=loader)
        # Dates and other YAML values that JSON lacks become text; aliases must not blow up.
        return msgspec.json.decode(msgspec.json.encode(_bounded(value)))
    except (yaml.YAMLError, TypeError, ValueError, RecursionError) as error:
        raise Refusal(400, f"the body is no YAML: {' '.join(str(error).split())}") from error


def _bounded(value: Any, limit: int = 200_000) -> Any:
    """The value, if it has no more nodes than this: aliases can multiply a small text."""
    left = [limit]

    def count(node: Any) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise ValueError(f"it has more than {limit} values")
        if isinstance(node, dict):
            for inner in node.values():
                count(inner)
        elif isinstance(node, list):
            for inner in node:
                count(inner)

    count(value)
    return value


def json_response(
    body: Any,
    status: int = 200,
    *,
    warnings: Sequence[str] = (),
    headers: Mapping[str, str] | None = None,
    media: str = "application/json",
) -> Response:
    """The body as JSON, with a `Warning` header for each warning."""
    response = Response(msgspec.json.encode(body), status, headers, media_type=media)
    for warning in warnings:
        text = " ".join(warning.split()).encode("ascii", "replace").decode()
        quoted = text.replace("\\", "\\\\").replace('"', '\\"')
        response.headers.append("Warning", f'299 - "{quoted}"')
    return response


def refusal_response(refusal: Refusal) -> Response:
    """The refusal as a `Status`."""
    headers = {"Allow": refusal.details["allow"]} if "allow" in refusal.details else None
    return json_response(status_body(refusal), refusal.code, headers=headers)
