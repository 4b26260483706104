"""The folders of the environments on disk: which are whole, which are in use, which may go.

An environment becomes visible by a rename, complete, and disappears by one. Refuses to make
any: that is `manager.py`'s.

    root/<digest>/             an environment, its content.json beside its packages
    root/solved/<key>.json     which digest a list of requirements came to
    root/code/...              Salver's own package, for the search path
    root/.building-*           being built, or left behind by a kill
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Collection
from pathlib import Path
from typing import TypeVar

import msgspec

from salver.backends.environments.locks import lock_shared, try_lock

BUILDING = ".building-"
SOLVING = ".solving-"
_REMOVING = ".removing-"
_CONTENT = "content.json"
_STALE_S = 60.0
_UNKNOWN_BYTES = 1 << 62

_T = TypeVar("_T")


class Content(msgspec.Struct, frozen=True):
    """What an environment holds, written into it before it becomes visible."""

    packages: tuple[str, ...]
    size_bytes: int


class _Solved(msgspec.Struct, frozen=True):
    digest: str


class EnvironmentStore:
    """What lies below `root`. Holds what it has handed out, against other servers' collecting."""

    def __init__(self, root: Path, now: Callable[[], float]) -> None:
        self.root = root
        self._now = now
        self._held: dict[str, int] = {}

    def folder(self, digest: str) -> Path:
        return self.root / digest

    def content(self, digest: str) -> Content | None:
        """What is in the environment, None if it is not there or its Python has gone."""
        folder = self.folder(digest)
        found = _read(folder / _CONTENT, Content)
        if found is None or not (folder / "bin" / "python").exists():
            return None
        if digest not in self._held:
            self._held[digest] = lock_shared(folder)
        os.utime(folder / _CONTENT, (self._now(), self._now()))
        return found

    def put(self, built: Path, digest: str, packages: tuple[str, ...]) -> None:
        """Makes a built environment visible. If another server was quicker, theirs stays."""
        _write(built / _CONTENT, Content(packages, _size_of(built)))
        final = self.folder(digest)
        if final.exists() and self.content(digest) is None:
            final.rename(self._condemned(digest))
        with contextlib.suppress(FileExistsError, OSError):
            built.rename(final)

    def solved(self, key: str) -> str:
        """The digest that a list of requirements came to, empty if it is not known."""
        known = _read(self._memo(key), _Solved)
        return known.digest if known is not None else ""

    def remember(self, key: str, digest: str) -> None:
        _write(self._memo(key), _Solved(digest))

    def unused(self, in_use: Collection[str]) -> list[tuple[str, Content]]:
        """All others, the last used first."""
        found: list[tuple[float, str, Content]] = []
        for path in self.root.glob(f"[0-9a-f]*/{_CONTENT}"):
            digest = path.parent.name
            if digest not in in_use:
                content = _read(path, Content) or Content((), _UNKNOWN_BYTES)
                found.append((path.stat().st_mtime, digest, content))
        return [(digest, content) for _, digest, content in sorted(found, reverse=True)]

    def condemn(self, digest: str) -> bool:
        """Takes the environment out of sight, unless another server of this machine holds it."""
        if digest in self._held:
            os.close(self._held.pop(digest))
        return self._condemn(self.folder(digest), self._condemned(digest))

    def condemn_leftovers(self) -> None:
        """Takes away what builds have left behind whose processes are gone."""
        for prefix in (BUILDING, SOLVING):
            for folder in self.root.glob(f"{prefix}*"):
                with contextlib.suppress(OSError):
                    if self._now() - folder.stat().st_mtime > _STALE_S:
                        self._condemn(folder, self._condemned(folder.name.strip(".")))

    def sweep(self) -> None:
        """Deletes what has been condemned, and forgets what was solved for it. Takes time."""
        for folder in self.root.glob(f"{_REMOVING}*"):
            shutil.rmtree(folder, ignore_errors=True)
        for memo in self.root.glob("solved/*.json"):
            known = _read(memo, _Solved)
            if known is None or not self.folder(known.digest).exists():
                memo.unlink(missing_ok=True)

    def close(self) -> None:
        """Lets go of what was held."""
        for descriptor in self._held.values():
            os.close(descriptor)
        self._held.clear()

    def _condemn(self, folder: Path, target: Path) -> bool:
        descriptor = try_lock(folder)
        if descriptor is None:
            return False
        try:
            folder.rename(target)
        finally:
            os.close(descriptor)
        return True

    def _condemned(self, name: str) -> Path:
        return self.root / f"{_REMOVING}{name}-{os.getpid()}"

    def _memo(self, key: str) -> Path:
        return self.root / "solved" / f"{key}.json"


def _size_of(folder: Path) -> int:
    return sum(path.lstat().st_size for path in folder.rglob("*") if not path.is_symlink())


def _read(path: Path, kind: type[_T]) -> _T | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (OSError, msgspec.MsgspecError):
        return None


def _write(path: Path, value: msgspec.Struct) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}-{os.getpid()}")
    new.write_bytes(msgspec.json.encode(value))
    new.replace(path)
