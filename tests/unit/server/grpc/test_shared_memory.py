"""The shared-memory methods over the port of regions."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from tritonclient.grpc import service_pb2 as pb

from salver.engine.shared_memory import Region
from salver.errors import InvalidInput, ModelNotFound, Unsupported
from salver.server.grpc.fields import MalformedMessageError
from salver.server.grpc.shared_memory import SharedMemoryMethods


class Regions:
    """A port that keeps what it is told."""

    def __init__(self) -> None:
        self.known: dict[str, Region] = {}

    def regions(self, name: str = "") -> Sequence[Region]:
        return [each for each in self.known.values() if name in ("", each.name)]

    def register(self, region: Region) -> None:
        self.known[region.name] = region

    def unregister(self, name: str = "") -> None:
        self.known = {} if not name else {k: v for k, v in self.known.items() if k != name}


def test_regions_are_registered_told_and_unregistered() -> None:
    methods = SharedMemoryMethods(Regions(), lambda: True).methods()
    for name, offset in (("a", 0), ("b", 1 << 40)):
        asked = pb.SystemSharedMemoryRegisterRequest(
            name=name, key="/k", offset=offset, byte_size=8
        )
        assert methods["SystemSharedMemoryRegister"](asked.SerializeToString()) == b""
    told = pb.SystemSharedMemoryStatusResponse.FromString(methods["SystemSharedMemoryStatus"](b""))
    assert set(told.regions) == {"a", "b"}
    one = told.regions["b"]
    assert (one.name, one.key, one.offset, one.byte_size) == ("b", "/k", 1 << 40, 8)
    gone = pb.SystemSharedMemoryUnregisterRequest(name="a").SerializeToString()
    methods["SystemSharedMemoryUnregister"](gone)
    told = pb.SystemSharedMemoryStatusResponse.FromString(methods["SystemSharedMemoryStatus"](b""))
    assert set(told.regions) == {"b"}


@pytest.mark.parametrize("name", ["Status", "Register", "Unregister"])
def test_who_may_not_is_told_what_to_do(name: str) -> None:
    away = SharedMemoryMethods(Regions(), lambda: False).methods()
    with pytest.raises(Unsupported, match="loopback"):
        away["SystemSharedMemory" + name](b"")
    off = SharedMemoryMethods(None, lambda: True).methods()
    with pytest.raises(Unsupported, match="--client-shared-memory local"):
        off["SystemSharedMemory" + name](b"")


def test_there_is_no_memory_of_gpus() -> None:
    methods = SharedMemoryMethods(None, lambda: False).methods()
    assert methods["CudaSharedMemoryStatus"](b"") == b""
    assert methods["CudaSharedMemoryUnregister"](b"") == b""
    asked = pb.CudaSharedMemoryRegisterRequest(name="r").SerializeToString()
    with pytest.raises(InvalidInput, match="'r', GPUs not supported"):
        methods["CudaSharedMemoryRegister"](asked)
    with pytest.raises(ModelNotFound, match="cuda shared memory region: 'r'"):
        methods["CudaSharedMemoryStatus"](
            pb.CudaSharedMemoryStatusRequest(name="r").SerializeToString()
        )


@pytest.mark.parametrize("payload", [b"\x08\x01", b"\x0a\x02\xff\xfe", b"\x1a\x01x", b"\x0a\x05x"])
def test_bytes_that_are_no_such_message_are_refused(payload: bytes) -> None:
    methods = SharedMemoryMethods(Regions(), lambda: True).methods()
    with pytest.raises(MalformedMessageError):
        methods["SystemSharedMemoryRegister"](payload)
