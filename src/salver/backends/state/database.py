"""One SQLite file that one process at a time owns: opening, schema, and errors in plain words.

It knows pages, pragmas and locks, and nothing of what the rows mean.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path

from salver.errors import ResourceError, StartupError

MIGRATIONS: tuple[str, ...] = (
    """
    CREATE TABLE objects (
        grp TEXT NOT NULL, plural TEXT NOT NULL, namespace TEXT NOT NULL, name TEXT NOT NULL,
        uid TEXT NOT NULL, body BLOB NOT NULL,
        PRIMARY KEY (grp, plural, namespace, name)
    );
    CREATE TABLE owners (
        owner_uid TEXT NOT NULL,
        grp TEXT NOT NULL, plural TEXT NOT NULL, namespace TEXT NOT NULL, name TEXT NOT NULL,
        PRIMARY KEY (grp, plural, namespace, name, owner_uid)
    );
    CREATE INDEX owned ON owners (owner_uid);
    CREATE TABLE changes (
        version INTEGER PRIMARY KEY, type TEXT NOT NULL,
        grp TEXT NOT NULL, plural TEXT NOT NULL, namespace TEXT NOT NULL, name TEXT NOT NULL,
        body BLOB NOT NULL
    );
    CREATE TABLE key_values (key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
    """,
)
"""Script N brings a file of schema version N to N + 1. Scripts are only ever added."""


def open_database(path: Path | None, migrations: Sequence[str] = MIGRATIONS) -> sqlite3.Connection:
    """A connection with a log (WAL) and the newest schema; in memory if there is no path.

    When the log is brought to disk, and when to the file, is `durability.py`'s affair.
    Raises `StartupError`.
    """
    name = str(path or "the state in memory")
    try:
        connection = connect(path)
        try:
            for pragma in ("journal_mode=WAL", "synchronous=FULL"):
                connection.execute(f"PRAGMA {pragma}").fetchall()
            _check(connection, name)
            _migrate(connection, name, migrations)
            for pragma in ("synchronous=NORMAL", "wal_autocheckpoint=0"):
                connection.execute(f"PRAGMA {pragma}").fetchall()
        except BaseException:
            connection.close()
            raise
    except sqlite3.Error as error:
        raise StartupError(_startup_message(name, error)) from error
    return connection


def connect(path: Path | None) -> sqlite3.Connection:
    """A plain connection, in which each statement is a transaction unless one is begun."""
    # The store has a lock of its own, so that any thread may use it.
    return sqlite3.connect(str(path or ":memory:"), isolation_level=None, check_same_thread=False)


def _check(connection: sqlite3.Connection, name: str) -> None:
    found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    if found != "ok":
        raise StartupError(_damaged(name, str(found)))


def _migrate(connection: sqlite3.Connection, name: str, migrations: Sequence[str]) -> None:
    present: int = connection.execute("PRAGMA user_version").fetchone()[0]
    if present > len(migrations):
        raise StartupError(
            f"the state file {name} has schema version {present}, this Salver knows up to "
            f"{len(migrations)}: start the newer Salver that wrote it, or use another --state-dir"
        )
    for number, script in enumerate(migrations[present:], present + 1):
        connection.executescript(f"BEGIN IMMEDIATE;{script};PRAGMA user_version={number};COMMIT;")


def _damaged(name: str, fact: str) -> str:
    fact = " ".join(fact.split())
    return (
        f"the state file {name} is damaged ({fact}): put a copy of it back, or move it away to "
        "start empty and apply your manifests again"
    )


def _startup_message(name: str, error: sqlite3.Error) -> str:
    code = (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return _damaged(name, str(error))
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return f"the state file {name} is in use by another process: stop it, or use --state-dir"
    if code == sqlite3.SQLITE_FULL:
        return f"the disk of the state file {name} is full: free some space, or use --state-dir"
    return (
        f"cannot use the state file {name}: {error}; see that its folder can be written, "
        "or choose another with --state-dir"
    )


@contextlib.contextmanager
def plain_errors(name: str) -> Iterator[None]:
    """Turns SQLite's errors into `ResourceError`s that say what to do."""
    try:
        yield
    except sqlite3.Error as error:
        code = (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF
        if code == sqlite3.SQLITE_FULL:
            fact, step = "the disk is full", "free some space and try again"
        elif code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            fact, step = f"the file is damaged ({error})", "stop the server and put a copy back"
        else:
            fact, step = str(error), "see that its disk works and can be written"
        raise ResourceError(f"{name} could not be used: {fact}; {step}") from error


class FileLock:
    """Held by the one process that uses a state file; the kernel lets go of it when that dies."""

    def __init__(self, path: Path) -> None:
        self._descriptor = _open_private(path)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(self._descriptor, 32, 0).decode(errors="replace").strip()
            os.close(self._descriptor)
            raise StartupError(
                f"the state folder {path.parent} is in use by process {holder or '(unknown)'}: "
                "stop that server, or give this one a folder of its own with --state-dir"
            ) from error
        os.truncate(self._descriptor, 0)
        os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        os.close(self._descriptor)


def claim(path: Path) -> FileLock:
    """Makes the folder and an empty private file if there are none, and locks them.

    Raises `StartupError`.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path.with_name(path.name + ".lock"))
        try:
            os.close(_open_private(path))
        except OSError:
            lock.release()
            raise
    except OSError as error:
        raise StartupError(
            f"cannot use the state folder {path.parent}: {error.strerror or error}; make it "
            "writable, or choose another with --state-dir"
        ) from error
    return lock


def _open_private(path: Path) -> int:
    # Secrets lie in this file: nobody else may read it. SQLite's side files copy its mode.
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
