"""Locks between processes that share a cache, gone with the process that held them.

One file stands for all names: a name is a byte of it, far beyond its end, and the lock is the
kernel's lock on that byte, owned by the open file (`F_OFD_SETLK`). So there is no lock file to
leave behind, and twenty thousand pins need one descriptor.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import struct
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from salver.storage.transfer import Transfer

_POLL_S = 0.05


class Locks:
    """Shared and exclusive locks on names. Safe in threads; one instance a process and cache."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._mutex = threading.Lock()
        self._shared: Counter[str] = Counter()
        self._exclusive: set[str] = set()

    def close(self) -> None:
        """Lets go of everything."""
        os.close(self._file)

    def try_share(self, name: str) -> bool:
        """Takes a share, unless somebody has the name for himself. Shares are counted."""
        with self._mutex:
            if name in self._exclusive:
                return False
            if not self._shared[name] and not self._set(name, fcntl.F_RDLCK):
                return False
            self._shared[name] += 1
            return True

    def unshare(self, name: str) -> None:
        """Gives a share back; one that was not taken is ignored."""
        with self._mutex:
            if not self._shared[name]:
                del self._shared[name]
                return
            self._shared[name] -= 1
            if not self._shared[name]:
                del self._shared[name]
                self._set(name, fcntl.F_UNLCK)

    @contextmanager
    def try_exclusive(self, name: str) -> Iterator[bool]:
        """Has the name for itself within, or says that it could not get it."""
        taken = self._take(name)
        try:
            yield taken
        finally:
            if taken:
                with self._mutex:
                    self._exclusive.discard(name)
                    self._set(name, fcntl.F_UNLCK)

    @contextmanager
    def exclusive(self, name: str, transfer: Transfer) -> Iterator[None]:
        """Waits for the name, no longer than the transfer may take."""
        while True:
            with self.try_exclusive(name) as taken:
                if taken:
                    yield
                    return
            transfer.wait(_POLL_S)

    def _take(self, name: str) -> bool:
        with self._mutex:
            if name in self._exclusive or self._shared[name]:
                return False
            if not self._set(name, fcntl.F_WRLCK):
                return False
            self._exclusive.add(name)
            return True

    def _set(self, name: str, kind: int) -> bool:
        place = int.from_bytes(hashlib.sha256(name.encode()).digest()[:7], "big")
        wanted = struct.pack("hhqqi4x", kind, os.SEEK_SET, place, 1, 0)
        try:
            fcntl.fcntl(self._file, fcntl.F_OFD_SETLK, wanted)
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.EACCES):
                return False
            raise
        return True
