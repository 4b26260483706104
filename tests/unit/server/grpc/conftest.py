"""A front that records answers and a catalog of models that keep their calls."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from salver.engine.call import Call
from salver.engine.ports import ModelStatus
from salver.errors import LoadFailed, ModelNotFound, ModelNotReady
from salver.inference.metadata import ModelMetadata, TensorMetadata
from salver.server.grpc.ports import NO_METADATA, Code, GrpcMethods, Metadata

IRIS = ModelMetadata(
    platform="sklearn",
    inputs=(TensorMetadata("x", "FP64", (-1, 4)),),
    outputs=(TensorMetadata("predict", "INT64", (-1,)), TensorMetadata("s", "FP32", ())),
)


class FakeFront:
    """A `GrpcFront` that keeps what it is told to send."""

    port = 1
    peer = ""

    def __init__(self) -> None:
        self.responses: dict[int, bytes] = {}
        self.failures: dict[int, tuple[Code, str, Metadata]] = {}

    async def start(self, methods: GrpcMethods) -> None: ...

    def respond(self, call_id: int, payload: bytes, initial: Metadata = NO_METADATA) -> None:
        assert call_id not in self.responses
        assert call_id not in self.failures
        self.responses[call_id] = payload

    def fail(
        self, call_id: int, code: Code, message: str, trailing: Metadata = NO_METADATA
    ) -> None:
        assert call_id not in self.responses
        assert call_id not in self.failures
        self.failures[call_id] = (code, message, trailing)

    async def drain(self, timeout_s: float) -> bool:
        return True

    async def stop(self) -> None: ...


class FakeModel:
    """A `ServedModel` whose calls wait in `calls` until the test answers them."""

    def __init__(self, name: str, version: str, *, is_ready: bool = True) -> None:
        self.name = name
        self.version = version
        self.is_ready = is_ready
        self.calls: list[Call] = []
        self.known = IRIS

    @property
    def status(self) -> ModelStatus:
        if self.is_ready:
            return ModelStatus(self.name, self.version, "READY")
        return ModelStatus(self.name, self.version, "UNAVAILABLE", "file is gone")

    @property
    def metadata(self) -> ModelMetadata:
        if not self.is_ready:
            raise ModelNotReady(f"model {self.name!r} is not ready: file is gone")
        return self.known

    def submit(self, call: Call) -> None:
        self.calls.append(call)


class FakeCatalog:
    """A `ModelCatalog` of `iris` (versions 1 and 2) and `broken`, which is not ready."""

    def __init__(self) -> None:
        self.one = FakeModel("iris", "1")
        self.two = FakeModel("iris", "2")
        self.broken = FakeModel("broken", "1", is_ready=False)
        self.is_ready = True
        self.is_draining = False
        self.changes: list[tuple[str, str]] = []

    def find(self, name: str, version: str = "") -> FakeModel:
        for model in (self.two, self.one, self.broken):
            if model.name == name and version in ("", model.version):
                return model
        raise ModelNotFound(f"no model {name!r} version {version!r}")

    def versions(self, name: str) -> Sequence[str]:
        return ["1", "2"] if name == "iris" else ["1"]

    def statuses(self) -> Sequence[ModelStatus]:
        return [self.broken.status, self.one.status, self.two.status]

    async def load(self, name: str) -> None:
        self.find(name)
        await asyncio.sleep(0)
        if name == "broken":
            raise LoadFailed("model 'broken' cannot be loaded: file is gone")
        self.changes.append(("load", name))

    async def unload(self, name: str) -> None:
        self.find(name)
        self.changes.append(("unload", name))


@pytest.fixture
def front() -> FakeFront:
    return FakeFront()


@pytest.fixture
def catalog() -> FakeCatalog:
    return FakeCatalog()
