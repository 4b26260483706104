"""ModelInfer: routing, deadlines, refusals and what becomes of an answer."""

from __future__ import annotations

from typing import Any

import pytest

from salver.errors import ErrorKind
from salver.server.grpc import fields
from salver.server.grpc.ports import Code
from salver.server.grpc.service import InferenceService
from salver.settings import ServeSettings

NOW_S = 100.0
RETRY = (("retry-after", "1"),)


@pytest.fixture
def refused() -> list[tuple[str, str]]:
    return []


@pytest.fixture
def service(front: Any, catalog: Any, refused: list[tuple[str, str]]) -> InferenceService:
    return InferenceService(
        front,
        catalog,
        ServeSettings(request_timeout=30.0, max_body_size=1000),
        on_refused=lambda protocol, reason: refused.append((protocol, reason)),
        clock=lambda: NOW_S,
    )


def request(name: str, version: str = "") -> bytes:
    return (
        fields.text_field(1, name)
        + fields.text_field(3, "id-1")
        + fields.bytes_field(5, b"an input")
        + fields.text_field(2, version)
    )


def test_a_request_goes_to_its_model_with_its_bytes_untouched(
    service: InferenceService, catalog: Any
) -> None:
    service.infer(1, request("iris"), None, ())
    service.infer(2, request("iris", "1"), None, ())
    assert [call.body for call in catalog.two.calls] == [request("iris")]
    assert [call.body for call in catalog.one.calls] == [request("iris", "1")]
    call = catalog.two.calls[0]
    assert (call.codec, call.aux, call.attempts, call.is_abandoned) == (2, 0, 0, False)
    assert call.arrived_s == NOW_S


def test_a_call_has_its_metadata_as_its_headers(service: InferenceService, catalog: Any) -> None:
    service.infer(1, request("iris"), None, (("salver-tag", "prev"), ("trace-bin", b"\x00\xff")))
    call = catalog.two.calls[0]
    assert call.header(b"salver-tag") == b"prev"
    assert call.header(b"trace-bin") == b"\x00\xff"
    assert call.header(b"absent") == b""
    assert list(call.headers()) == [(b"salver-tag", b"prev"), (b"trace-bin", b"\x00\xff")]


@pytest.mark.parametrize(("left_s", "deadline_s"), [(None, 130.0), (0.5, 100.5), (99.0, 130.0)])
def test_the_nearer_of_timeout_and_client_deadline_holds(
    service: InferenceService, catalog: Any, left_s: float | None, deadline_s: float
) -> None:
    service.infer(1, request("iris"), left_s, ())
    assert catalog.two.calls[0].deadline_s == deadline_s


@pytest.mark.parametrize("answer", [b"answer", memoryview(b"an answer")[3:]])
def test_the_answer_is_sent_and_the_call_forgotten(
    service: InferenceService, catalog: Any, front: Any, answer: bytes | memoryview
) -> None:
    service.infer(7, request("iris"), None, ())
    assert service.open_calls == 1
    catalog.two.calls[0].deliver(answer, 0)
    assert front.responses == {7: b"answer"}
    assert type(front.responses[7]) is bytes
    assert service.open_calls == 0


@pytest.mark.parametrize(
    ("kind", "code", "trailing"),
    [
        (ErrorKind.INVALID_INPUT, Code.INVALID_ARGUMENT, ()),
        (ErrorKind.PAYLOAD_TOO_LARGE, Code.RESOURCE_EXHAUSTED, ()),
        (ErrorKind.MODEL_NOT_FOUND, Code.NOT_FOUND, ()),
        (ErrorKind.MODEL_NOT_READY, Code.UNAVAILABLE, ()),
        (ErrorKind.UNSUPPORTED, Code.UNIMPLEMENTED, ()),
        (ErrorKind.QUEUE_FULL, Code.RESOURCE_EXHAUSTED, RETRY),
        (ErrorKind.UNAVAILABLE, Code.UNAVAILABLE, RETRY),
        (ErrorKind.DEADLINE_EXCEEDED, Code.DEADLINE_EXCEEDED, ()),
        (ErrorKind.MODEL_FAILED, Code.INTERNAL, ()),
    ],
)
def test_each_kind_of_error_has_its_status(
    service: InferenceService,
    catalog: Any,
    front: Any,
    kind: ErrorKind,
    code: Code,
    trailing: tuple[tuple[str, str], ...],
) -> None:
    service.infer(1, request("iris"), None, ())
    catalog.two.calls[0].fail(kind, "why")
    assert front.failures == {1: (code, "why", trailing)}
    assert service.open_calls == 0


def test_a_message_too_long_for_a_trailer_is_cut_between_characters(
    service: InferenceService, catalog: Any, front: Any
) -> None:
    service.infer(1, request("iris"), None, ())
    catalog.two.calls[0].fail(ErrorKind.MODEL_FAILED, "x" + "ü" * 5000)
    _, message, _ = front.failures[1]
    assert message.endswith("ü...")
    assert len(message.encode()) < 1600


def test_a_cancelled_call_is_abandoned_and_its_answer_dropped(
    service: InferenceService, catalog: Any, front: Any
) -> None:
    service.infer(1, request("iris"), None, ())
    service.on_cancel(1)
    service.on_cancel(1)
    call = catalog.two.calls[0]
    assert call.is_abandoned
    call.deliver(b"late", 0)
    call.fail(ErrorKind.DEADLINE_EXCEEDED, "later")
    assert (front.responses, front.failures, service.open_calls) == ({}, {}, 0)


def test_an_unknown_model_is_not_found_and_counted(
    service: InferenceService, front: Any, refused: list[tuple[str, str]]
) -> None:
    service.infer(1, request("nope", "3"), None, ())
    code, message, _ = front.failures[1]
    assert (code, message) == (Code.NOT_FOUND, "no model 'nope' version '3'")
    assert refused == [("grpc", "model_not_found")]


def test_malformed_protobuf_is_an_invalid_argument_and_counted(
    service: InferenceService, front: Any, refused: list[tuple[str, str]]
) -> None:
    service.infer(1, b"\x0a\xff\xff", None, ())
    code, message, _ = front.failures[1]
    assert code is Code.INVALID_ARGUMENT
    assert "ModelInferRequest" in message
    assert refused == [("grpc", "invalid_input")]


def test_an_oversized_request_is_refused_with_its_size_and_the_limit(
    service: InferenceService, front: Any, refused: list[tuple[str, str]]
) -> None:
    service.infer(1, bytes(1001), None, ())
    code, message, _ = front.failures[1]
    assert code is Code.RESOURCE_EXHAUSTED
    assert "1001" in message
    assert "1000" in message
    assert "--max-body-size" in message
    assert refused == [("grpc", "payload_too_large")]
