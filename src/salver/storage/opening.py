"""From a location to its source: the one place that knows all kinds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from salver.errors import StorageError
from salver.storage.credentials import Credentials, find_credentials
from salver.storage.ports import FetchOrder, Reader, Source, StorageSettings
from salver.storage.sources.files import FileRules, FilesSource
from salver.storage.unpack import Limits
from salver.storage.uris import Location, parse_location, shown
from salver.storage.web import WebClient


class _NoSecrets:
    """What a reference leads to is fetched with what the environment has."""

    def secret(self, namespace: str, name: str) -> Mapping[str, bytes] | None:
        return None

    def service_account_secrets(self, namespace: str, name: str) -> Sequence[str]:
        return ()


_NO_SECRETS = _NoSecrets()
_HOLDING_ARTIFACTS = ("s3", "gs", "azure", "hf", "webhdfs", "http")
"""Where a tracking server may say that files are, beside itself."""


def open_source(
    location: Location,
    credentials: Credentials,
    settings: StorageSettings,
    environ: Mapping[str, str],
) -> Source:
    """The source at a location that is not local. Its libraries are imported only now."""
    limits = Limits(settings.max_artifact_bytes, settings.max_files)
    rules = FileRules(limits, settings.parallel, settings.allow_patterns, settings.ignore_patterns)
    client = WebClient(
        environ,
        ca_pem=credentials.get("ca_pem"),
        verifies=not credentials.is_true("skip_verify"),
    )
    if location.kind == "git":
        from salver.storage.sources.git import GitSource

        return GitSource(location, credentials, limits, environ)
    if location.kind == "oci":
        from salver.storage.sources.oci import OciSource

        return OciSource(location, client, credentials, rules)
    if location.kind == "mlflow":
        from salver.storage.sources.mlflow import MlflowSource

        def opened(uri: str) -> Source:
            inner = parse_location(uri)
            if inner.kind not in _HOLDING_ARTIFACTS:
                raise StorageError(f"{location.uri}: it is at {shown(uri)}, which is refused")
            found = find_credentials(inner.kind, inner.place, FetchOrder(uri), _NO_SECRETS, environ)
            return open_source(inner, found, settings, environ)

        return MlflowSource(
            location, client, credentials, opened, lambda reader: FilesSource(reader, rules)
        )
    return FilesSource(_reader(location, client, credentials, settings), rules)


def _reader(
    location: Location, client: WebClient, credentials: Credentials, settings: StorageSettings
) -> Reader:
    if location.kind == "local":
        from salver.storage.sources.local import LocalArchive

        return LocalArchive(Path(location.path))
    if location.kind in ("s3", "gs", "azure"):
        from salver.storage.sources.objects import ObjectReader, object_store

        return ObjectReader(location, object_store(location, credentials, settings.timeout_s))
    if location.kind == "azure-file":
        from salver.storage.sources.azure_files import ShareReader

        return ShareReader(location, client, credentials)
    if location.kind == "hf":
        from salver.storage.sources.hugging_face import HubReader

        return HubReader(location, client, credentials)
    if location.kind == "webhdfs":
        from salver.storage.sources.webhdfs import HdfsReader

        return HdfsReader(location, client, credentials)
    if location.kind == "http":
        from salver.storage.sources.http_files import HttpReader

        return HttpReader(location.uri, client, credentials)
    raise StorageError(f"{location.uri}: there is no source of kind '{location.kind}'")
