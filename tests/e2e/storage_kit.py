"""What the storage tests share: secrets that are there, a store to fetch with, archives."""

from __future__ import annotations

import asyncio
import io
import tarfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from salver.errors import StorageError
from salver.storage.ports import FetchedArtifact, FetchOrder, StorageSettings
from salver.storage.store import ArtifactStore


class Secrets:
    """Secrets and service accounts in a dictionary."""

    def __init__(
        self,
        secrets: Mapping[str, Mapping[str, bytes]] | None = None,
        accounts: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        self._secrets = secrets or {}
        self._accounts = accounts or {}

    def secret(self, namespace: str, name: str) -> Mapping[str, bytes] | None:
        return self._secrets.get(name)

    def service_account_secrets(self, namespace: str, name: str) -> Sequence[str]:
        return self._accounts.get(name, ())


class Fetcher:
    """Fetches with a new store each time, as a restarted server would."""

    def __init__(self, cache_dir: Path, environ: Mapping[str, str] | None = None) -> None:
        self.cache_dir = cache_dir
        self.environ = dict(environ or {})
        self.secrets = Secrets()
        self.settings: dict[str, Any] = {"timeout_s": 60.0}

    def store(self, **changes: Any) -> ArtifactStore:
        settings = StorageSettings(self.cache_dir, **{**self.settings, **changes})
        return ArtifactStore(settings, self.secrets, environ=self.environ)

    def fetch(
        self, uri: str, changes: dict[str, Any] | None = None, **order: Any
    ) -> FetchedArtifact:
        async def run() -> FetchedArtifact:
            store = self.store(**(changes or {}))
            try:
                return await store.fetch(FetchOrder(uri, **order))
            finally:
                await store.aclose()

        return asyncio.run(run())

    def problem(self, uri: str, changes: dict[str, Any] | None = None, **order: Any) -> str:
        """The message of the error that this fetch ends with."""
        try:
            found = self.fetch(uri, changes, **order)
        except StorageError as error:
            assert "\n" not in str(error)
            return str(error)
        raise AssertionError(f"it was fetched: {found}")


def content(path: Path) -> dict[str, bytes]:
    """The files of an artifact by path; a single file by its name."""
    if path.is_file():
        return {path.name: path.read_bytes()}
    files = [each for each in path.rglob("*") if each.is_file()]
    return {str(each.relative_to(path)): each.read_bytes() for each in files}


def tar_of(files: Mapping[str, bytes], mode: str = "w:gz", *extra: tarfile.TarInfo) -> bytes:
    """A tar archive of files and of members that are there as they are."""
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode=mode) as archive:  # type: ignore[call-overload]
        for name, body in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(body)
            archive.addfile(info, io.BytesIO(body))
        for each in extra:
            archive.addfile(each)
    return whole.getvalue()


def member(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    """A member of a tar that is no plain file."""
    info = tarfile.TarInfo(name)
    info.type = kind
    info.linkname = target
    return info


Make = Callable[..., Fetcher]
