"""The recent changes of a state file, kept for watches within a bound on number and size."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

import msgspec

from salver.backends.state.database import plain_errors
from salver.control.resources import JsonObject, ObjectRef, WatchEvent
from salver.errors import WatchExpired

_decode = msgspec.json.Decoder(JsonObject).decode


class ChangeHistory:
    """The table of changes. Its owner holds the lock and begins the transactions."""

    def __init__(
        self, db: sqlite3.Connection, name: str, *, most_changes: int, most_bytes: int
    ) -> None:
        self._db = db
        self._name = name
        self._most_changes = most_changes
        self._most_bytes = most_bytes
        self.kept_bytes = self._bytes("SELECT total(length(body)) FROM changes", ())

    def add(self, version: int, kind: str, ref: ObjectRef, body: bytes) -> None:
        """One more change."""
        with plain_errors(self._name):
            self._db.execute(
                "INSERT INTO changes VALUES (?, ?, ?, ?, ?, ?, ?)",
                (version, kind, ref.group, ref.plural, ref.namespace, ref.name, body),
            )
        self.kept_bytes += len(body)

    def since(
        self, version: int, group: str, plural: str, namespace: str = ""
    ) -> Sequence[WatchEvent]:
        """Raises `WatchExpired` if changes since then are no longer all kept."""
        oldest, newest = self.versions()
        if version < oldest - 1 or version > newest:
            raise WatchExpired(
                f"changes since version {version} are not kept (those since {oldest - 1} "
                f"to {newest} are): list again and watch from there"
            )
        where, values = "version > ? AND grp = ? AND plural = ?", [version, group, plural]
        if namespace:
            where += " AND namespace = ?"
            values.append(namespace)
        with plain_errors(self._name):
            rows = self._db.execute(
                "SELECT type, grp, plural, namespace, name, body, version FROM changes "
                f"WHERE {where} ORDER BY version",
                values,
            ).fetchall()
        return [
            WatchEvent(kind, ObjectRef(*key), _decode(body), number)
            for kind, *key, body, number in rows
        ]

    def versions(self) -> tuple[int, int]:
        """The oldest and the newest that is kept; the newest is the store's own version."""
        with plain_errors(self._name):
            row = self._db.execute("SELECT min(version), max(version) FROM changes").fetchone()
        return (row[0] or 1, row[1] or 0)

    def trim(self, version: int) -> None:
        """Forgets what is beyond the bounds, `version` being the newest."""
        self._forget(version - self._most_changes)
        while self.kept_bytes > self._most_bytes:
            oldest, newest = self.versions()
            if oldest == newest:
                return
            # The newest always stays: the counter of versions is read from it.
            self._forget(min(oldest + (newest - oldest) // 8, newest - 1))

    def _forget(self, bound: int) -> None:
        freed = self._bytes("SELECT total(length(body)) FROM changes WHERE version <= ?", (bound,))
        if freed:
            with plain_errors(self._name):
                self._db.execute("DELETE FROM changes WHERE version <= ?", (bound,))
            self.kept_bytes -= freed

    def _bytes(self, sql: str, values: Sequence[int]) -> int:
        with plain_errors(self._name):
            return int(self._db.execute(sql, values).fetchone()[0])
