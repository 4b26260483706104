"""A source whose files are read one by one: lists, downloads, unpacks a single archive."""

from __future__ import annotations

from pathlib import Path

import msgspec

from salver.errors import StorageError
from salver.storage.download import Download
from salver.storage.patterns import wanted
from salver.storage.ports import Listing, Reader
from salver.storage.transfer import Transfer
from salver.storage.unpack import Limits, archive_suffix, unpacked


class FileRules(msgspec.Struct, frozen=True):
    """What is taken of a listing, and what it may become."""

    limits: Limits
    parallel: int
    allow: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()


class FilesSource:
    """Any `Reader` as a `Source`."""

    def __init__(self, reader: Reader, rules: FileRules) -> None:
        self._reader = reader
        self._rules = rules

    def listing(self, transfer: Transfer) -> Listing:
        """The reader's listing, held against patterns (for a folder) and limits."""
        found = self._reader.listing(transfer)
        if found.is_file:
            return found
        entries = wanted(found.entries, self._rules.allow, self._rules.ignore)
        if not entries:
            raise StorageError(
                f"{transfer.uri}: of its {len(found.entries)} files, the allow and ignore patterns "
                "leave none; correct them"
            )
        if len(entries) > self._rules.limits.max_files:
            raise StorageError(
                f"{transfer.uri}: it has more than {self._rules.limits.max_files} files; name the "
                "model's own folder"
            )
        return msgspec.structs.replace(found, entries=entries)

    def collect(self, listing: Listing, work: Path, transfer: Transfer) -> Path:
        """Downloads all; a single archive is unpacked, as KServe does."""
        limits = self._rules.limits
        folder = Download(self._reader, work, limits.max_bytes, transfer).run(
            listing, self._rules.parallel
        )
        if len(listing.entries) != 1:
            return folder
        path = folder / listing.entries[0].name
        suffix = archive_suffix(path.name)
        if suffix:
            return unpacked(path, suffix, work, limits, transfer)
        return path if listing.is_file else folder
