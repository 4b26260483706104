"""What TensorFlow Serving's REST paths ask for."""

from __future__ import annotations

import pytest

from salver.protocol.wire_codes import REGRESS_AUX, Codec
from salver.server.http.head import HeadParser, RequestHead


def head(path: str, method: str = "POST", host: str = "localhost") -> RequestHead:
    raw = f"{method} {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\n\r\n"
    return HeadParser().parse(raw.encode())


@pytest.mark.parametrize(
    ("path", "codec", "aux", "version", "label"),
    [
        ("/v1/models/m:classify", Codec.TFS_EXAMPLES_JSON, 0, "", ""),
        ("/v1/models/m:regress", Codec.TFS_EXAMPLES_JSON, REGRESS_AUX, "", ""),
        ("/v1/models/m/versions/3:regress", Codec.TFS_EXAMPLES_JSON, REGRESS_AUX, "3", ""),
        ("/v1/models/m/labels/canary:predict", Codec.V1_JSON, 0, "", "canary"),
        ("/v1/models/m/labels/a%20b:classify", Codec.TFS_EXAMPLES_JSON, 0, "", "a b"),
        ("/V1/Models/m:Classify", Codec.TFS_EXAMPLES_JSON, 0, "", ""),
        ("/v1/models/m/versions/3:PREDICT", Codec.V1_JSON, 0, "3", ""),
    ],
)
def test_a_path_names_model_version_label_and_verb(
    path: str, codec: Codec, aux: int, version: str, label: str
) -> None:
    found = head(path)
    assert (found.model, found.version, found.label) == ("m", version, label)
    assert (found.tag, found.aux) == (codec, aux)
    assert found.is_plain


def test_a_label_is_looked_up_within_the_scope_there_is() -> None:
    assert head("/v1/models/m/labels/x:predict").scope == "host:"
    assert head("/v1/models/m/labels/x:predict", host="m.example").scope == "host:m.example"
    assert head("/serving/ns/m/v1/models/m/labels/x:predict").scope == "ns/m"
    assert head("/v1/models/m:classify").scope == ""


@pytest.mark.parametrize("path", ["/v1/models/m:multi", "/v1/models/m/labels/:predict"])
def test_other_paths_are_no_inference(path: str) -> None:
    assert head(path).codec == 0
    assert head("/v1/models/m:classify", method="GET").codec == 0
