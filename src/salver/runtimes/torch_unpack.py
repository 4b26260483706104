"""Unpacks a `.mar` once for all replicas, into a folder of this user's that its content names.

Owns the bounds: entries stay inside the folder, and no more bytes are written than stated.
A folder is its own unpacked form.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import tempfile
import zipfile
from pathlib import Path, PurePosixPath

from salver.errors import LoadFailed

_MOST_ENTRIES = 10_000
_CHUNK = 1 << 20


def unpacked(name: str, path: Path) -> Path:
    """The folder with the archive's files. Raises `LoadFailed` for an entry out of bounds."""
    if path.is_dir():
        return path
    home = _home(name)
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()[:32]
    folder = home / digest
    if folder.is_dir():
        return folder
    partial = Path(tempfile.mkdtemp(dir=home))
    try:
        with zipfile.ZipFile(path) as archive:
            _unpack(name, archive, partial)
        partial.rename(folder)
    except OSError:
        shutil.rmtree(partial, ignore_errors=True)
        # Another replica may have been first.
        if not folder.is_dir():
            raise
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return folder


def _home(name: str) -> Path:
    """A folder that only this user can write: nobody else can have put code there."""
    home = Path(tempfile.gettempdir()) / f"salver-mar-{os.geteuid()}"
    home.mkdir(mode=0o700, exist_ok=True)
    found = home.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
        raise LoadFailed(f"model '{name}': {home} is not this user's alone; remove it")
    return home


def _unpack(name: str, archive: zipfile.ZipFile, folder: Path) -> None:
    entries = archive.infolist()
    if len(entries) > _MOST_ENTRIES:
        raise LoadFailed(f"model '{name}': its archive holds {len(entries)} files; archive fewer")
    for entry in entries:
        if entry.is_dir():
            continue
        parts = PurePosixPath(entry.filename).parts
        is_link = stat.S_ISLNK(entry.external_attr >> 16)
        if not parts or parts[0] == "/" or ".." in parts or "\\" in entry.filename or is_link:
            raise LoadFailed(
                f"model '{name}': its archive has the entry {entry.filename!r}, which leads out of "
                "it; archive it again"
            )
        target = folder.joinpath(*parts)
        target.parent.mkdir(parents=True, exist_ok=True)
        # zipfile itself stops at the size that the directory states, and checks the sum.
        with archive.open(entry) as packed, target.open("wb") as file:
            shutil.copyfileobj(packed, file, _CHUNK)
