"""One file from a web server. Lists it by asking for its first byte: a HEAD is often refused,
by signed URLs for example.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from urllib.parse import unquote, urlsplit

from salver.errors import StorageError
from salver.storage.credentials import Credentials
from salver.storage.ports import Body, Entry, Interrupted, Listing, SourceChanged
from salver.storage.transfer import Transfer
from salver.storage.unpack import archive_suffix
from salver.storage.web import Answer, WebClient, checksum_of

_UNNAMED = "model"


class HttpReader:
    """The file at one URL."""

    def __init__(self, url: str, client: WebClient, credentials: Credentials) -> None:
        self._url = url.partition("#")[0]
        self._client = client
        self._secrets = headers_of(credentials.get("headers"), url)

    def listing(self, transfer: Transfer) -> Listing:
        """Its name, size and validator."""
        first, accept = {"Range": "bytes=0-0"}, (200, 206, 416)
        with self._client.get(
            self._url, transfer, headers=first, secrets=self._secrets, accept=accept
        ) as answer:
            # An empty file has no first byte.
            if answer.status != 416:
                return self._listing(answer)
        with self._client.get(self._url, transfer, secrets=self._secrets) as answer:
            return self._listing(answer)

    def _listing(self, answer: Answer) -> Listing:
        version, name = validator_of(answer), _file_name(answer, self._url)
        entry = Entry(name, _whole_length(answer), version, "", checksum_of(answer))
        return Listing((entry,), version_text(version), is_file=True)

    @contextmanager
    def read(self, entry: Entry, offset: int, transfer: Transfer) -> Iterator[Body]:
        """From the offset on, or from the start if the server knows no ranges."""
        headers = {"Range": f"bytes={offset}-", "If-Range": entry.version} if offset else {}
        with self._client.get(
            self._url, transfer, headers=headers, secrets=self._secrets, accept=(200, 206)
        ) as answer:
            yield body_of(answer, entry, offset, transfer)


def body_of(answer: Answer, entry: Entry, offset: int, transfer: Transfer) -> Body:
    """The body of an answer to a request for the entry from the offset on."""
    if entry.version and validator_of(answer) not in ("", entry.version):
        raise SourceChanged(f"{transfer.uri}: it has changed while it was fetched; fetch it again")
    start = _range_start(answer) if answer.status == 206 else 0
    if start > offset:
        raise StorageError(f"{transfer.uri}: the server sent another range than asked for")
    chunks = _whole(answer, transfer)
    return Body(start, chunks, checksum_of(answer))


def validator_of(answer: Answer) -> str:
    """A strong ETag, else the time of change, else nothing."""
    etag = answer.header("ETag")
    if etag and not etag.startswith("W/"):
        return etag
    return answer.header("Last-Modified")


def version_text(validator: str) -> str:
    """A validator as part of a folder's name."""
    return hashlib.sha256(validator.encode()).hexdigest()[:32] if validator else ""


def headers_of(text: str, uri: str) -> Mapping[str, str]:
    """Headers from a secret: JSON, as KServe takes them, or lines `Name: value`."""
    if not text.strip():
        return {}
    try:
        found = json.loads(text) if text.lstrip().startswith("{") else _lines(text)
    except ValueError as error:
        host = urlsplit(uri).netloc.rpartition("@")[2]
        raise StorageError(
            f"headers for {host}: they are not JSON ({error}); correct the secret"
        ) from error
    return {str(name): str(value) for name, value in found.items()}


def _lines(text: str) -> dict[str, str]:
    pairs = (line.partition(":") for line in text.splitlines() if line.strip())
    return {name.strip(): value.strip() for name, _, value in pairs}


def _whole(answer: Answer, transfer: Transfer) -> Iterator[bytes]:
    """The chunks; a body that is shorter than its announced length has broken off."""
    got = 0
    for chunk in answer.chunks(transfer.uri, transfer):
        got += len(chunk)
        yield chunk
    if answer.length is not None and got < answer.length:
        raise Interrupted(
            f"{transfer.uri}: the connection broke off after {got} of {answer.length} bytes; what "
            "has come is kept, so try again"
        )


def _whole_length(answer: Answer) -> int | None:
    """The file's length, of which the answer may have but a part."""
    if answer.status != 206:
        return answer.length
    text = answer.header("Content-Range").rpartition("/")[2]
    return int(text) if text.isdigit() else None


def _range_start(answer: Answer) -> int:
    text = answer.header("Content-Range").removeprefix("bytes ").partition("-")[0]
    return int(text) if text.isdigit() else 0


def _file_name(answer: Answer, url: str) -> str:
    """The name in the URL, or what the server calls it if the URL has none."""
    name = unquote(urlsplit(url).path).rpartition("/")[2]
    disposition = answer.header("Content-Disposition")
    if "." not in name and "filename=" in disposition:
        given = disposition.partition("filename=")[2].partition(";")[0].strip().strip('"')
        name = given.replace("\\", "/").rpartition("/")[2] or name
    if name in ("", ".", ".."):
        name = _UNNAMED
    suffix = archive_suffix(name, answer.header("Content-Type"))
    return name if not suffix or name.lower().endswith(suffix) else name + suffix
