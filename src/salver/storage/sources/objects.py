"""S3, Google Cloud Storage and Azure Blob, through obstore.

Owns how credentials become a store's configuration and how a library's error becomes ours.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from salver.errors import StorageError
from salver.storage.credentials import Credentials
from salver.storage.ports import Body, Entry, Interrupted, Listing, SourceChanged, Unreachable
from salver.storage.transfer import Transfer
from salver.storage.uris import Location

if TYPE_CHECKING:
    from obstore.store import ObjectStore

_CHUNK = 1 << 20
_STATUS = re.compile(r"status(?: code)?: (\d{3} [A-Z][A-Za-z ]+)")
_MOST_LISTED = 1_000_000


class ObjectReader:
    """The objects under one path of a bucket or container."""

    def __init__(self, location: Location, store: ObjectStore) -> None:
        self._path = location.path
        self._place = location.place
        self._store = store

    def listing(self, transfer: Transfer) -> Listing:
        """The object of that very name; else those under it as under a folder."""
        with _translated(transfer.uri, self._place):
            single = self._single()
            if single is not None:
                return Listing((single,), single.version, is_file=True)
            entries = _without_markers(list(self._under(transfer)))
        if not entries:
            raise StorageError(
                f"{transfer.uri}: '{self._place}' has no object of that name and none under it; "
                "check the path"
            )
        facts = [[each.name, each.size_bytes, each.version] for each in entries]
        return Listing(entries, hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32])

    @contextmanager
    def read(self, entry: Entry, offset: int, transfer: Transfer) -> Iterator[Body]:
        """The object from the offset on, if it is still the one that was listed."""
        import obstore

        options: dict[str, Any] = {"range": {"offset": offset}} if offset else {}
        if entry.version.startswith('"'):
            options["if_match"] = entry.version
        with _translated(transfer.uri, self._place):
            if entry.size_bytes == 0:
                yield Body(0, iter(()))
                return
            found = obstore.get(self._store, entry.handle, options=options)  # type: ignore[arg-type]
            yield Body(found.range[0], (bytes(each) for each in found.stream(_CHUNK)))

    def _single(self) -> Entry | None:
        import obstore

        if not self._path:
            return None
        try:
            return _entry(obstore.head(self._store, self._path), self._path.rpartition("/")[2])
        except FileNotFoundError:
            return None

    def _under(self, transfer: Transfer) -> Iterator[Entry]:
        import obstore

        start = self._path + "/" if self._path else ""
        count = 0
        for page in obstore.list(self._store, start or None, chunk_size=1000):
            transfer.check()
            count += len(page)
            if count > _MOST_LISTED:
                raise StorageError(
                    f"{transfer.uri}: more than {_MOST_LISTED} objects lie there; name the "
                    "model's own folder"
                )
            for meta in page:
                name = meta["path"].removeprefix(start)
                if meta["path"].startswith(start) and name:
                    yield _entry(meta, name)


def object_store(location: Location, credentials: Credentials, timeout_s: float) -> ObjectStore:
    """The store of a bucket or container, with what credentials there are."""
    makers = {"s3": _s3, "gs": _gcs, "azure": _azure}
    options: dict[str, Any] = {
        "timeout": timedelta(seconds=timeout_s),
        "read_timeout": timedelta(seconds=30),
        "connect_timeout": timedelta(seconds=10),
        "allow_http": credentials.get("endpoint").startswith("http:")
        or not credentials.is_true("use_https", True),
    }
    if credentials.get("ca_pem"):
        options["root_certificate"] = credentials.get("ca_pem")
    if not credentials.is_true("verify_tls", True):
        options["allow_invalid_certificates"] = True
    retries = {"max_retries": 3, "retry_timeout": timedelta(seconds=min(60.0, timeout_s))}
    try:
        return makers[location.kind](location, credentials, options, retries)
    except Exception as error:
        raise StorageError(
            f"{location.uri.partition('?')[0]}: its credentials or address cannot be used "
            f"({_first_line(error)}); correct them"
        ) from error


def _s3(location: Location, found: Credentials, options: Any, retries: Any) -> ObjectStore:
    from obstore.store import S3Store

    config: dict[str, Any] = {"region": found.get("region", "us-east-1")}
    names = {
        "access_key": "access_key_id",
        "secret_key": "secret_access_key",
        "session_token": "session_token",
        "role_arn": "role_arn",
        "web_identity_token_file": "web_identity_token_file",
        "container_credentials_relative_uri": "container_credentials_relative_uri",
        "container_credentials_full_uri": "container_credentials_full_uri",
    }
    config |= {theirs: found.get(ours) for ours, theirs in names.items() if found.get(ours)}
    is_known = len(config) > 1
    if found.is_true("anonymous") or not (is_known or found.is_true("instance_role")):
        config = {"region": config["region"], "skip_signature": True}
    if found.get("endpoint"):
        config["endpoint"] = _endpoint(found)
    config["virtual_hosted_style_request"] = found.is_true("virtual_style")
    return S3Store(location.place, config=config, client_options=options, retry_config=retries)  # type: ignore[arg-type]


def _gcs(location: Location, found: Credentials, options: Any, retries: Any) -> ObjectStore:
    from obstore.store import GCSStore

    config: dict[str, Any] = {}
    if found.get("service_account_json"):
        config["service_account_key"] = found.get("service_account_json")
    elif not found.get("metadata_host"):
        config["skip_signature"] = True
    if found.get("endpoint"):
        config["base_url"] = _endpoint(found)
        options["allow_http"] = config["base_url"].startswith("http:")
    return GCSStore(location.place, config=config, client_options=options, retry_config=retries)  # type: ignore[arg-type]


def _azure(location: Location, found: Credentials, options: Any, retries: Any) -> ObjectStore:
    from obstore.store import AzureStore

    account = location.extra or found.get("account")
    if not account:
        raise StorageError("no storage account is named; write abfs://CONTAINER@ACCOUNT...")
    config: dict[str, Any] = {"account_name": account}
    names = {
        "account_key": "account_key",
        "sas": "sas_key",
        "client_id": "client_id",
        "client_secret": "client_secret",
        "tenant_id": "tenant_id",
        "federated_token_file": "federated_token_file",
    }
    config |= {theirs: found.get(ours) for ours, theirs in names.items() if found.get(ours)}
    if len(config) == 1:
        config["skip_signature"] = True
    if found.get("endpoint"):
        config["endpoint"] = _endpoint(found)
    return AzureStore(location.place, config=config, client_options=options, retry_config=retries)  # type: ignore[arg-type]


def _endpoint(found: Credentials) -> str:
    endpoint = found.get("endpoint").rstrip("/")
    if "://" in endpoint:
        return endpoint
    scheme = "https" if found.is_true("use_https", True) else "http"
    return f"{scheme}://{endpoint}"


def _without_markers(entries: list[Entry]) -> tuple[Entry, ...]:
    """Leaves out empty objects that stand for a folder; the library drops the slash at the end
    of their names, so they are known by what lies under them."""
    folders: set[str] = set()
    for entry in entries:
        parts = entry.name.split("/")
        folders.update("/".join(parts[:count]) for count in range(1, len(parts)))
    return tuple(each for each in entries if each.size_bytes or each.name not in folders)


def _entry(meta: Any, name: str) -> Entry:
    etag = meta["e_tag"] or ""
    if etag and not etag.startswith(('"', "W/")):
        etag = f'"{etag}"'  # listings have it bare, conditions want it quoted
    version = etag or meta["version"] or meta["last_modified"].isoformat()
    return Entry(name, int(meta["size"]), str(version), meta["path"])


@contextmanager
def _translated(uri: str, place: str) -> Iterator[None]:
    """The library's errors become ours."""
    from obstore import exceptions

    try:
        yield
    except FileNotFoundError as error:
        raise StorageError(f"{uri}: it is not there; check the bucket and the path") from error
    except exceptions.PreconditionError as error:
        raise SourceChanged(
            f"{uri}: it has changed while it was fetched; fetch it again"
        ) from error
    except (exceptions.PermissionDeniedError, exceptions.UnauthenticatedError) as error:
        raise _refused(uri, place, error) from error
    except exceptions.InvalidPathError as error:
        raise StorageError(
            f"{uri}: the name of an object cannot be a path ({_first_line(error)}); rename it there"
        ) from error
    except exceptions.BaseError as error:
        raise _generic(uri, place, error) from error


def _refused(uri: str, place: str, error: Exception) -> StorageError:
    return StorageError(
        f"{uri}: access to '{place}' is refused ({_reason(error)}); check the credentials and "
        "what they permit"
    )


def _generic(uri: str, place: str, error: Exception) -> StorageError:
    text = str(error)
    if "404 Not Found" in text:
        return StorageError(f"{uri}: there is no '{place}'; check the bucket or container")
    if any(word in text for word in ("403 Forbidden", "401 Unauthorized", "InvalidAccessKeyId")):
        return _refused(uri, place, error)
    if "kind: Body" in text or "kind: Decode" in text or "Server returned error status: 5" in text:
        return Interrupted(f"{uri}: the connection broke off ({_reason(error)}); try again")
    if "kind: Connect" in text or "error sending request" in text or "kind: Request" in text:
        return Unreachable(f"{uri}: its server cannot be reached ({_reason(error)}); is it up?")
    return StorageError(
        f"{uri}: the server of '{place}' failed ({_reason(error)}); check the address"
    )


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0][:200]


def _reason(error: Exception) -> str:
    """What a server said, out of what the library makes of it."""
    text = str(error)
    for opening, closing in (("<Code>", "</Code>"), ("<Message>", "</Message>")):
        if opening in text:
            return text.partition(opening)[2].partition(closing)[0]
    status = _STATUS.search(text)
    return status[1].strip() if status else _first_line(error)
