"""Unpacks archives that may be hostile.

Owns which names are archives, and the rules: nothing outside of the folder, nothing through a
link, no devices, and limits on files, bytes and compression. Refuses to execute or to follow.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Generator, Iterator
from contextlib import closing
from pathlib import Path
from typing import IO, cast

import msgspec

from salver.errors import StorageError
from salver.storage.transfer import Transfer
from salver.storage.tree import inner_path

_SUFFIXES = {
    ".zip": "zip",
    ".tar": "tar",
    ".tgz": "tar",
    ".tar.gz": "tar",
    ".tbz2": "tar",
    ".tar.bz2": "tar",
    ".txz": "tar",
    ".tar.xz": "tar",
}
_MEDIA_TYPES = {
    "application/zip": ".zip",
    "application/zip-compressed": ".zip",
    "application/x-zip-compressed": ".zip",
    "application/x-tar": ".tar",
    "application/x-gtar": ".tar",
    "application/x-gtar-compressed": ".tar.gz",
    "application/x-gzip": ".tar.gz",
    "application/gzip": ".tar.gz",
}
_CHUNK = 1 << 20
_RATIO = 200
_RATIO_FROM_BYTES = 64 << 20
"""A file may grow by this ratio, once more than that has come out. Trees compress well; a
bomb, a thousandfold."""
_BROKEN = (
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    NotImplementedError,
    UnicodeError,
)


class Limits(msgspec.Struct, frozen=True):
    """What may come out of an archive."""

    max_bytes: int
    max_files: int


def archive_suffix(name: str, media_type: str = "") -> str:
    """The suffix of an archive, by name, or by media type if the name has no suffix at all;
    empty if it is none. A `.skops` or `.keras` file is a zip, and stays one file."""
    lower = name.lower()
    for suffix in sorted(_SUFFIXES, key=len, reverse=True):
        if lower.endswith(suffix):
            return suffix
    if "." in name.rpartition("/")[2].lstrip("."):
        return ""
    return _MEDIA_TYPES.get(media_type.partition(";")[0].strip().lower(), "")


def unpack(
    archive: Path, suffix: str, folder: Path, limits: Limits, transfer: Transfer, *, only: str = ""
) -> None:
    """Unpacks into the folder, which is made; `only` what lies in that top folder, and its
    whiteout. Raises `StorageError` for an archive that is broken or breaks a rule."""
    folder.mkdir(parents=True)
    members = _zip_members if _SUFFIXES[suffix] == "zip" else _tar_members
    try:
        with closing(members(archive, transfer.uri)) as found:
            _Unpacking(folder, archive, limits, transfer).take(found, only)
    except _BROKEN as error:
        raise StorageError(
            f"{transfer.uri}: the archive is damaged or no {suffix} file ({error}); upload it again"
        ) from error


class Member(msgspec.Struct, frozen=True):
    """One thing in an archive. `kind`: folder, file, link (`target` is its text), same (the
    content of the earlier member `target`), other."""

    name: str
    kind: str
    target: str = ""
    content: IO[bytes] | None = None
    is_executable: bool = False


class _Unpacking:
    """Writes members into a folder, counting."""

    def __init__(self, folder: Path, archive: Path, limits: Limits, transfer: Transfer) -> None:
        self._folder = folder
        self._limits = limits
        self._transfer = transfer
        self._packed_bytes = archive.stat().st_size
        self._bytes = 0
        self._files = 0

    def take(self, members: Iterator[Member], only: str) -> None:
        """Writes the members, or those in one top folder."""
        for member in members:
            self._transfer.check()
            top = member.name.removeprefix("./").lstrip("/").partition("/")[0]
            if only and top not in (only, ".wh." + only):
                continue
            self._files += 1
            if self._files > self._limits.max_files:
                raise self._refusal(f"has more than {self._limits.max_files} files")
            if member.name.strip("./") or member.kind != "folder":
                self._write(member)

    def _write(self, member: Member) -> None:
        path = self._place(inner_path(member.name, self._transfer.uri))
        if member.kind == "folder":
            path.mkdir(exist_ok=True)
        elif member.kind == "link":
            self._link(path, member)
        elif member.kind == "same":
            source = self._place(inner_path(member.target, self._transfer.uri))
            if source.is_symlink() or not source.is_file():
                raise self._refusal(f"has a link '{member.name}' to what is not in it")
            with source.open("rb") as content:
                self._copy(content, path)
        elif member.kind == "file" and member.content is not None:
            self._copy(member.content, path)
            path.chmod(0o755 if member.is_executable else 0o644)
        else:
            raise self._refusal(f"has a device or pipe, '{member.name}'")

    def _place(self, name: str) -> Path:
        """The path of a member. Its folders are made, and are folders, not links."""
        path = self._folder
        for part in Path(name).parts[:-1]:
            path /= part
            if path.is_symlink():
                raise self._refusal(f"puts '{name}' behind a link")
            path.mkdir(exist_ok=True)
        path /= Path(name).name
        return path

    def _link(self, path: Path, member: Member) -> None:
        """Whether it leads outside is seen when all is there; `tree.facts_of` refuses it."""
        if member.target.startswith("/") or not member.target:
            raise self._refusal(f"has a link '{member.name}' to {member.target or 'nothing'}")
        if os.path.lexists(path):
            path.unlink()
        path.symlink_to(member.target)

    def _copy(self, content: IO[bytes], path: Path) -> None:
        if os.path.lexists(path):
            path.unlink()
        with path.open("xb") as file:
            while chunk := content.read(_CHUNK):
                self._transfer.check()
                self._count(len(chunk))
                file.write(chunk)

    def _count(self, count: int) -> None:
        self._bytes += count
        if self._bytes > self._limits.max_bytes:
            raise self._refusal(f"unpacks to more than the limit of {self._limits.max_bytes} bytes")
        if self._bytes > _RATIO_FROM_BYTES and self._bytes > _RATIO * self._packed_bytes:
            raise self._refusal(f"unpacks to more than {_RATIO} times its size")

    def _refusal(self, fact: str) -> StorageError:
        return StorageError(f"{self._transfer.uri}: the archive {fact}; refused")


def _tar_members(archive: Path, uri: str) -> Generator[Member]:
    with _decompressed(archive) as plain, tarfile.open(fileobj=plain, mode="r|") as opened:
        for each in opened:
            if each.isreg():
                executable = bool(each.mode & 0o111)
                yield Member(each.name, "file", "", opened.extractfile(each), executable)
            elif each.isdir():
                yield Member(each.name, "folder")
            elif each.issym():
                yield Member(each.name, "link", each.linkname)
            else:
                yield Member(each.name, "same" if each.islnk() else "other", each.linkname)


def _decompressed(archive: Path) -> IO[bytes]:
    with archive.open("rb") as file:
        magic = file.read(6)
    if magic.startswith(b"\x1f\x8b"):
        return cast(IO[bytes], gzip.open(archive))
    if magic.startswith(b"BZh"):
        return cast(IO[bytes], bz2.open(archive))
    if magic.startswith(b"\xfd7zXZ"):
        return cast(IO[bytes], lzma.open(archive))
    return archive.open("rb")


def _zip_members(archive: Path, uri: str) -> Generator[Member]:
    with zipfile.ZipFile(archive) as opened:
        for each in opened.infolist():
            mode = each.external_attr >> 16
            if each.flag_bits & 1:
                raise StorageError(f"{uri}: the archive is encrypted; upload it without a password")
            if each.is_dir():
                yield Member(each.filename, "folder")
            elif stat.S_ISLNK(mode):
                with opened.open(each) as content:
                    target = content.read(4096).decode()
                yield Member(each.filename, "link", target)
            elif stat.S_IFMT(mode) not in (0, stat.S_IFREG):
                yield Member(each.filename, "other")
            else:
                with opened.open(each) as content:
                    yield Member(each.filename, "file", "", content, bool(mode & 0o111))


def unpacked(path: Path, suffix: str, work: Path, limits: Limits, transfer: Transfer) -> Path:
    """The folder with what is in the archive; the archive goes."""
    folder = work / "unpacked"
    if folder.exists():
        shutil.rmtree(folder)
    unpack(path, suffix, folder, limits, transfer)
    path.unlink()
    return folder
