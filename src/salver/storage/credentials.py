"""Finds the credentials for a URI, in KServe's order.

From the `storage-config` entry that the order names; else the secrets of its service account;
else `STORAGE_CONFIG`; else the environment. The first that has any is taken whole: secrets of
different origin are never mixed. Then `STORAGE_OVERRIDE_CONFIG` and the spec's parameters
change single fields.

Refuses to use or to log them.
"""

from __future__ import annotations

import configparser
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import msgspec

from salver.errors import StorageError
from salver.storage.ports import FetchOrder, SecretSource
from salver.storage.storage_config import (
    SECRET_NAME,
    credentials_of_connection,
    credentials_of_entry,
    parse_entry,
    storage_key_of,
)

_ANNOTATION = "serving.kserve.io/"
_ENVIRON: dict[str, dict[str, str]] = {
    "s3": {
        "awsAccessKeyID": "access_key",
        "awsSecretAccessKey": "secret_key",
        "AWS_ACCESS_KEY_ID": "access_key",
        "AWS_SECRET_ACCESS_KEY": "secret_key",
        "AWS_SESSION_TOKEN": "session_token",
        "AWS_DEFAULT_REGION": "region",
        "AWS_REGION": "region",
        "S3_ENDPOINT": "endpoint",
        "AWS_ENDPOINT_URL": "endpoint",
        "AWS_ENDPOINT_URL_S3": "endpoint",
        "S3_USE_HTTPS": "use_https",
        "S3_VERIFY_SSL": "verify_tls",
        "S3_USER_VIRTUAL_BUCKET": "virtual_style",
        "awsAnonymousCredential": "anonymous",
        "AWS_ROLE_ARN": "role_arn",
        "AWS_WEB_IDENTITY_TOKEN_FILE": "web_identity_token_file",
        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "container_credentials_relative_uri",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": "container_credentials_full_uri",
        "AWS_CA_BUNDLE": "ca_file",
        _ANNOTATION + "s3-endpoint": "endpoint",
        _ANNOTATION + "s3-usehttps": "use_https",
        _ANNOTATION + "s3-region": "region",
        _ANNOTATION + "s3-verifyssl": "verify_tls",
        _ANNOTATION + "s3-usevirtualbucket": "virtual_style",
        _ANNOTATION + "s3-useanoncredential": "anonymous",
    },
    "gs": {
        "gcloud-application-credentials.json": "service_account_json",
        "GOOGLE_SERVICE_ACCOUNT_KEY": "service_account_json",
        "GOOGLE_APPLICATION_CREDENTIALS": "credentials_file",
        "STORAGE_EMULATOR_HOST": "endpoint",
        "GCE_METADATA_HOST": "metadata_host",
    },
    "azure": {
        "AZ_SUBSCRIPTION_ID": "subscription_id",
        "AZ_TENANT_ID": "tenant_id",
        "AZ_CLIENT_ID": "client_id",
        "AZ_CLIENT_SECRET": "client_secret",
        "AZURE_TENANT_ID": "tenant_id",
        "AZURE_CLIENT_ID": "client_id",
        "AZURE_CLIENT_SECRET": "client_secret",
        "AZURE_STORAGE_ACCOUNT": "account",
        "AZURE_STORAGE_ACCOUNT_NAME": "account",
        "AZURE_STORAGE_ACCESS_KEY": "account_key",
        "AZURE_STORAGE_ACCOUNT_KEY": "account_key",
        "AZURE_STORAGE_KEY": "account_key",
        "AZURE_STORAGE_SAS_TOKEN": "sas",
        "AZURE_STORAGE_ENDPOINT": "endpoint",
        "AZURE_STORAGE_FILE_ENDPOINT": "file_endpoint",
        "AZURE_STORAGE_CONNECTION_STRING": "connection_string",
        "AZURE_FEDERATED_TOKEN_FILE": "federated_token_file",
    },
    "hf": {"HF_ENDPOINT": "endpoint", "HUGGING_FACE_HUB_TOKEN": "token", "HF_TOKEN": "token"},
    "http": {"https-host": "host", "headers": "headers", "https-headers": "headers"},
    "webhdfs": {
        "HDFS_NAMENODE": "namenode",
        "HDFS_ROOTPATH": "root_path",
        "USER_PROXY": "user",
        "HADOOP_USER_NAME": "user",
        "HDFS_DELEGATION_TOKEN": "token",
        "TLS_CA": "ca_pem",
        "TLS_SKIP_VERIFY": "skip_verify",
        "headers": "headers",
    },
    "oci": {".dockerconfigjson": "docker_config"},
    "mlflow": {
        "MLFLOW_TRACKING_URI": "tracking_uri",
        "MLFLOW_REGISTRY_URI": "registry_uri",
        "MLFLOW_TRACKING_USERNAME": "user",
        "MLFLOW_TRACKING_PASSWORD": "password",
        "MLFLOW_TRACKING_TOKEN": "token",
        "MLFLOW_TRACKING_INSECURE_TLS": "skip_verify",
        "MLFLOW_TRACKING_SERVER_CERT_PATH": "ca_file",
    },
    "git": {
        "username": "user",
        "password": "password",
        "GIT_USER": "user",
        "GIT_TOKEN": "password",
    },
}
_ENVIRON["azure-file"] = _ENVIRON["azure"]
_SECRET = {
    "s3": ("access_key", "anonymous"),
    "gs": ("service_account_json",),
    "azure": ("client_id", "account_key", "sas", "connection_string"),
    "azure-file": ("account_key", "sas", "connection_string"),
    "hf": ("token",),
    "http": ("headers",),
    "webhdfs": ("namenode", "user", "token"),
    "oci": ("docker_config",),
    "mlflow": ("tracking_uri",),
    "git": ("password",),
}
"""What a service account's secret must have, one of them, to count as one for this kind."""


class Credentials(msgspec.Struct, frozen=True):
    """Credentials and addresses under the names that the sources use."""

    values: Mapping[str, str] = {}

    def get(self, name: str, default: str = "") -> str:
        """A value, or the default."""
        return self.values.get(name) or default

    def is_true(self, name: str, default: bool = False) -> bool:
        """A switch, in the words that KServe takes."""
        text = self.get(name).strip().lower()
        return text in ("1", "true", "yes", "y", "on") if text else default

    @property
    def identity(self) -> str:
        """A name for whose eyes see the source; says nothing of the secrets."""
        text = json.dumps(sorted(self.values.items()))
        return hashlib.sha256(text.encode()).hexdigest()

    def __repr__(self) -> str:
        return f"Credentials({', '.join(sorted(self.values))})"


def storage_entry(
    secrets: SecretSource, environ: Mapping[str, str], namespace: str, key: str
) -> dict[str, str]:
    """The entry of `storage-config` with that key; `STORAGE_CONFIG` if there is no such
    secret. Raises `StorageError` that lists the keys there are."""
    secret = secrets.secret(namespace, SECRET_NAME)
    if secret is not None and key in secret:
        return parse_entry(secret[key], f"Secret {namespace}/{SECRET_NAME}, key '{key}'")
    if secret is None and environ.get("STORAGE_CONFIG"):
        return parse_entry(environ["STORAGE_CONFIG"], "STORAGE_CONFIG")
    known = sorted(name for name in secret or () if "/" not in name)
    there = f"it has {', '.join(known)}" if known else "there is none"
    raise StorageError(
        f"storage key '{key}': it is not in Secret {namespace}/{SECRET_NAME} ({there}); "
        "add it there"
    )


def find_credentials(
    kind: str, host: str, order: FetchOrder, secrets: SecretSource, environ: Mapping[str, str]
) -> Credentials:
    """The credentials for one order; `kind` and `host` say which matter."""
    values = dict(_first_found(kind, host, order, secrets, environ))
    if environ.get("STORAGE_OVERRIDE_CONFIG"):
        entry = parse_entry(environ["STORAGE_OVERRIDE_CONFIG"], "STORAGE_OVERRIDE_CONFIG")
        values |= credentials_of_entry(entry)
    values |= credentials_of_entry(dict(order.storage_parameters))
    if values.get("connection_string"):
        values |= credentials_of_connection(values.pop("connection_string"))
    return Credentials(_with_files(values, kind, environ))


def _first_found(
    kind: str, host: str, order: FetchOrder, secrets: SecretSource, environ: Mapping[str, str]
) -> Mapping[str, str]:
    parameters = dict(order.storage_parameters)
    if order.storage_key or parameters or order.uri.startswith("storage://"):
        key = storage_key_of(order.storage_key, parameters)
        try:
            entry = storage_entry(secrets, environ, order.namespace, key)
        except StorageError:
            # Without a key of its own, a spec may live on its parameters and the environment.
            if order.storage_key:
                raise
            entry = {}
        if entry:
            return credentials_of_entry(entry)
    for data in _account_secrets(order, secrets):
        found = _named(kind, data)
        if any(found.get(name) for name in _SECRET.get(kind, ())) and _is_for(host, found):
            return found
    if environ.get("STORAGE_CONFIG"):
        found = credentials_of_entry(parse_entry(environ["STORAGE_CONFIG"], "STORAGE_CONFIG"))
        if found:
            return found
    return _of_environ(kind, host, environ)


def _account_secrets(order: FetchOrder, secrets: SecretSource) -> Iterator[Mapping[str, str]]:
    account = order.service_account or "default"
    for name in secrets.service_account_secrets(order.namespace, account):
        data = secrets.secret(order.namespace, name)
        if data is not None:
            yield {key: value.decode("utf-8", "replace") for key, value in data.items()}


def _of_environ(kind: str, host: str, environ: Mapping[str, str]) -> Mapping[str, str]:
    found = _named(kind, environ, but=("headers", "username", "password"))
    if kind == "http" and environ.get(f"{host}-headers"):
        found["headers"] = environ[f"{host}-headers"]
    if kind == "s3" and not found.get("access_key"):
        found |= _aws_profile(environ)
    if kind == "oci":
        found |= _docker_config(environ)
    return found


def _named(kind: str, values: Mapping[str, str], but: Iterable[str] = ()) -> dict[str, str]:
    names = _ENVIRON.get(kind, {})
    return {
        ours: values[theirs]
        for theirs, ours in names.items()
        if values.get(theirs) and theirs not in but
    }


def _is_for(host: str, found: Mapping[str, str]) -> bool:
    return found.get("host", host) == host


def _with_files(values: dict[str, str], kind: str, environ: Mapping[str, str]) -> dict[str, str]:
    """Files that are named become their content: an identity must change when they do."""
    for name, text in (("ca_file", "ca_pem"), ("credentials_file", "service_account_json")):
        path = values.pop(name, "")
        if path and not values.get(text):
            values[text] = _content(path, kind)
    bundle = environ.get("CA_BUNDLE_VOLUME_MOUNT_POINT", "")
    if bundle and not values.get("ca_pem"):
        values["ca_pem"] = _content(str(Path(bundle) / "cabundle.crt"), kind)
    return values


def _content(path: str, kind: str) -> str:
    try:
        return Path(path).expanduser().read_text()
    except (OSError, UnicodeError) as error:
        raise StorageError(
            f"credentials for {kind}: {path} cannot be read ({error}); correct the path"
        ) from error


def _aws_profile(environ: Mapping[str, str]) -> dict[str, str]:
    home = environ.get("HOME", "")
    path = environ.get("AWS_SHARED_CREDENTIALS_FILE") or (
        f"{home}/.aws/credentials" if home else ""
    )
    profiles = configparser.ConfigParser(interpolation=None)
    try:
        if not path or not profiles.read(path):
            return {}
        profile = profiles[environ.get("AWS_PROFILE", "default")]
    except (configparser.Error, KeyError, OSError):
        return {}
    names = {
        "aws_access_key_id": "access_key",
        "aws_secret_access_key": "secret_key",
        "aws_session_token": "session_token",
    }
    return {ours: profile[theirs] for theirs, ours in names.items() if profile.get(theirs)}


def _docker_config(environ: Mapping[str, str]) -> dict[str, str]:
    home = environ.get("HOME", "")
    folder = environ.get("DOCKER_CONFIG") or (f"{home}/.docker" if home else "")
    path = environ.get("REGISTRY_AUTH_FILE") or (f"{folder}/config.json" if folder else "")
    try:
        return {"docker_config": Path(path).read_text()} if path else {}
    except OSError:
        return {}
