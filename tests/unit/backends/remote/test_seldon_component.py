"""A component of Seldon's behind HTTP: which paths are asked, with what, and what comes of it."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import time
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import pytest
from tests.calls import RecordingCall

from salver.backends.remote.http_client import origin_of
from salver.backends.remote.model import RemoteOptions
from salver.backends.remote.seldon_component import SeldonComponent
from salver.errors import ErrorKind, ModelNotReady
from salver.protocol.bundle import Invocation, MessageHead, StepCall, StepReply, pack, unpack_reply
from salver.protocol.operations import Operation, marked
from salver.protocol.seldon_pb2 import Feedback, SeldonMessage
from salver.protocol.wire_codes import Codec
from salver.telemetry.metrics import ModelMetrics
from salver.telemetry.registry import Registry

Routes = Mapping[str, tuple[int, Any]]
ROW = {"data": {"names": ["a", "b"], "ndarray": [[1, 2]]}}
DOUBLED = {"data": {"names": ["x", "y"], "ndarray": [[2, 4]]}}
WELL: Routes = {"/health/status": (200, {})}


class Listener:
    """Answers by path, and keeps what it was asked."""

    def __init__(self, routes: Routes) -> None:
        self.routes = routes
        self.asked: list[tuple[str, Any, dict[str, str]]] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with (
            contextlib.closing(writer),
            contextlib.suppress(asyncio.IncompleteReadError, ConnectionError),
        ):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
                path = head[0].split(" ")[1]
                headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
                body = await reader.readexactly(int(headers.get("content-length", "0")))
                if not path.startswith("/health"):
                    self.asked.append((path, json.loads(body or b"null"), headers))
                status, answer = self.routes.get(path, (404, {}))
                text = json.dumps(answer).encode()
                writer.write(b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n" % (status, len(text)))
                writer.write(text)
                await writer.drain()


@contextlib.asynccontextmanager
async def component_of(
    routes: Routes, wait_s: float = 10
) -> AsyncIterator[tuple[SeldonComponent, Listener]]:
    listener = Listener({**WELL, **routes})
    server = await asyncio.start_server(listener.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    options = RemoteOptions(protocol="seldon", max_body_bytes=1 << 20)
    metrics = ModelMetrics(Registry(), "m", "1")
    model = SeldonComponent("m", "1", options, metrics, clock=time.monotonic)
    model.add(origin_of(f"http://127.0.0.1:{port}"))
    try:
        await model.wait_ready(wait_s)
        yield model, listener
    finally:
        model.close()
        server.close()
        await server.wait_closed()


def answered(routes: Routes, call: RecordingCall) -> Listener:
    """Sends the call to a component with those routes, and waits for what comes of it."""

    async def scenario() -> Listener:
        async with component_of(routes) as (model, listener):
            model.submit(call)
            await call.wait()
            return listener

    return asyncio.run(scenario())


def step(
    *methods: str, bodies: list[Any], codec: int = Codec.SELDON_JSON, **head: Any
) -> RecordingCall:
    texts = [each if isinstance(each, bytes) else json.dumps(each).encode() for each in bodies]
    call = StepCall(
        [Invocation(f"s{index}", "m", method) for index, method in enumerate(methods)],
        [MessageHead("x", codec, 0, 0, len(each), True) for each in texts],
        **head,
    )
    return RecordingCall(pack(call, texts), marked(codec, Operation.STEP))


def reply_of(call: RecordingCall) -> tuple[StepReply, list[bytes]]:
    assert call.answer is not None, call.error
    reply, bodies = unpack_reply(call.answer[0])
    return reply, [bytes(each) for each in bodies]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("predict", "/predict"),
        ("transform_input", "/transform-input"),
        ("transform_output", "/transform-output"),
    ],
)
def test_a_step_is_one_request_and_its_meta_is_told_apart(method: str, path: str) -> None:
    meta = {"tags": {"seen": True}, "metrics": [{"key": "n", "type": "COUNTER", "value": 1}]}
    call = step(method, bodies=[ROW])
    listener = answered({path: (200, {**DOUBLED, "meta": {**meta, "puid": "p"}})}, call)
    assert [(each[0], each[1]) for each in listener.asked] == [(path, ROW)]
    reply, (body,) = reply_of(call)
    assert json.loads(body) == DOUBLED
    assert reply.meta == {"s0": meta}
    assert (reply.messages[0].codec, reply.messages[0].is_request) == (Codec.SELDON_JSON, False)
    assert len(reply.seconds) == 1


def test_calls_of_one_bundle_go_one_after_the_other() -> None:
    call = step("transform_input", "predict", bodies=[ROW])
    routes: Routes = {"/transform-input": (200, DOUBLED), "/predict": (200, ROW)}
    listener = answered(routes, call)
    assert [(each[0], each[1]) for each in listener.asked] == [
        ("/transform-input", ROW),
        ("/predict", DOUBLED),
    ]
    assert json.loads(reply_of(call)[1][0]) == ROW


@pytest.mark.parametrize(
    ("data", "branch"),
    [
        ({"ndarray": [[1]]}, 1),
        ({"tensor": {"shape": [1, 1], "values": [-1.0]}}, -1),
        ({"ndarray": [0]}, 0),
    ],
)
def test_a_router_s_answer_is_its_first_number(data: Any, branch: int) -> None:
    call = step("route", bodies=[ROW])
    answered({"/route": (200, {"data": data})}, call)
    reply, bodies = reply_of(call)
    assert reply.branch == branch
    assert bodies == []


def test_a_router_s_answer_without_a_number_is_its_failure() -> None:
    call = step("route", bodies=[ROW])
    answered({"/route": (200, {"strData": "left"})}, call)
    assert call.error is not None
    assert call.error[0] is ErrorKind.MODEL_FAILED
    assert "its answer names no branch" in call.error[1]


def test_a_combiner_gets_all_messages_as_a_list() -> None:
    call = step("aggregate", bodies=[ROW, DOUBLED])
    listener = answered({"/aggregate": (200, ROW)}, call)
    assert listener.asked[0][1] == {"seldonMessages": [ROW, DOUBLED]}
    two = step("predict", bodies=[ROW, DOUBLED])
    answered({"/predict": (200, ROW)}, two)
    assert two.error is not None
    assert "takes one message, and was given 2" in two.error[1]


def test_feedback_goes_to_its_own_path_and_has_no_message_for_an_answer() -> None:
    feedback = {"request": ROW, "response": DOUBLED, "reward": 1.0}
    call = step("send_feedback", bodies=[feedback], routing=1)
    listener = answered({"/send-feedback": (200, {})}, call)
    assert (listener.asked[0][0], listener.asked[0][1]) == ("/send-feedback", feedback)
    assert reply_of(call)[1] == []
    message = Feedback(reward=0.5, request=SeldonMessage(strData="x")).SerializeToString()
    grpc = step("send_feedback", bodies=[message], codec=Codec.SELDON_GRPC)
    listener = answered({"/send-feedback": (200, {})}, grpc)
    assert listener.asked[0][1] == {"request": {"strData": "x"}, "reward": 0.5}


def test_a_whole_call_is_a_prediction_with_the_caller_s_trace() -> None:
    headers = [(b"traceparent", b"00-1-2-01"), (b"cookie", b"secret")]
    body = gzip.compress(json.dumps(ROW).encode())
    call = RecordingCall(body, Codec.SELDON_JSON | 1 << 8, headers=headers)
    listener = answered({"/predict": (200, DOUBLED)}, call)
    path, asked, sent = listener.asked[0]
    assert (path, asked) == ("/predict", ROW)
    assert sent["traceparent"] == "00-1-2-01"
    assert "cookie" not in sent
    assert json.loads(call.text) == DOUBLED


def v1(**fields: Any) -> bytes:
    return json.dumps(fields).encode()


@pytest.mark.parametrize(
    ("codec", "body", "asked", "expected"),
    [
        (
            Codec.V1_JSON,
            v1(instances=[[1, 2]]),
            {"data": {"names": [], "ndarray": [[1, 2]]}},
            {"predictions": [[2, 4]]},
        ),
        (
            Codec.V2_JSON,
            v1(inputs=[{"name": "i", "datatype": "FP64", "shape": [1, 2], "data": [1, 2]}]),
            {"data": {"names": [], "ndarray": [[1, 2]]}},
            {
                "model_name": "m",
                "outputs": [
                    {"name": "predict", "datatype": "INT64", "shape": [1, 2], "data": [2, 4]}
                ],
            },
        ),
    ],
)
def test_arrays_of_other_protocols_are_translated(
    codec: Codec, body: bytes, asked: Any, expected: Any
) -> None:
    call = RecordingCall(body, codec)
    listener = answered({"/predict": (200, DOUBLED)}, call)
    assert listener.asked[0][1] == asked
    assert json.loads(call.text) == expected


def test_seldon_s_grpc_is_translated_both_ways() -> None:
    message = SeldonMessage()
    message.data.tensor.shape.extend([1, 2])
    message.data.tensor.values.extend([1.0, 2.0])
    call = step("predict", bodies=[message.SerializeToString()], codec=Codec.SELDON_GRPC)
    listener = answered({"/predict": (200, DOUBLED)}, call)
    assert listener.asked[0][1] == {"data": {"tensor": {"shape": [1, 2], "values": [1.0, 2.0]}}}
    _, (body,) = reply_of(call)
    answer = SeldonMessage.FromString(body)
    assert [each.number_value for each in answer.data.ndarray.values[0].list_value.values] == [2, 4]
    assert list(answer.data.names) == ["x", "y"]


@pytest.mark.parametrize(
    ("codec", "body", "kind", "message"),
    [
        (Codec.V1_JSON, b"{", ErrorKind.INVALID_INPUT, "the body cannot be read"),
        (Codec.V1_JSON, b"{}", ErrorKind.INVALID_INPUT, "has none of instances and predictions"),
        (
            Codec.V2_JSON,
            v1(inputs=[{}, {}]),
            ErrorKind.UNSUPPORTED,
            "takes one array, found 2 tensors",
        ),
        (
            Codec.V2_JSON,
            v1(inputs=[{"name": "i", "datatype": "FP64", "shape": [3], "data": [1]}]),
            ErrorKind.INVALID_INPUT,
            "1 values do not have the shape [3]",
        ),
        (Codec.V2_GRPC, b"", ErrorKind.UNSUPPORTED, "speaks Seldon's protocol in JSON"),
    ],
)
def test_what_cannot_be_translated_is_refused(
    codec: Codec, body: bytes, kind: ErrorKind, message: str
) -> None:
    call = RecordingCall(body, codec)
    listener = answered({"/predict": (200, DOUBLED)}, call)
    assert call.error is not None
    assert call.error[0] is kind
    assert message in call.error[1]
    assert listener.asked == []


def test_an_error_of_the_component_is_told_in_its_own_words() -> None:
    status = {"status": {"code": -1, "info": "no such column", "reason": "BAD_DATA", "status": 1}}
    call = step("predict", bodies=[ROW])
    answered({"/predict": (400, status)}, call)
    assert call.error == (ErrorKind.INVALID_INPUT, "model 'm' answered 400: no such column")


@pytest.mark.parametrize("answer", [[], "text"])
def test_an_answer_that_is_no_message_is_the_component_s_failure(answer: Any) -> None:
    call = step("predict", bodies=[ROW])
    answered({"/predict": (200, answer)}, call)
    assert call.error is not None
    assert call.error[0] is ErrorKind.MODEL_FAILED
    assert "no SeldonMessage" in call.error[1]


@pytest.mark.parametrize(
    ("method", "routes", "told"),
    [
        ("health_status", {"/health/status": (200, {"strData": "well"})}, {"strData": "well"}),
        ("health_status", {"/health/status": (404, {})}, {}),
        ("metadata", {"/metadata": (200, {"name": "n"})}, {"jsonData": {"name": "n"}}),
        ("metadata", {}, {}),
    ],
)
def test_it_is_asked_for_its_health_and_what_it_is(method: str, routes: Routes, told: Any) -> None:
    call = step(method, bodies=[])
    answered(routes, call)
    assert json.loads(reply_of(call)[1][0]) == told


def test_its_refusal_to_say_what_it_is_is_told() -> None:
    call = step("metadata", bodies=[])
    answered({"/metadata": (503, {})}, call)
    assert call.error is not None


@pytest.mark.parametrize(("status", "is_ready"), [(200, True), (404, True), (503, False)])
def test_it_is_ready_as_it_says_or_once_it_answers(status: int, is_ready: bool) -> None:
    async def scenario() -> None:
        async with component_of({"/health/status": (status, {})}, 0.5) as (model, _):
            assert model.is_ready

    expected: Callable[[], Any] = contextlib.nullcontext
    with expected() if is_ready else pytest.raises(ModelNotReady, match="is answered 503"):
        asyncio.run(_within(scenario()))


async def _within(scenario: Any) -> None:
    async with asyncio.timeout(15):
        await scenario
