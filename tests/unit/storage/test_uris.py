import re

import pytest

from salver.errors import StorageError
from salver.storage.uris import Location, parse_location, shown

SHA256 = "a" * 64


@pytest.mark.parametrize(
    ("uri", "kind", "place", "path", "extra"),
    [
        ("models/iris", "local", "", "models/iris", ""),
        ("file:///a%20b/c", "local", "", "/a b/c", ""),
        ("file://localhost/a", "local", "", "/a", ""),
        ("s3://bucket/a/b/", "s3", "bucket", "a/b", ""),
        ("S3://bucket", "s3", "bucket", "", ""),
        ("gs://bucket/a", "gs", "bucket", "a", ""),
        ("https://acc.blob.core.windows.net/cont/a/b", "azure", "cont", "a/b", "acc"),
        ("https://acc.z1.blob.core.windows.net/cont/a", "azure", "cont", "a", "acc"),
        ("https://acc.file.core.windows.net/share/a", "azure-file", "share", "a", "acc"),
        (
            "https://acc.blob.core.windows.net/c/a?sig=x",
            "http",
            *("acc.blob.core.windows.net", "/c/a"),
            "",
        ),
        ("abfss://cont@acc.dfs.core.windows.net/a", "azure", "cont", "a", "acc"),
        ("az://cont/a", "azure", "cont", "a", ""),
        ("hf://org/model", "hf", "org/model", "", ""),
        ("hf://org/model:rev", "hf", "org/model", "", "rev"),
        ("hf://org/model@rev/sub", "hf", "org/model", "sub", "rev"),
        ("pvc://claim/a/b", "pvc", "claim", "a/b", ""),
        ("oci://host:5000/team/iris:v1", "oci", "host:5000", "team/iris:v1", ""),
        ("hdfs://host:8020/a", "webhdfs", "host:8020", "a", ""),
        ("https://host/team/models.git", "git", "https://host/team/models.git", "", ""),
        ("https://host/models.git@v1/iris", "git", "https://host/models.git", "iris", "v1"),
        ("git://host/models.git/iris", "git", "git://host/models.git", "iris", ""),
        ("git+ssh://git@host/models.git@v1", "git", "ssh://git@host/models.git", "", "v1"),
        ("git+https://h/m.git@v1#subdirectory=a/b", "git", "https://h/m.git", "a/b", "v1"),
        ("https://host/a.bst", "http", "host", "/a.bst", ""),
    ],
)
def test_a_uri_comes_apart(uri: str, kind: str, place: str, path: str, extra: str) -> None:
    assert parse_location(uri) == Location(kind, uri, place, path, extra)


def test_a_checksum_stands_in_the_fragment() -> None:
    assert parse_location(f"s3://b/a#sha256={SHA256}").sha256 == SHA256
    assert parse_location(f"/models/a.bst#sha256={SHA256}").path == "/models/a.bst"


@pytest.mark.parametrize(
    ("uri", "reason"),
    [
        ("", "it is empty"),
        ("ftp://host/a", "scheme 'ftp' is not known; use a path, file"),
        ("s3:///a", "nothing is named after s3://"),
        ("https:///a", "no host is named"),
        ("file://host/a", "write file:///host/a"),
        ("hf://model", "write hf://ORGANISATION/MODEL"),
        ("git://host/models", "has '.git' in it"),
        ("https://host/m.git@--upload-pack=x", "does not begin with '-'"),
        ("https://acc.blob.core.windows.net/", "no container is named"),
        ("abfs://@acc.dfs.core.windows.net/a", "no container is named"),
        ("s3://b/a#sha256=12", "64 hexadecimal digits"),
        ("s3://b/a#md5=12", "is not understood"),
    ],
)
def test_a_wrong_uri_says_what_is_wrong(uri: str, reason: str) -> None:
    with pytest.raises(StorageError, match=re.escape(reason)):
        parse_location(uri)


def test_what_may_be_secret_is_not_shown() -> None:
    assert shown("https://me:geheim@host/a?sig=geheim#x") == "https://host/a#x"
    assert shown("s3://bucket/a@b") == "s3://bucket/a@b"
