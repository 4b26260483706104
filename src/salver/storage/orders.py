"""What an order comes to: the place after all maps, the credentials, the key in the cache.

Owns that decision. Refuses to contact anybody; secrets are asked for through their port.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

import msgspec

from salver.errors import StorageError
from salver.storage.credentials import Credentials, find_credentials, storage_entry
from salver.storage.maps import mapped_uri
from salver.storage.ports import (
    CustomSource,
    CustomSources,
    FetchedArtifact,
    FetchOrder,
    SecretSource,
    Source,
    StorageSettings,
)
from salver.storage.sources.local import claim_path, local_path
from salver.storage.storage_config import storage_key_of, uri_of_storage
from salver.storage.tree import stat_digest
from salver.storage.unpack import archive_suffix
from salver.storage.uris import Location, parse_location, scheme_of, shown

_STORAGE = "storage"


class Resolved(msgspec.Struct, frozen=True):
    """An order, decided. `uri` is the one asked for, fit to be shown; `key` names what is
    fetched in the cache. `source` is set if it is not one of storage's own."""

    uri: str
    location: Location
    credentials: Credentials
    key: str
    source: Source | None = None


def resolve(
    order: FetchOrder,
    settings: StorageSettings,
    secrets: SecretSource,
    environ: Mapping[str, str],
    custom: CustomSources = lambda order, uri: None,
) -> Resolved:
    """Decides an order. Raises `StorageError` if it cannot be carried out as it stands.

    A map comes before a custom source, and that before storage's own.
    """
    asked = _asked_uri(order, secrets, environ)
    mapped = mapped_uri(asked, settings.maps)
    found = custom(order, asked) if mapped == asked else None
    if found is not None:
        return _customised(asked, found, settings)
    location = parse_location(mapped)
    if location.kind in ("local", "pvc"):
        return Resolved(shown(asked), location, Credentials(), "")
    credentials = find_credentials(location.kind, location.place, order, secrets, environ)
    return Resolved(shown(asked), location, credentials, _key(location, credentials, settings))


def _customised(uri: str, custom: CustomSource, settings: StorageSettings) -> Resolved:
    location = Location("custom", uri, custom.identity, "")
    key = _key(location, Credentials(), settings)
    return Resolved(shown(uri), location, Credentials(), key, custom.source)


def _asked_uri(order: FetchOrder, secrets: SecretSource, environ: Mapping[str, str]) -> str:
    """The order's URI; composed from the storage's entry if it is but a path there, which is
    written `storage://PATH`, or bare with a key or parameters."""
    parameters = dict(order.storage_parameters)
    scheme = scheme_of(order.uri)
    if scheme not in ("", _STORAGE) or not (scheme or order.storage_key or parameters):
        return order.uri
    key = storage_key_of(order.storage_key, parameters)
    try:
        entry = storage_entry(secrets, environ, order.namespace, key)
    except StorageError:
        if order.storage_key or "type" not in parameters:
            raise
        entry = {}
    return uri_of_storage(entry, order.uri.removeprefix(f"{_STORAGE}://"), parameters)


def located(resolved: Resolved, settings: StorageSettings) -> FetchedArtifact | Resolved:
    """Looks at a place on this machine: what lies there is used in place, but an archive is
    unpacked and a file with a checksum is held against it, in the cache. Reads the disk."""
    location, uri = resolved.location, resolved.uri
    if location.kind == "pvc":
        root = settings.pvc_dir or settings.cache_dir.parent / "pvc"
        path = claim_path(root, location.place, location.path, uri)
    else:
        path = local_path(location.path, uri)
    if path.is_dir() or not (archive_suffix(path.name) or location.sha256):
        digest, size_bytes = stat_digest(path)
        return FetchedArtifact(path, uri, digest, size_bytes, True)
    found = Location("local", location.uri, "", str(path), sha256=location.sha256)
    return Resolved(uri, found, resolved.credentials, _key(found, resolved.credentials, settings))


def _key(location: Location, credentials: Credentials, settings: StorageSettings) -> str:
    """Names what is fetched: the place, who looks, and what is taken of it."""
    facts = [
        [location.kind, location.uri.partition("#")[0], location.place, location.path],
        credentials.identity,
        settings.allow_patterns,
        settings.ignore_patterns,
    ]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]
