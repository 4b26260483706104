"""What the cache knows: which source had which content, how large that is, when it was used.

One SQLite file, so that a crash leaves it as it was before or after each change. It can be
thrown away: what it does not know is fetched again.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

_SCHEMA = """
CREATE TABLE IF NOT EXISTS objects (
    digest TEXT PRIMARY KEY, size_bytes INTEGER NOT NULL, used_at REAL NOT NULL
);
CREATE TABLE IF NOT EXISTS sources (
    key TEXT PRIMARY KEY, uri TEXT NOT NULL, version TEXT NOT NULL, sha256 TEXT NOT NULL,
    digest TEXT NOT NULL REFERENCES objects (digest) ON DELETE CASCADE
);
CREATE INDEX IF NOT EXISTS sources_by_digest ON sources (digest);
"""


class Known(msgspec.Struct, frozen=True):
    """What a source had when it was fetched last. `sha256`: the checksum it was held against."""

    version: str
    sha256: str
    digest: str


class Index:
    """Safe in threads and between processes."""

    def __init__(self, path: Path, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._mutex = threading.Lock()
        self._connection = _opened(path)

    def close(self) -> None:
        """Closes the file; a fetch that was given up and still runs gets an error from then on."""
        # Not while another thread is in a statement: SQLite's library would crash the process.
        with self._mutex:
            self._connection.close()

    def known(self, key: str) -> Known | None:
        """What the source had, as far as that is still here."""
        rows = self._run("SELECT version, sha256, digest FROM sources WHERE key = ?", key)
        return Known(*rows[0]) if rows else None

    def record(self, key: str, uri: str, known: Known, size_bytes: int) -> None:
        """Notes a source and its content, both used now."""
        now = self._clock()
        with self._mutex, self._connection as connection:
            connection.execute(
                "INSERT INTO objects VALUES (?, ?, ?) "
                "ON CONFLICT (digest) DO UPDATE SET used_at = excluded.used_at",
                (known.digest, size_bytes, now),
            )
            connection.execute(
                "INSERT OR REPLACE INTO sources VALUES (?, ?, ?, ?, ?)",
                (key, uri, known.version, known.sha256, known.digest),
            )

    def touch(self, digest: str) -> None:
        """Notes that the content is used now."""
        self._run("UPDATE objects SET used_at = ? WHERE digest = ?", self._clock(), digest)

    def forget(self, digest: str) -> None:
        """Forgets the content and the sources that had it."""
        self._run("DELETE FROM objects WHERE digest = ?", digest)

    def size_of(self, digest: str) -> int | None:
        """The content's size; None if it is not here."""
        rows = self._run("SELECT size_bytes FROM objects WHERE digest = ?", digest)
        return int(rows[0][0]) if rows else None

    def used_bytes(self) -> int:
        """The size of all contents."""
        return int(self._run("SELECT COALESCE(SUM(size_bytes), 0) FROM objects")[0][0])

    def least_recent(self) -> list[tuple[str, int]]:
        """All contents and their sizes, the one first that was used longest ago."""
        rows = self._run("SELECT digest, size_bytes FROM objects ORDER BY used_at")
        return [(str(digest), int(size)) for digest, size in rows]

    def _run(self, statement: str, *values: object) -> list[Any]:
        with self._mutex, self._connection as connection:
            return connection.execute(statement, values).fetchall()


def _opened(path: Path) -> sqlite3.Connection:
    try:
        return _prepared(path)
    except sqlite3.DatabaseError as error:
        if isinstance(error, sqlite3.OperationalError):
            raise
        # Damaged. All it held can be fetched again.
        for each in path.parent.glob(path.name + "*"):
            each.unlink()
        return _prepared(path)


def _prepared(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=30, check_same_thread=False)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.executescript(_SCHEMA)
    except BaseException:
        connection.close()
        raise
    return connection
