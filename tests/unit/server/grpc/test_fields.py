"""The hand-written protobuf reader and writer against the real library."""

from __future__ import annotations

import pytest
from google.protobuf.api_pb2 import Mixin  # string name = 1; string root = 2
from google.protobuf.descriptor_pb2 import FileDescriptorProto, SourceCodeInfo
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from salver.server.grpc import fields

TEXT = st.text(alphabet=st.characters(exclude_categories=("Cs",)), max_size=300)
OTHER_FIELDS = st.one_of(
    st.builds(fields.bytes_field, st.integers(3, 3000), st.binary(max_size=300)),
    st.builds(fields.number_field, st.integers(3, 3000), st.integers(-(2**63), 2**63 - 1)),
    st.builds(lambda number, value: fields.varint(number << 3 | 1) + value,
              st.integers(3, 40), st.binary(min_size=8, max_size=8)),
    st.builds(lambda number, value: fields.varint(number << 3 | 5) + value,
              st.integers(3, 40), st.binary(min_size=4, max_size=4)),
)  # fmt: skip
KNOWN_FIELDS = st.builds(fields.text_field, st.sampled_from((1, 2)), TEXT)
MESSAGES = st.lists(st.one_of(KNOWN_FIELDS, OTHER_FIELDS), max_size=8).map(b"".join)


@given(MESSAGES)
def test_name_and_version_are_what_protobuf_reads_in_any_order(message: bytes) -> None:
    expected = Mixin.FromString(message)
    assert fields.name_and_version(message) == (expected.name, expected.root)


@given(MESSAGES, st.data())
def test_a_cut_message_is_read_as_protobuf_reads_it(message: bytes, data: st.DataObject) -> None:
    cut = message[: data.draw(st.integers(0, len(message)))]
    try:
        expected = Mixin.FromString(cut)
    except DecodeError:
        with pytest.raises(fields.MalformedMessageError):
            fields.name_and_version(cut)
    else:
        assert fields.name_and_version(cut) == (expected.name, expected.root)


@given(st.binary(max_size=40))
def test_any_bytes_are_read_or_refused_with_one_error(message: bytes) -> None:
    try:
        fields.name_and_version(message)
        list(fields.read_fields(message))
    except fields.MalformedMessageError as error:
        assert str(error)


@pytest.mark.parametrize(
    "message",
    [b"\x02\x00", b"\x00\x01", b"\x0a\x01\xff", b"\x0b", b"\x0a\xff", b"\x08" + b"\xff" * 11],
)
def test_a_malformed_message_is_refused(message: bytes) -> None:
    with pytest.raises(fields.MalformedMessageError):
        fields.name_and_version(message)


@given(TEXT, st.lists(TEXT, max_size=4))
def test_text_is_written_as_protobuf_reads_it(name: str, dependencies: list[str]) -> None:
    written = fields.text_field(1, name) + b"".join(
        fields.bytes_field(3, one.encode()) for one in dependencies
    )
    parsed = FileDescriptorProto.FromString(written)
    assert (parsed.name, list(parsed.dependency)) == (name, dependencies)


@given(st.lists(st.integers(-(2**31), 2**31 - 1), max_size=6))
def test_integers_are_written_packed_as_protobuf_writes_them(values: list[int]) -> None:
    expected = SourceCodeInfo.Location(path=values).SerializeToString()
    assert fields.integers_field(1, values) == expected


@given(MESSAGES)
def test_reading_fields_and_writing_them_again_gives_the_same_values(message: bytes) -> None:
    found = list(fields.read_fields(message))
    again = b"".join(
        fields.bytes_field(number, value)
        if isinstance(value, bytes)
        else fields.varint(number << 3) + fields.varint(value)
        for number, value in found
    )
    assert list(fields.read_fields(again)) == found
