"""One model asked in every protocol at once: no answer is another's, and the metrics add up."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import httpx
import nats
import numpy as np
import pytest
from google.protobuf import descriptor_pool
from google.protobuf.message_factory import GetMessageClass
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)

from salver.protocol import inference_pb2, tfs_pb2
from tests import models
from tests.e2e.nats_broker import NatsBroker, nats_broker
from tests.e2e.server import Server, serving

pytestmark = pytest.mark.e2e

EACH = 150
CALLERS = 2
ROWS = models.iris()[0]


class Together:
    """The server, its broker, and the library's own answers."""

    def __init__(self, server: Server, broker: NatsBroker, expected: list[int]) -> None:
        self.server = server
        self.broker = broker
        self.expected = expected


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Together]:
    folder: Path = tmp_path_factory.mktemp("together")
    predict = models.save_sklearn_lr(folder / "iris.joblib")
    expected = np.asarray(predict(ROWS)).tolist()
    with nats_broker(folder / "nats") as broker:
        with serving(str(folder / "iris.joblib"), "--nats", broker.url) as server:
            yield Together(server, broker, expected)


Ask = Callable[[int], int]
"""Asks about the row of that number; gives the class."""


def over_http(client: httpx.Client) -> dict[str, Ask]:
    def post(path: str, body: Any) -> Any:
        answer = client.post(path, json=body)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def tensor(row: int) -> dict[str, Any]:
        data = ROWS[row].tolist()
        return {"name": "input-0", "shape": [1, 4], "datatype": "FP64", "data": data}

    def v1(row: int) -> int:
        return int(
            post("/v1/models/iris:predict", {"instances": [ROWS[row].tolist()]})["predictions"][0]
        )

    def columnar(row: int) -> int:
        body = {"signature_name": "serving_default", "inputs": [ROWS[row].tolist()]}
        return int(post("/v1/models/iris:predict", body)["outputs"][0])

    def v2(row: int) -> int:
        answer = post("/v2/models/iris/infer", {"id": str(row), "inputs": [tensor(row)]})
        assert answer["id"] == str(row)
        return int(answer["outputs"][0]["data"][0])

    def scored(row: int) -> int:
        return int(post("/invocations", {"inputs": [ROWS[row].tolist()]})["predictions"][0])

    return {"v1": v1, "tfs": columnar, "v2": v2, "mlflow": scored}


def over_grpc(channel: grpc.Channel) -> dict[str, Ask]:
    infer = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
    predict = channel.unary_unary("/tensorflow.serving.PredictionService/Predict")

    def v2(row: int) -> int:
        request = inference_pb2.ModelInferRequest(model_name="iris", id=str(row))
        request.inputs.add(name="input-0", datatype="FP64", shape=[1, 4])
        request.raw_input_contents.append(ROWS[row].astype("<f8").tobytes())
        answer = inference_pb2.ModelInferResponse.FromString(
            infer(request.SerializeToString(), timeout=60)
        )
        assert answer.id == str(row)
        return int(np.frombuffer(answer.raw_output_contents[0], "<i8")[0])

    def tfs(row: int) -> int:
        request = tfs_pb2.PredictRequest()
        request.model_spec.name = "iris"
        tensor = request.inputs["input-0"]
        tensor.dtype = 2
        tensor.double_val.extend(ROWS[row].tolist())
        for size in (1, 4):
            tensor.tensor_shape.dim.add(size=size)
        answer = tfs_pb2.PredictResponse.FromString(
            predict(request.SerializeToString(), timeout=60)
        )
        (output,) = answer.outputs.values()
        values = output.int64_val or np.frombuffer(output.tensor_content, "<i8")
        return int(values[0])

    return {"v2-grpc": v2, "tfs-grpc": tfs}


async def over_nats(together: Together) -> int:
    client = await nats.connect(together.broker.url)
    room = asyncio.Semaphore(16)

    async def ask(row: int) -> int:
        body = json.dumps({"instances": [ROWS[row].tolist()]}).encode()
        async with room:
            reply = await client.request(
                "salver.infer.iris", body, timeout=60, headers={"salver-protocol": "v1"}
            )
        return int(json.loads(reply.data)["predictions"][0])

    try:
        for _ in range(200):
            try:
                await ask(0)
                break
            except nats.errors.NoRespondersError:
                await asyncio.sleep(0.05)
        rows = [number % len(ROWS) for number in range(EACH)]
        got = await asyncio.gather(*map(ask, rows))
        assert got == [together.expected[row] for row in rows]
        return EACH + 1
    finally:
        await client.close()


def test_all_protocols_at_once_answer_right_and_are_counted(together: Together) -> None:
    server = together.server
    before = requests(server)

    def run(ask: Ask, offset: int) -> int:
        for number in range(EACH):
            row = (number * 7 + offset) % len(ROWS)
            assert ask(row) == together.expected[row]
        return EACH

    with (
        httpx.Client(base_url=server.url, timeout=60) as client,
        grpc.insecure_channel(server.grpc) as channel,
        ThreadPoolExecutor(13) as pool,
    ):
        asks = {**over_http(client), **over_grpc(channel)}
        topic = pool.submit(lambda: asyncio.run(over_nats(together)))
        running = [
            pool.submit(run, ask, 11 * caller) for ask in asks.values() for caller in range(CALLERS)
        ]
        right = [each.result(120) for each in running]
        asked = sum(right) + topic.result(120)
    assert len(right) == 12
    deadline_s = time.monotonic() + 10
    while requests(server) - before != asked:
        assert time.monotonic() < deadline_s, (requests(server) - before, asked)
        time.sleep(0.1)
    assert server.metric("salver_request_errors_total") == 0
    assert server.metric("salver_topic_messages_total", outcome="answered") == EACH + 1


def requests(server: Server) -> float:
    return server.metric("salver_requests_total", model="iris")


def test_a_client_without_any_proto_asks_by_reflection(together: Together) -> None:
    with grpc.insecure_channel(together.server.grpc) as channel:
        database = ProtoReflectionDescriptorDatabase(channel)
        assert {
            "inference.GRPCInferenceService",
            "tensorflow.serving.PredictionService",
            "tensorflow.serving.ModelService",
            "seldon.protos.Seldon",
            "grpc.health.v1.Health",
        } <= set(database.get_services())
        pool = descriptor_pool.DescriptorPool(database)
        service = pool.FindServiceByName("inference.GRPCInferenceService")
        method = service.FindMethodByName("ModelInfer")
        request = GetMessageClass(method.input_type)(model_name="iris")
        tensor = request.inputs.add(name="input-0", datatype="FP64", shape=[1, 4])
        tensor.contents.fp64_contents.extend(ROWS[60].tolist())
        answer_type = GetMessageClass(method.output_type)
        call = channel.unary_unary(
            f"/{service.full_name}/{method.name}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=answer_type.FromString,
        )
        answer = call(request, timeout=30)
        assert answer.model_name == "iris"
        assert list(answer.outputs[0].contents.int64_contents) == [together.expected[60]] or (
            np.frombuffer(answer.raw_output_contents[0], "<i8").tolist() == [together.expected[60]]
        )


def test_what_has_no_explainer_says_so_in_every_protocol(together: Together) -> None:
    server = together.server
    for path in ("/v1/models/iris:explain", "/v2/models/iris/explain"):
        answer = server.post(path, {"instances": [[1, 2, 3, 4]]})
        assert answer.status_code == 501
        assert "no explainer" in answer.json()["error"]
        assert server.post(path.replace("iris", "nobody"), {}).status_code == 404
    with grpc.insecure_channel(server.grpc) as channel:
        explain = channel.unary_unary("/inference.GRPCInferenceService/ModelExplain")
        with pytest.raises(grpc.RpcError) as refused:
            explain(b"", timeout=30)
        assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED
