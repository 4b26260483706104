"""Addresses of models of a Triton server."""

from __future__ import annotations

import pytest

from salver.artifacts.layout import discover
from salver.errors import ArtifactError
from salver.spec.triton_url import TritonUrl, is_triton_url, parse_triton_url


@pytest.mark.parametrize(
    ("text", "url", "base"),
    [
        ("triton://gpu:8100/m", TritonUrl("gpu", 8100, "m"), "http://gpu:8100"),
        ("triton://gpu/m/3", TritonUrl("gpu", 8000, "m", "3"), "http://gpu:8000"),
        ("tritons://gpu/m/", TritonUrl("gpu", 8000, "m", "", True), "https://gpu:8000"),
        ("TRITON://[::1]:1/a%20b", TritonUrl("::1", 1, "a b"), "http://[::1]:1"),
    ],
)
def test_an_address_names_server_model_and_version(text: str, url: TritonUrl, base: str) -> None:
    assert is_triton_url(text)
    assert parse_triton_url(text) == url
    assert url.base == base


@pytest.mark.parametrize(
    "text",
    [
        "triton://",
        "triton:///m",
        "triton://gpu",
        "triton://gpu:0/m",
        "triton://gpu:x/m",
        "triton://gpu:99999/m",
        "triton://gpu/m/latest",
        "triton://gpu/m/0",
        "triton://gpu/m/1/2",
        "triton://gpu/m?x=1",
        "triton://me:secret@gpu/m",
        "triton://[gpu/m",
    ],
)
def test_a_wrong_address_says_how_to_write_one(text: str) -> None:
    with pytest.raises(ArtifactError, match="triton://HOST:PORT/MODEL") as wrong:
        parse_triton_url(text)
    assert "secret" not in str(wrong.value)


@pytest.mark.parametrize("text", ["triton", "triton/m", "s3://triton/m", "http://gpu:8000/m", ""])
def test_others_are_no_such_addresses(text: str) -> None:
    assert not is_triton_url(text)


def test_an_address_is_a_model_to_serve() -> None:
    (found,) = discover("triton://gpu:8100/m/3", "ours")
    assert (found.name, found.version, found.runtime) == ("ours", "3", "tritonserver")
    assert found.overrides.parameters == {
        "url": "http://gpu:8100",
        "name": "m",
        "version": "3",
    }
    with pytest.raises(ArtifactError, match="choose one with --name"):
        discover("triton://gpu/a%20b")
