"""The folder of one run of the server, for what its processes leave each other; gone with the run.

Its owner holds a lock on it, which ends with the process however that ends. So the next start can
tell the folders of servers that were killed from those of servers that run, also of those in other
containers that have the same `/tmp`.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
import time
from pathlib import Path

_PREFIX = "salver-run-"
_SETTLED_S = 60.0
"""A younger folder may be one whose owner is about to lock it."""


class RunFolder:
    """A new folder below `parent`, locked."""

    def __init__(self, parent: Path) -> None:
        self.path = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
        self._lock = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        with contextlib.suppress(OSError):  # Not every file system has locks.
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def made(self, name: str) -> Path:
        """A folder in it."""
        folder = self.path / name
        folder.mkdir()
        return folder

    def close(self) -> None:
        """Removes it with all that is in it."""
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._lock)


def new_run_folder() -> RunFolder:
    """Where temporary files go, once what killed servers have left there is removed."""
    parent = Path(tempfile.gettempdir())
    remove_stale(parent, time.time())
    return RunFolder(parent)


def remove_stale(parent: Path, now_s: float) -> None:
    """Removes the folders of this user's servers that have ended; what cannot be seen is left."""
    for folder in parent.glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):
            status = folder.lstat()
            if status.st_uid == os.geteuid() and now_s - status.st_mtime >= _SETTLED_S:
                _remove_unlocked(folder)


def _remove_unlocked(folder: Path) -> None:
    """Raises `OSError` if somebody holds it, or if it is no folder."""
    lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(lock)
