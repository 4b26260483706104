"""Inference over a real NATS server: plain subjects, and streams that lose nothing."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import nats
import nats.errors
import numpy as np
import pytest

from salver.protocol import inference_pb2 as pb
from tests import models
from tests.documents import ROOT, blocks
from tests.e2e.nats_broker import NatsBroker, nats_broker
from tests.e2e.server import Server, serving

pytestmark = pytest.mark.e2e

STREAM = "INFERENCE"
STEADY = '''
import time
import numpy as np


class Steady:
    """Doubles; negative numbers make it raise, and each row takes 20 ms."""

    def predict(self, x: np.ndarray) -> np.ndarray:
        time.sleep(0.02 * len(x))
        if (x < 0).any():
            raise RuntimeError("negative numbers are not for me")
        return x * 2
'''


def v2(*values: float, identity: str = "") -> bytes:
    tensor = {"name": "x", "shape": [1, len(values)], "datatype": "FP64", "data": list(values)}
    return json.dumps({"id": identity, "inputs": [tensor]}).encode()


IRIS = {"name": "input-0", "shape": [1, 4], "datatype": "FP64", "data": [6, 2, 4, 1]}
IRIS_V2 = json.dumps({"inputs": [IRIS]}).encode()
IRIS_V1 = b'{"instances": [[6, 2, 4, 1]]}'


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("topics")
    models.save_sklearn_lr(found / "iris.joblib")
    (found / "steady.py").write_text(STEADY)
    return found


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsBroker]:
    with nats_broker(tmp_path_factory.mktemp("nats")) as running:
        yield running


@pytest.fixture(scope="module")
def plain(folder: Path, broker: NatsBroker) -> Iterator[Server]:
    more = ("--topic-in-flight", "8", "--topic-output", "answers.{model}")
    with serving(str(folder), "--nats", broker.url, *more) as server:
        yield server


@asynccontextmanager
async def connected(broker: NatsBroker) -> AsyncIterator[Any]:
    client = await nats.connect(broker.url, max_reconnect_attempts=-1, reconnect_time_wait=0.1)
    try:
        yield client
    finally:
        await client.close()


async def heard(client: Any, subject: str, body: bytes = IRIS_V2, **headers: str) -> Any:
    """The reply, once somebody listens."""
    for _ in range(200):
        try:
            return await client.request(subject, body, timeout=10, headers=headers or None)
        except nats.errors.NoRespondersError:
            await asyncio.sleep(0.05)
    raise AssertionError(f"nobody listens on {subject}")


def asked(broker: NatsBroker, test: Callable[[Any], Awaitable[None]]) -> None:
    async def run() -> None:
        async with connected(broker) as client:
            async with asyncio.timeout(90):
                await test(client)

    asyncio.run(run())


# Plain subjects.


def test_every_protocol_is_answered_in_its_own_form(plain: Server, broker: NatsBroker) -> None:
    async def test(client: Any) -> None:
        reply = await heard(client, "salver.infer.iris", **{"x-request-id": "r-1"})
        assert json.loads(reply.data)["outputs"][0]["data"] == [1]
        assert reply.headers["salver-status"] == "200"
        assert reply.headers["salver-request-id"] == "r-1"
        reply = await heard(client, "salver.infer.iris", IRIS_V1, **{"Salver-Protocol": "v1"})
        assert json.loads(reply.data) == {"predictions": [1]}
        reply = await heard(
            client,
            "salver.infer.iris",
            b"a,b,c,d\n6,2,4,1\n",
            **{"salver-protocol": "mlflow", "content-type": "text/csv"},
        )
        assert json.loads(reply.data) == {"predictions": [1]}
        message = pb.ModelInferRequest(model_name="iris")
        tensor = message.inputs.add(name="input-0", datatype="FP64", shape=[1, 4])
        tensor.contents.fp64_contents.extend([6, 2, 4, 1])
        reply = await heard(
            client,
            "salver.infer.iris",
            message.SerializeToString(),
            **{"content-type": "application/x-protobuf"},
        )
        answer = pb.ModelInferResponse.FromString(reply.data)
        assert np.frombuffer(answer.raw_output_contents[0], np.int64).tolist() == [1] or list(
            answer.outputs[0].contents.int64_contents
        ) == [1]

    asked(broker, test)


def test_a_cloud_event_is_answered_by_one_of_its_mode(plain: Server, broker: NatsBroker) -> None:
    async def test(client: Any) -> None:
        event = {"specversion": "1.0", "id": "e 7", "source": "here", "type": "ask"}
        structured = json.dumps({**event, "data": json.loads(IRIS_V2)}).encode()
        media = {"content-type": "application/cloudevents+json; charset=utf-8"}
        reply = await heard(client, "salver.infer.iris", structured, **media)
        answer = json.loads(reply.data)
        assert answer["data"]["outputs"][0]["data"] == [1]
        assert answer["id"] == "e 7"
        assert answer["type"] == "io.kserve.inference.response"
        assert answer["source"] == "io.kserve.inference.iris"
        attributes = {"ce-" + name: value for name, value in event.items()}
        reply = await heard(client, "salver.infer.iris", IRIS_V2, **attributes)
        assert reply.headers["ce-id"] == "e 7"
        assert reply.headers["ce-source"] == "io.kserve.inference.iris"
        assert json.loads(reply.data)["outputs"][0]["data"] == [1]

    asked(broker, test)


@pytest.mark.parametrize(
    ("body", "headers", "status", "said"),
    [
        (b"{", {}, "400", "not a V2 inference request"),
        (b"{", {"salver-protocol": "v1"}, "400", "V1"),
        (b"{}", {"salver-protocol": "v9"}, "501", "use v2, v1 or mlflow"),
        (b"{}", {"content-type": "image/png"}, "501", "image/png"),
        (b"{}", {"content-type": "application/cloudevents+json"}, "400", "no CloudEvent"),
        (b"{}", {"ce-specversion": "0.3", "ce-id": "1"}, "400", "specversion"),
        (b"{}", {"mlserver-method": "train"}, "501", "train"),
        (b"{}", {"salver-version": "99"}, "404", "99"),
        (b"{}", {"inference-header-content-length": "-1"}, "400", "-1"),
    ],
)
def test_what_is_wrong_is_told(
    plain: Server,
    broker: NatsBroker,
    body: bytes,
    headers: dict[str, str],
    status: str,
    said: str,
) -> None:
    async def test(client: Any) -> None:
        reply = await heard(client, "salver.infer.iris", body, **headers)
        assert reply.headers["salver-status"] == status
        assert reply.headers["Nats-Service-Error-Code"] == status
        assert said in json.loads(reply.data)["error"]

    asked(broker, test)


def test_nobody_listens_for_a_model_that_is_not_there(plain: Server, broker: NatsBroker) -> None:
    async def test(client: Any) -> None:
        await heard(client, "salver.infer.iris")
        with pytest.raises(nats.errors.NoRespondersError):
            await client.request("salver.infer.nobody", IRIS_V2, timeout=5)

    asked(broker, test)


def test_a_message_without_a_reply_subject_is_answered_on_the_output(
    plain: Server, broker: NatsBroker
) -> None:
    async def test(client: Any) -> None:
        await heard(client, "salver.infer.iris")
        answers = await client.subscribe("answers.iris")
        await client.publish("salver.infer.iris", IRIS_V2)
        reply = await answers.next_msg(timeout=10)
        assert json.loads(reply.data)["outputs"][0]["data"] == [1]

    asked(broker, test)


def test_more_than_the_bound_is_refused_and_never_left_without_an_answer(
    plain: Server, broker: NatsBroker
) -> None:
    async def test(client: Any) -> None:
        await heard(client, "salver.infer.steady", v2(1))
        asks = [client.request("salver.infer.steady", v2(n), timeout=30) for n in range(100)]
        replies = await asyncio.gather(*asks)
        statuses = [reply.headers["salver-status"] for reply in replies]
        assert set(statuses) == {"200", "429"}
        assert statuses.count("200") >= 8

    asked(broker, test)


def test_an_answer_over_the_brokers_limit_is_told_as_an_error(
    plain: Server, broker: NatsBroker
) -> None:
    async def test(client: Any) -> None:
        count = 150_000
        tensor = {"name": "x", "shape": [1, count], "datatype": "FP64"}
        body = json.dumps({"inputs": [{**tensor, "data": [0.7] * count}]}).encode()
        assert len(body) < client.max_payload
        body = body.replace(b"0.7,", b"1e9,", count)
        reply = await heard(client, "salver.infer.steady", body)
        assert reply.headers["salver-status"] == "413"
        assert "max_payload" in json.loads(reply.data)["error"]

    asked(broker, test)


def test_the_program_in_the_how_to_prints_what_the_page_says(broker: NatsBroker) -> None:
    page = ROOT / "docs/how-to/topics.md"
    (program,) = [each.text for each in blocks(page, "python")]
    program = program.replace("nats://127.0.0.1:4222", broker.url)
    more = ("--topic-input", "page.{model}")
    with serving(str(ROOT / "examples/iris.skops"), "--nats", broker.url, *more):
        asked(broker, lambda client: heard(client, "page.iris"))
        program = program.replace("salver.infer.", "page.")
        done = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=True
        )
    assert done.stdout == "200 [0]\n"
    assert "It prints `200 [0]`" in page.read_text()


# Streams.


@pytest.fixture(scope="module")
def kept(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kept]:
    with nats_broker(tmp_path_factory.mktemp("jetstream")) as running:
        yield Kept(running, folder)


class Kept:
    """A broker of its own, and servers that take from its stream."""

    def __init__(self, broker: NatsBroker, folder: Path) -> None:
        self.broker = broker
        self.arguments = [
            *(str(folder), "--nats", broker.url, "--nats-stream", STREAM),
            *("--topic-in-flight", "16", "--topic-attempts", "2", "--request-timeout", "3"),
        ]


async def stream_of(client: Any) -> Any:
    """The stream, once a server has made it."""
    stream = client.jetstream(timeout=5)
    for _ in range(200):
        try:
            await stream.stream_info(STREAM)
            return stream
        except Exception:
            await asyncio.sleep(0.05)
    raise AssertionError("the stream is not there")


class Replies:
    """Replies by the id of their request, those that came twice once."""

    def __init__(self) -> None:
        self.found: dict[str, Any] = {}
        self.count = 0

    async def take(self, message: Any) -> None:
        self.count += 1
        self.found[message.headers["salver-request-id"]] = message
        await message.ack()

    async def wait(self, count: int, timeout_s: float = 60.0) -> None:
        ends_s = time.monotonic() + timeout_s
        while len(self.found) < count:
            assert time.monotonic() < ends_s, f"{len(self.found)} replies of {count}"
            await asyncio.sleep(0.05)


async def collect(stream: Any, subject: str) -> Replies:
    from nats.js.api import DeliverPolicy

    replies = Replies()
    policy = DeliverPolicy.NEW
    await stream.subscribe(subject, cb=replies.take, manual_ack=True, deliver_policy=policy)
    return replies


async def publish(stream: Any, model: str, identity: str, body: bytes) -> None:
    """Publishes until the stream says that it has the message."""
    headers = {"Nats-Msg-Id": identity, "salver-request-id": identity}
    for _ in range(100):
        try:
            await stream.publish(f"salver.infer.{model}", body, timeout=2, headers=headers)
            return
        except Exception:
            await asyncio.sleep(0.1)
    raise AssertionError(f"{identity} could not be published")


def test_a_broker_killed_amid_a_stream_loses_no_request(kept: Kept) -> None:
    async def test(client: Any) -> None:
        stream = await stream_of(client)
        replies = await collect(stream, "salver.replies.steady")
        for number in range(150):
            await publish(stream, "steady", f"a{number}", v2(number))
        await replies.wait(20)
        kept.broker.kill()
        await asyncio.sleep(0.5)
        kept.broker.start()
        for number in range(150, 200):
            await publish(stream, "steady", f"a{number}", v2(number))
        await replies.wait(200)
        for number in range(200):
            answer = json.loads(replies.found[f"a{number}"].data)
            assert answer["outputs"][0]["data"] == [2 * number]
        pending = await stream.consumer_info(STREAM, "salver-steady")
        assert pending.num_pending == 0

    with serving(*kept.arguments) as server:
        asked(kept.broker, test)
        assert server.metric("salver_topic_connections_total", broker="nats") >= 2


def test_a_server_killed_amid_a_stream_loses_no_request_either(kept: Kept) -> None:
    async def test(client: Any, server: Server) -> None:
        stream = await stream_of(client)
        replies = await collect(stream, "salver.replies.steady")
        for number in range(60):
            await publish(stream, "steady", f"b{number}", v2(number))
        await replies.wait(5)
        server.process.kill()
        server.process.wait()

    async def rest(client: Any) -> None:
        stream = await stream_of(client)
        info = await stream.consumer_info(STREAM, "salver-steady")
        assert info.num_pending + info.num_ack_pending > 0
        ends_s = time.monotonic() + 60
        while info.num_pending + info.num_ack_pending:
            assert time.monotonic() < ends_s, info
            await asyncio.sleep(0.2)
            info = await stream.consumer_info(STREAM, "salver-steady")
        assert await kept_replies(stream) >= {f"b{number}" for number in range(60)}

    with serving(*kept.arguments) as server:
        asked(kept.broker, lambda client: test(client, server))
    with serving(*kept.arguments):
        asked(kept.broker, rest)


async def kept_replies(stream: Any) -> set[str]:
    """The ids of all requests whose replies the stream has."""
    subscription = await stream.subscribe("salver.replies.steady", ordered_consumer=True)
    found: set[str] = set()
    while True:
        try:
            message = await subscription.next_msg(timeout=1)
        except nats.errors.TimeoutError:
            return found
        assert message.headers["salver-request-id"] not in found, "the stream has a reply twice"
        found.add(message.headers["salver-request-id"])


def test_a_server_told_to_stop_answers_what_it_has_and_leaves_the_rest(kept: Kept) -> None:
    async def begin(client: Any, server: Server) -> None:
        stream = await stream_of(client)
        replies = await collect(stream, "salver.replies.steady")
        for number in range(100):
            await publish(stream, "steady", f"c{number}", v2(number))
        await replies.wait(5)
        assert await asyncio.to_thread(server.stop) == 0
        info = await stream.consumer_info(STREAM, "salver-steady")
        assert info.num_pending + info.num_ack_pending > 0
        assert info.num_ack_pending <= 16

    async def end(client: Any) -> None:
        stream = await stream_of(client)
        ends_s = time.monotonic() + 30
        while not (await kept_replies(stream)) >= {f"c{number}" for number in range(100)}:
            assert time.monotonic() < ends_s

    with serving(*kept.arguments) as server:
        asked(kept.broker, lambda client: begin(client, server))
    with serving(*kept.arguments):
        asked(kept.broker, end)


def test_a_message_that_fails_again_and_again_goes_to_the_dead_letters(kept: Kept) -> None:
    async def test(client: Any) -> None:
        stream = await stream_of(client)
        replies = await collect(stream, "salver.replies.*")
        dead = await stream.subscribe("salver.dead.steady")
        await publish(stream, "steady", "poison", v2(-1))
        await publish(stream, "steady", "wrong", b"{")
        await publish(stream, "iris", "good", IRIS_V2)
        await replies.wait(3)
        assert replies.found["good"].headers["salver-status"] == "200"
        assert replies.found["wrong"].headers["salver-status"] == "400"
        assert replies.found["poison"].headers["salver-status"] == "500"
        letter = await dead.next_msg(timeout=10)
        assert letter.data == v2(-1)
        assert letter.headers["salver-attempts"] == "2"
        assert letter.headers["salver-topic"] == "salver.infer.steady"
        assert "negative numbers" in letter.headers["salver-error"]

    with serving(*kept.arguments) as server:
        asked(kept.broker, test)
        count = "salver_topic_messages_total"
        assert server.metric(count, broker="nats", outcome="dead_letter") == 1
        assert server.metric(count, broker="nats", outcome="retried") == 1
        assert server.metric(count, broker="nats", outcome="refused") == 1


def test_a_stream_has_no_more_messages_out_than_may_be_under_way(kept: Kept) -> None:
    async def test(client: Any, server: Server) -> None:
        stream = await stream_of(client)
        inbox = client.new_inbox()
        own = await client.subscribe(inbox)
        for number in range(80):
            headers = {"salver-reply-to": inbox}
            await stream.publish("salver.infer.steady", v2(number), headers=headers)
        most = under_way = 0.0
        for _ in range(80):
            now = await asyncio.to_thread(server.metric, "salver_topic_in_flight", broker="nats")
            under_way = max(under_way, now)
            info = await stream.consumer_info(STREAM, "salver-steady")
            most = max(most, info.num_ack_pending)
            await own.next_msg(timeout=20)
        assert 0 < under_way <= 16
        # The broker counts those too whose acknowledgement is on its way: of 80, never most.
        assert 0 < most <= 2 * 16
        headers = {"salver-reply-to": "$JS.API.STREAM.DELETE." + STREAM, "salver-request-id": "x"}
        replies = await collect(stream, "salver.replies.steady")
        await stream.publish("salver.infer.steady", v2(1), headers=headers)
        await replies.wait(1)
        assert replies.found["x"].headers["salver-status"] == "400"

    with serving(*kept.arguments) as server:
        asked(kept.broker, lambda client: test(client, server))
