"""Files and folders on disk: their sizes, their digest, whether links stay inside.

Owns what is known of an artifact's content. Refuses to fetch or to write.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import msgspec

from salver.errors import StorageError
from salver.storage.transfer import Transfer

_CHUNK = 1 << 20


class FileFact(msgspec.Struct, frozen=True):
    """One file of an artifact. `hash` is its SHA-256, or where its link leads."""

    name: str
    size_bytes: int
    hash: str


def files_in(root: Path) -> Iterator[tuple[str, os.stat_result]]:
    """Every file and link under a folder, in order of names; the file itself if it is one."""
    if not root.is_dir():
        yield "", root.lstat()
        return
    for folder, subfolders, names in os.walk(root):
        links = [name for name in subfolders if (Path(folder) / name).is_symlink()]
        subfolders[:] = sorted(set(subfolders) - set(links))
        for name in sorted(names + links):
            path = Path(folder) / name
            yield str(path.relative_to(root)), path.lstat()


def facts_of(root: Path, transfer: Transfer) -> tuple[FileFact, ...]:
    """What is in the artifact, content included. Raises `StorageError` for a link that leads
    out of it and for what is neither file, folder nor link."""
    facts = []
    for name, status in files_in(root):
        transfer.check()
        path = root / name if name else root
        if stat.S_ISLNK(status.st_mode):
            facts.append(FileFact(name, 0, "-> " + _checked_link(root, path, transfer.uri)))
        elif stat.S_ISREG(status.st_mode):
            facts.append(FileFact(name, status.st_size, hash_of(path, "sha256", transfer)))
        else:
            raise StorageError(f"{transfer.uri}: '{name}' is a device or pipe; remove it there")
    return tuple(sorted(facts, key=lambda fact: fact.name))


def digest_of(facts: tuple[FileFact, ...], file_name: str = "") -> str:
    """One name for the content of all files, their paths and, for a single file, its name."""
    text = json.dumps([file_name, [[each.name, each.size_bytes, each.hash] for each in facts]])
    return hashlib.sha256(text.encode()).hexdigest()


def hash_of(path: Path, algorithm: str, transfer: Transfer) -> str:
    """The hash of a file's content; `git-blob` is git's name for a file."""
    if algorithm == "git-blob":
        hashing = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
    else:
        hashing = hashlib.new(algorithm, usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            transfer.check()
            hashing.update(chunk)
    return hashing.hexdigest()


def stat_digest(root: Path) -> tuple[str, int]:
    """A digest that changes when a folder in use does, by names, sizes and times; the size."""
    facts, size = [], 0
    for name, status in files_in(root):
        facts.append([name, status.st_size, status.st_mtime_ns])
        size += status.st_size
    return hashlib.sha256(json.dumps(sorted(facts)).encode()).hexdigest(), size


def inner_path(name: str, uri: str) -> str:
    """A file's name from a server or an archive, as a relative path that stays inside.

    Raises `StorageError` for one that is absolute, climbs, or cannot be a file's name.
    """
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if name.startswith("/") or ".." in parts or not parts:
        raise StorageError(f"{uri}: '{name}' would lie outside of the model's folder; refused")
    if "\0" in name or any(len(part.encode()) > 255 for part in parts):
        raise StorageError(f"{uri}: {name[:80]!r} cannot be the name of a file; refused")
    return "/".join(parts)


def _checked_link(root: Path, path: Path, uri: str) -> str:
    target = str(path.readlink())
    inside = Path(os.path.realpath(path)).is_relative_to(os.path.realpath(root))
    if target.startswith("/") or not inside:
        raise StorageError(
            f"{uri}: link '{path.name}' leads out of the model, to {target}; refused"
        )
    return target
