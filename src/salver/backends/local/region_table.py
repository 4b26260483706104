"""The regions that clients have registered: checked, held open, and told to the workers by a file.

Lives in the gateway, which opens each memory object once and keeps it open: a client may unlink its
key afterwards, and nobody can put another object in its place. Reads and writes no tensor.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Sequence
from pathlib import Path

from salver.backends.local.region_files import (
    RegionFile,
    SharedRegion,
    path_of,
    write_table,
)
from salver.engine.shared_memory import Region, RegionExistsError, RegionNotFoundError
from salver.errors import InvalidInput, Unavailable

MOST_REGIONS = 1024
_LONGEST_NAME = 256
_LONGEST_KEY = 255
_RESERVED = ("sem.", "triton_python_backend_shm_region_")
"""What keys begin with that are no client's: POSIX semaphores, and memory of a Triton beside us."""
_MOST_BYTES = 1 << 62


class RegionTable:
    """Implements `ClientRegions`; `folder` is for the workers, and is its own."""

    def __init__(self, folder: Path, *, most: int = MOST_REGIONS) -> None:
        self._folder = folder
        self._most = most
        self._held: dict[str, SharedRegion] = {}
        self._generation = 0

    def regions(self, name: str = "") -> Sequence[Region]:
        """See `ClientRegions`."""
        if name and name not in self._held:
            raise RegionNotFoundError(
                f"Unable to find system shared memory region: '{name[:64]}': register it first"
            )
        found = [self._held[name]] if name else [self._held[each] for each in sorted(self._held)]
        return [Region(each.name, each.key, each.offset, each.byte_size) for each in found]

    def register(self, region: Region) -> None:
        """See `ClientRegions`."""
        name = region.name
        if not 0 < len(name) <= _LONGEST_NAME:
            raise _refused(region, f"its name needs 1 to {_LONGEST_NAME} characters")
        if name in self._held:
            raise RegionExistsError(
                f"shared memory region '{name}' already in manager: unregister it first"
            )
        if len(self._held) >= self._most:
            raise _refused(region, f"there are {self._most} already; unregister some")
        problem = _problem_of_key(region.key)
        if problem:
            raise _refused(region, problem)
        fd = _opened(region)
        try:
            status = os.fstat(fd)
            _check_extent(region, status)
        except BaseException:
            os.close(fd)
            raise
        self._held[name] = SharedRegion(
            name, region.key, region.offset, region.byte_size, fd, status.st_ino
        )
        try:
            self._tell()
        except OSError as error:
            del self._held[name]
            os.close(fd)
            raise Unavailable(
                f"shared memory region '{name}' is not registered, since workers cannot be told of "
                f"it ({error.strerror}): see that there is room in {self._folder}"
            ) from error

    def unregister(self, name: str = "") -> None:
        """See `ClientRegions`."""
        gone = [name] if name else list(self._held)
        for each in gone:
            region = self._held.pop(each, None)
            if region is not None:
                os.close(region.fd)
        self._tell()

    def close(self) -> None:
        """Forgets all regions and removes the folder."""
        for region in self._held.values():
            os.close(region.fd)
        self._held.clear()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _tell(self) -> None:
        self._generation += 1
        table = RegionFile(os.getpid(), tuple(self._held.values()))
        write_table(self._folder, table, self._generation)


def _problem_of_key(key: str) -> str:
    """Why no client may share memory under that key; empty if it may."""
    bare = key.removeprefix("/")
    if not 0 < len(os.fsencode(bare)) <= _LONGEST_KEY:
        return f"its key needs 1 to {_LONGEST_KEY} bytes"
    if "/" in bare or "\0" in bare or bare in (".", ".."):
        return "its key is no name of a memory object; give one without slashes"
    if bare.startswith(_RESERVED):
        return "its key is reserved; choose another"
    return ""


def _opened(region: Region) -> int:
    flags = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    try:
        return os.open(path_of(region.key), flags)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise InvalidInput(
            f"Unable to open shared memory region: '{region.key[:64]}' ({reason}): create it "
            "first, on the server's machine, so that the server's user may read and write it"
        ) from error


def _check_extent(region: Region, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise _refused(region, "its key names no memory object")
    if not (0 < region.byte_size < _MOST_BYTES and 0 <= region.offset < _MOST_BYTES):
        raise _refused(region, "invalid args: give a byte_size above 0, and an offset from 0 on")
    if region.offset + region.byte_size > status.st_size:
        raise _refused(
            region,
            f"invalid args: {region.byte_size} bytes from {region.offset} on are more than the "
            f"{status.st_size} of its key; give what is there",
        )


def _refused(region: Region, why: str) -> InvalidInput:
    return InvalidInput(f"failed to register shared memory region '{region.name[:64]}': {why}")
