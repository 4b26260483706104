"""A graph at its own address: formats told apart, answers handed back as they come."""

from __future__ import annotations

import asyncio
import gzip
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from salver.engine.call import Call
from salver.engine.graph_forwarder import GraphForwarder, read_request
from salver.engine.ports import ForwardedRequest, ModelStatus
from salver.errors import (
    DeadlineExceeded,
    ErrorKind,
    InvalidInput,
    ModelNotReady,
    PayloadTooLarge,
    QueueFull,
    RequestError,
    Unsupported,
)
from salver.inference.metadata import ModelMetadata
from salver.protocol.wire_codes import RAW_BODY_AUX, Codec

V2 = json.dumps({"inputs": [{"name": "x", "shape": [1], "datatype": "FP32", "data": [1]}]}).encode()
LIMIT = 1 << 20


class Graph:
    """Implements `ServedModel`: does with a call what it is told to."""

    name = "g"
    version = "1"
    metadata = ModelMetadata("test", (), ())

    def __init__(self, act: Any = None) -> None:
        self.act = act
        self.is_ready = True
        self.calls: list[Call] = []

    @property
    def status(self) -> ModelStatus:
        return ModelStatus("g", "1", "READY" if self.is_ready else "LOADING", "a unit loads")

    def submit(self, call: Call) -> None:
        self.calls.append(call)
        if self.act is not None:
            self.act(call)


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        self.now_s += 0.4
        return self.now_s


async def forwarded(
    graph: Graph, request: ForwardedRequest, clock: Any = lambda: 0.0
) -> tuple[int, dict[bytes, bytes], bytes]:
    forwarder = GraphForwarder(graph, clock=clock, timeout_s=1.0, max_body_bytes=LIMIT)
    async with forwarder.forward(request) as answer:
        body = b"".join([chunk async for chunk in answer.chunks()])
        return answer.status, dict(answer.headers), body


def post(body: bytes, *headers: tuple[bytes, bytes], target: str = "/") -> ForwardedRequest:
    return ForwardedRequest("POST", target, headers, body)


def ask(graph: Graph, request: ForwardedRequest, **more: Any) -> Any:
    return asyncio.run(forwarded(graph, request, **more))


@pytest.mark.parametrize(
    ("body", "codec"),
    [
        (V2, Codec.V2_JSON),
        (b'{"instances": [1]}', Codec.V1_JSON),
        (b'{"inputs": [[1, 2]]}', Codec.V1_JSON),
        (b'{"inputs": {"x": [1]}}', Codec.V1_JSON),
        (b'{"inputs": []}', Codec.V1_JSON),
        (b'{"decision_picker": "ERROR"}', Codec.V1_JSON),
        (b"no JSON", Codec.V1_JSON),
        (b"", Codec.V1_JSON),
    ],
)
def test_the_body_says_which_protocol_it_is(body: bytes, codec: Codec) -> None:
    assert read_request(post(body), LIMIT) == (codec, 0, body)


def test_binary_and_packed_bodies_are_read_as_their_headers_say() -> None:
    length = (b"inference-header-content-length", b"%d" % len(V2))
    assert read_request(post(V2 + b"abcd", length), LIMIT) == (
        Codec.V2_JSON,
        len(V2),
        V2 + b"abcd",
    )
    raw = post(b"abcd", (b"inference-header-content-length", b"0"))
    assert read_request(raw, LIMIT) == (Codec.V2_JSON, RAW_BODY_AUX, b"abcd")
    packed = post(gzip.compress(V2), (b"content-encoding", b"gzip"))
    assert read_request(packed, LIMIT) == (Codec.V2_JSON, 0, V2)


@pytest.mark.parametrize(
    ("header", "body", "error"),
    [
        ((b"content-encoding", b"br"), b"", Unsupported),
        ((b"content-encoding", b"gzip"), b"plain", InvalidInput),
        ((b"content-encoding", b"gzip"), gzip.compress(b" " * (LIMIT + 1)), PayloadTooLarge),
        ((b"inference-header-content-length", b"9"), b"short", InvalidInput),
        ((b"inference-header-content-length", b"-1"), b"short", InvalidInput),
        ((b"inference-header-content-length", b"9" * 5000), b"short", InvalidInput),
    ],
)
def test_headers_that_lie_are_refused(
    header: tuple[bytes, bytes], body: bytes, error: type[RequestError]
) -> None:
    with pytest.raises(error):
        read_request(post(body, header), LIMIT)


@given(st.binary(max_size=60), st.sampled_from([b"", b"gzip", b"deflate", b"identity"]))
def test_no_body_raises_anything_but_a_refusal(body: bytes, coding: bytes) -> None:
    try:
        read_request(post(body, (b"content-encoding", coding)), LIMIT)
    except RequestError as error:
        assert str(error)


def test_an_answer_comes_back_with_the_headers_that_it_needs() -> None:
    def act(call: Call) -> None:
        assert call.header(b"x-request-id") == b"7"
        call.add_header(b"x-salver-route", b"a")
        call.coding = 1
        call.deliver(b"packed", 12)

    status, headers, body = ask(Graph(act), post(V2, (b"x-request-id", b"7")))
    assert (status, body) == (200, b"packed")
    assert headers == {
        b"content-type": b"application/octet-stream",
        b"inference-header-content-length": b"12",
        b"content-encoding": b"gzip",
        b"x-salver-route": b"a",
    }


@pytest.mark.parametrize(
    ("said", "kind"), [(b'{"detail": 1}', b"application/json"), (b"oh no", b"text/plain")]
)
def test_a_step_s_own_refusal_comes_back_as_it_is(said: bytes, kind: bytes) -> None:
    graph = Graph(lambda call: call.reject(404, said, ErrorKind.MODEL_NOT_FOUND, "x"))
    assert ask(graph, post(b"{}", target="/any/path?q")) == (404, {b"content-type": kind}, said)


def test_a_failure_is_raised_as_what_it_is() -> None:
    graph = Graph(lambda call: call.fail(ErrorKind.QUEUE_FULL, "retry later"))
    with pytest.raises(QueueFull, match="retry later"):
        ask(graph, post(b"{}"))


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "HEAD", "OPTIONS"])
def test_other_methods_are_not_for_graphs(method: str) -> None:
    graph = Graph()
    status, headers, body = ask(graph, ForwardedRequest(method, "/"))
    assert (status, headers[b"allow"]) == (405, b"POST")
    assert "use POST" in json.loads(body)["error"]
    assert graph.calls == []


def test_readyz_says_whether_the_graph_is_ready() -> None:
    graph = Graph()
    assert ask(graph, ForwardedRequest("GET", "/readyz"))[0] == 200
    graph.is_ready = False
    with pytest.raises(ModelNotReady, match="a unit loads"):
        ask(graph, ForwardedRequest("GET", "/readyz?v=1"))


def test_a_call_that_never_ends_is_given_up_after_its_deadline() -> None:
    graph = Graph()
    clock = Clock()
    with pytest.raises(DeadlineExceeded, match="within 1 s"):
        ask(graph, post(b"{}"), clock=clock)
    assert clock.now_s >= 2.0
    assert graph.calls[0].is_abandoned


def test_a_client_that_leaves_abandons_its_call() -> None:
    graph = Graph()

    async def leave() -> None:
        task = asyncio.create_task(forwarded(graph, post(b"{}")))
        while not graph.calls:
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(leave())
    (call,) = graph.calls
    assert call.is_abandoned
    call.deliver(b"late", 0)
    call.fail(ErrorKind.MODEL_FAILED, "late")
