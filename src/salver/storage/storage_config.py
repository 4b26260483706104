"""KServe's `storage-config`: named storages with their credentials, and `storage:` specs.

Pure. Owns how an entry's fields become a URI and credentials' names. Refuses to look secrets
up; `credentials.py` does.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from salver.errors import StorageError

SECRET_NAME = "storage-config"
_GOOGLE_FIELDS = ("private_key", "client_email", "token_uri", "private_key_id", "project_id")
_CREDENTIALS = {
    "access_key_id": "access_key",
    "secret_access_key": "secret_key",
    "session_token": "session_token",
    "endpoint_url": "endpoint",
    "endpoint": "endpoint",
    "region": "region",
    "certificate": "ca_pem",
    "cabundle": "ca_pem",
    "anonymous": "anonymous",
    "verify_ssl": "verify_tls",
    "use_virtual_bucket": "virtual_style",
    "account_name": "account",
    "account_key": "account_key",
    "sas_token": "sas",
    "tenant_id": "tenant_id",
    "client_id": "client_id",
    "client_secret": "client_secret",
    "headers": "headers",
    "namenode": "namenode",
    "user": "user",
    "token": "token",
}


def parse_entry(text: str | bytes, where: str) -> dict[str, str]:
    """One entry: JSON with one level of texts. Raises `StorageError` that says where."""
    try:
        found = json.loads(text)
    except ValueError as error:
        raise StorageError(f"{where}: it is not JSON ({error}); correct it") from error
    if not isinstance(found, dict):
        raise StorageError(f'{where}: it is no JSON object, e.g. {{"type": "s3"}}; correct it')
    return {
        str(name): value if isinstance(value, str) else json.dumps(value)
        for name, value in found.items()
        if value is not None
    }


def storage_key_of(key: str, parameters: Mapping[str, str]) -> str:
    """The entry that a `storage:` spec means: its key, `default_TYPE`, or `default`."""
    if key:
        return key
    kind = parameters.get("type", "")
    return f"default_{kind}" if kind else "default"


def uri_of_storage(
    key_config: Mapping[str, str], path: str, parameters: Mapping[str, str] | None = None
) -> str:
    """The URI of a path in a storage; parameters of the spec override the entry's fields.

    Raises `StorageError` if the type is not known or its bucket, host or claim is missing.
    """
    fields = {**key_config, **(parameters or {})}
    kind = fields.get("type", "").lower()
    path = path.strip("/")
    if kind in ("s3", "gs", "gcs"):
        scheme = "s3" if kind == "s3" else "gs"
        return _joined(f"{scheme}://{_needed(fields, kind, 'bucket')}", path)
    if kind in ("azure", "az"):
        container = fields.get("container") or _needed(fields, kind, "bucket")
        account = fields.get("account_name") or _from_connection(fields).get("AccountName", "")
        if not account:
            raise StorageError(f"storage of type {kind}: it has no 'account_name'; add it")
        return _joined(f"abfs://{container}@{account}.blob.core.windows.net", path)
    if kind in ("http", "https"):
        return _joined(_needed(fields, kind, "url").rstrip("/"), path)
    if kind in ("hdfs", "webhdfs"):
        host = fields.get("host") or fields.get("bucket") or "namenode"
        return _joined(f"{kind}://{host}", path)
    if kind == "pvc":
        return _joined(f"pvc://{_needed(fields, kind, 'name')}", path)
    raise StorageError(
        f"storage of type '{kind}': the type is not known; use s3, gs, azure, http, hdfs, "
        "webhdfs or pvc"
    )


def credentials_of_entry(entry: Mapping[str, str]) -> dict[str, str]:
    """An entry's credentials, under the names that the sources use."""
    found = {ours: entry[theirs] for theirs, ours in _CREDENTIALS.items() if entry.get(theirs)}
    if entry.get("private_key") and entry.get("client_email"):
        fields = {name: entry[name] for name in _GOOGLE_FIELDS if entry.get(name)}
        found["service_account_json"] = json.dumps({"type": "service_account", **fields})
    if entry.get("connection_string"):
        found |= credentials_of_connection(entry["connection_string"])
    return found


def credentials_of_connection(connection: str) -> dict[str, str]:
    """An Azure connection string's parts, under the names that the sources use."""
    names = {
        "AccountName": "account",
        "AccountKey": "account_key",
        "SharedAccessSignature": "sas",
        "BlobEndpoint": "endpoint",
        "FileEndpoint": "file_endpoint",
    }
    words = _from_connection({"connection_string": connection})
    return {ours: words[theirs] for theirs, ours in names.items() if words.get(theirs)}


def _from_connection(fields: Mapping[str, str]) -> dict[str, str]:
    words = fields.get("connection_string", "").split(";")
    return {name.strip(): value for name, _, value in (word.partition("=") for word in words)}


def _needed(fields: Mapping[str, str], kind: str, name: str) -> str:
    value = fields.get(name, "")
    if not value:
        raise StorageError(
            f"storage of type {kind}: it has no '{name}'; add it to the storage's entry or to "
            "the spec's parameters"
        )
    return value


def _joined(base: str, path: str) -> str:
    return f"{base}/{path}" if path else base
