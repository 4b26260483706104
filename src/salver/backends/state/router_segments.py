"""The files of a router's log: records with length and checksum, in segments. No policy.

A segment is written by one process, which holds its lock for as long as it may write. Each record
is `length crc32 payload`; whatever follows the last whole record was torn by a crash, or is still
being written. The name begins with the time it was begun at, so that names sort by time.

    routers/NAMESPACE/GRAPH/STEP/00001795248600000000-GATEWAY-000001.log
                                 snapshot.json
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path

import msgspec

from salver.engine.learning_ports import Chosen, Opened, Record, Replayed, Rewarded, Ruled

SUFFIX = ".log"
_HEAD = struct.Struct("<II")
_MOST_RECORD_BYTES = 1 << 20
_MOST_OPENED_BYTES = 64 << 10
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Opened | Chosen | Rewarded | Ruled).decode


def packed_record(record: Record) -> bytes:
    """The record as it lies in a segment."""
    payload = _encode(record)
    return _HEAD.pack(len(payload), zlib.crc32(payload)) + payload


class SegmentReader:
    """Reads one segment on, as far as it is whole. `epoch` is that of the last record read."""

    def __init__(self, path: Path, offset: int = 0, epoch: int = 0) -> None:
        self.path = path
        self.offset = offset
        self.epoch = epoch
        self.is_torn = False

    def read(self, *, folded_to: int = 0) -> list[Replayed]:
        """The records since the last time; those below the offset `folded_to` are marked.

        A segment that is gone has none.
        """
        try:
            with self.path.open("rb") as file:
                file.seek(self.offset)
                data = file.read()
        except FileNotFoundError:
            return []
        found: list[Replayed] = []
        at = 0
        while (end := _end_of(data, at)) is not None:
            record = _decode(memoryview(data)[at + _HEAD.size : end])
            if isinstance(record, Opened):
                self.epoch = record.epoch
            found.append(Replayed(record, self.epoch, self.offset + end <= folded_to))
            at = end
        self.offset += at
        self.is_torn = at < len(data)
        return found

    def has_more(self) -> bool:
        """Whether it has grown since it was read."""
        try:
            return self.path.stat().st_size > self.offset
        except FileNotFoundError:
            return False

    def skip(self, offset: int) -> None:
        """Leaves out what is before the offset, but for the epoch, which the first record has."""
        with self.path.open("rb") as file:
            data = file.read(_MOST_OPENED_BYTES)
        end = _end_of(data, 0)
        record = _decode(memoryview(data)[_HEAD.size : end]) if end is not None else None
        self.epoch = record.epoch if isinstance(record, Opened) else 0
        self.offset = offset


def _end_of(data: bytes, at: int) -> int | None:
    """Where the record that begins here ends; None if it is not whole."""
    if at + _HEAD.size > len(data):
        return None
    length, checksum = _HEAD.unpack_from(data, at)
    end: int = at + _HEAD.size + length
    if length > _MOST_RECORD_BYTES or end > len(data):
        return None
    return end if zlib.crc32(memoryview(data)[at + _HEAD.size : end]) == checksum else None


class SegmentWriter:
    """Appends to a segment of its own. Not for several threads, but for `sync`."""

    def __init__(self, path: Path) -> None:
        """Creates it. Raises `OSError`."""
        self.path = path
        self.size = 0
        self.is_sound = True
        self._descriptor = os.open(
            path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600
        )
        fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def write(self, data: bytes) -> None:
        """Is whole with the operating system, or not there at all. Raises `OSError`; nothing may
        be written any more if it `is_sound` no more."""
        written = 0
        try:
            while written < len(data):
                written += os.write(self._descriptor, memoryview(data)[written:])
        except OSError:
            # What follows a torn record would never be read.
            self.is_sound = not written or self._cut_back()
            raise
        self.size += written

    def _cut_back(self) -> bool:
        try:
            os.ftruncate(self._descriptor, self.size)
        except OSError:
            return False
        return True

    def sync(self) -> None:
        """Raises `OSError`."""
        os.fdatasync(self._descriptor)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            os.close(self._descriptor)


def sync_folder(folder: Path) -> None:
    """A new file's name is on disk. Raises `OSError`."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def segments_in(folder: Path) -> Sequence[Path]:
    """All segments, oldest first."""
    try:
        names = sorted(entry.name for entry in os.scandir(folder) if entry.name.endswith(SUFFIX))
    except FileNotFoundError:
        return ()
    return [folder / name for name in names]


def delete_unused(path: Path) -> bool:
    """Deletes a segment, unless somebody may still write to it."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path.unlink(missing_ok=True)
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True
