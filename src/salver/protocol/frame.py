"""Frames between the gateway and a worker: length-prefixed, sans-I/O.

A frame is a 12-byte header, a table with one row an item, and the items' bytes. The items
of a large frame lie in shared memory instead, in the same order from offset 0; the frame
then carries only header and table.

    header   u32 size of what follows | u32 batch id | u8 kind | u8 flags | u16 items
    request  items x (u32 codec, i32 aux, u32 length)               then the bodies
    reply    u64 compute ns, u32 rows, u32 runs, items x (u32 status, i32 aux, u32 length),
             then the bodies

A request's `codec` and a reply's `status` hold a `Codec` or an `ErrorKind` in the low byte
and a `ContentCoding` in the second (for a request also a third: the codings accepted, and a
fourth: the operation, see `operations.py`).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from enum import IntEnum
from functools import lru_cache
from typing import NamedTuple

HEADER = struct.Struct("<IIBBH")
REPLY_FACTS = struct.Struct("<QII")
ROW_SIZE = 12
SHARED = 1
"""Flag: the items lie in shared memory."""
MAX_ITEMS = 0xFFFF
_MOST_ROWS = 0xFFFFFFFF
INLINE_LIMIT_BYTES = 64 << 10
"""Above this, items travel through shared memory (a copy less each way)."""


class FrameKind(IntEnum):
    """What a frame is about. Items of LOAD, LOADED and LOAD_FAILED are one JSON text."""

    LOAD = 1
    LOADED = 2
    LOAD_FAILED = 3
    BATCH = 4
    REPLY = 5
    RECYCLE = 6
    """A reply after which the worker exits, since it can no longer be trusted."""
    CANCEL = 7
    """Nobody waits any more for items of the batch under way: their numbers are the rows' tags."""
    PART = 8
    """One of several responses to an item of the batch under way: its number is the row's tag."""
    TAKEN = 9
    """Parts of items of the batch under way have been passed on: numbers and counts are the rows'
    tags and auxes."""
    ASK = 10
    """The worker is to say what it has done so far; comes between batches, and has no items."""
    FACTS = 11
    """The answer, or what the worker says unasked: one JSON text, outside any batch."""
    CACHE = 12
    """What the response cache has done so far: one JSON text, before the reply that adds to it."""


class ContentCoding(IntEnum):
    """HTTP content codings, undone and applied by the worker."""

    IDENTITY = 0
    GZIP = 1
    DEFLATE = 2


Data = bytes | memoryview


class Item(NamedTuple):
    """One row of a frame's table with its bytes: (codec or status, aux, body)."""

    tag: int
    aux: int
    body: Data


class Frame(NamedTuple):
    """A frame taken apart: `table` is a flat (tag, aux, length, tag, ...) tuple.

    `data` is the whole frame; its items begin at `offset` unless they are shared.
    """

    batch_id: int
    kind: int
    is_shared: bool
    compute_ns: int
    rows: int
    runs: int
    table: tuple[int, ...]
    data: Data
    offset: int

    def bodies(self) -> list[Data]:
        """The items of a frame that is not shared: bytes of bytes, views of a view."""
        return self._slices(self.data, self.offset)

    def shared_bodies(self, shared: memoryview) -> list[Data]:
        """The items of a shared frame, as views of its memory."""
        return self._slices(shared, 0)

    @property
    def shared_size(self) -> int:
        """Bytes that the items of a shared frame take."""
        return sum(self.table[2::3])

    def _slices(self, source: Data, offset: int) -> list[Data]:
        slices: list[Data] = []
        for length in self.table[2::3]:
            slices.append(source[offset : offset + length])
            offset += length
        return slices


@lru_cache(maxsize=1024)
def _table_struct(items: int) -> struct.Struct:
    return struct.Struct("<" + "IiI" * items)


def request_head(
    batch_id: int, kind: FrameKind, table: Sequence[int], payload_size: int, *, is_shared: bool
) -> bytes:
    """Header and table of a request frame; the bodies follow unless `is_shared`."""
    items = len(table) // 3
    inline = 0 if is_shared else payload_size
    size = items * ROW_SIZE + inline
    return HEADER.pack(size, batch_id, kind, SHARED if is_shared else 0, items) + _table_struct(
        items
    ).pack(*table)


def cancel_frame(batch_id: int, items: Sequence[int]) -> bytes:
    """Tells the worker which items of a batch nobody waits for."""
    table = [number for item in items for number in (item, 0, 0)]
    return request_head(batch_id, FrameKind.CANCEL, table, 0, is_shared=False)


def taken_frame(batch_id: int, item: int, count: int) -> bytes:
    """Tells the worker that so many more parts of an item have been passed on."""
    return request_head(batch_id, FrameKind.TAKEN, (item, count, 0), 0, is_shared=False)


def part_head(batch_id: int, item: int, aux: int, size: int) -> bytes:
    """What precedes one response of a stream; parts never lie in shared memory."""
    return reply_head(batch_id, FrameKind.PART, (item, aux, size), size, is_shared=False)


def ask_frame() -> bytes:
    """Asks the worker for its facts."""
    return request_head(0, FrameKind.ASK, (), 0, is_shared=False)


def reply_head(
    batch_id: int,
    kind: FrameKind,
    table: Sequence[int],
    payload_size: int,
    *,
    is_shared: bool,
    compute_ns: int = 0,
    rows: int = 0,
    runs: int = 0,
) -> bytes:
    """Header, facts and table of a reply frame; the bodies follow unless `is_shared`."""
    items = len(table) // 3
    inline = 0 if is_shared else payload_size
    size = REPLY_FACTS.size + items * ROW_SIZE + inline
    return (
        HEADER.pack(size, batch_id, kind, SHARED if is_shared else 0, items)
        # Tensors without elements may have any number of rows.
        + REPLY_FACTS.pack(compute_ns, min(rows, _MOST_ROWS), runs)
        + _table_struct(items).pack(*table)
    )


def frame_size(header: bytes | bytearray | memoryview) -> int:
    """Bytes of the whole frame whose first `HEADER.size` bytes are given."""
    size: int = HEADER.unpack_from(header)[0]
    return size + HEADER.size


def parse_request(data: bytes | memoryview) -> Frame:
    """A whole request frame."""
    return _parse(data, has_facts=False)


def parse_reply(data: bytes | memoryview) -> Frame:
    """A whole reply frame."""
    return _parse(data, has_facts=True)


def _parse(data: bytes | memoryview, *, has_facts: bool) -> Frame:
    _, batch_id, kind, flags, items = HEADER.unpack_from(data)
    offset = HEADER.size
    compute_ns = rows = runs = 0
    if has_facts:
        compute_ns, rows, runs = REPLY_FACTS.unpack_from(data, offset)
        offset += REPLY_FACTS.size
    table = _table_struct(items).unpack_from(data, offset)
    offset += items * ROW_SIZE
    return Frame(batch_id, kind, bool(flags & SHARED), compute_ns, rows, runs, table, data, offset)


class FrameSplitter:
    """Cuts a byte stream into whole frames, however the stream was split on its way."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterable[bytes]:
        """The frames that are complete now; the rest is kept for the next call."""
        if not self._buffer and len(data) >= HEADER.size and frame_size(data) == len(data):
            return (data,)
        self._buffer += data
        return self._complete()

    def _complete(self) -> list[bytes]:
        frames = []
        while len(self._buffer) >= HEADER.size:
            size = frame_size(self._buffer)
            if len(self._buffer) < size:
                break
            frames.append(bytes(self._buffer[:size]))
            del self._buffer[:size]
        return frames
