"""Messages and tensors of the framed protocol: golden bytes, and what comes back."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from salver.inference.tensor import NUMPY_TYPES, Tensor
from salver.runtimes.program_frames import (
    Message,
    NotAMessage,
    head_of,
    is_start,
    message_of,
    shown,
    sizes_of,
)
from salver.runtimes.program_tensors import described, raw_of, shape_text, tensors_of

FIELDS = st.text(st.characters(exclude_categories=("Cs",)), max_size=8)


def message(*lines: tuple[str, ...], body: bytes = b"") -> Message:
    return Message(lines, body)


def back(tensor: Tensor) -> Tensor:
    """The tensor as a program would give it back."""
    raw = bytes(raw_of(tensor))
    shape = shape_text(tensor.data.shape)
    line = ("output", tensor.name, tensor.datatype, shape, str(len(raw)))
    (found,) = tensors_of(message(("answer", "1"), line, body=raw), "output")
    return found


def test_a_message_begins_with_a_mark_and_two_sizes() -> None:
    assert head_of([("request", "7"), ("input", "x", "FP64", "2", "16")], 16) == (
        b"SLVR\x1b\x00\x00\x00\x10\x00\x00\x00request\t7\ninput\tx\tFP64\t2\t16"
    )


@given(st.lists(st.lists(FIELDS, min_size=1, max_size=4), min_size=1, max_size=4))
def test_any_field_comes_back_as_it_was(lines: list[list[str]]) -> None:
    # Empty lines at the end cannot be told from a line end there.
    lines = [["kind", *line] for line in lines]
    packed = head_of(lines, 0)
    head_bytes, body_bytes = sizes_of(packed)
    assert (12 + head_bytes, body_bytes) == (len(packed), 0)
    assert message_of(packed[12:], b"").lines == tuple(map(tuple, lines))


@pytest.mark.parametrize("text", [b"Loading weights...\n", b"S", b"SLV?", b"\x00"])
def test_what_is_no_message_is_seen_at_its_first_bytes(text: bytes) -> None:
    assert is_start(text) is (text == b"S")


def test_what_is_no_message_is_shown_with_its_first_line() -> None:
    assert shown(b"Loading \xff...\nmore\n") == r"'Loading \\xff...'"


@pytest.mark.parametrize("sizes", [(0, 0), (1 << 21, 0), (1, 1 << 31)])
def test_sizes_that_no_message_has_are_refused(sizes: tuple[int, int]) -> None:
    prefix = b"SLVR" + b"".join(size.to_bytes(4, "little") for size in sizes)
    with pytest.raises(NotAMessage, match=f"{sizes[0]} bytes"):
        sizes_of(prefix)


def test_a_head_that_is_no_text_is_refused() -> None:
    with pytest.raises(NotAMessage, match="no UTF-8"):
        message_of(b"hello\t\xff", b"")


@pytest.mark.parametrize("datatype", sorted(NUMPY_TYPES))
@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (0, 4)])
def test_tensors_come_back_as_they_were(datatype: Any, shape: tuple[int, ...]) -> None:
    count = int(np.prod(shape))
    if datatype == "BYTES":
        data = np.empty(count, dtype=np.object_)
        data[:] = [b"", "é\n".encode(), b"\x00\xff", b"a", b"b", b"c"][:count]
    else:
        data = np.arange(count).astype(NUMPY_TYPES[datatype])
    tensor = Tensor("x", datatype, data.reshape(shape))
    found = back(tensor)
    assert found.datatype == datatype
    assert found.data.dtype == tensor.data.dtype
    assert found.data.shape == shape
    assert found.data.tolist() == tensor.data.tolist()


def test_rows_that_lie_apart_in_memory_are_written_in_order() -> None:
    data = np.arange(6, dtype=np.float32).reshape(2, 3).T
    assert np.array_equal(back(Tensor("x", "FP32", data)).data, data)


@pytest.mark.parametrize(
    ("line", "body", "fact"),
    [
        (("y", "FP64", "2", "8"), b"\0" * 8, r"1 elements, its shape \[2\] 2"),
        (("y", "FP64", "2", "16"), b"\0" * 8, "body ends within output 'y'"),
        (("y", "FP64", "1", "8"), b"\0" * 9, "1 bytes that belong to nothing"),
        (("y", "FP64", "1", "7"), b"\0" * 7, "7 bytes, which are no FP64"),
        (("y", "FP64", "-1", "8"), b"\0" * 8, "each size must be known"),
        (("y", "FP64", "1"), b"", "3 fields"),
        (("y", "FP65", "1", "0"), b"", "unknown datatype 'FP65'"),
        (("y", "FP64", "one", "0"), b"", "shape 'one'"),
        (("y", "FP64", "0," + "9" * 30, "0"), b"", "at most 32 sizes"),
        (("y", "FP64", "9" * 9999, "0"), b"", "give numbers"),
        (("y", "FP64", "1", "-8"), b"", "'-8' for its number of bytes"),
        (("y", "BYTES", "1", "3"), b"\0\0\0", "ends within an element"),
        (("y", "BYTES", "1", "4"), b"\1\0\0\0", "ends within an element"),
    ],
)
def test_a_wrong_tensor_is_named_with_what_is_wrong(
    line: tuple[str, ...], body: bytes, fact: str
) -> None:
    with pytest.raises(ValueError, match=fact):
        tensors_of(message(("answer", "1"), ("output", *line), body=body), "output")


def test_a_hello_describes_inputs() -> None:
    found = described(("x", "FP64", "-1,4", "optional"), "input")
    assert (found.shape, found.optional, found.any_shape) == ((-1, 4), True, False)
    assert described(("x", "BYTES", "*"), "input").any_shape
    assert described(("x", "BYTES", ""), "input").shape == ()
    for wrong in (("x", "FP64"), ("x", "float", "1"), ("x", "FP64", "-2"), ("x", "FP64", "9" * 20)):
        with pytest.raises(ValueError, match=r"x|2 fields"):
            described(wrong, "input")


def test_the_page_about_the_protocol_shows_messages_as_they_are() -> None:
    page = (Path(__file__).parents[3] / "docs/framed-protocol.md").read_text()
    shown = re.findall(r"^SLVR (\w{8}) (\w{8}) (.*) and (\d+) bytes$", page, re.MULTILINE)
    assert [each[3] for each in shown] == ["32", "16"]
    for head_size, body_size, head, body in shown:
        lines = [line.split("⇥") for line in head.split("⏎")]
        packed = head_of(lines, int(body))
        assert packed[:12].hex() == b"SLVR".hex() + head_size + body_size
        assert packed[12:] == head.replace("⇥", "\t").replace("⏎", "\n").encode()
    assert "73 bytes" in page
