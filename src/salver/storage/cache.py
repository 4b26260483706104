"""The content-addressed cache: where fetched models lie, and which of them go to make room.

    objects/DIGEST/content      the artifact, or content/NAME for a single file
    objects/DIGEST/files.json   its files and their sizes
    work/KEY-VERSION/           a download under way, or broken off
    trash/                      what is being removed
    index.sqlite, locks

An object appears by one rename and disappears by one. Who uses it has a share of the lock of
its digest; who removes it must have that lock alone. Placing and removing are serialised by
another lock for each digest. A download has the lock of its key.
"""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from salver.errors import StorageError
from salver.storage.index import Index, Known
from salver.storage.locks import Locks
from salver.storage.transfer import Transfer
from salver.storage.tree import FileFact

_STALE_S = 7 * 24 * 3600.0
_MOST_SINGLE_SYNCS = 64


class Held(msgspec.Struct, frozen=True):
    """An object that is pinned. `path` is its folder, or its file if it is a single one."""

    digest: str
    path: Path
    size_bytes: int


class Cache:
    """One folder of fetched models; several processes may share it."""

    def __init__(self, folder: Path, limit_bytes: int, clock: Callable[[], float]) -> None:
        self._objects = folder / "objects"
        self._work = folder / "work"
        self._trash = folder / "trash"
        self._limit_bytes = limit_bytes
        for each in (self._objects, self._work, self._trash):
            each.mkdir(parents=True, exist_ok=True)
        self._locks = Locks(folder / "locks")
        self._index = Index(folder / "index.sqlite", clock)
        self._sweep(clock())

    def close(self) -> None:
        """Lets go of all pins."""
        self._index.close()
        self._locks.close()

    def used_bytes(self) -> int:
        """The size of all objects."""
        return self._index.used_bytes()

    @contextmanager
    def only_one(self, key: str, transfer: Transfer) -> Iterator[None]:
        """Within, nobody else fetches this key."""
        with self._locks.exclusive("key " + key, transfer):
            yield

    def known(self, key: str) -> Known | None:
        """What the source had when it was fetched last."""
        return self._index.known(key)

    def pin(self, digest: str) -> Held | None:
        """Keeps an object from being removed; None if it is not here, or not whole. Counted."""
        if not self._locks.try_share(digest):
            return None
        held = self._held(digest) if self._index.size_of(digest) is not None else None
        if held is None:
            self._locks.unshare(digest)
            return None
        self._index.touch(digest)
        return held

    def pin_again(self, digest: str) -> None:
        """Adds a pin to one that is there; touches no disk."""
        self._locks.try_share(digest)

    def unpin(self, digest: str) -> None:
        """Gives one pin back."""
        self._locks.unshare(digest)

    def work_folder(self, key: str, version: str) -> Path:
        """A folder for the download of this version; those of its other versions are removed.

        If the version is unknown the folder is empty, else it holds what came before.
        """
        wanted = self._work / f"{key}-{version or 'unknown'}"
        for each in self._work.glob(f"{key}-*"):
            if each != wanted or not version:
                shutil.rmtree(each, ignore_errors=True)
        wanted.mkdir(parents=True, exist_ok=True)
        return wanted

    def make_room(self, size_bytes: int, uri: str, *, on_disk_bytes: int = 0) -> None:
        """Removes what was used longest ago until so much more fits in. Raises `StorageError`
        if it cannot fit: the limit is too small, all is in use, or the disk is full (so many
        bytes of it are there already)."""
        limit = self._limit_bytes
        if size_bytes > limit:
            raise StorageError(
                f"{uri}: it has {size_text(size_bytes)}, the cache may hold {size_text(limit)}; "
                "raise the cache's limit"
            )
        excess = self._index.used_bytes() + size_bytes - limit
        for digest, freed in self._index.least_recent() if excess > 0 else []:
            if excess <= 0:
                break
            excess -= freed if self._remove(digest) else 0
        if excess > 0:
            raise StorageError(
                f"{uri}: it has {size_text(size_bytes)} and the cache, limited to "
                f"{size_text(limit)}, is full of models in use; delete models or raise the limit"
            )
        free = shutil.disk_usage(self._work).free
        if size_bytes - on_disk_bytes > free:
            raise StorageError(
                f"{uri}: it has {size_text(size_bytes)}, the cache's disk has {size_text(free)} "
                "left; free some, or move the cache"
            )

    def place(
        self, key: str, result: Path, facts: tuple[FileFact, ...], known: Known, transfer: Transfer
    ) -> Held:
        """Makes what was collected an object, in one step, and pins it."""
        whole = _packed(result, facts)
        size_bytes = sum(fact.size_bytes for fact in facts)
        with self._locks.exclusive("place " + known.digest, transfer):
            if self._held(known.digest) is None:
                self._discard(self._objects / known.digest)
                whole.rename(self._objects / known.digest)
                _sync(self._objects)
            else:
                self._discard(whole)
            self._index.record(key, transfer.uri, known, size_bytes)
            held = self.pin(known.digest)
        if held is None:
            raise StorageError(f"{transfer.uri}: it went from the cache again; fetch it again")
        return held

    def _held(self, digest: str) -> Held | None:
        """The object as it is on disk, if all its files have their sizes."""
        folder = self._objects / digest
        content = folder / "content"
        try:
            manifest = json.loads((folder / "files.json").read_bytes())
            sizes = [size for _, size in manifest["files"]]
            whole = all(
                (content / name).lstat().st_size == size or size == 0
                for name, size in manifest["files"]
            )
        except (OSError, ValueError, KeyError, TypeError):
            return None
        path = content / manifest["single"] if manifest["single"] else content
        return Held(digest, path, sum(sizes)) if whole else None

    def _remove(self, digest: str) -> bool:
        """Removes an object that nobody uses."""
        with self._locks.try_exclusive("place " + digest) as is_still:
            if not is_still:
                return False
            with self._locks.try_exclusive(digest) as is_unused:
                if is_unused:
                    self._index.forget(digest)
                    self._discard(self._objects / digest)
                return is_unused

    def _discard(self, folder: Path) -> None:
        if folder.exists():
            doomed = self._trash / uuid.uuid4().hex
            folder.rename(doomed)
            shutil.rmtree(doomed, ignore_errors=True)

    def _sweep(self, now: float) -> None:
        """Removes what a crash left: objects that are not indexed, old downloads, trash."""
        for folder in self._trash.iterdir():
            shutil.rmtree(folder, ignore_errors=True)
        for folder in self._objects.iterdir():
            if self._index.size_of(folder.name) is not None:
                continue
            with self._locks.try_exclusive("place " + folder.name) as taken:
                if taken and self._index.size_of(folder.name) is None:
                    self._discard(folder)
        for folder in self._work.iterdir():
            if now - folder.stat().st_mtime > _STALE_S:
                with self._locks.try_exclusive("key " + folder.name.partition("-")[0]) as taken:
                    if taken:
                        self._discard(folder)


def size_text(count: int) -> str:
    """A size for people."""
    value, units = float(count), ["bytes", "KiB", "MiB", "GiB", "TiB"]
    while value >= 1024 and len(units) > 1:
        value /= 1024
        units.pop(0)
    return f"{count} bytes" if units[0] == "bytes" else f"{value:.1f} {units[0]}"


def _packed(result: Path, facts: tuple[FileFact, ...]) -> Path:
    """The artifact in the shape of an object, all of it on disk."""
    whole = result.parent / f"object-{uuid.uuid4().hex}"
    content = whole / "content"
    whole.mkdir()
    single = "" if result.is_dir() else result.name
    if single:
        content.mkdir()
        result.rename(content / single)
    else:
        result.rename(content)
    files = [
        [fact.name or single, 0 if fact.hash.startswith("->") else fact.size_bytes]
        for fact in facts
    ]
    manifest = whole / "files.json"
    manifest.write_text(json.dumps({"single": single, "files": files}))
    if len(files) > _MOST_SINGLE_SYNCS:
        os.sync()
        return whole
    paths: list[Path] = [manifest, *(content / str(name) for name, _ in files)]
    for path in [*paths, *_folders(whole)]:
        if not path.is_symlink():
            _sync(path)
    return whole


def _folders(root: Path) -> Iterator[Path]:
    for folder, _, _ in os.walk(root):
        yield Path(folder)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
