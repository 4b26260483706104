"""What goes to a service elsewhere, and what its answers mean."""

from __future__ import annotations

import pytest
from tests.calls import RecordingCall

from salver.backends.remote.endpoint import metadata_of
from salver.backends.remote.forwarding import (
    PROPAGATED,
    coding_of,
    headers_of,
    kind_of,
    names_memory,
    outcome_of,
    reason_of,
    target_of,
)
from salver.backends.remote.http_client import Answer
from salver.errors import ErrorKind
from salver.protocol.frame import ContentCoding
from salver.protocol.operations import Operation, marked
from salver.protocol.wire_codes import RAW_BODY_AUX, Codec


def test_the_path_says_protocol_model_and_verb() -> None:
    for tag, target in (
        (Codec.V1_JSON, "/v1/models/a%2Fb:predict"),
        (Codec.V2_JSON, "/v2/models/a%2Fb/infer"),
        (marked(Codec.V1_JSON, Operation.EXPLAIN), "/v1/models/a%2Fb:explain"),
    ):
        assert target_of(RecordingCall(b"", tag), "a/b") == target


def test_a_raw_body_says_that_it_has_no_json() -> None:
    headers = dict(headers_of(RecordingCall(b"", Codec.V2_JSON, RAW_BODY_AUX), ()))
    assert headers[b"inference-header-content-length"] == b"0"


def test_a_request_that_names_shared_memory_is_noticed() -> None:
    named = b'{"inputs":[{"parameters":{"shared_memory_region":"r"}}]}'
    other = b'{"inputs":[{"name":"x"}]}'
    assert names_memory(RecordingCall(named, codec=Codec.V2_JSON))
    assert not names_memory(RecordingCall(other, codec=Codec.V2_JSON))
    # Behind the JSON are tensors: their bytes mean nothing.
    assert not names_memory(RecordingCall(other + named, codec=Codec.V2_JSON, aux=len(other)))
    assert not names_memory(RecordingCall(named, codec=Codec.V2_JSON, aux=RAW_BODY_AUX))
    assert not names_memory(RecordingCall(named, codec=Codec.V1_JSON))


def test_only_the_headers_listed_are_handed_on() -> None:
    call = RecordingCall(
        b"",
        Codec.V1_JSON | ContentCoding.DEFLATE << 8,
        headers=[(b"traceparent", b"t"), (b"authorization", b"Bearer x"), (b"cookie", b"c")],
    )
    assert dict(headers_of(call, PROPAGATED)) == {
        b"content-type": b"application/json",
        b"content-encoding": b"deflate",
        b"traceparent": b"t",
        b"authorization": b"Bearer x",
    }


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, ErrorKind.INVALID_INPUT),
        (422, ErrorKind.INVALID_INPUT),
        (404, ErrorKind.MODEL_NOT_FOUND),
        (413, ErrorKind.PAYLOAD_TOO_LARGE),
        (429, ErrorKind.QUEUE_FULL),
        (501, ErrorKind.UNSUPPORTED),
        (503, ErrorKind.UNAVAILABLE),
        (504, ErrorKind.DEADLINE_EXCEEDED),
        (500, ErrorKind.MODEL_FAILED),
        (302, ErrorKind.MODEL_FAILED),
    ],
)
def test_statuses_keep_their_meaning(status: int, kind: ErrorKind) -> None:
    assert kind_of(status) is kind


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b'{"error": "no\\n luck"}', "no luck"),
        (b'{"detail": [1]}', "[1]"),
        (b"<h1>Bad</h1>\n", "<h1>Bad</h1>"),
        (b"\xff", "\ufffd"),
        (b"[1]", "[1]"),
    ],
)
def test_the_reason_is_one_line_whatever_the_body(body: bytes, text: str) -> None:
    assert reason_of(body) == text


def test_codings_and_metadata_that_make_no_sense_are_noticed() -> None:
    assert [coding_of(each) for each in (b"", b"identity", b"GZIP", b"br")] == [0, 0, 1, -1]
    assert metadata_of(b"<html>") is None
    found = metadata_of(
        b'{"platform": "p", "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 2]},'
        b' {"name": "y", "datatype": "ODD"}]}'
    )
    assert found is not None
    assert [each.name for each in found.inputs] == ["x"]


def test_an_answer_is_a_body_or_an_error_with_the_service_s_words() -> None:
    call = RecordingCall(b"", Codec.V2_JSON)
    headers = [(b"content-encoding", b"gzip"), (b"inference-header-content-length", b"12")]
    good = outcome_of(call, Answer(200, headers, b""), "m", "v2")
    assert good == (ErrorKind.OK, "", 1, 12, False)
    odd = outcome_of(call, Answer(200, [(b"content-encoding", b"br")], b""), "m", "v2")
    assert odd.kind is ErrorKind.MODEL_FAILED
    absent = Answer(404, (), b'{"error": "no model"}')
    own = outcome_of(call, absent, "m", "v2")
    assert (own.kind, own.is_own) == (ErrorKind.MODEL_NOT_FOUND, True)
    for unclear in (
        Answer(500, (), b""),
        Answer(302, (), b"there"),
        Answer(500, [(b"content-encoding", b"gzip")], b"packed"),
    ):
        assert not outcome_of(call, unclear, "m", "v2").is_own
    foreign = outcome_of(call, absent, "m", "v1")
    assert not foreign.is_own
    assert (foreign.kind, foreign.message) == (
        ErrorKind.UNSUPPORTED,
        "model 'm' speaks v1, and answers 404 to v2: no model",
    )
