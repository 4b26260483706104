"""What is logged of a service's payloads, and that it costs the caller nothing."""

from __future__ import annotations

import json

from tests.calls import RecordingCall
from tests.fakes import FakeModel

from salver.engine.payload_log import (
    REQUEST_TYPE,
    RESPONSE_TYPE,
    EventQueue,
    LoggedModel,
    LogSubject,
    PayloadEvent,
)
from salver.errors import ErrorKind
from salver.graphs.plan import LogMode, LogPolicy
from salver.protocol.frame import ContentCoding
from salver.protocol.wire_codes import RAW_BODY_AUX, Codec
from salver.telemetry.registry import Registry


def logged(mode: LogMode = "all", **policy: object) -> tuple[LoggedModel, EventQueue, FakeModel]:
    queue = EventQueue(Registry(), "http://sink")
    model = FakeModel("iris")
    model.answer = lambda call: call.deliver(b"answer", 4)
    made = LoggedModel(
        model,
        LogSubject("iris", "prod", "predictor", "canary"),
        LogPolicy("http://sink", mode, **policy),  # type: ignore[arg-type]
        queue,
        clock=lambda: 5.0,
        now_text=lambda: "2026-01-02T03:04:05Z",
        new_id=lambda: "new-id",
    )
    return made, queue, model


def test_a_request_and_its_answer_are_kserve_s_events() -> None:
    model, queue, _ = logged(
        metadata_headers=("X-User", "X-Absent"), metadata_annotations=(("team", "a"),)
    )
    call = RecordingCall(b"question", Codec.V1_JSON, headers=[(b"x-user", b"ann")])
    model.submit(call)
    assert call.answer == (b"answer", 4)
    request, response = queue.take(9)
    assert (request.type, request.body, request.content_type) == (
        REQUEST_TYPE,
        b"question",
        "application/json",
    )
    assert (response.type, response.body, response.json_length) == (RESPONSE_TYPE, b"answer", 4)
    assert request.attributes() == {
        "specversion": "1.0",
        "id": "new-id",
        "type": REQUEST_TYPE,
        "source": "/serving/prod/iris",
        "time": "2026-01-02T03:04:05Z",
        "recordedtime": "2026-01-02T03:04:05Z",
        "inferenceservicename": "iris",
        "namespace": "prod",
        "component": "predictor",
        "endpoint": "canary",
        "metadata": json.dumps({"X-User": ["ann"]}),
        "annotations": json.dumps({"team": "a"}),
    }


def test_the_caller_s_id_is_kept() -> None:
    model, queue, _ = logged()
    model.submit(RecordingCall(b"q", headers=[(b"ce-id", b"mine")]))
    assert [event.id for event in queue.take(9)] == ["mine", "mine"]


def test_the_mode_says_what_is_logged() -> None:
    for mode, types in (("request", [REQUEST_TYPE]), ("response", [RESPONSE_TYPE])):
        model, queue, _ = logged(mode)  # type: ignore[arg-type]
        call = RecordingCall(b"q")
        model.submit(call)
        assert call.answer == (b"answer", 4)
        assert [event.type for event in queue.take(9)] == types


def test_an_answer_that_fails_is_not_logged() -> None:
    model, queue, fake = logged()
    fake.answer = lambda call: call.fail(ErrorKind.MODEL_FAILED, "no luck")
    call = RecordingCall(b"q")
    model.submit(call)
    assert call.error == (ErrorKind.MODEL_FAILED, "no luck")
    assert [event.type for event in queue.take(9)] == [REQUEST_TYPE]


def test_the_content_type_is_the_protocol_s_and_packed_bodies_say_so() -> None:
    for tag, aux, expected in (
        (Codec.V2_GRPC, 0, ("application/x-protobuf", "", 0)),
        (Codec.V2_JSON, 12, ("application/octet-stream", "", 12)),
        (Codec.V2_JSON, RAW_BODY_AUX, ("application/octet-stream", "", 0)),
        (Codec.V1_JSON | ContentCoding.GZIP << 8, 0, ("application/json", "gzip", 0)),
    ):
        model, queue, _ = logged("request")
        model.submit(RecordingCall(b"q", tag, aux))
        (event,) = queue.take(9)
        assert (event.content_type, event.coding, event.json_length) == expected


def test_what_does_not_fit_is_dropped_and_counted_and_the_answer_comes_all_the_same() -> None:
    registry = Registry()
    queue = EventQueue(registry, "s", max_events=3, max_bytes=10)
    event = PayloadEvent("i", REQUEST_TYPE, LogSubject("iris"), "t", "application/json", b"1234")
    for _ in range(4):
        queue.put(event)
    assert (len(queue), queue.dropped("queue full").value) == (2, 2)
    queue.take(1)
    queue.put(event)
    assert len(queue) == 2


def test_a_client_that_has_left_is_logged_with_its_request_only() -> None:
    model, queue, fake = logged()
    fake.answer = lambda call: None
    call = RecordingCall(b"q")
    model.submit(call)
    call.is_abandoned = True
    fake.calls[0].deliver(b"late", 0)
    assert (call.answers, len(queue)) == (0, 1)
