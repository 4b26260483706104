"""One fetch from beginning to end, in a thread: is the cache right; if not, list, download,
check, place.

Owns that order of steps and what happens to a broken attempt. Refuses to know any source.
"""

from __future__ import annotations

import errno
import logging
import shutil
from pathlib import Path

import msgspec

from salver.errors import StorageError
from salver.storage.cache import Cache, Held, size_text
from salver.storage.index import Known
from salver.storage.ports import (
    Checksum,
    Interrupted,
    Listing,
    Source,
    SourceChanged,
    StorageSettings,
    Unreachable,
)
from salver.storage.transfer import Transfer
from salver.storage.tree import digest_of, facts_of, stat_digest

logger = logging.getLogger("salver.storage")

_MOST_ATTEMPTS = 3
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Fetching:
    """Carries fetches out. One instance for all; holds nothing of a single one."""

    def __init__(self, cache: Cache, settings: StorageSettings) -> None:
        self._cache = cache
        self._settings = settings

    def run(self, key: str, sha256: str, source: Source, transfer: Transfer) -> tuple[Held, bool]:
        """The pinned object, and whether it was there already. Raises `StorageError`."""
        with self._cache.only_one(key, transfer):
            known = self._cache.known(key)
            is_settled = self._settings.offline or bool(sha256)
            held = self._pinned(known, sha256) if is_settled else None
            if held is not None:
                return held, True
            if self._settings.offline:
                raise StorageError(
                    f"{transfer.uri}: it is not in the cache, and Salver is offline; fetch it once "
                    "while online, or map it to a folder"
                )
            for _ in range(_MOST_ATTEMPTS - 1):
                try:
                    return self._fetch(key, sha256, source, transfer)
                except SourceChanged:
                    transfer.advance(-transfer.done_bytes)
            return self._fetch(key, sha256, source, transfer)

    def _fetch(
        self, key: str, sha256: str, source: Source, transfer: Transfer
    ) -> tuple[Held, bool]:
        known = self._cache.known(key)
        try:
            listing = self._listed(source, transfer)
        except (Unreachable, Interrupted) as error:
            held = self._pinned(known, sha256)
            if held is None:
                raise
            logger.warning("%s; the copy in the cache is used", error)
            return held, True
        if known and listing.version and listing.version == known.version:
            held = self._pinned(known, sha256)
            if held is not None:
                return held, True
        return self._download(key, sha256, source, listing, transfer), False

    def _pinned(self, known: Known | None, sha256: str) -> Held | None:
        """What the source had, if it is still here and was held against that checksum."""
        if known is None or sha256 not in ("", known.sha256):
            return None
        return self._cache.pin(known.digest)

    def _listed(self, source: Source, transfer: Transfer) -> Listing:
        """The listing, after a few attempts."""
        for attempt in range(_MOST_ATTEMPTS - 1):
            try:
                return source.listing(transfer)
            except Interrupted:
                transfer.pause(attempt)
        return source.listing(transfer)

    def _download(
        self, key: str, sha256: str, source: Source, listing: Listing, transfer: Transfer
    ) -> Held:
        self._check_limit(listing, transfer)
        work = self._cache.work_folder(key, listing.version)
        transfer.total_bytes = listing.size_bytes
        try:
            here = stat_digest(work)[1]
            self._cache.make_room(listing.size_bytes or 0, transfer.uri, on_disk_bytes=here)
            result = source.collect(_held_against(listing, sha256), work, transfer)
            held = self._placed(key, sha256, result, listing, transfer)
        except (Interrupted, Unreachable):
            raise  # What has come is good for the next attempt.
        except (StorageError, OSError) as error:
            shutil.rmtree(work, ignore_errors=True)
            if isinstance(error, OSError):
                raise _disk_failure(error, transfer.uri) from error
            raise
        shutil.rmtree(work, ignore_errors=True)
        return held

    def _placed(
        self, key: str, sha256: str, result: Path, listing: Listing, transfer: Transfer
    ) -> Held:
        facts = facts_of(result, transfer)
        digest = digest_of(facts, "" if result.is_dir() else result.name)
        if sha256 and not listing.is_file and sha256 != digest:
            raise StorageError(
                f"{transfer.uri}: its content has sha256 {digest}, not {sha256} as the URI says; "
                "it is damaged or another model"
            )
        size_bytes = sum(fact.size_bytes for fact in facts)
        if size_bytes > self._settings.max_artifact_bytes:
            raise _too_large(size_bytes, self._settings, transfer)
        self._cache.make_room(size_bytes, transfer.uri, on_disk_bytes=size_bytes)
        return self._cache.place(
            key, result, facts, Known(listing.version, sha256, digest), transfer
        )

    def _check_limit(self, listing: Listing, transfer: Transfer) -> None:
        size_bytes = listing.size_bytes or 0
        if size_bytes > self._settings.max_artifact_bytes:
            raise _too_large(size_bytes, self._settings, transfer)


def _too_large(size_bytes: int, settings: StorageSettings, transfer: Transfer) -> StorageError:
    return StorageError(
        f"{transfer.uri}: it has {size_text(size_bytes)}, the limit for one model is "
        f"{size_text(settings.max_artifact_bytes)}; raise it"
    )


def _held_against(listing: Listing, sha256: str) -> Listing:
    """The listing with the checksum of the URI for its one file."""
    if not sha256 or not listing.is_file:
        return listing
    entry = msgspec.structs.replace(listing.entries[0], checksum=Checksum("sha256", sha256))
    return msgspec.structs.replace(listing, entries=(entry,))


def _disk_failure(error: OSError, uri: str) -> StorageError:
    if error.errno in _DISK_FULL:
        return StorageError(
            f"{uri}: the disk is full ({error.strerror}); what had come is removed: free some "
            "space, or move the cache"
        )
    return StorageError(
        f"{uri}: it cannot be written to the cache ({error}); check the cache's folder"
    )
