"""The store's file: what it survives, and what it says when it cannot be used."""

from __future__ import annotations

import os
import random
import sqlite3
import subprocess
import sys
import uuid
from datetime import UTC, datetime
from pathlib import Path

import pytest

from salver.backends.state.database import MIGRATIONS, open_database
from salver.backends.state.sqlite import SqliteResourceStore
from salver.control.resources import ObjectRef
from salver.errors import ResourceError, ResourceNotFound, StartupError, WatchExpired

KILLS = 20

WRITER = """
import sys, uuid
from datetime import UTC, datetime
from pathlib import Path
from salver.backends.state.sqlite import SqliteResourceStore
from salver.control.resources import ObjectRef

store = SqliteResourceStore(
    Path(sys.argv[1]), now=lambda: datetime.now(UTC), new_uid=lambda: str(uuid.uuid4())
)
refs = [ObjectRef("", "configmaps", "default", name) for name in ("one", "two")]
number = int(store.get_value("number") or b"0")
if not number:
    with store.transaction():
        for ref in refs:
            store.create(ref, {"data": {"number": 0}})
while True:
    number += 1
    with store.transaction():
        for ref in refs:
            store.update(ref, {"data": {"number": number, "weight": "x" * 3000}})
        store.set_value("number", str(number).encode())
    print(number, flush=True)
"""


def opened(path: Path | None, **options: int) -> SqliteResourceStore:
    return SqliteResourceStore(
        path, now=lambda: datetime.now(UTC), new_uid=lambda: str(uuid.uuid4()), **options
    )


def ref(name: str) -> ObjectRef:
    return ObjectRef("", "configmaps", "default", name)


def test_a_kill_at_any_moment_loses_no_acknowledged_write(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    chance = random.Random(7)
    for _ in range(KILLS):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True
        )
        assert writer.stdout is not None
        acknowledged = int(writer.stdout.readline())
        for _ in range(chance.randrange(30)):
            acknowledged = int(writer.stdout.readline())
        writer.kill()
        rest = writer.stdout.read().splitlines()
        writer.wait()
        writer.stdout.close()
        # The last line may have been cut off by the kill.
        acknowledged = max([acknowledged, *(int(line) for line in rest[:-1])])

        store = opened(path)
        numbers = {store.get(ref(name))["data"]["number"] for name in ("one", "two")}
        numbers.add(int(store.get_value("number") or b"0"))
        versions = [
            event.version for event in store.changes_since(store.version - 2, "", "configmaps")
        ]
        assert versions == [store.version - 1, store.version]
        store.close()
        assert len(numbers) == 1, "a transaction is there in part"
        assert numbers.pop() in (acknowledged, acknowledged + 1, acknowledged + 2)


def test_everything_is_there_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "state.db"
    store = opened(path)
    created = store.create(ref("a"), {"data": {"x": "y"}})
    store.set_value("key", b"value")
    store.close()
    again = opened(path)
    assert again.get(ref("a")) == created
    assert again.get_value("key") == b"value"
    assert again.version == 1
    assert again.create(ref("b"), {})["metadata"]["resourceVersion"] == "2"
    assert [event.ref.name for event in again.changes_since(0, "", "configmaps")] == ["a", "b"]
    again.close()


def test_others_may_not_read_the_file(tmp_path: Path) -> None:
    store = opened(tmp_path / "state.db")
    store.create(ref("a"), {})
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    store.close()
    assert set(modes.values()) == {0o600}, modes


def test_a_second_server_on_the_folder_is_told_who_has_it(tmp_path: Path) -> None:
    store = opened(tmp_path / "state.db")
    with pytest.raises(StartupError, match=rf"in use by process {os.getpid()}.*--state-dir"):
        opened(tmp_path / "state.db")
    store.close()
    opened(tmp_path / "state.db").close()


def test_a_damaged_file_is_refused_with_the_remedy(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    path.write_bytes(b"no database at all, but long enough to be read as one " * 40)
    with pytest.raises(StartupError, match=r"state\.db is damaged .*move it away"):
        opened(path)


def test_damage_within_the_file_is_found_at_the_start(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    store = opened(path)
    for n in range(200):
        store.create(ref(f"c{n}"), {"data": {"x": "y" * 500}})
    store.close()
    content = bytearray(path.read_bytes())
    content[8192 : len(content) // 2] = b"\xff" * (len(content) // 2 - 8192)
    path.write_bytes(content)
    with pytest.raises(StartupError, match="is damaged"):
        opened(path)


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StartupError, match=r"cannot use the state folder .*/file/state.*writable"):
        opened(tmp_path / "file" / "state" / "state.db")


@pytest.mark.skipif(os.getuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(StartupError, match="cannot use the state folder"):
        opened(tmp_path / "state.db")


def test_a_file_of_a_newer_salver_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    opened(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute(f"PRAGMA user_version={len(MIGRATIONS) + 1}")
    connection.close()
    with pytest.raises(StartupError, match="schema version 2, this Salver knows up to 1"):
        opened(path)


def test_an_old_file_is_brought_to_the_newest_schema(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    opened(path).close()
    migrations = (*MIGRATIONS, "CREATE TABLE more (x); INSERT INTO more VALUES (7);")
    for _ in range(2):
        connection = open_database(path, migrations)
        assert connection.execute("SELECT x FROM more").fetchall() == [(7,)]
        assert connection.execute("PRAGMA user_version").fetchone() == (2,)
        connection.close()


def test_a_migration_that_fails_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    opened(path).close()
    broken = (*MIGRATIONS, "CREATE TABLE more (x); CREATE TABLE objects (y);")
    with pytest.raises(StartupError, match="already exists"):
        open_database(path, broken)
    connection = open_database(path)
    tables = connection.execute("SELECT name FROM sqlite_master WHERE name = 'more'").fetchall()
    connection.close()
    assert tables == []


def test_a_full_disk_refuses_the_write_and_keeps_the_rest(tmp_path: Path) -> None:
    store = opened(tmp_path / "state.db")
    store.create(ref("before"), {"data": {"x": "y"}})
    pages = store._db.execute("PRAGMA page_count").fetchone()[0]
    store._db.execute(f"PRAGMA max_page_count={pages + 4}").fetchall()
    with pytest.raises(ResourceError, match="the disk is full; free some space"):
        store.create(ref("large"), {"data": {"x": "y" * 100_000}})
    with pytest.raises(ResourceError), store.transaction():
        store.create(ref("small"), {})
        store.create(ref("large"), {"data": {"x": "y" * 100_000}})
    assert store.version == 1
    store._db.execute("PRAGMA max_page_count=100000").fetchall()
    assert store.create(ref("after"), {})["metadata"]["resourceVersion"] == "2"
    store.close()
    again = opened(tmp_path / "state.db")
    names = [obj["metadata"]["name"] for obj in again.list("", "configmaps")[0]]
    again.close()
    assert names == ["after", "before"]


def test_a_transaction_that_goes_on_after_a_full_disk_keeps_nothing(tmp_path: Path) -> None:
    store = opened(tmp_path / "state.db")
    store._db.execute("PRAGMA cache_size=1").fetchall()
    pages = store._db.execute("PRAGMA page_count").fetchone()[0]
    store._db.execute(f"PRAGMA max_page_count={pages + 4}").fetchall()
    kept = set()
    for attempt in ("first", "second"):
        try:
            with store.transaction():
                store.create(ref(attempt), {})
                with pytest.raises(ResourceError):
                    store.create(ref("large"), {"data": {"x": "y" * 100_000}})
                store.create(ref(attempt + "-too"), {})
        except ResourceError:
            continue
        kept |= {attempt, attempt + "-too"}
    found = {obj["metadata"]["name"] for obj in store.list("", "configmaps")[0]}
    store.close()
    assert found == kept, "what was not acknowledged is not there, what was is"


def test_large_changes_are_kept_for_a_shorter_time() -> None:
    store = opened(None, history_length=1000, history_bytes=50_000)
    for n in range(20):
        store.create(ref(f"c{n}"), {"data": {"x": "y" * 10_000}})
    with pytest.raises(WatchExpired):
        store.changes_since(10, "", "configmaps")
    assert len(store.changes_since(18, "", "configmaps")) == 2
    store.create(ref("huge"), {"data": {"x": "y" * 100_000}})
    assert store.version == 21
    assert store.changes_since(20, "", "configmaps")[0].ref.name == "huge"
    store.close()


def test_a_file_with_owned_objects_opens_again(tmp_path: Path) -> None:
    # quick_check of SQLite 3.40 takes the rows of some tables without rowid for damaged.
    path = tmp_path / "state.db"
    store = opened(path)
    owner = store.create(ref("owner"), {"metadata": {"name": "owner"}})
    references = [{"uid": owner["metadata"]["uid"], "name": "owner"}]
    store.create(ref("owned"), {"metadata": {"name": "owned", "ownerReferences": references}})
    store.close()
    store = opened(path)
    store.delete(ref("owner"))
    with pytest.raises(ResourceNotFound):
        store.get(ref("owned"))
    store.close()
