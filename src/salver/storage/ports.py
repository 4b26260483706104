"""What storage takes and gives: settings, orders, artifacts; and the seams of its sources.

Owns the types and the kinds of trouble that decide what happens next. Refuses I/O.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import msgspec

from salver.errors import StorageError

if TYPE_CHECKING:
    from salver.storage.transfer import Transfer

GIB = 1 << 30


class StorageSettings(msgspec.Struct, frozen=True):
    """How models are fetched. Sizes in bytes, times in seconds."""

    cache_dir: Path
    """Holds fetched models, and nothing that cannot be fetched again."""
    cache_bytes: int = 20 * GIB
    """The cache's limit; what was used longest ago goes first, what is in use stays."""
    maps: tuple[tuple[str, str], ...] = ()
    """Prefixes of URIs and what stands for them: a folder or another URI."""
    offline: bool = False
    """Use what is there; contact nobody."""
    timeout_s: float = 600.0
    """For one fetch, from its start."""
    max_artifact_bytes: int = 50 * GIB
    """The largest model, unpacked."""
    max_files: int = 100_000
    """The most files in one model."""
    parallel: int = 4
    """Models fetched at a time, and files of one model fetched at a time."""
    allow_patterns: tuple[str, ...] = ()
    """If any: only files whose path fits one of them."""
    ignore_patterns: tuple[str, ...] = ()
    """Files whose path fits one of them are left out."""
    pvc_dir: Path | None = None
    """The folder of claims, `CLAIM/` each; if none is given, `pvc` beside the cache."""


class FetchOrder(msgspec.Struct, frozen=True):
    """One model to fetch, and on whose behalf.

    `storage://PATH` is a path in the storage of that key, or in the default one.
    """

    uri: str
    namespace: str = "default"
    storage_key: str = ""
    storage_parameters: tuple[tuple[str, str], ...] = ()
    service_account: str = ""


class FetchedArtifact(msgspec.Struct, frozen=True):
    """A model on disk.

    `path` is a file if the URI named one file that is no archive, else a folder. `digest`
    changes when the content does. `uri` is the one asked for, without secrets.
    """

    path: Path
    uri: str
    digest: str
    size_bytes: int
    was_cached: bool


class SecretSource(Protocol):
    """Where secrets are looked up."""

    def secret(self, namespace: str, name: str) -> Mapping[str, bytes] | None:
        """A Secret's data, decoded, and its annotations under their full names (a data key
        has no `/`, so they cannot be confused); None if there is none."""

    def service_account_secrets(self, namespace: str, name: str) -> Sequence[str]:
        """The names under `secrets` and `imagePullSecrets` of a ServiceAccount."""


class Unreachable(StorageError):
    """Nobody answered: what is cached may be used instead."""


class Interrupted(StorageError):
    """It began and broke off, or the server asks to come again: worth another try."""


class SourceChanged(StorageError):
    """The source is another one than when it was listed: list it again."""


class Checksum(msgspec.Struct, frozen=True):
    """What a file's content must add up to: `algorithm` is hashlib's name or `git-blob`."""

    algorithm: str
    hex: str


class Entry(msgspec.Struct, frozen=True):
    """One file of a source. `version` is its validator (an ETag, a time), empty if unknown.

    `name` is its path in the artifact; `handle` is what the source reads it by.
    """

    name: str
    size_bytes: int | None
    version: str
    handle: str = ""
    checksum: Checksum | None = None


class Listing(msgspec.Struct, frozen=True):
    """What a source has now. An empty `version` means that a change cannot be seen.

    `is_file`: the URI names one file, not a folder.
    """

    entries: tuple[Entry, ...]
    version: str
    is_file: bool = False

    @property
    def size_bytes(self) -> int | None:
        """The sum, or None if a size is unknown."""
        sizes = [entry.size_bytes for entry in self.entries]
        known = [size for size in sizes if size is not None]
        return sum(known) if len(known) == len(sizes) else None


class Body(msgspec.Struct, frozen=True):
    """A file's bytes from `start` on, which is the offset asked for, or 0."""

    start: int
    chunks: Iterator[bytes]
    checksum: Checksum | None = None


class Source(Protocol):
    """One artifact at one place. Called in threads; blocks no longer than its read timeout."""

    def listing(self, transfer: Transfer) -> Listing:
        """What is there now. Raises `StorageError`; `Unreachable` if nobody answers."""

    def collect(self, listing: Listing, work: Path, transfer: Transfer) -> Path:
        """Brings it all into the folder `work`, where parts of an earlier, broken attempt at
        the same listing may lie; returns the file or folder in it that is the artifact."""


class Reader(Protocol):
    """A source whose files are read one by one."""

    def listing(self, transfer: Transfer) -> Listing:
        """As `Source.listing`."""

    def read(self, entry: Entry, offset: int, transfer: Transfer) -> AbstractContextManager[Body]:
        """The entry from an offset on, as it was listed. Raises `SourceChanged` if it is not
        that any more, `Interrupted` (also from the chunks) if another try may help."""


class CustomSource(msgspec.Struct, frozen=True):
    """A source that is not storage's own; `identity` tells it from others in the cache."""

    identity: str
    source: Source


CustomSources = Callable[[FetchOrder, str], CustomSource | None]
"""The source that somebody has put in place of storage's own for an order and its URI, if any.
Raises `StorageError` if it cannot be used here."""
