"""Seldon's messages in forms and queries become the body that a worker reads."""

from __future__ import annotations

import json

import pytest

from salver.errors import InvalidInput
from salver.protocol.seldon_forms import json_of

FORM = b"application/x-www-form-urlencoded"
MULTIPART = b"multipart/form-data; boundary=x"


def part(name: str, value: bytes, *, file: str = "") -> bytes:
    named = f'; filename="{file}"' if file else ""
    head = f'--x\r\nContent-Disposition: form-data; name="{name}"{named}\r\n\r\n'
    return head.encode() + value + b"\r\n"


def test_a_json_body_is_handed_on_as_it_is() -> None:
    body = bytearray(b'{"strData":"a"}')
    assert json_of(b"application/json", b"", body) is body
    assert json_of(b"", b"a=b", body) is body


def test_the_field_json_of_a_form_or_a_query_is_the_message() -> None:
    assert json_of(FORM, b"", b"json=%7B%22a%22%3A+1%7D") == b'{"a": 1}'
    assert json_of(b"", b"json=%7B%7D", b"") == b"{}"
    assert json_of(FORM + b"; charset=utf-8", b"", b"json={}") == b"{}"


def test_the_fields_of_a_multipart_form_are_the_members() -> None:
    body = b"".join(
        (
            part("data", b'{"ndarray": [1.50]}'),
            part("strData", b'"quoted"'),
            part("binData", b"\x00\xff", file="a.bin"),
            b"--x--\r\n",
        )
    )
    found = json_of(MULTIPART, b"", body)
    assert json.loads(found) == {
        "data": {"ndarray": [1.5]},
        "strData": '"quoted"',
        "binData": "AP8=",
    }
    assert b"1.50" in found


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        (b"application/json", b""),
        (MULTIPART, b""),
        (MULTIPART, part("data", b"{") + b"--x--\r\n"),
        (MULTIPART, part("strData", b"\xff") + b"--x--\r\n"),
        (b"multipart/form-data", b"no boundary"),
    ],
)
def test_what_holds_no_message_is_refused(content_type: bytes, body: bytes) -> None:
    with pytest.raises(InvalidInput):
        json_of(content_type, b"", body)
