"""Triton's own client against the listener, with a model that echoes its inputs.

The client runs in a process of its own: its protobuf descriptors would clash with others.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import uvloop

from salver.engine.call import Call
from salver.engine.ports import ModelStatus
from salver.errors import ErrorKind, ModelNotFound
from salver.inference.metadata import ModelMetadata, TensorMetadata
from salver.server.grpc import fields
from salver.server.grpc.grpcio_front import GrpcioFront
from salver.server.grpc.listener import serve_grpc
from salver.server.grpc.native import NativeFront
from salver.server.grpc.ports import FrontSettings, GrpcFront
from salver.settings import ServeSettings

DEADLINE_S = 60
RESPONSE_NUMBER = {1: 1, 2: 2, 3: 3, 5: 5, 7: 6}
"""Fields of a request that a response has too, the raw contents under another number."""


class Echo:
    """A `ServedModel` that gives each input back as an output of that name."""

    name, version, is_ready = "echo", "1", True
    status = ModelStatus("echo", "1", "READY")
    metadata = ModelMetadata(
        platform="test",
        inputs=(TensorMetadata("x", "FP32", (-1, 4)),),
        outputs=(TensorMetadata("x", "FP32", (-1, 4)),),
    )

    def __init__(self) -> None:
        self.abandoned = 0
        self.held: list[Call] = []

    def submit(self, call: Call) -> None:
        found = list(fields.read_fields(bytes(call.body)))
        request_id = next((value for number, value in found if number == 3), b"")
        if request_id == b"full":
            call.fail(ErrorKind.QUEUE_FULL, "the queue of model 'echo' is full; try again")
        elif request_id == b"hold":
            self.held.append(call)
        else:
            answer = b"".join(
                fields.bytes_field(RESPONSE_NUMBER[number], value)
                for number, value in found
                if number in RESPONSE_NUMBER and isinstance(value, bytes)
            )
            call.deliver(answer, 0)


class Catalog:
    """A `ModelCatalog` of that one model."""

    is_ready, is_draining = True, False

    def __init__(self) -> None:
        self.model = Echo()

    def find(self, name: str, version: str = "") -> Echo:
        if name != "echo" or version not in ("", "1"):
            raise ModelNotFound(f"no model {name!r} here; RepositoryIndex lists the models")
        return self.model

    def versions(self, name: str) -> Sequence[str]:
        return ["1"]

    def statuses(self) -> Sequence[ModelStatus]:
        return [self.model.status]

    async def load(self, name: str) -> None:
        self.find(name)

    async def unload(self, name: str) -> None:
        self.find(name)


CLIENT = """
import asyncio, queue, sys
import numpy as np
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio
from tritonclient.utils import InferenceServerException

url = sys.argv[1]
data = np.arange(8, dtype=np.float32).reshape(2, 4)

def tensors(module):
    one = module.InferInput("x", data.shape, "FP32")
    one.set_data_from_numpy(data)
    return [one]

def refusal(action):
    try:
        action()
    except InferenceServerException as error:
        return error
    raise AssertionError("was not refused")

client = triton.InferenceServerClient(url)
assert client.is_server_live() and client.is_server_ready() and client.is_model_ready("echo")
assert client.get_server_metadata().name == "salver"
metadata = client.get_model_metadata("echo", as_json=True)
assert metadata == {
    "name": "echo", "versions": ["1"], "platform": "test",
    "inputs": [{"name": "x", "datatype": "FP32", "shape": ["-1", "4"]}],
    "outputs": [{"name": "x", "datatype": "FP32", "shape": ["-1", "4"]}],
}, metadata
index = client.get_model_repository_index()
assert [(m.name, m.version, m.state) for m in index.models] == [("echo", "1", "READY")]
client.load_model("echo")
client.unload_model("echo")

result = client.infer("echo", tensors(triton), request_id="r1", model_version="1")
assert result.get_response().id == "r1"
assert (result.as_numpy("x") == data).all()
large = np.random.default_rng(0).random((512, 1024), dtype=np.float32)
one = triton.InferInput("x", large.shape, "FP32")
one.set_data_from_numpy(large)
assert (client.infer("echo", [one]).as_numpy("x") == large).all()
assert client.infer("echo", tensors(triton), compression_algorithm="gzip").as_numpy("x").sum() == 28

assert refusal(lambda: client.infer("nope", tensors(triton))).status() == "StatusCode.NOT_FOUND"
full = refusal(lambda: client.infer("echo", tensors(triton), request_id="full"))
assert full.status() == "StatusCode.RESOURCE_EXHAUSTED", full
slow = refusal(lambda: client.infer("echo", tensors(triton), request_id="hold", client_timeout=0.2))
assert slow.status() == "StatusCode.DEADLINE_EXCEEDED", slow
assert client.get_model_config("echo").config.name == "echo"

answers = queue.Queue()
client.start_stream(lambda result, error: answers.put((result, error)))
names = ["echo", "nope", "echo", "echo"]
for number, name in enumerate(names):
    client.async_stream_infer(name, tensors(triton), request_id=str(number))
for number, name in enumerate(names):
    result, error = answers.get(timeout=10)
    if name == "nope":
        assert "no model 'nope'" in error.message()
    else:
        assert error is None and result.get_response().id == str(number)
        assert (result.as_numpy("x") == data).all()
client.stop_stream()
client.close()

async def main():
    async with triton_aio.InferenceServerClient(url) as client:
        results = await asyncio.gather(
            *(client.infer("echo", tensors(triton_aio), request_id=str(n)) for n in range(100))
        )
        assert [r.get_response().id for r in results] == [str(n) for n in range(100)]

        async def requests():
            for number in range(20):
                yield {"model_name": "echo", "inputs": tensors(triton_aio),
                       "request_id": str(number)}

        ids = [r.get_response().id async for r, error in client.stream_infer(requests())]
        assert ids == [str(n) for n in range(20)], ids

asyncio.run(main())
print("all well")
"""


@pytest.mark.parametrize("make", [NativeFront, GrpcioFront], ids=["native", "grpcio"])
def test_tritons_clients_get_right_answers(make: Callable[[FrontSettings], GrpcFront]) -> None:
    async def main() -> None:
        catalog: Any = Catalog()
        settings = ServeSettings(grpc_port=0)
        front = make(FrontSettings("127.0.0.1", 0, settings.max_body_size))
        listener = await serve_grpc(catalog, settings, front=front)
        client = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", CLIENT, f"127.0.0.1:{listener.port}"),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(DEADLINE_S):
                out, err = await client.communicate()
            assert (out.decode().strip(), client.returncode) == ("all well", 0), err.decode()
            assert [call.is_abandoned for call in catalog.model.held] == [True]
            assert await listener.drain(5.0)
        finally:
            await listener.stop()

    uvloop.run(main())
