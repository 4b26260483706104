"""What a worker is asked to do with a body, beside predicting on it: the steps around a model.

An item's tag (`frame.py`) has room above its codec, its coding and the codings accepted:

    bit 23       the caller is on this machine and may name memory that it shares
    bits 24-26   the `Operation`; 0 is a prediction
    bit 27       the body begins with the caller's headers: a u32 with their length, then
                 `name: value` lines that end in CRLF, names in lower case
    bit 28       of a prediction: its times are to be reported in front of the answer
                 (`trace_report.py`); with bit 29, its tensors too

A step answers with a message of the same wire format: PREPROCESS takes and gives a request,
POSTPROCESS a response, EXPLAIN takes a request and gives a response, STREAM takes a request and
gives any number of responses. Imports no NumPy: the gateway marks the calls, the worker reads the
marks.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from enum import IntEnum

from salver.errors import InvalidInput

Body = bytes | bytearray | memoryview
_SHIFT = 24
_MASK = 0x7
WITH_HEADERS = 1 << 27
"""The tag's bit for a body that begins with headers."""
TRACED = 1 << 28
TRACED_TENSORS = 1 << 29
CONTENT_BITS = 0xFFFFFF
"""The bits of a tag that say how to read the body; a tag above them asks for a step."""
MAY_SHARE = 1 << 23
"""The tag's bit of calls that may name shared memory. It lies among the bits of what is accepted,
so that calls made on behalf of others (of steps, of shadows) do not have it."""
ACCEPTED_CODING = 0x7F
"""Of the bits above 16: the content coding accepted."""
_LENGTH = struct.Struct("<I")


class Operation(IntEnum):
    """What is wanted of a worker; the names in lower case are the methods of a class."""

    PREDICT = 0
    PREPROCESS = 1
    POSTPROCESS = 2
    EXPLAIN = 3
    STEP = 4
    """A step of a graph: see `bundle.py`."""
    FEEDBACK = 5
    """The truth about earlier answers: a Seldon Feedback message, in either of its codecs."""
    STREAM = 6
    """A prediction whose responses, however many, are sent one by one as they come."""

    @property
    def method(self) -> str:
        """The method of a user's class that does it."""
        return self.name.lower()


def operation_of(tag: int) -> Operation:
    """What the tag asks for."""
    return Operation(tag >> _SHIFT & _MASK)


def is_stream(tag: int) -> bool:
    """Whether the answer comes in parts."""
    return tag >> _SHIFT & _MASK == Operation.STREAM


def marked(tag: int, operation: Operation) -> int:
    """The tag, asking for the operation."""
    return tag & CONTENT_BITS | operation << _SHIFT


def traced(tag: int, *, with_tensors: bool) -> int:
    """The tag, asking for a report if it asks for a prediction. The answer is not packed then."""
    if operation_of(tag) is not Operation.PREDICT or tag & WITH_HEADERS:
        return tag
    return tag & ~(ACCEPTED_CODING << 16) | TRACED | (TRACED_TENSORS if with_tensors else 0)


def with_headers(headers: Iterable[tuple[bytes, bytes]], body: Body) -> bytes:
    """The body with the headers in front, for a tag with `WITH_HEADERS`."""
    block = b"".join(
        [
            b"%b: %b\r\n" % (name.lower(), value)
            for name, value in headers
            # Metadata of gRPC may hold any byte: a line's end would begin another header.
            if b"\r" not in value and b"\n" not in value
        ]
    )
    return b"".join((_LENGTH.pack(len(block)), block, body))


def split_headers(body: Body) -> tuple[dict[str, str], memoryview]:
    """Undoes `with_headers`; of a name that comes twice, the values are joined by commas."""
    view = memoryview(body)
    if len(view) < _LENGTH.size:
        raise InvalidInput("the body has no headers in front: send them as its tag says")
    end = _LENGTH.size + _LENGTH.unpack_from(view)[0]
    if end > len(view):
        raise InvalidInput("the headers in front of the body run past its end: send all of it")
    headers: dict[str, str] = {}
    for line in bytes(view[_LENGTH.size : end]).decode("latin-1").split("\r\n"):
        name, colon, value = line.partition(":")
        if colon:
            value = value.strip()
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers, view[end:]
