"""What a worker says of a traced request, in front of its answer: times, and tensors if wanted.

    u32 length of the report | the report, as JSON | the answer

Times are nanoseconds of the machine's monotonic clock, which gateway and workers share. Imports no
NumPy: the gateway reads reports.
"""

from __future__ import annotations

import struct

import msgspec

_LENGTH = struct.Struct("<I")


class TracedTensor(msgspec.Struct, frozen=True):
    """A tensor as Triton's traces have it: elements and sizes joined by commas. `is_cut`: it has
    more elements than are shown."""

    name: str
    data: str
    shape: str
    dtype: str
    is_cut: bool = False


class TraceReport(msgspec.Struct, frozen=True):
    """The worker's part. `request_id` is what the request calls itself."""

    request_id: str
    compute_start_ns: int
    input_end_ns: int
    output_start_ns: int
    compute_end_ns: int
    inputs: tuple[TracedTensor, ...] = ()
    outputs: tuple[TracedTensor, ...] = ()


_decode = msgspec.json.Decoder(TraceReport).decode


def with_report(report: TraceReport, answer: bytes) -> bytes:
    """The answer with the report in front."""
    text = msgspec.json.encode(report)
    return b"".join((_LENGTH.pack(len(text)), text, answer))


def split_report(body: bytes) -> tuple[TraceReport, bytes]:
    """Undoes `with_report`."""
    end = _LENGTH.size + _LENGTH.unpack_from(body)[0]
    return _decode(body[_LENGTH.size : end]), bytes(body[end:])
