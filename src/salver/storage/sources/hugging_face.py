"""Models of a Hugging Face hub, through its plain HTTP API. `HF_ENDPOINT` names another hub."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

from salver.errors import StorageError
from salver.storage.credentials import Credentials
from salver.storage.ports import Body, Checksum, Entry, Listing
from salver.storage.transfer import Transfer
from salver.storage.uris import Location
from salver.storage.web import WebClient

_ENDPOINT = "https://huggingface.co"


class HubReader:
    """The files of one model at one revision. A commit's files never change."""

    def __init__(self, location: Location, client: WebClient, credentials: Credentials) -> None:
        self._location = location
        self._client = client
        self._endpoint = credentials.get("endpoint", _ENDPOINT).rstrip("/")
        token = credentials.get("token")
        self._secrets = {"Authorization": f"Bearer {token}"} if token else {}

    def listing(self, transfer: Transfer) -> Listing:
        """The files of the commit that the revision is now, with the checksums it has."""
        model, revision = self._location.place, self._location.extra or "main"
        url = f"{self._endpoint}/api/models/{model}/revision/{quote(revision, safe='')}?blobs=true"
        with self._client.get(url, transfer, secrets=self._secrets) as answer:
            text = answer.read_all(transfer.uri, transfer)
        try:
            found = json.loads(text)
            commit = str(found["sha"])
            entries = tuple(self._entries(found["siblings"], commit))
        except (ValueError, KeyError, TypeError) as error:
            raise StorageError(
                f"{transfer.uri}: {self._endpoint} does not answer as a hub does; check HF_ENDPOINT"
            ) from error
        if not entries:
            raise StorageError(f"{transfer.uri}: nothing is there at {revision}; check the path")
        return Listing(entries, commit)

    @contextmanager
    def read(self, entry: Entry, offset: int, transfer: Transfer) -> Iterator[Body]:
        """From the offset on; large files come from another host, to which no token goes."""
        headers = {"Range": f"bytes={offset}-"} if offset else {}
        with self._client.get(
            entry.handle, transfer, headers=headers, secrets=self._secrets, accept=(200, 206)
        ) as answer:
            start = offset if answer.status == 206 else 0
            yield Body(start, answer.chunks(transfer.uri, transfer))

    def _entries(self, siblings: Any, commit: str) -> Iterator[Entry]:
        base = f"{self._endpoint}/{self._location.place}/resolve/{commit}"
        start = f"{self._location.path}/" if self._location.path else ""
        for each in siblings:
            path = str(each["rfilename"])
            if not path.startswith(start):
                continue
            large = each.get("lfs") or {}
            checksum = None
            if large.get("sha256"):
                checksum = Checksum("sha256", large["sha256"])
            elif each.get("blobId"):
                checksum = Checksum("git-blob", each["blobId"])
            size = large.get("size", each.get("size"))
            url = f"{base}/{quote(path)}"
            yield Entry(path.removeprefix(start), size, commit, url, checksum)
