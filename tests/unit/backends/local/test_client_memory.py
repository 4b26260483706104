"""Clients' memory on both sides: the gateway's table, and a worker that reads and writes there."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path

import numpy as np
import pytest

from salver.backends.local import region_table
from salver.backends.local.answering import Answerer
from salver.backends.local.client_memory import ClientMemory
from salver.backends.local.region_files import distrust, is_distrusted
from salver.backends.local.region_table import RegionTable
from salver.engine.shared_memory import Region, RegionExistsError, RegionNotFoundError
from salver.errors import ErrorKind, InvalidInput, ModelNotFound, Unavailable
from salver.inference.metadata import ModelMetadata, TensorMetadata
from salver.inference.tensor import InferRequest, InferResponse, Tensor
from salver.protocol.frame import Item
from salver.protocol.operations import MAY_SHARE
from salver.protocol.shared_memory import Place
from salver.protocol.wire import ModelIdentity, WireTensor
from salver.protocol.wire_codes import Codec

SIZE = 256 << 10
LARGE = 128 << 10
"""What is mapped, not copied."""


@pytest.fixture
def shared() -> Iterator[SharedMemory]:
    memory = SharedMemory(create=True, size=SIZE)
    yield memory
    memory.close()
    memory.unlink()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "run").mkdir()
    return tmp_path / "run"


@pytest.fixture
def table(folder: Path) -> Iterator[RegionTable]:
    made = RegionTable(folder)
    yield made
    made.close()


def numbers(size: int, datatype: str = "FP32") -> WireTensor:
    return WireTensor("x", (size // 4,), datatype)


@pytest.mark.parametrize("trusts", [True, False])
@pytest.mark.parametrize("size", [64, LARGE])
def test_tensors_are_read_and_written_where_they_lie(
    shared: SharedMemory, table: RegionTable, folder: Path, size: int, trusts: bool
) -> None:
    table.register(Region("r", "/" + shared.name, 4096, SIZE - 4096))
    if not trusts:
        assert distrust(folder)
        assert not distrust(folder)
    assert is_distrusted(folder) is not trusts
    values = np.arange(size // 4, dtype=np.float32)
    np.frombuffer(shared.buf, np.float32, values.size, 4096 + 64)[:] = values
    memory = ClientMemory(folder)
    view = memory.read(Place("r", 64, size), numbers(size))
    np.testing.assert_array_equal(np.frombuffer(view, np.float32), values)
    memory.write(Place("r", 64, size), (values * 2).data.cast("B"))
    found = np.frombuffer(shared.buf, np.float32, values.size, 4096 + 64).copy()
    np.testing.assert_array_equal(found, values * 2)
    # Large tensors are views: they show what is written.
    is_view = trusts and size == LARGE
    assert (np.frombuffer(view, np.float32)[1] == 2) is np.bool_(is_view)


def test_a_view_of_an_input_cannot_be_written_to(
    shared: SharedMemory, table: RegionTable, folder: Path
) -> None:
    table.register(Region("r", shared.name, 0, SIZE))
    view = ClientMemory(folder).read(Place("r", 0, LARGE), numbers(LARGE))
    assert isinstance(view, memoryview)
    assert view.readonly


@pytest.mark.parametrize(("datatype", "at"), [("BYTES", 0), ("BOOL", 0), ("FP64", 4)])
def test_what_is_checked_or_lies_askew_is_copied(
    shared: SharedMemory, table: RegionTable, folder: Path, datatype: str, at: int
) -> None:
    table.register(Region("r", shared.name, 0, SIZE))
    view = ClientMemory(folder).read(Place("r", at, LARGE), numbers(LARGE, datatype))
    shared.buf[at] = 9
    assert view[0] == 0


def test_a_worker_takes_notice_of_what_is_registered_and_lets_go_of_what_is_not(
    shared: SharedMemory, table: RegionTable, folder: Path
) -> None:
    memory = ClientMemory(folder)
    with pytest.raises(ModelNotFound, match="Unable to find shared memory region: 'r'"):
        memory.read(Place("r", 0, 4), numbers(4))
    table.register(Region("r", shared.name, 0, 64))
    table.register(Region("s", shared.name, 64, 64))
    memory.read(Place("r", 0, 4), numbers(4))
    assert memory.is_in_use
    table.unregister("r")
    table.register(Region("r", shared.name, 128, 64))
    shared.buf[128] = 7
    assert memory.read(Place("r", 0, 4), numbers(4))[0] == 7
    table.unregister()
    memory.refresh()
    assert not memory.is_in_use


def test_a_worker_finds_a_region_whose_key_is_gone(table: RegionTable, folder: Path) -> None:
    memory = SharedMemory(create=True, size=4096)
    table.register(Region("r", memory.name, 0, 4096))
    memory.buf[0] = 5
    memory.unlink()
    assert ClientMemory(folder).read(Place("r", 0, 4), numbers(4))[0] == 5
    memory.close()


@pytest.mark.parametrize(
    ("place", "why"),
    [
        (Place("r", 64, 0), "Invalid offset for"),
        (Place("r", 1 << 61, 1), "Invalid offset for"),
        (Place("r", 60, 8), r"Invalid offset \+ byte size"),
        (Place("r", 0, 1 << 61), r"Invalid offset \+ byte size"),
    ],
)
def test_nothing_is_read_outside_a_region(
    shared: SharedMemory, table: RegionTable, folder: Path, place: Place, why: str
) -> None:
    table.register(Region("r", shared.name, 0, 64))
    memory = ClientMemory(folder)
    with pytest.raises(InvalidInput, match=why):
        memory.read(place, numbers(4))
    with pytest.raises(InvalidInput, match=why):
        memory.write(place, b"1234")


def test_memory_that_was_shortened_is_refused(table: RegionTable, folder: Path) -> None:
    path = Path("/dev/shm") / f"salver_unit_{os.getpid()}"
    path.write_bytes(bytes(SIZE))
    try:
        table.register(Region("r", path.name, 0, SIZE))
        memory = ClientMemory(folder)
        memory.read(Place("r", 0, LARGE), numbers(LARGE))
        os.truncate(path, SIZE - 1)
        with pytest.raises(InvalidInput, match="has been shortened"):
            memory.read(Place("r", 0, 4), numbers(4))
        with pytest.raises(InvalidInput, match="has been shortened"):
            memory.write(Place("r", 0, 4), b"1234")
    finally:
        path.unlink()


def test_regions_are_told_by_name(shared: SharedMemory, table: RegionTable) -> None:
    b, a = Region("b", shared.name, 0, 8), Region("a", "/" + shared.name, 8, 8)
    table.register(b)
    table.register(a)
    assert list(table.regions()) == [a, b]
    assert list(table.regions("b")) == [b]
    with pytest.raises(RegionExistsError, match="'b' already in manager"):
        table.register(b)
    table.unregister("nowhere")
    table.unregister("b")
    with pytest.raises(RegionNotFoundError, match="system shared memory region: 'b'"):
        table.regions("b")
    table.unregister()
    assert list(table.regions()) == []


@pytest.mark.parametrize(
    ("key", "offset", "size", "why"),
    [
        ("", 0, 8, "its key needs"),
        ("/", 0, 8, "its key needs"),
        ("k" * 256, 0, 8, "its key needs"),
        ("a/b", 0, 8, "without slashes"),
        ("//etc", 0, 8, "without slashes"),
        ("..", 0, 8, "without slashes"),
        ("nul\0", 0, 8, "without slashes"),
        ("sem.one", 0, 8, "reserved"),
        ("salver_unit_none", 0, 8, "Unable to open shared memory region"),
        ("{key}", 0, 0, "invalid args"),
        ("{key}", 0, SIZE + 1, "invalid args"),
        ("{key}", SIZE, 1, "invalid args"),
        ("{key}", -1, 8, "invalid args"),
        ("{key}", 1 << 63, 8, "invalid args"),
    ],
)
def test_what_cannot_be_a_region_is_refused(
    shared: SharedMemory, table: RegionTable, key: str, offset: int, size: int, why: str
) -> None:
    with pytest.raises(InvalidInput, match=why):
        table.register(Region("r", key.replace("{key}", shared.name), offset, size))
    assert list(table.regions()) == []


def test_a_name_has_a_length(shared: SharedMemory, table: RegionTable) -> None:
    for name in ("", "n" * 257):
        with pytest.raises(InvalidInput, match="its name needs"):
            table.register(Region(name, shared.name, 0, 8))


def test_a_region_that_workers_cannot_be_told_of_is_not_there(
    shared: SharedMemory, table: RegionTable, folder: Path
) -> None:
    region = Region("r", shared.name, 0, 64)
    folder.rmdir()
    with pytest.raises(Unavailable, match="workers cannot be told"):
        table.register(region)
    folder.mkdir()
    assert table.regions() == []
    table.register(region)
    assert list(table.regions()) == [region]


def test_regions_have_a_bound(shared: SharedMemory, folder: Path) -> None:
    table = RegionTable(folder, most=2)
    for name in ("a", "b"):
        table.register(Region(name, shared.name, 0, 8))
    with pytest.raises(InvalidInput, match="there are 2 already"):
        table.register(Region("c", shared.name, 0, 8))
    table.close()
    assert not folder.exists()
    assert region_table.MOST_REGIONS == 1024


class Doubler:
    """A model that doubles, and remembers how many rows it had at a time."""

    metadata = ModelMetadata(
        "test", (TensorMetadata("x", "FP32", (-1, 2)),), (TensorMetadata("y", "FP32", (-1, 2)),)
    )

    def __init__(self) -> None:
        self.batch_rows: list[int] = []

    def predict(self, request: InferRequest) -> InferResponse:
        data = request.inputs[0].data
        self.batch_rows.append(len(data))
        return InferResponse((Tensor("y", "FP32", data * 2),))

    def unload(self) -> None: ...


def asking(at: int, *, output: bool = True) -> bytes:
    parameters = {"shared_memory_region": "r", "shared_memory_byte_size": 8}
    tensor = {"name": "x", "shape": [1, 2], "datatype": "FP32"}
    tensor["parameters"] = {**parameters, "shared_memory_offset": at}
    body: dict[str, object] = {"inputs": [tensor]}
    if output:
        place = {**parameters, "shared_memory_offset": at + 8}
        body["outputs"] = [{"name": "y", "parameters": place}]
    return json.dumps(body).encode()


LOCAL = Codec.V2_JSON | MAY_SHARE


def test_requests_in_memory_are_stacked_and_one_that_is_wrong_fails_alone(
    shared: SharedMemory, table: RegionTable, folder: Path
) -> None:
    table.register(Region("r", shared.name, 0, 64))
    values = np.frombuffer(shared.buf, np.float32, 16)
    values[:] = np.arange(16)
    model = Doubler()
    answerer = Answerer(
        model, ModelIdentity("m", "1", model.metadata), max_rows=0, max_body_bytes=99
    )
    answerer.shares(ClientMemory(folder))
    bodies = [asking(0), asking(16), asking(60), asking(32, output=False)]
    answers = answerer.answer([Item(LOCAL, 0, body) for body in bodies])
    assert [item.tag for item in answers.items] == [0, 0, int(ErrorKind.INVALID_INPUT), 0]
    assert model.batch_rows == [2, 1]
    assert values[:8].tolist() == [0, 1, 0, 2, 4, 5, 8, 10]
    assert json.loads(bytes(answers.items[3].body))["outputs"][0]["data"] == [16.0, 18.0]
    del values


@pytest.mark.parametrize("tag", [Codec.V2_JSON, Codec.SELDON_JSON | MAY_SHARE])
def test_memory_is_refused_to_calls_that_are_not_marked(
    shared: SharedMemory, table: RegionTable, folder: Path, tag: int
) -> None:
    table.register(Region("r", shared.name, 0, 64))
    model = Doubler()
    answerer = Answerer(
        model, ModelIdentity("m", "1", model.metadata), max_rows=0, max_body_bytes=99
    )
    answerer.shares(ClientMemory(folder))
    (item,) = answerer.answer([Item(int(tag), 0, asking(0))]).items
    assert item.tag == ErrorKind.INVALID_INPUT
    assert model.batch_rows == []
    unshared = Answerer(
        model, ModelIdentity("m", "1", model.metadata), max_rows=0, max_body_bytes=99
    )
    (item,) = unshared.answer([Item(LOCAL, 0, asking(0))]).items
    assert b"shared memory" in bytes(item.body)
