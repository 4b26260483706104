"""HDFS through its REST interface, WebHDFS. `hdfs://` is read the same way."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote, urlencode

from salver.errors import StorageError
from salver.storage.credentials import Credentials
from salver.storage.ports import Body, Entry, Listing, Unreachable
from salver.storage.sources.http_files import body_of, headers_of
from salver.storage.transfer import Transfer
from salver.storage.uris import Location, scheme_of
from salver.storage.web import WebClient

_HTTP_PORT = 9870
_RPC_PORTS = ("8020", "9000")
_MOST_FOLDERS = 10_000


class HdfsReader:
    """A file or folder of a cluster."""

    def __init__(self, location: Location, client: WebClient, credentials: Credentials) -> None:
        self._path = "/".join(
            part for part in (credentials.get("root_path").strip("/"), location.path) if part
        )
        self._client = client
        self._bases = _name_nodes(location, credentials)
        self._secrets = headers_of(credentials.get("headers"), location.uri)
        names = {"user": "user.name", "token": "delegation"}
        self._query = {
            theirs: credentials.get(ours) for ours, theirs in names.items() if credentials.get(ours)
        }

    def listing(self, transfer: Transfer) -> Listing:
        """All files under the path, or the one that it is."""
        status = self._ask("GETFILESTATUS", self._path, transfer)["FileStatus"]
        if status["type"] == "FILE":
            entry = _entry(status, self._path.rpartition("/")[2], self._path)
            return Listing((entry,), _digest([entry]), is_file=True)
        entries = sorted(self._under(transfer), key=lambda entry: entry.name)
        if not entries:
            raise StorageError(f"{transfer.uri}: the folder is empty; check the path")
        return Listing(tuple(entries), _digest(entries))

    @contextmanager
    def read(self, entry: Entry, offset: int, transfer: Transfer) -> Iterator[Body]:
        """OPEN, which redirects to the node that has the data."""
        failure: StorageError | None = None
        for base in self._bases:
            url = self._url(base, "OPEN", entry.handle, {"offset": str(offset)})
            try:
                with self._client.get(url, transfer, secrets=self._secrets) as answer:
                    body = body_of(answer, Entry(entry.name, None, ""), 0, transfer)
                    yield Body(offset, body.chunks)
                    return
            except Unreachable as error:
                failure = error
        if failure is not None:
            raise failure

    def _under(self, transfer: Transfer) -> Iterator[Entry]:
        folders = [""]
        seen = 0
        while folders:
            folder = folders.pop()
            seen += 1
            if seen > _MOST_FOLDERS:
                raise StorageError(
                    f"{transfer.uri}: more than {_MOST_FOLDERS} folders lie there; name the "
                    "model's own"
                )
            answer = self._ask("LISTSTATUS", f"{self._path}/{folder}".strip("/"), transfer)
            for status in answer["FileStatuses"]["FileStatus"]:
                name = "/".join(part for part in (folder, status["pathSuffix"]) if part)
                if status["type"] == "DIRECTORY":
                    folders.append(name)
                elif status["type"] == "FILE":
                    yield _entry(status, name, f"{self._path}/{name}")

    def _ask(self, operation: str, path: str, transfer: Transfer) -> Any:
        """The answer of the first name node that is up and active."""
        failure: StorageError | None = None
        for base in self._bases:
            url = self._url(base, operation, path, {})
            try:
                with self._client.get(
                    url, transfer, secrets=self._secrets, accept=(200, 403)
                ) as answer:
                    text = answer.read_all(transfer.uri, transfer)
                    found = json.loads(text)
                    if answer.status == 200:
                        return found
                    failure = _refusal(found, transfer.uri)
                    if "StandbyException" not in str(found):
                        raise failure
            except Unreachable as error:
                failure = error
            except ValueError as error:
                raise StorageError(
                    f"{transfer.uri}: {base} does not answer as WebHDFS does; check host and port"
                ) from error
        raise failure or StorageError(f"{transfer.uri}: no name node is known; set HDFS_NAMENODE")

    def _url(self, base: str, operation: str, path: str, extra: dict[str, str]) -> str:
        query = urlencode({"op": operation, **self._query, **extra})
        return f"{base}/webhdfs/v1/{quote(path)}?{query}"


def _name_nodes(location: Location, credentials: Credentials) -> list[str]:
    """Where to ask: what `HDFS_NAMENODE` lists, else the URI's host."""
    given = [each for each in credentials.get("namenode").split(";") if each]
    if given:
        return [each.rstrip("/") if "://" in each else f"http://{each}" for each in given]
    host, _, port = location.place.partition(":")
    if port in _RPC_PORTS:
        port = ""
    scheme = "https" if scheme_of(location.uri) == "swebhdfs" else "http"
    return [f"{scheme}://{host}:{port or _HTTP_PORT}"]


def _entry(status: Any, name: str, path: str) -> Entry:
    size = int(status["length"])
    version = f"{status.get('fileId', '')}-{status['modificationTime']}-{size}"
    return Entry(name, size, version, path)


def _digest(entries: list[Entry]) -> str:
    text = json.dumps([[each.name, each.version] for each in entries])
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _refusal(found: Any, uri: str) -> StorageError:
    message = found.get("RemoteException", {}).get("message", "") if isinstance(found, dict) else ""
    reason = str(message).partition("\n")[0][:200]
    return StorageError(f"{uri}: access is refused ({reason}); check the user (HADOOP_USER_NAME)")
