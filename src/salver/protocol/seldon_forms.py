"""The ways in which Seldon's REST routes take a message that is not the body itself.

    application/x-www-form-urlencoded   the field `json`
    ?json=...                           the same, in the query
    multipart/form-data                 a field for each member of the message; files for `binData`
                                        and, as text, for `strData`

Runs in the gateway, off the usual path, and imports no NumPy.
"""

from __future__ import annotations

import base64
from urllib.parse import parse_qs

import msgspec

from salver.errors import InvalidInput

Body = bytes | bytearray
_FORM = b"application/x-www-form-urlencoded"
_MULTIPART = b"multipart/form-data"
_encode = msgspec.json.Encoder().encode


def json_of(content_type: bytes, query: bytes, body: Body) -> Body:
    """The message's JSON, wherever the request has it. Raises `InvalidInput`."""
    kind = content_type.partition(b";")[0].strip().lower()
    if kind == _MULTIPART:
        return _multipart(content_type, body)
    if kind == _FORM:
        found = _field(bytes(body))
        if found:
            return found
    if b"json=" in query:
        found = _field(query)
        if found:
            return found
    if not body:
        raise InvalidInput("the request has no message: send it as the body, or as 'json'")
    return body


def _field(encoded: bytes) -> bytes:
    try:
        values = parse_qs(encoded.decode(), max_num_fields=100).get("json", [])
    except ValueError as error:
        raise InvalidInput(f"the form cannot be read: {error}") from error
    return values[-1].encode(errors="replace") if values else b""


def _multipart(content_type: bytes, body: Body) -> bytes:
    head = b"Content-Type: " + content_type.replace(b"\r", b"").replace(b"\n", b"") + b"\r\n\r\n"
    # Rarely asked for, and slow to import.
    from email.parser import BytesParser
    from email.policy import HTTP

    message = BytesParser(policy=HTTP).parsebytes(head + bytes(body))
    members: dict[str, object] = {}
    for part in message.iter_parts():
        name = part.get_param("name", header="content-disposition")
        value = part.get_payload(decode=True)
        if isinstance(name, str) and name and isinstance(value, bytes):
            members[name] = _member(name, value, is_file=part.get_filename() is not None)
    if not members:
        raise InvalidInput("the multipart body has no fields: send data, strData, binData or such")
    return _encode(members)


def _member(name: str, value: bytes, *, is_file: bool) -> object:
    if name == "binData":
        return base64.b64encode(value).decode()
    try:
        if name == "strData" or is_file:
            return value.decode()
        return msgspec.Raw(_checked(value))
    except (UnicodeDecodeError, msgspec.MsgspecError) as error:
        raise InvalidInput(
            f"the field '{name[:64]}' of the form cannot be read: {error}"
        ) from error


def _checked(value: bytes) -> bytes:
    msgspec.json.decode(value)
    return value
