"""What gateway and workers leave each other about the memory that clients share.

One folder of the server's run. `table` lists the regions; it is replaced whole, and its time of
change is a number that counts up, so that one look tells whether it has changed. `distrusted` is
there once a client has taken memory away from under a worker. Imports no NumPy: the gateway reads
and writes here.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

_TABLE = "table"
_DISTRUSTED = "distrusted"


class SharedRegion(msgspec.Struct, frozen=True):
    """A region as workers find it: by `fd` of the process `holder`, or by `key` and `inode`."""

    name: str
    key: str
    offset: int
    byte_size: int
    fd: int
    inode: int


class RegionFile(msgspec.Struct, frozen=True):
    """The content of `table`."""

    holder: int
    regions: tuple[SharedRegion, ...]


def write_table(folder: Path, table: RegionFile, generation: int) -> None:
    """Replaces the table. `generation` is greater each time."""
    partial = folder / f"{_TABLE}.new"
    partial.write_bytes(msgspec.json.encode(table))
    os.utime(partial, ns=(generation, generation))
    partial.replace(folder / _TABLE)


def generation_of(folder: Path) -> int:
    """The number of the present table; 0 if there is none yet."""
    try:
        return (folder / _TABLE).stat().st_mtime_ns
    except FileNotFoundError:
        return 0


def read_table(folder: Path) -> RegionFile:
    """The present table."""
    try:
        return msgspec.json.decode((folder / _TABLE).read_bytes(), type=RegionFile)
    except FileNotFoundError:
        return RegionFile(0, ())


def distrust(folder: Path) -> bool:
    """A client has taken memory away that it shares; True if that is news."""
    try:
        (folder / _DISTRUSTED).touch(exist_ok=False)
    except OSError:
        return False
    return True


def is_distrusted(folder: Path) -> bool:
    """Whether clients' memory is to be copied by system calls, which cannot hurt the caller."""
    return (folder / _DISTRUSTED).exists()


def path_of(key: str) -> str:
    """The file of a POSIX memory object."""
    return "/dev/shm/" + key.removeprefix("/")
