"""Brings committed writes to the disk itself, in a thread of its own.

A commit lies in SQLite's log (WAL) when it returns: it outlives this process, however that
ends. Only the machine's own end could lose it, and what was done with it on this machine would
end with that too. So commits wait for no disk; an answer that somebody relies on does, with
`wait_synced`. Those that wait at the same time share one `fdatasync`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sqlite3
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from salver.backends.state.database import connect, plain_errors
from salver.errors import ResourceError

logger = logging.getLogger("salver.state")

SYNC_TIMEOUT_S = 30.0
COMMITS_BETWEEN_CHECKPOINTS = 256
LARGE_LOG_BYTES = 16 << 20
"""A log that is larger is emptied, for which writers wait a moment."""


class LogSync:
    """The thread behind one state file. `guard` is held by who writes to it."""

    def __init__(self, path: Path, name: str, guard: threading.RLock) -> None:
        self._log = path.with_name(path.name + "-wal")
        self._name = name
        self._guard = guard
        self._thread = ThreadPoolExecutor(1, "salver-state")
        self._connection = connect(path)
        self._lock = threading.Lock()
        self._next: Future[None] | None = None
        self._commits = 0

    def note_commit(self) -> None:
        """Something was written: the log may have become long enough to be moved to the file."""
        self._commits += 1
        if self._commits >= COMMITS_BETWEEN_CHECKPOINTS:
            self._commits = 0
            self._thread.submit(self._checkpoint)

    def sync(self) -> None:
        """Returns once all commits before are on disk. Raises `ResourceError`."""
        self._requested().result(SYNC_TIMEOUT_S)

    async def wait_synced(self) -> None:
        """As `sync`, without holding up the event loop."""
        try:
            # A waiter that is cancelled must not take the sync from the others.
            waited = asyncio.shield(asyncio.wrap_future(self._requested()))
            async with asyncio.timeout(SYNC_TIMEOUT_S):
                await waited
        except TimeoutError as error:
            raise ResourceError(
                f"{self._name} was not on disk in {SYNC_TIMEOUT_S:g} s: see that its disk works"
            ) from error

    def _requested(self) -> Future[None]:
        """The sync that begins after now: one that runs already may have missed something."""
        with self._lock:
            if self._next is None:
                self._next = self._thread.submit(self._sync)
            return self._next

    def _sync(self) -> None:
        with self._lock:
            self._next = None
        try:
            descriptor = os.open(self._log, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            # Nothing has been written since the file was opened.
            return
        except OSError as error:
            raise self._failed(error) from error
        try:
            os.fdatasync(descriptor)
        except OSError as error:
            raise self._failed(error) from error
        finally:
            os.close(descriptor)

    def _failed(self, error: OSError) -> ResourceError:
        return ResourceError(
            f"{self._name} could not be brought to disk: {error.strerror or error}; see that its "
            "disk works and has space"
        )

    def _checkpoint(self) -> None:
        """Moves what is in the log to the file itself; readers and writers go on meanwhile."""
        try:
            with plain_errors(self._name):
                self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
                if self._log.stat().st_size > LARGE_LOG_BYTES:
                    with self._guard:
                        self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        except (ResourceError, OSError):
            # What is in the log stays there, and counts: it is tried again later.
            logger.exception("%s: its log could not be moved to it", self._name)

    def close(self) -> None:
        """Ends the thread; what is still to be synced is."""
        with contextlib.suppress(ResourceError):
            self.sync()
        self._thread.shutdown()
        with contextlib.suppress(sqlite3.Error):
            self._connection.close()
