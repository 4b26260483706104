"""A worker's access to the memory that clients share: tensors are read and put where they lie.

Large tensors of numbers are mapped, and so never copied. A client that shortens its memory while
it is read ends this process by SIGBUS. No check can rule that out: the size is looked at before
each use, and once it has happened (`region_files.distrust`), all workers copy by system calls, for
which memory that has gone is an error like others. Small tensors, strings and booleans are always
copied that way: what has been checked of them is what is used.
"""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
from pathlib import Path

from salver.backends.local.region_files import (
    SharedRegion,
    generation_of,
    is_distrusted,
    path_of,
    read_table,
)
from salver.errors import InvalidInput, ModelNotFound
from salver.protocol.elements import ZERO_COPY_BYTES, Blob
from salver.protocol.shared_memory import Place
from salver.protocol.wire import WireTensor

_COPIED = frozenset({"BYTES", "BOOL"})
_ALIGNMENT = 8
_MOST_RANGES = 256


class _Open:
    """A region's memory, open in this process; mapped when first needed."""

    def __init__(self, region: SharedRegion, fd: int) -> None:
        self.region = region
        self.fd = fd
        self._map: mmap.mmap | None = None
        self._backed: set[tuple[int, int]] = set()

    def view(self, start: int, end: int) -> memoryview:
        """Those bytes of the object, which must be there."""
        if self._map is None:
            self._map = mmap.mmap(self.fd, self.region.offset + self.region.byte_size)
        return memoryview(self._map)[start:end]

    def back(self, start: int, end: int) -> None:
        """Has memory behind those bytes: a write into what cannot be had would be a SIGBUS."""
        if (start, end) in self._backed:
            return
        try:
            os.posix_fallocate(self.fd, start, end - start)
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS):
                raise
        if len(self._backed) < _MOST_RANGES:
            self._backed.add((start, end))

    def close(self) -> None:
        """Lets go. What is still looked at stays mapped until nobody does."""
        self._map = None
        os.close(self.fd)


class ClientMemory:
    """All regions, as far as this worker has been asked for them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._generation = 0
        self._holder = 0
        self._known: dict[str, SharedRegion] = {}
        self._open: dict[str, _Open] = {}

    @property
    def is_in_use(self) -> bool:
        """Whether memory of clients is held."""
        return bool(self._open)

    def refresh(self) -> None:
        """Takes notice of what has been registered, and lets go of what no longer is."""
        generation = generation_of(self._folder)
        if generation == self._generation:
            return
        table = read_table(self._folder)
        self._generation, self._holder = generation, table.holder
        self._known = {region.name: region for region in table.regions}
        for name, held in list(self._open.items()):
            if self._known.get(name) != held.region:
                del self._open[name]
                held.close()

    def read(self, place: Place, tensor: WireTensor) -> bytes | memoryview:
        """The tensor's bytes; a view of the client's memory if they are many.

        Raises `InvalidInput`, and `ModelNotFound` for a region that is not registered.
        """
        held, start, end = self._found(place)
        if (
            place.byte_size > ZERO_COPY_BYTES
            and tensor.datatype not in _COPIED
            and not start % _ALIGNMENT
            and not is_distrusted(self._folder)
        ):
            return held.view(start, end).toreadonly()
        data = bytearray(place.byte_size)
        filled = 0
        while filled < len(data):
            count = os.preadv(held.fd, [memoryview(data)[filled:]], start + filled)
            if not count:
                raise _shortened(held.region)
            filled += count
        return memoryview(data)

    def write(self, place: Place, blob: Blob) -> None:
        """Puts the bytes at the beginning of the place.

        Raises `InvalidInput`, and `ModelNotFound` for a region that is not registered.
        """
        held, start, _ = self._found(place)
        size = len(blob)
        try:
            if size > ZERO_COPY_BYTES and not is_distrusted(self._folder):
                held.back(start, start + size)
                held.view(start, start + size)[:] = blob
                return
            written = 0
            while written < size:
                written += os.pwrite(held.fd, memoryview(blob)[written:], start + written)
        except OSError as error:
            raise InvalidInput(
                f"shared memory region '{held.region.name}' cannot be written to "
                f"({error.strerror}): see that there is room in /dev/shm"
            ) from error

    def _found(self, place: Place) -> tuple[_Open, int, int]:
        """The memory, and where in its object the place begins and ends."""
        self.refresh()
        region = self._known.get(place.region)
        if region is None:
            raise ModelNotFound(
                f"Unable to find shared memory region: '{place.region[:64]}': register it first"
            )
        if place.offset >= region.byte_size:
            raise InvalidInput(
                f"Invalid offset for shared memory region: '{region.name}': it has "
                f"{region.byte_size} bytes, the request begins at {place.offset}"
            )
        if place.offset + place.byte_size > region.byte_size:
            raise InvalidInput(
                f"Invalid offset + byte size for shared memory region: '{region.name}': it has "
                f"{region.byte_size} bytes, the request ends at {place.offset + place.byte_size}"
            )
        held = self._opened(region)
        start = region.offset + place.offset
        end = start + place.byte_size
        if os.fstat(held.fd).st_size < region.offset + region.byte_size:
            raise _shortened(region)
        return held, start, end

    def _opened(self, region: SharedRegion) -> _Open:
        held = self._open.get(region.name)
        if held is None:
            held = self._open[region.name] = _Open(region, _descriptor(region, self._holder))
        return held


def _descriptor(region: SharedRegion, holder: int) -> int:
    """The object that the gateway holds open; by its key where the gateway's cannot be seen."""
    with contextlib.suppress(OSError):
        return _checked(os.open(f"/proc/{holder}/fd/{region.fd}", os.O_RDWR), region)
    try:
        fd = os.open(path_of(region.key), os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
        return _checked(fd, region)
    except OSError as error:
        raise InvalidInput(
            f"shared memory region '{region.name}' is no longer there: create it, and register it "
            "again"
        ) from error


def _checked(fd: int, region: SharedRegion) -> int:
    if os.fstat(fd).st_ino != region.inode:
        os.close(fd)
        raise FileNotFoundError(region.key)
    return fd


def _shortened(region: SharedRegion) -> InvalidInput:
    return InvalidInput(
        f"shared memory region '{region.name}' has been shortened since it was registered: leave "
        "its size alone, or register it again"
    )
