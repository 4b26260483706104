"""The resource store in SQLite: objects, their recent changes, and a few keyed values.

Every write is one transaction. It outlives the process when it returns, and the machine once
`wait_durable` has. The store decides nothing about what objects hold: that is admission's.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, cast

import msgspec

from salver.backends.state.changes import ChangeHistory
from salver.backends.state.database import claim, open_database, plain_errors
from salver.backends.state.durability import LogSync
from salver.backends.state.listeners import Listeners
from salver.control.resources import JsonObject, ObjectRef, WatchEvent
from salver.errors import (
    AlreadyExists,
    Conflict,
    ResourceError,
    ResourceNotFound,
)

HISTORY_LENGTH = 10_000
HISTORY_BYTES = 64 << 20
"""Changes kept for watches: as many, and as large, as this."""

Objects = list[JsonObject]
Rows = list[tuple[bytes]]

_KEY = "grp = ? AND plural = ? AND namespace = ? AND name = ?"
_decode = msgspec.json.Decoder(JsonObject).decode
_encode = msgspec.json.Encoder().encode


class SqliteResourceStore:
    """A `ResourceStore`. Any thread may use it; listeners run in the thread that wrote."""

    def __init__(
        self,
        path: Path | None,
        *,
        now: Callable[[], datetime],
        new_uid: Callable[[], str],
        history_length: int = HISTORY_LENGTH,
        history_bytes: int = HISTORY_BYTES,
    ) -> None:
        """Opens the file at `path`, or keeps all in memory. Raises `StartupError`."""
        self._name = f"the state file {path}" if path else "the state in memory"
        self._now = now
        self._new_uid = new_uid
        self._guard = threading.RLock()
        self._file_lock = claim(path) if path else None
        try:
            self._db = open_database(path)
        except BaseException:
            self._release()
            raise
        self._history = ChangeHistory(
            self._db, self._name, most_changes=history_length, most_bytes=history_bytes
        )
        self._version = self._history.versions()[1]
        self._log_sync = LogSync(path, self._name, self._guard) if path else None
        self._depth = 0
        self._written: list[WatchEvent] = []
        self._listeners = Listeners()

    def close(self) -> None:
        """Closes the file and lets another process have it."""
        if self._log_sync is not None:
            self._log_sync.close()
        with self._guard:
            self._db.close()
            self._release()

    def _release(self) -> None:
        if self._file_lock is not None:
            self._file_lock.release()
            self._file_lock = None

    @property
    def version(self) -> int:
        """The number of the last change."""
        return self._version

    # Reading.

    def get(self, ref: ObjectRef) -> JsonObject:
        """Raises `ResourceNotFound`."""
        rows = self._query(f"SELECT body FROM objects WHERE {_KEY}", _key(ref))
        if not rows:
            raise ResourceNotFound(f"{_described(ref, 'not found')}: list what there is")
        return _decode(rows[0][0])

    def list(self, group: str, plural: str, namespace: str = "") -> tuple[Objects, int]:
        """The objects of a type, ordered by namespace and name, and the store's version."""
        return self.page(group, plural, namespace)

    def page(
        self,
        group: str,
        plural: str,
        namespace: str = "",
        *,
        after: tuple[str, str] = ("", ""),
        limit: int = -1,
    ) -> tuple[Objects, int]:
        """As `list`, but only what comes after this (namespace, name), and at most `limit`."""
        # Two ranges, each of which the index answers: one row comparison would scan a namespace.
        with self._guard:
            within = "namespace = ? AND name > ?"
            if namespace:
                start = (namespace, after[1] if after[0] == namespace else "")
                rows = self._range(group, plural, within, start, limit)
            else:
                rows = self._range(group, plural, within, after, limit)
                left = limit - len(rows) if limit >= 0 else -1
                rows += self._range(group, plural, "namespace > ?", after[:1], left)
            return [_decode(body) for (body,) in rows], self._version

    def _range(
        self, group: str, plural: str, where: str, bounds: Sequence[str], limit: int
    ) -> Rows:
        sql = (
            f"SELECT body FROM objects WHERE grp = ? AND plural = ? AND {where} "
            "ORDER BY namespace, name LIMIT ?"
        )
        return list(self._query(sql, (group, plural, *bounds, limit)))

    def changes_since(
        self, version: int, group: str, plural: str, namespace: str = ""
    ) -> Sequence[WatchEvent]:
        """Raises `WatchExpired` if changes since then are no longer all kept."""
        with self._guard:
            return self._history.since(version, group, plural, namespace)

    def get_value(self, key: str) -> bytes | None:
        """What the control plane keeps under this key, or None."""
        rows = self._query("SELECT value FROM key_values WHERE key = ?", (key,))
        return rows[0][0] if rows else None

    def _query(self, sql: str, values: Sequence[Any]) -> Sequence[Any]:
        with self._guard, plain_errors(self._name):
            return self._db.execute(sql, values).fetchall()

    # Writing.

    def create(self, ref: ObjectRef, obj: JsonObject) -> JsonObject:
        """Raises `AlreadyExists`."""
        with self.transaction():
            if self._query(f"SELECT 1 FROM objects WHERE {_KEY}", _key(ref)):
                raise AlreadyExists(
                    f"{_described(ref, 'already exists')}: update it, or delete it first"
                )
            metadata = dict(obj.get("metadata") or {})
            metadata |= {
                "name": ref.name,
                "uid": self._new_uid(),
                "creationTimestamp": timestamp(self._now()),
                "generation": 1,
            }
            if ref.namespace:
                metadata["namespace"] = ref.namespace
            self._write("ADDED", ref, obj, metadata)
            return self.get(ref)

    def update(self, ref: ObjectRef, obj: JsonObject) -> JsonObject:
        """Replaces all but `status`; what changes nothing is no change and makes no version.

        Raises `ResourceNotFound`, or `Conflict` if `metadata.resourceVersion` or `metadata.uid`
        is given and is not the present one.
        """
        with self.transaction():
            old = self.get(ref)
            _check_is_current(ref, obj, old)
            new = {key: value for key, value in obj.items() if key != "status"}
            if "status" in old:
                new["status"] = old["status"]
            metadata = _carry_over(obj.get("metadata") or {}, old["metadata"])
            if _substance(new) != _substance(old):
                metadata["generation"] = old["metadata"]["generation"] + 1
            if {**new, "metadata": metadata} != old:
                self._write("MODIFIED", ref, new, metadata)
            return self.get(ref)

    def update_status(self, ref: ObjectRef, obj: JsonObject) -> JsonObject:
        """Replaces `status` alone; the rest of `obj` is ignored but for `resourceVersion`."""
        with self.transaction():
            old = self.get(ref)
            _check_is_current(ref, obj, old)
            new = {key: value for key, value in old.items() if key != "status"}
            if "status" in obj:
                new["status"] = obj["status"]
            if new != old:
                self._write("MODIFIED", ref, new, dict(old["metadata"]))
            return self.get(ref)

    def delete(self, ref: ObjectRef) -> JsonObject:
        """Removes it, and those whose `ownerReferences` name its uid. Returns what it was.
        Raises `ResourceNotFound`."""
        with self.transaction():
            old = self.get(ref)
            with plain_errors(self._name):
                self._db.execute(f"DELETE FROM objects WHERE {_KEY}", _key(ref))
                self._db.execute(f"DELETE FROM owners WHERE {_KEY}", _key(ref))
            self._record("DELETED", ref, _encode(old))
            owned = self._query(
                "SELECT grp, plural, namespace, name FROM owners WHERE owner_uid = ?",
                (old["metadata"]["uid"],),
            )
            for key in owned:
                # A deeper one may have been removed on another way down.
                with contextlib.suppress(ResourceNotFound):
                    self.delete(ObjectRef(*key))
            return old

    def set_value(self, key: str, value: bytes) -> None:
        """Keeps these bytes under the key, in place of what was there."""
        with self.transaction(), plain_errors(self._name):
            self._db.execute("INSERT OR REPLACE INTO key_values VALUES (?, ?)", (key, value))

    def _write(
        self,
        kind: Literal["ADDED", "MODIFIED"],
        ref: ObjectRef,
        obj: JsonObject,
        metadata: JsonObject,
    ) -> None:
        metadata = {**metadata, "resourceVersion": str(self._version + 1)}
        body = _encode({**obj, "metadata": metadata})
        owners = {owner.get("uid") for owner in metadata.get("ownerReferences") or ()}
        with plain_errors(self._name):
            self._db.execute(
                "INSERT OR REPLACE INTO objects VALUES (?, ?, ?, ?, ?, ?)",
                (*_key(ref), metadata["uid"], body),
            )
            self._db.execute(f"DELETE FROM owners WHERE {_KEY}", _key(ref))
            self._db.executemany(
                "INSERT INTO owners VALUES (?, ?, ?, ?, ?)",
                [(uid, *_key(ref)) for uid in owners if isinstance(uid, str)],
            )
        self._record(kind, ref, body)

    def _record(
        self, kind: Literal["ADDED", "MODIFIED", "DELETED"], ref: ObjectRef, body: bytes
    ) -> None:
        self._version += 1
        self._history.add(self._version, kind, ref, body)
        # A copy: listeners must not see what the caller does to its own.
        self._written.append(WatchEvent(kind, ref, _decode(body), self._version))

    # Transactions, durability, listeners.

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """The writes within become durable and visible together, or not at all.

        They nest: one that fails within another takes back its own writes only.
        """
        with self._guard:
            depth, version, kept = self._depth, self._version, self._history.kept_bytes
            written = len(self._written)
            self._begin(depth)
            self._depth += 1
            try:
                yield
                if depth == 0:
                    self._history.trim(self._version)
                self._end(depth)
            except BaseException:
                self._version, self._history.kept_bytes = version, kept
                del self._written[written:]
                self._roll_back(depth)
                raise
            finally:
                self._depth = depth
            if depth == 0:
                if self._log_sync is not None:
                    self._log_sync.note_commit()
                events, self._written = self._written, []
                self._listeners.deliver(events)

    def _begin(self, depth: int) -> None:
        if depth and not self._db.in_transaction:
            raise ResourceError(
                f"{self._name} took back this transaction on an earlier failure: begin it again"
            )
        with plain_errors(self._name):
            self._db.execute(f"SAVEPOINT nested{depth}" if depth else "BEGIN IMMEDIATE")

    def _end(self, depth: int) -> None:
        with plain_errors(self._name):
            self._db.execute(f"RELEASE nested{depth}" if depth else "COMMIT")

    def _roll_back(self, depth: int) -> None:
        # SQLite itself ends the whole transaction on some failures, a full disk for one.
        if not self._db.in_transaction:
            return
        with plain_errors(self._name):
            if depth:
                self._db.execute(f"ROLLBACK TO nested{depth}")
                self._db.execute(f"RELEASE nested{depth}")
            else:
                self._db.execute("ROLLBACK")

    def sync(self) -> None:
        """Returns once all that was written before is on disk. Raises `ResourceError`."""
        if self._log_sync is not None:
            self._log_sync.sync()

    async def wait_durable(self) -> None:
        """As `sync`, without holding up the event loop."""
        if self._log_sync is not None:
            await self._log_sync.wait_synced()

    def subscribe(self, listener: Callable[[WatchEvent], None]) -> Callable[[], None]:
        """Calls the listener after each committed change, in order; returns how to stop it."""
        return self._listeners.add(listener)


def timestamp(moment: datetime) -> str:
    """A time as the Kubernetes API writes it."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _key(ref: ObjectRef) -> tuple[str, str, str, str]:
    return (ref.group, ref.plural, ref.namespace, ref.name)


def _described(ref: ObjectRef, fact: str) -> str:
    kind = f"{ref.plural}.{ref.group}" if ref.group else ref.plural
    place = f" in namespace {ref.namespace}" if ref.namespace else ""
    return f'{kind} "{ref.name}" {fact}{place}'


def _substance(obj: JsonObject) -> JsonObject:
    return {key: value for key, value in obj.items() if key not in ("metadata", "status")}


def _carry_over(metadata: JsonObject, old: JsonObject) -> JsonObject:
    own = ("name", "namespace", "uid", "creationTimestamp", "generation", "resourceVersion")
    return {**metadata, **{key: old[key] for key in own if key in old}}


def _check_is_current(ref: ObjectRef, obj: JsonObject, old: JsonObject) -> None:
    given = cast(JsonObject, obj.get("metadata") or {})
    for field in ("resourceVersion", "uid"):
        present = old["metadata"][field]
        if given.get(field) and given[field] != present:
            raise Conflict(
                f"{_described(ref, 'has been modified')}: its {field} is {present}, not "
                f"{given[field]}; get it again and make the change on that"
            )
