import asyncio
import json
from typing import Any

import pytest
from tests.unit.server.grpc.conftest import FakeCatalog, FakeModel

from salver.errors import ErrorKind
from salver.server.topics.answering import AnsweringLimits, TopicAnswers
from salver.server.topics.messages import TopicMessage, TopicReply


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def message(model: str = "iris", body: bytes = b"{}", **headers: str) -> TopicMessage:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return TopicMessage(f"in.{model}", model, "S:1", named, body)


def answers(catalog: Any) -> TopicAnswers:
    limits = AnsweringLimits(timeout_s=3.0, max_body_bytes=100)
    return TopicAnswers("nats", catalog, limits, clock=Clock())


async def asked(catalog: FakeCatalog, sent: TopicMessage) -> tuple[Any, "asyncio.Task[TopicReply]"]:
    """The call that the model has, and the reply to come."""
    reply = asyncio.get_running_loop().create_task(answers(catalog).reply_to(sent))
    await asyncio.sleep(0)
    model = catalog.find("iris", "")
    assert isinstance(model, FakeModel)
    return model.calls[-1], reply


def test_a_message_is_a_call_with_its_headers_and_the_servers_deadline() -> None:
    async def run() -> None:
        call, reply = await asked(FakeCatalog(), message(x_tenant="t"))
        assert call.body == b"{}"
        assert call.header(b"x-tenant") == b"t"
        assert (call.arrived_s, call.deadline_s) == (100.0, 103.0)
        call.deliver(b"answer", 0)
        call.deliver(b"late", 0)
        found = await reply
        assert found.body == b"answer"
        assert found.headers["salver-request-id"] == "S:1"

    asyncio.run(run())


def test_an_error_of_the_model_is_the_reply() -> None:
    async def run() -> None:
        call, reply = await asked(FakeCatalog(), message())
        call.fail(ErrorKind.QUEUE_FULL, "too many")
        found = await reply
        assert found.kind is ErrorKind.QUEUE_FULL
        assert json.loads(found.body) == {"error": "too many"}

    asyncio.run(run())


def test_a_call_whose_handler_is_ended_is_abandoned() -> None:
    async def run() -> None:
        call, reply = await asked(FakeCatalog(), message())
        reply.cancel()
        await asyncio.gather(reply, return_exceptions=True)
        assert call.is_abandoned

    asyncio.run(run())


@pytest.mark.parametrize(
    ("sent", "kind"),
    [
        (message(body=b"x" * 101), ErrorKind.PAYLOAD_TOO_LARGE),
        (message(model="nobody"), ErrorKind.MODEL_NOT_FOUND),
        (message(model=""), ErrorKind.MODEL_NOT_FOUND),
        (message(salver_protocol="v9"), ErrorKind.UNSUPPORTED),
    ],
)
def test_what_never_reaches_a_model_is_answered_too(sent: TopicMessage, kind: ErrorKind) -> None:
    assert asyncio.run(answers(FakeCatalog()).reply_to(sent)).kind is kind


def test_a_bug_is_answered_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(FakeCatalog):
        def find(self, name: str, version: str = "") -> Any:
            raise RuntimeError("a bug")

    reply = asyncio.run(answers(Broken()).reply_to(message()))
    assert reply.kind is ErrorKind.MODEL_FAILED
    assert "a bug" in caplog.text
