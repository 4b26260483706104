"""A component asked by itself: messages in, a bundle to its worker, a message out."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.fakes import FakeModel

from salver.engine.call import Call
from salver.engine.seldon_component import ComponentModel, SeldonPart
from salver.errors import ErrorKind
from salver.protocol.bundle import MessageHead, StepCall, StepReply, pack, unpack_call
from salver.protocol.operations import Operation, operation_of
from salver.protocol.seldon_pb2 import SeldonMessage, SeldonMessageList
from salver.protocol.wire_codes import Codec


class Asked(Call):
    """A call that keeps its answer."""

    answer: bytes = b""
    failure: tuple[ErrorKind, str] | None = None

    def deliver(self, body: bytes, aux: int) -> None:
        self.answer = body

    def fail(self, kind: ErrorKind, message: str) -> None:
        self.failure = (kind, message)


def ask(
    method: str, body: bytes, reply: StepReply, codec: int = Codec.SELDON_JSON, answer: bytes = b""
) -> tuple[Asked, StepCall | None, list[bytes]]:
    """What the caller gets when the worker replies so, and what the worker was asked."""
    worker = FakeModel("steps")
    seen: list[Any] = []

    def respond(call: Call) -> None:
        assert operation_of(call.codec) is Operation.STEP
        asked, bodies = unpack_call(call.body)
        seen.extend((asked, [bytes(each) for each in bodies]))
        call.deliver(pack(reply, [answer] if reply.messages else []), 0)

    worker.answer = respond
    call = Asked(int(codec), 0, body, arrived_s=1.0, deadline_s=2.0)
    ComponentModel("mean", SeldonPart(worker, "f"), method).submit(call)
    return call, *(seen or (None, []))


def replied(answer: bytes, codec: int = Codec.SELDON_JSON, **more: Any) -> StepReply:
    return StepReply([MessageHead("", int(codec), 0, 0, len(answer), False)], **more)


def test_the_message_goes_to_the_function_and_its_answer_comes_back_with_meta() -> None:
    answer = b'{"strData":"b"}'
    reply = replied(answer, meta={"mean": {"tags": {"a": 1}, "metrics": [{"key": "k"}]}})
    call, asked, bodies = ask("transform_input", b'{"strData":"a"}', reply, answer=answer)
    assert asked is not None
    assert (asked.calls[0].function, asked.calls[0].method) == ("f", "transform_input")
    assert bodies == [b'{"strData":"a"}']
    assert json.loads(call.answer) == {
        "strData": "b",
        "meta": {"tags": {"a": 1}, "metrics": [{"key": "k"}]},
    }


def test_what_it_reports_of_itself_is_handed_on() -> None:
    reported: list[tuple[str, Any]] = []
    worker = FakeModel("steps")
    reply = StepReply(branch=1, meta={"mean": {"metrics": [{"key": "k"}]}, "other": {}})
    worker.answer = lambda call: call.deliver(pack(reply, []), 0)
    call = Asked(int(Codec.SELDON_JSON), 0, b"{}", arrived_s=1.0, deadline_s=2.0)
    part = SeldonPart(worker, "f", lambda name, metrics: reported.append((name, list(metrics))))
    ComponentModel("mean", part, "route").submit(call)
    assert reported == [("mean", [{"key": "k"}]), ("other", [])]


def test_a_list_is_taken_apart_for_aggregation() -> None:
    answer = SeldonMessage(strData="c").SerializeToString()
    body = SeldonMessageList(
        seldonMessages=[SeldonMessage(strData="a"), SeldonMessage(strData="b")]
    ).SerializeToString()
    reply = replied(answer, Codec.SELDON_GRPC)
    call, asked, bodies = ask("aggregate", body, reply, Codec.SELDON_GRPC, answer)
    assert asked is not None and len(asked.messages) == 2
    assert [SeldonMessage.FromString(each).strData for each in bodies] == ["a", "b"]
    assert SeldonMessage.FromString(call.answer).strData == "c"


def test_a_branch_is_answered_as_an_array() -> None:
    call, _, _ = ask("route", b"{}", StepReply(branch=1))
    assert json.loads(call.answer)["data"]["ndarray"] == [[1]]


def test_feedback_tells_the_component_its_own_branch() -> None:
    body = b'{"response":{"meta":{"routing":{"mean":2,"other":1}}}}'
    call, asked, _ = ask("send_feedback", body, StepReply())
    assert asked is not None and asked.routing == 2
    assert json.loads(call.answer) == {"meta": {}}


@pytest.mark.parametrize(
    ("method", "body", "codec", "fact"),
    [
        ("aggregate", b"[]", Codec.SELDON_JSON, "list to aggregate is empty"),
        ("aggregate", b"{}", Codec.SELDON_JSON, "no SeldonMessageList"),
        ("predict", b"{}", Codec.V1_JSON, "Seldon's protocol only"),
    ],
)
def test_what_cannot_be_asked_is_refused(method: str, body: bytes, codec: int, fact: str) -> None:
    call, asked, _ = ask(method, body, StepReply(), codec)
    assert asked is None
    assert call.failure is not None and fact in call.failure[1]
