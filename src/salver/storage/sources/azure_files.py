"""Azure Files shares, through their REST interface: obstore reads blobs only."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from email.utils import formatdate
from urllib.parse import parse_qsl, quote, urlencode, urlsplit
from xml.etree import ElementTree

from salver.errors import StorageError
from salver.storage.credentials import Credentials
from salver.storage.ports import Body, Entry, Listing
from salver.storage.sources.http_files import body_of
from salver.storage.transfer import Transfer
from salver.storage.uris import Location
from salver.storage.web import WebClient

_VERSION = "2023-11-03"
_MOST_FOLDERS = 10_000


class ShareReader:
    """A file or folder of a share."""

    def __init__(self, location: Location, client: WebClient, credentials: Credentials) -> None:
        self._location = location
        self._client = client
        self._key = credentials.get("account_key")
        self._sas = dict(parse_qsl(credentials.get("sas").lstrip("?")))
        self._base = credentials.get(
            "file_endpoint", f"https://{location.extra}.file.core.windows.net"
        ).rstrip("/")

    def listing(self, transfer: Transfer) -> Listing:
        """The files under the path; the file itself if it is one."""
        path = self._location.path
        parent, _, name = path.rpartition("/")
        if name:
            for entry, _ in self._folder(parent, transfer):
                if entry is not None and entry.name == name:
                    return Listing((entry,), _digest([entry]), is_file=True)
        entries = sorted(self._under(path, transfer), key=lambda entry: entry.name)
        if not entries:
            raise StorageError(f"{transfer.uri}: the folder is empty; check the path")
        return Listing(tuple(entries), _digest(entries))

    @contextmanager
    def read(self, entry: Entry, offset: int, transfer: Transfer) -> Iterator[Body]:
        """The file from the offset on."""
        extra = {"x-ms-range": f"bytes={offset}-"} if offset else {}
        url, headers = self._request(entry.handle, {}, extra)
        with self._client.get(url, transfer, secrets=headers, accept=(200, 206)) as answer:
            yield body_of(answer, entry, offset, transfer)

    def _under(self, top: str, transfer: Transfer) -> Iterator[Entry]:
        folders, seen = [top], 0
        start = top + "/" if top else ""
        while folders:
            folder = folders.pop()
            seen += 1
            if seen > _MOST_FOLDERS:
                raise StorageError(f"{transfer.uri}: more than {_MOST_FOLDERS} folders lie there")
            for entry, subfolder in self._folder(folder, transfer):
                path = f"{folder}/{subfolder}".lstrip("/")
                if entry is None:
                    folders.append(path)
                else:
                    name = f"{folder}/{entry.name}".lstrip("/").removeprefix(start)
                    yield Entry(name, entry.size_bytes, entry.version, entry.handle)

    def _folder(self, folder: str, transfer: Transfer) -> Iterator[tuple[Entry | None, str]]:
        """What lies directly in a folder: (entry, "") for a file, (None, name) for a folder."""
        marker = ""
        while True:
            query = {"restype": "directory", "comp": "list", "include": "Etag"}
            url, headers = self._request(
                folder, {**query, **({"marker": marker} if marker else {})}
            )
            with self._client.get(url, transfer, secrets=headers) as answer:
                text = answer.read_all(transfer.uri, transfer)
            try:
                root = ElementTree.fromstring(text)
                for each in root.iterfind("./Entries/Directory"):
                    yield None, str(each.findtext("Name"))
                for each in root.iterfind("./Entries/File"):
                    name = str(each.findtext("Name"))
                    size = int(str(each.findtext("./Properties/Content-Length")))
                    etag = each.findtext("./Properties/Etag") or ""
                    yield Entry(name, size, etag, f"{folder}/{name}".lstrip("/")), ""
            except (ElementTree.ParseError, ValueError) as error:
                raise StorageError(
                    f"{transfer.uri}: {self._base} does not answer as Azure Files does; check it"
                ) from error
            marker = root.findtext("NextMarker") or ""
            if not marker:
                return

    def _request(
        self, path: str, query: Mapping[str, str], extra: Mapping[str, str] | None = None
    ) -> tuple[str, dict[str, str]]:
        """A URL and its headers, signed with what there is."""
        whole = f"{self._location.place}/{path}".rstrip("/")
        url = f"{self._base}/{quote(whole)}"
        headers = {
            "x-ms-version": _VERSION,
            "x-ms-date": formatdate(usegmt=True),
            **(extra or {}),
        }
        if self._key and not self._sas:
            account = self._location.extra
            path_signed = urlsplit(url).path
            headers["Authorization"] = signature(account, self._key, path_signed, query, headers)
        words = {**query, **self._sas}
        return (f"{url}?{urlencode(words)}" if words else url), headers


def signature(
    account: str, key: str, path: str, query: Mapping[str, str], headers: Mapping[str, str]
) -> str:
    """The Authorization of a GET with the account's key, after Azure's "Shared Key" rules."""
    named = sorted((name.lower(), value) for name, value in headers.items())
    canonical_headers = "".join(f"{name}:{value}\n" for name, value in named if name[:5] == "x-ms-")
    resource = f"/{account}{path}"
    resource += "".join(f"\n{name.lower()}:{value}" for name, value in sorted(query.items()))
    text = "GET" + "\n" * 12 + canonical_headers + resource
    digest = hmac.new(base64.b64decode(key), text.encode(), hashlib.sha256).digest()
    return f"SharedKey {account}:{base64.b64encode(digest).decode()}"


def _digest(entries: list[Entry]) -> str:
    text = json.dumps([[each.name, each.size_bytes, each.version] for each in entries])
    return hashlib.sha256(text.encode()).hexdigest()[:32]
