"""Brings the files of a listing to disk: in parallel, resumed where they broke off, verified.

Owns retries and what lies in a work folder: `parts/` (unfinished) and `files/` (finished and
verified). Refuses to know how a file is read; a `Reader` does.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

from salver.errors import StorageError
from salver.storage.ports import (
    Checksum,
    Entry,
    Interrupted,
    Listing,
    Reader,
    SourceChanged,
    Unreachable,
)
from salver.storage.transfer import Transfer, run_all
from salver.storage.tree import hash_of, inner_path

_MOST_ATTEMPTS = 5
_AUTHORITATIVE = ("sha512", "sha256", "git-blob", "sha1", "md5")


class Download:
    """The files of one listing on their way into one work folder."""

    def __init__(self, reader: Reader, work: Path, max_bytes: int, transfer: Transfer) -> None:
        self._reader = reader
        self._files = work / "files"
        self._parts = work / "parts"
        self._max_bytes = max_bytes
        self._transfer = transfer

    def run(self, listing: Listing, parallel: int) -> Path:
        """Brings all entries; returns the folder with them."""
        self._files.mkdir(exist_ok=True)
        self._parts.mkdir(exist_ok=True)
        jobs: list[Callable[[], None]] = [partial(self._bring, each) for each in listing.entries]
        run_all(jobs, min(parallel, len(jobs)), "salver-fetch")
        return self._files

    def _bring(self, entry: Entry) -> None:
        target = self._files / inner_path(entry.name, self._transfer.uri)
        if target.is_file() and entry.version and entry.size_bytes == target.stat().st_size:
            self._transfer.advance(target.stat().st_size)
            return
        part = self._parts / hashlib.sha256(entry.name.encode()).hexdigest()[:24]
        checksum = self._complete(entry, part)
        self._verify(entry, part, checksum)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            part.rename(target)
        except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
            raise StorageError(
                f"{self._transfer.uri}: '{entry.name}' is both a file and a folder there; "
                "rename one of them"
            ) from error

    def _complete(self, entry: Entry, part: Path) -> Checksum | None:
        """Reads until the part is the whole; returns a checksum that the server gave with it."""
        if not entry.version:
            part.unlink(missing_ok=True)
        self._transfer.advance(_size(part))
        attempt = 0
        while True:
            before = _size(part)
            try:
                return self._read_rest(entry, part)
            except (Interrupted, Unreachable):
                attempt = 0 if entry.version and _size(part) > before else attempt + 1
                if attempt >= _MOST_ATTEMPTS:
                    raise
                self._transfer.pause(attempt)
                if not entry.version:
                    self._transfer.advance(-_size(part))
                    part.unlink(missing_ok=True)

    def _read_rest(self, entry: Entry, part: Path) -> Checksum | None:
        offset = _size(part)
        if entry.size_bytes is not None and offset > entry.size_bytes:
            part.unlink()
            self._transfer.advance(-offset)
            offset = 0
        if offset and offset == entry.size_bytes:
            return None
        with self._reader.read(entry, offset, self._transfer) as body:
            with part.open("r+b" if part.exists() else "xb") as file:
                if body.start != offset:
                    file.truncate(body.start)
                    self._transfer.advance(body.start - offset)
                file.seek(0, os.SEEK_END)
                for chunk in body.chunks:
                    self._transfer.check()
                    file.write(chunk)
                    self._transfer.advance(len(chunk))
                    self._check_size(file.tell(), entry)
        self._check_end(part, entry)
        return body.checksum

    def _check_size(self, size: int, entry: Entry) -> None:
        if entry.size_bytes is not None and size > entry.size_bytes:
            raise SourceChanged(
                f"{self._transfer.uri}: '{entry.name}' is longer than the {entry.size_bytes} bytes "
                "that were announced; fetch it again"
            )
        if self._transfer.done_bytes > self._max_bytes:
            raise StorageError(
                f"{self._transfer.uri}: it is larger than the limit of {self._max_bytes} bytes; "
                "raise the storage limit for one model"
            )

    def _check_end(self, part: Path, entry: Entry) -> None:
        if entry.size_bytes is not None and _size(part) < entry.size_bytes:
            raise Interrupted(
                f"{self._transfer.uri}: '{entry.name}' broke off after {_size(part)} of "
                f"{entry.size_bytes} bytes; what has come is kept, so try again"
            )

    def _verify(self, entry: Entry, part: Path, given: Checksum | None) -> None:
        """Holds the file against every checksum there is. A wrong file is removed."""
        for checksum in (entry.checksum, given):
            if checksum is None or checksum.algorithm not in _AUTHORITATIVE:
                continue
            found = hash_of(part, checksum.algorithm, self._transfer)
            if found != checksum.hex:
                part.unlink()
                raise StorageError(
                    f"{self._transfer.uri}: '{entry.name}' has {checksum.algorithm} {found}, not "
                    f"{checksum.hex} as it should; it is damaged or another file, so it was removed"
                )


def _size(part: Path) -> int:
    try:
        return part.stat().st_size
    except FileNotFoundError:
        return 0
