"""Shared memory for the bodies of large frames: one memfd for each direction of a worker.

The side that writes owns the size: it grows the file and the reader maps anew. A worker has
one batch in flight, so its request arena is free once the reply has come, and its reply
arena once the next batch is sent; no allocator and no reference counts are needed.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterable

_GRANULE_BYTES = 1 << 20
KEEP_BYTES = 16 << 20
"""An arena keeps this much; what a larger frame took is given back to the system."""


def create_arena(name: str) -> int:
    """A file descriptor of an empty, unnamed file in memory."""
    return os.memfd_create(name, os.MFD_CLOEXEC)


class ArenaWriter:
    """The writing end."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._map: mmap.mmap | None = None
        self._high_water = 0

    def write(self, bodies: Iterable[bytes | bytearray | memoryview], size: int) -> None:
        """Puts the bodies one behind the other from offset 0; `size` is their sum."""
        area = self._mapped(size)
        offset = 0
        for body in bodies:
            end = offset + len(body)
            area[offset:end] = body
            offset = end
        self._high_water = max(self._high_water, size)

    def trim(self) -> None:
        """Gives memory beyond `KEEP_BYTES` back; what was written is void from here on."""
        if self._map is not None and self._high_water > KEEP_BYTES:
            self._map.madvise(mmap.MADV_REMOVE, KEEP_BYTES, len(self._map) - KEEP_BYTES)
        self._high_water = 0

    def _mapped(self, size: int) -> mmap.mmap:
        if self._map is None or len(self._map) < size:
            rounded = -(-size // _GRANULE_BYTES) * _GRANULE_BYTES
            os.ftruncate(self._fd, rounded)
            self._map = mmap.mmap(self._fd, rounded)
        return self._map

    def close(self) -> None:
        """Closes the descriptor; views handed out stay valid until they are dropped."""
        self._map = None
        os.close(self._fd)


class ArenaReader:
    """The reading end."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._map: mmap.mmap | None = None

    def view(self, size: int) -> memoryview:
        """The first `size` bytes, read-only, valid until the next frame."""
        if self._map is None or len(self._map) < size:
            self._map = mmap.mmap(self._fd, 0, prot=mmap.PROT_READ)
        return memoryview(self._map)[:size]

    def close(self) -> None:
        """Closes the descriptor; views handed out stay valid until they are dropped."""
        self._map = None
        os.close(self._fd)
