"""Which deployment, component and operation Seldon's paths ask for; V1 and V2 below its prefix."""

from __future__ import annotations

import pytest

from salver.protocol.operations import Operation, operation_of
from salver.protocol.wire_codes import Codec
from salver.server.http.head import HeadParser, HttpError, RequestHead


def head(path: str, method: str = "POST") -> RequestHead:
    raw = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n"
    return HeadParser().parse(raw.encode())


@pytest.mark.parametrize(
    ("prefix", "scope"),
    [("", ""), ("/seldon/ns/name", "seldon:ns/name"), ("/seldon/na%20me", "seldon:na me")],
)
@pytest.mark.parametrize("version", ["v0.1", "v1.0"])
def test_predictions_and_feedback_are_a_deployments(prefix: str, scope: str, version: str) -> None:
    predictions = head(f"{prefix}/api/{version}/predictions")
    assert (predictions.codec, predictions.scope) == (Codec.SELDON_JSON, scope)
    assert (predictions.component, predictions.node, predictions.model) == ("predict", "", "")
    assert operation_of(predictions.tag) is Operation.PREDICT
    feedback = head(f"{prefix}/api/{version}/feedback")
    assert (feedback.component, feedback.scope) == ("send_feedback", scope)
    assert operation_of(feedback.tag) is Operation.FEEDBACK
    assert not predictions.is_plain


@pytest.mark.parametrize(
    "verb",
    ["predict", "transform-input", "transform-output", "route", "aggregate", "send-feedback"],
)
def test_components_are_the_only_one_or_a_part_of_a_graph(verb: str) -> None:
    method = verb.replace("-", "_")
    alone = head(f"/{verb}")
    assert (alone.component, alone.scope, alone.node) == (method, "", "")
    part = head(f"/seldon/ns/name/part/{verb}")
    assert (part.component, part.scope, part.node) == (method, "seldon:ns/name", "part")
    assert operation_of(part.tag) is Operation.PREDICT
    assert head(f"/seldon/ns/name/{verb}").node == ""


@pytest.mark.parametrize(
    ("path", "codec", "model"),
    [
        ("/seldon/ns/name/v1/models/m:predict", Codec.V1_JSON, "m"),
        ("/seldon/ns/name/v1/models/m/:predict", Codec.V1_JSON, "m"),
        ("/seldon/ns/name/v2/models/m/infer", Codec.V2_JSON, "m"),
        ("/seldon/ns/name/v1/models:predict", Codec.V1_JSON, ""),
        ("/seldon/ns/name/v1/models/:predict", Codec.V1_JSON, ""),
        ("/seldon/ns/name/v2/models/infer", Codec.V2_JSON, ""),
    ],
)
def test_v1_and_v2_are_asked_below_the_prefix(path: str, codec: Codec, model: str) -> None:
    found = head(path)
    assert (found.codec, found.model, found.scope) == (codec, model, "seldon:ns/name")
    assert found.component == ""


def test_a_query_may_hold_the_message() -> None:
    assert head("/predict?json=%7B%7D", "GET").component == "predict"
    for path in ("/predict", "/predict?other=1", "/api/v1.0/predictions?json=%7B%7D"):
        assert head(path, "GET").codec == 0


@pytest.mark.parametrize("path", ["/seldon/ns/name", "/api/v2.0/predictions", "/predict/"])
def test_other_paths_are_left_to_the_application(path: str) -> None:
    assert (head(path).codec, head(path).component) == (0, "")


def test_a_path_that_is_no_text_is_refused() -> None:
    with pytest.raises(HttpError, match="not valid UTF-8"):
        head("/seldon/%ff/api/v1.0/predictions")
