import json

import pytest

from salver.errors import StorageError
from salver.storage.storage_config import (
    credentials_of_entry,
    parse_entry,
    storage_key_of,
    uri_of_storage,
)


@pytest.mark.parametrize(
    ("entry", "uri"),
    [
        ({"type": "s3", "bucket": "b"}, "s3://b/m/iris"),
        ({"type": "gcs", "bucket": "b"}, "gs://b/m/iris"),
        ({"type": "gs", "bucket": "b"}, "gs://b/m/iris"),
        (
            {"type": "azure", "account_name": "acc", "container": "c"},
            "abfs://c@acc.blob.core.windows.net/m/iris",
        ),
        (
            {"type": "azure", "connection_string": "AccountName=acc;AccountKey=k=", "bucket": "c"},
            "abfs://c@acc.blob.core.windows.net/m/iris",
        ),
        ({"type": "http", "url": "https://host/x/"}, "https://host/x/m/iris"),
        ({"type": "webhdfs", "host": "node:9870"}, "webhdfs://node:9870/m/iris"),
        ({"type": "pvc", "name": "claim"}, "pvc://claim/m/iris"),
    ],
)
def test_a_path_in_a_storage_becomes_a_uri(entry: dict[str, str], uri: str) -> None:
    assert uri_of_storage(entry, "/m/iris") == uri


def test_parameters_override_the_entry() -> None:
    entry = {"type": "s3", "bucket": "b"}
    assert uri_of_storage(entry, "iris", {"bucket": "other"}) == "s3://other/iris"
    assert uri_of_storage({}, "", {"type": "s3", "bucket": "b"}) == "s3://b"


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ({"type": "s3"}, "it has no 'bucket'"),
        ({"type": "azure", "bucket": "c"}, "no 'account_name'"),
        ({"type": "tape"}, "the type is not known"),
        ({}, "the type is not known"),
    ],
)
def test_an_entry_that_says_too_little_is_an_error(entry: dict[str, str], reason: str) -> None:
    with pytest.raises(StorageError, match=reason):
        uri_of_storage(entry, "iris")


def test_the_key_is_chosen_as_kserve_does() -> None:
    assert storage_key_of("mine", {"type": "s3"}) == "mine"
    assert storage_key_of("", {"type": "s3"}) == "default_s3"
    assert storage_key_of("", {}) == "default"


def test_an_entry_gives_credentials() -> None:
    entry = parse_entry('{"type": "s3", "access_key_id": "a", "anonymous": true}', "here")
    assert credentials_of_entry(entry) == {"access_key": "a", "anonymous": "true"}


def test_a_google_key_in_parts_becomes_whole() -> None:
    entry = {"type": "gcs", "private_key": "k", "client_email": "e", "token_uri": "t"}
    found = json.loads(credentials_of_entry(entry)["service_account_json"])
    assert found["type"] == "service_account"
    assert found["client_email"] == "e"


def test_a_connection_string_comes_apart() -> None:
    text = (
        "DefaultEndpointsProtocol=https;AccountName=acc;AccountKey=a2V5PT0=;BlobEndpoint=http://h"
    )
    found = credentials_of_entry({"connection_string": text})
    assert found == {"account": "acc", "account_key": "a2V5PT0=", "endpoint": "http://h"}


@pytest.mark.parametrize("text", ["{", "[]", '"x"'])
def test_an_entry_that_is_no_object_says_where(text: str) -> None:
    with pytest.raises(StorageError, match="Secret x, key 'y': it is no"):
        parse_entry(text, "Secret x, key 'y'")
