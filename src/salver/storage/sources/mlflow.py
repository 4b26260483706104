"""Models by MLflow's URIs: asks where the files are, and fetches them from there.

`MLFLOW_TRACKING_URI` names the tracking server, a database or a folder. Files may be anywhere that
storage knows, or behind the tracking server itself (`mlflow-artifacts:`). Files of this machine are
taken only if the tracking store is on it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlencode, urlsplit

import msgspec

from salver.errors import StorageError
from salver.storage.credentials import Credentials
from salver.storage.mlflow_references import parse_reference
from salver.storage.ports import Body, Entry, Listing, Reader, Source
from salver.storage.sources.mlflow_tracking import tracking_at
from salver.storage.transfer import Transfer
from salver.storage.uris import Location, scheme_of, shown
from salver.storage.web import WebClient, basic

_PROXY = "mlflow-artifacts"
_MOST_STEPS = 5
_MOST_FOLDERS = 10_000
_CHUNK = 1 << 20
_LOOPBACK = ("localhost", "127.0.0.1", "::1")

Opened = Callable[[str], Source]
"""The source at a URI of any other kind, with the credentials that the environment has for it."""
AsSource = Callable[[Reader], Source]
"""Wraps a reader with the rules that hold for all."""


class MlflowSource:
    """One model of MLflow's. Implements `Source`."""

    def __init__(
        self,
        location: Location,
        client: WebClient,
        credentials: Credentials,
        opened: Opened,
        as_source: AsSource,
    ) -> None:
        self._location = location
        self._client = client
        self._opened = opened
        self._as_source = as_source
        self._secrets = _secrets(credentials)
        self._tracking_uri = credentials.get("tracking_uri")
        self._registry_uri = credentials.get("registry_uri", self._tracking_uri)
        self._inner: Source | None = None

    def listing(self, transfer: Transfer) -> Listing:
        """What is at the place that the reference means now."""
        uri = self._resolved(transfer)
        self._inner = self._source_at(uri, transfer)
        found = self._inner.listing(transfer)
        if not found.version:
            return found
        # Another place is another version, whatever it says of itself.
        digest = hashlib.sha256(json.dumps([uri, found.version]).encode()).hexdigest()[:32]
        return msgspec.structs.replace(found, version=digest)

    def collect(self, listing: Listing, work: Path, transfer: Transfer) -> Path:
        """See `Source`."""
        if self._inner is None:
            raise StorageError(f"{transfer.uri}: it was not listed before; this is Salver's fault")
        return self._inner.collect(listing, work, transfer)

    def _resolved(self, transfer: Transfer) -> str:
        """The URI of the files, after all references."""
        uri = self._location.uri.partition("#")[0]
        for _ in range(_MOST_STEPS):
            scheme = scheme_of(uri)
            if scheme not in ("models", "runs"):
                return uri
            at = self._registry_uri if scheme == "models" else self._tracking_uri
            if not at:
                raise StorageError(
                    f"{transfer.uri}: MLFLOW_TRACKING_URI is not set; set it to the tracking "
                    "server's address, or to its database or folder"
                )
            reference = parse_reference(uri)
            uri = tracking_at(at, self._json_at).artifact_uri(reference, transfer)
        raise StorageError(f"{transfer.uri}: its references lead from one to the next without end")

    def _source_at(self, uri: str, transfer: Transfer) -> Source:
        scheme = scheme_of(uri)
        if scheme == _PROXY:
            base, path = _proxied(uri, self._tracking_uri, transfer)
            return self._as_source(ProxiedReader(base, path, self._client, self._secrets))
        if scheme in ("", "file"):
            if not _is_here(self._tracking_uri):
                raise StorageError(
                    f"{transfer.uri}: the tracking server says that it is at {shown(uri)}, which "
                    "is a path of the server's machine; let it serve its artifacts"
                )
            path = unquote(urlsplit(uri).path) if scheme else uri
            return self._as_source(FolderReader(Path(path)))
        return self._opened(uri)

    def _json_at(self, url: str, transfer: Transfer) -> bytes:
        with self._client.get(url, transfer, secrets=self._secrets) as answer:
            return answer.read_all(transfer.uri, transfer)


def _secrets(credentials: Credentials) -> dict[str, str]:
    token, user = credentials.get("token"), credentials.get("user")
    if user:
        return {"Authorization": basic(user, credentials.get("password"))}
    return {"Authorization": f"Bearer {token}"} if token else {}


def _is_here(tracking_uri: str) -> bool:
    if scheme_of(tracking_uri) in ("http", "https"):
        return urlsplit(tracking_uri).hostname in _LOOPBACK
    return True


def _proxied(uri: str, tracking_uri: str, transfer: Transfer) -> tuple[str, str]:
    """The server that hands artifacts out, and the path there."""
    parts = urlsplit(uri)
    path = unquote(parts.path).strip("/")
    if parts.netloc:
        scheme = scheme_of(tracking_uri)
        return f"{scheme if scheme == 'http' else 'https'}://{parts.netloc}", path
    if scheme_of(tracking_uri) not in ("http", "https"):
        raise StorageError(
            f"{transfer.uri}: it is behind a tracking server; set MLFLOW_TRACKING_URI to its "
            "address"
        )
    return tracking_uri.rstrip("/"), path


class ProxiedReader:
    """A folder of artifacts that a tracking server hands out. Implements `Reader`."""

    def __init__(self, base: str, path: str, client: WebClient, secrets: dict[str, str]) -> None:
        self._url = f"{base}/api/2.0/mlflow-artifacts/artifacts"
        self._path = path
        self._client = client
        self._secrets = secrets

    def listing(self, transfer: Transfer) -> Listing:
        """All files below the path. They have no versions: their names and sizes stand for one."""
        entries = tuple(self._entries(transfer))
        if not entries:
            raise StorageError(f"{transfer.uri}: nothing is at {self._path}; check the name")
        facts = sorted((entry.name, entry.size_bytes) for entry in entries)
        return Listing(entries, hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32])

    def _entries(self, transfer: Transfer) -> Iterator[Entry]:
        waiting = [""]
        for _ in range(_MOST_FOLDERS):
            if not waiting:
                return
            folder = waiting.pop()
            for each in self._files(folder, transfer):
                name = str(each["path"]).rpartition("/")[2]
                if name in ("", ".", ".."):
                    raise StorageError(f"{transfer.uri}: it has a file without a name; refused")
                path = f"{folder}/{name}" if folder else name
                if each.get("is_dir"):
                    waiting.append(path)
                else:
                    size = each.get("file_size")
                    handle = f"{self._url}/{quote(f'{self._path}/{path}')}"
                    yield Entry(path, None if size is None else int(size), "", handle)
        raise StorageError(f"{transfer.uri}: it has more than {_MOST_FOLDERS} folders; refused")

    def _files(self, folder: str, transfer: Transfer) -> list[dict[str, Any]]:
        path = f"{self._path}/{folder}" if folder else self._path
        url = f"{self._url}?{urlencode({'path': path})}"
        with self._client.get(url, transfer, secrets=self._secrets) as answer:
            text = answer.read_all(transfer.uri, transfer)
        try:
            found = json.loads(text).get("files", [])
            return [{"path": each["path"], **each} for each in found]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise StorageError(
                f"{transfer.uri}: {self._url} does not list artifacts as MLflow does; check "
                "MLFLOW_TRACKING_URI"
            ) from error

    @contextmanager
    def read(self, entry: Entry, offset: int, transfer: Transfer) -> Iterator[Body]:
        """From the start: MLflow's server knows no ranges."""
        with self._client.get(entry.handle, transfer, secrets=self._secrets) as answer:
            yield Body(0, answer.chunks(transfer.uri, transfer))


class FolderReader:
    """A folder of this machine, to be copied. Implements `Reader`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def listing(self, transfer: Transfer) -> Listing:
        """Its files, links followed only within it."""
        root = self._folder.resolve()
        if not root.is_dir():
            raise StorageError(f"{transfer.uri}: {self._folder} is no folder; was it removed?")
        entries, facts = [], []
        for path in sorted(root.rglob("*")):
            if not path.resolve().is_relative_to(root) or not path.is_file():
                continue
            status = path.stat()
            name = path.relative_to(root).as_posix()
            entries.append(Entry(name, status.st_size, f"{status.st_mtime_ns}"))
            facts.append([name, status.st_size, status.st_mtime_ns])
        if not entries:
            raise StorageError(f"{transfer.uri}: {self._folder} is empty; was it removed?")
        version = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]
        return Listing(tuple(entries), version)

    @contextmanager
    def read(self, entry: Entry, offset: int, transfer: Transfer) -> Iterator[Body]:
        """From the offset on."""
        with (self._folder.resolve() / entry.name).open("rb") as file:
            file.seek(offset)
            yield Body(offset, iter(lambda: file.read(_CHUNK), b""))
