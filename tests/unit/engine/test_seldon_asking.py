"""What a component says of itself, when it is asked."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from tests.fakes import FakeModel

from salver.engine import seldon_asking
from salver.engine.call import Call
from salver.engine.seldon_asking import health_of, own_metadata
from salver.engine.seldon_component import SeldonPart
from salver.errors import DeadlineExceeded, ErrorKind, ModelFailed, RequestError
from salver.protocol.bundle import MessageHead, StepReply, pack, unpack_call
from salver.protocol.wire_codes import Codec


def part(answer: Callable[[Call], None]) -> SeldonPart:
    worker = FakeModel("steps")
    worker.answer = answer
    return SeldonPart(worker, "f")


def saying(body: bytes) -> SeldonPart:
    head = MessageHead("", int(Codec.SELDON_JSON), 0, 0, len(body), False)
    return part(lambda call: call.deliver(pack(StepReply([head]), [body]), 0))


def failing(call: Call) -> None:
    call.fail(ErrorKind.QUEUE_FULL, "come back later")


def test_the_class_is_asked_without_a_message() -> None:
    asked = []

    def respond(call: Call) -> None:
        head, bodies = unpack_call(call.body)
        asked.append((head.calls[0].method, head.codec, len(bodies), call.deadline_s))
        call.fail(ErrorKind.MODEL_FAILED, "not today")

    with pytest.raises(RequestError, match="not today"):
        asyncio.run(health_of("m", part(respond), 2.0, lambda: 10.0))
    assert asked == [("health_status", int(Codec.SELDON_JSON), 0, 12.0)]


def test_health_is_the_component_s_own_message() -> None:
    body = asyncio.run(health_of("m", saying(b'{"strData":"fine"}'), 2.0, lambda: 1.0))
    assert b'"strData":"fine"' in body


def test_metadata_is_what_the_component_declares() -> None:
    said = saying(b'{"jsonData":{"name":"n"}}')
    assert asyncio.run(own_metadata("m", said, 2.0, lambda: 1.0)) == {"name": "n"}
    assert asyncio.run(own_metadata("m", saying(b"{}"), 2.0, lambda: 1.0)) == {}
    with pytest.raises(ModelFailed, match="component 'm': its metadata is no object"):
        asyncio.run(own_metadata("m", saying(b'{"jsonData":[1]}'), 2.0, lambda: 1.0))


def test_a_refusal_keeps_its_kind() -> None:
    with pytest.raises(RequestError, match="come back later") as refused:
        asyncio.run(own_metadata("m", part(failing), 2.0, lambda: 1.0))
    assert refused.value.kind is ErrorKind.QUEUE_FULL


def test_a_component_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Call] = []
    monkeypatch.setattr(seldon_asking, "_GRACE_S", 0.0)
    with pytest.raises(DeadlineExceeded, match=r"component .m. has not answered in 0\.01 s"):
        asyncio.run(health_of("m", part(asked.append), 0.01, lambda: 1.0))
    assert asked[0].is_abandoned
    asked[0].deliver(pack(StepReply(), []), 0)
    asked[0].fail(ErrorKind.MODEL_FAILED, "too late")
