import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from salver.errors import StorageError
from salver.storage.cache import Cache, Held, size_text
from salver.storage.index import Known
from salver.storage.transfer import Transfer
from salver.storage.tree import digest_of, facts_of


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        self.now += 1
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def cache(tmp_path: Path, clock: Clock) -> Iterator[Cache]:
    opened = Cache(tmp_path / "cache", 100, clock)
    yield opened
    opened.close()


TRANSFER = Transfer("s3://b/a", 100, lambda: 0.0)


def put(cache: Cache, key: str, files: dict[str, bytes]) -> Held:
    result = cache.work_folder(key, "v") / "files"
    for name, body in files.items():
        (result / name).parent.mkdir(parents=True, exist_ok=True)
        (result / name).write_bytes(body)
    facts = facts_of(result, TRANSFER)
    return cache.place(key, result, facts, Known("v", "", digest_of(facts)), TRANSFER)


def test_what_is_placed_can_be_found_and_pinned(cache: Cache) -> None:
    held = put(cache, "k", {"m": b"12345", "sub/n": b""})
    assert held.size_bytes == 5
    assert (held.path / "m").read_bytes() == b"12345"
    known = cache.known("k")
    assert known is not None
    assert cache.pin(known.digest) == held
    assert cache.used_bytes() == 5


def test_the_same_content_is_kept_once(cache: Cache) -> None:
    one, other = put(cache, "k", {"m": b"12345"}), put(cache, "l", {"m": b"12345"})
    assert one == other
    assert cache.used_bytes() == 5


def test_room_is_made_of_what_was_used_longest_ago(cache: Cache) -> None:
    held = {name: put(cache, name, {"m": name.encode() * 40}) for name in "ab"}
    for each in held.values():
        cache.unpin(each.digest)
    cache.pin(held["a"].digest)
    cache.unpin(held["a"].digest)
    cache.make_room(50, "x")
    assert held["a"].path.exists()
    assert not held["b"].path.exists()
    assert cache.known("b") is None
    assert cache.pin(held["b"].digest) is None


def test_what_is_pinned_stays(cache: Cache) -> None:
    held = put(cache, "a", {"m": b"1" * 60})
    with pytest.raises(StorageError, match="full of models in use; delete models or raise"):
        cache.make_room(50, "x")
    assert held.path.exists()


def test_what_a_crash_left_is_swept(tmp_path: Path, clock: Clock) -> None:
    first = Cache(tmp_path, 100, clock)
    held = put(first, "k", {"m": b"m"})
    first.close()
    for name in ("objects/unknown", "trash/x", "work/old-v", "work/new-v"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "f").write_bytes(b"f")
    os.utime(tmp_path / "work/old-v", (clock.now - 8 * 86400,) * 2)
    os.utime(tmp_path / "work/new-v", (clock.now - 60,) * 2)
    second = Cache(tmp_path, 100, clock)
    left = {
        each.name for name in ("objects", "trash", "work") for each in (tmp_path / name).iterdir()
    }
    assert left == {held.digest, "k-v", "new-v"}
    assert second.pin(held.digest) == held
    second.close()


def test_an_object_with_a_missing_or_short_file_is_not_whole(cache: Cache) -> None:
    held = put(cache, "k", {"m": b"12345"})
    (held.path / "extra.pyc").write_bytes(b"what a model writes beside itself does no harm")
    assert cache.pin(held.digest) == held
    (held.path / "m").write_bytes(b"123")
    assert cache.pin(held.digest) is None
    put(cache, "k", {"m": b"12345"})
    assert cache.pin(held.digest) == held


def test_parts_are_kept_for_the_same_version_only(cache: Cache) -> None:
    (cache.work_folder("k", "v1") / "part").write_bytes(b"x")
    assert (cache.work_folder("k", "v1") / "part").exists()
    assert not (cache.work_folder("k", "v2") / "part").exists()
    assert not (cache.work_folder("k", "v1") / "part").exists()
    (cache.work_folder("k", "") / "part").write_bytes(b"x")
    assert not (cache.work_folder("k", "") / "part").exists()


@pytest.mark.parametrize(
    ("count", "text"), [(5, "5 bytes"), (1536, "1.5 KiB"), (20 << 30, "20.0 GiB")]
)
def test_sizes_are_written_for_people(count: int, text: str) -> None:
    assert size_text(count) == text
