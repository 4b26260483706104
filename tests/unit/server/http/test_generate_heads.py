"""What the paths of Triton's generate extension, and forms, ask for."""

from __future__ import annotations

import pytest

from salver.protocol.operations import is_stream
from salver.protocol.wire_codes import Codec
from salver.server.http.head import HeadParser, RequestHead


def head(path: str, *lines: str) -> RequestHead:
    extra = "".join(line + "\r\n" for line in lines)
    raw = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n{extra}\r\n"
    return HeadParser().parse(raw.encode())


@pytest.mark.parametrize(
    ("prefix", "scope"), [("", ""), ("/serving/ns/m", "ns/m"), ("/seldon/ns/m", "seldon:ns/m")]
)
@pytest.mark.parametrize(("part", "version"), [("", ""), ("/versions/2", "2")])
@pytest.mark.parametrize("verb", ["generate", "generate_stream"])
def test_a_model_is_asked_to_generate(
    prefix: str, scope: str, part: str, version: str, verb: str
) -> None:
    found = head(f"{prefix}/v2/models/m%20n{part}/{verb}", "Accept-Encoding: gzip")
    assert (found.generates, found.version, found.scope) == ("m n", version, scope)
    assert found.codec == Codec.GENERATE_JSON
    assert found.model == ""
    assert not found.is_plain
    assert found.is_streamed == is_stream(found.tag) == (verb == "generate_stream")
    # Events are not packed; one answer may be.
    assert (found.tag >> 16 & 0xFF == 0) == found.is_streamed


@pytest.mark.parametrize("path", ["/v2/models/generate", "/v2/models/m/generate/x", "/generate"])
def test_other_paths_are_not(path: str) -> None:
    assert head(path).generates == ""


def test_a_form_is_told_from_json_by_its_content_type() -> None:
    line = "Content-Type: Multipart/form-Data; boundary=x"
    assert head("/v2/models/m/infer", line).codec == Codec.V2_FORM
    assert head("/v2/models/m/infer", "Content-Type: application/json").codec == Codec.V2_JSON
    assert head("/v1/models/m:predict", line).codec == Codec.V1_JSON
