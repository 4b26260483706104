"""Tags that ask for steps, and headers in front of bodies."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from salver.errors import InvalidInput
from salver.protocol.operations import (
    CONTENT_BITS,
    WITH_HEADERS,
    Operation,
    marked,
    operation_of,
    split_headers,
    with_headers,
)

NAMES = st.text("abcdefghijklmnopqrstuvwxyz-", min_size=1, max_size=20)
VALUES = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=30)


@given(st.integers(0, CONTENT_BITS), st.sampled_from(list(Operation)))
def test_a_tag_keeps_what_it_said_of_the_body(tag: int, operation: Operation) -> None:
    made = marked(tag, operation) | WITH_HEADERS
    assert (made & CONTENT_BITS, operation_of(made)) == (tag, operation)
    assert made < 1 << 32


@given(st.dictionaries(NAMES, VALUES), st.binary(max_size=100))
def test_headers_come_back_and_so_does_the_body(headers: dict[str, str], body: bytes) -> None:
    pairs = [(name.upper().encode(), value.encode()) for name, value in headers.items()]
    found, rest = split_headers(with_headers(pairs, body))
    assert (found, bytes(rest)) == (headers, body)


def test_a_name_that_comes_twice_has_both_values() -> None:
    found, _ = split_headers(with_headers([(b"a", b"1"), (b"A", b"2")], b""))
    assert found == {"a": "1, 2"}


def test_a_value_cannot_begin_another_header() -> None:
    found, _ = split_headers(with_headers([(b"a", b"1\r\nadmin: yes"), (b"b", b"2")], b""))
    assert found == {"b": "2"}


@pytest.mark.parametrize("body", [b"", b"\xff\xff\xff\xff", b"\x05\0\0\0abc"])
def test_a_body_without_its_headers_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidInput):
        split_headers(body)
