"""Tensors in memory that clients share: tritonclient over HTTP and gRPC, as its examples do."""

from __future__ import annotations

import contextlib
import os
import queue
import re
import signal
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.utils.shared_memory as shm
from tritonclient.utils import InferenceServerException

from tests.e2e.server import Server, serving, wait_until
from tests.e2e.shared_memory_kit import Wire, key_of, region, strings, wires, write_repository

pytestmark = pytest.mark.e2e
COUNT = 1 << 18
SIZE = 4 * COUNT
"""A tensor of a megabyte: it is mapped, not copied."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(str(write_repository(tmp_path_factory.mktemp("repository")))) as running:
        yield running


@pytest.fixture(params=["http", "grpc"])
def wire(server: Server, request: pytest.FixtureRequest) -> Wire:
    return wires(server.url.removeprefix("http://"), server.grpc)[request.param]


def ask(wire: Wire, model: str, inputs: list[Any], outputs: list[Any] | None = None) -> Any:
    return wire.client.infer(model, inputs, outputs=outputs)


def refusal(wire: Wire, model: str, inputs: list[Any], outputs: list[Any] | None = None) -> Any:
    with pytest.raises(InferenceServerException) as refused:
        ask(wire, model, inputs, outputs)
    return refused.value


def test_inputs_and_outputs_go_through_memory(wire: Wire) -> None:
    """As Triton's `simple_http_shm_client` and `simple_grpc_shm_client`."""
    a = np.arange(16, dtype=np.int32).reshape(1, 16)
    b = np.ones((1, 16), np.int32)
    wire.client.unregister_system_shared_memory()
    with region(wire, "input_data", 128) as given, region(wire, "output_data", 128) as taken:
        shm.set_shared_memory_region(given, [a, b])
        inputs = [
            wire.given("INPUT0", "INT32", [1, 16], "input_data", 64),
            wire.given("INPUT1", "INT32", [1, 16], "input_data", 64, at=64),
        ]
        outputs = [
            wire.wanted("OUTPUT0", "output_data", 64),
            wire.wanted("OUTPUT1", "output_data", 64, at=64),
        ]
        answer = ask(wire, "simple", inputs, outputs)
        for name, at, expected in (("OUTPUT0", 0, a + b), ("OUTPUT1", 64, a - b)):
            told = answer.get_output(name)
            shape = told["shape"] if wire.is_http else list(told.shape)
            datatype = told["datatype"] if wire.is_http else told.datatype
            assert (shape, datatype) == ([1, 16], "INT32")
            found = shm.get_contents_as_numpy(taken, np.int32, [1, 16], offset=at)
            np.testing.assert_array_equal(found, expected)
        if wire.is_http:
            assert answer.get_response()["outputs"][1] == {
                "name": "OUTPUT1",
                "datatype": "INT32",
                "shape": [1, 16],
                "parameters": {
                    "shared_memory_region": "output_data",
                    "shared_memory_byte_size": 64,
                    "shared_memory_offset": 64,
                },
            }


def test_strings_go_through_memory(wire: Wire) -> None:
    """As Triton's `simple_*_shm_string_client`."""
    first, size_1 = strings(range(16))
    second, size_2 = strings([1] * 16)
    with region(wire, "texts", 4096) as given, region(wire, "answers", 4096) as taken:
        shm.set_shared_memory_region(given, [first, second])
        inputs = [
            wire.given("INPUT0", "BYTES", [1, 16], "texts", size_1),
            wire.given("INPUT1", "BYTES", [1, 16], "texts", size_2, at=size_1),
        ]
        outputs = [
            wire.wanted("OUTPUT0", "answers", 512),
            wire.wanted("OUTPUT1", "answers", 512, at=512),
        ]
        ask(wire, "simple_string", inputs, outputs)
        total = shm.get_contents_as_numpy(taken, np.object_, [1, 16])
        difference = shm.get_contents_as_numpy(taken, np.object_, [1, 16], offset=512)
    assert [int(each) for each in total.ravel()] == [n + 1 for n in range(16)]
    assert [int(each) for each in difference.ravel()] == [n - 1 for n in range(16)]


@pytest.mark.parametrize("model", ["floats", "cached"])
def test_memory_and_message_mix(wire: Wire, model: str) -> None:
    a = np.random.default_rng(1).random((1, COUNT), np.float32)
    b = np.full((1, COUNT), 2, np.float32)
    with region(wire, "given", SIZE) as given, region(wire, "taken", SIZE) as taken:
        for turn in (1, 2):
            # What lies in memory changes, what is sent does not: no answer may be an older one's.
            shm.set_shared_memory_region(given, [a * turn])
            inputs = [
                wire.given("INPUT0", "FP32", [1, COUNT], "given", SIZE),
                wire.inline("INPUT1", "FP32", b),
            ]
            plain = wire.module.InferRequestedOutput("OUTPUT1")
            answer = ask(wire, model, inputs, [wire.wanted("OUTPUT0", "taken", SIZE), plain])
            found = shm.get_contents_as_numpy(taken, np.float32, [1, COUNT])
            np.testing.assert_array_equal(found, a * turn + b)
            np.testing.assert_array_equal(answer.as_numpy("OUTPUT1"), a * turn - b)


def test_requests_in_memory_are_answered_together_with_others(server: Server, wire: Wire) -> None:
    rows = [np.full((1, 16), n, np.int32) for n in range(8)]
    with region(wire, "rows", 512) as given, region(wire, "sums", 512) as taken:
        shm.set_shared_memory_region(given, rows)

        def one(n: int) -> Any:
            client = wires(server.url.removeprefix("http://"), server.grpc)[
                "http" if wire.is_http else "grpc"
            ]
            if n % 3 == 0:
                inputs = [client.inline(f"INPUT{i}", "INT32", rows[n]) for i in (0, 1)]
                return ask(client, "simple", inputs).as_numpy("OUTPUT0")
            inputs = [
                client.given(f"INPUT{i}", "INT32", [1, 16], "rows", 64, at=64 * n) for i in (0, 1)
            ]
            ask(client, "simple", inputs, [client.wanted("OUTPUT0", "sums", 64, at=64 * n)])
            return shm.get_contents_as_numpy(taken, np.int32, [1, 16], offset=64 * n).copy()

        with ThreadPoolExecutor(8) as threads:
            for n, found in zip([*range(8)] * 4, threads.map(one, [*range(8)] * 4), strict=True):
                np.testing.assert_array_equal(found, rows[n] * 2)


def test_messages_of_a_stream_use_memory(server: Server) -> None:
    wire = wires(server.url.removeprefix("http://"), server.grpc)["grpc"]
    values = np.arange(COUNT, dtype=np.float32)
    answers: queue.Queue[tuple[Any, Any]] = queue.Queue()
    with region(wire, "given", SIZE) as given, region(wire, "taken", SIZE) as taken:
        shm.set_shared_memory_region(given, [values])
        wire.client.start_stream(lambda result, error: answers.put((result, error)))
        rows = [wire.given(f"INPUT{i}", "FP32", [1, COUNT], "given", SIZE) for i in (0, 1)]
        output = wire.wanted("OUTPUT0", "taken", SIZE)
        wire.client.async_stream_infer("floats", rows, outputs=[output])
        assert answers.get(timeout=30)[1] is None
        found = shm.get_contents_as_numpy(taken, np.float32, [COUNT])
        np.testing.assert_array_equal(found, values * 2)
        one = wire.given("INPUT0", "FP32", [COUNT], "given", SIZE)
        wire.client.async_stream_infer("streamed", [one], outputs=[output])
        for _ in range(2):
            assert answers.get(timeout=30)[1] is None
        np.testing.assert_array_equal(found, values * 2)
        wire.client.stop_stream()


def test_the_status_tells_of_all_regions_or_one(wire: Wire) -> None:
    wire.client.unregister_system_shared_memory()
    with region(wire, "b", 64) as handle, region(wire, "a", 128):
        told = wire.client.get_system_shared_memory_status()
        one = wire.client.get_system_shared_memory_status("b")
        if wire.is_http:
            assert [each["name"] for each in told] == ["a", "b"]
            assert one == [{"name": "b", "key": key_of(handle), "offset": 0, "byte_size": 64}]
        else:
            assert set(told.regions) == {"a", "b"}
            assert (one.regions["b"].key, one.regions["b"].byte_size) == (key_of(handle), 64)
        with pytest.raises(InferenceServerException, match="already in manager") as refused:
            wire.client.register_system_shared_memory("b", key_of(handle), 64)
        assert refused.value.status() in ("400", "StatusCode.ALREADY_EXISTS")
        wire.client.unregister_system_shared_memory()
        with pytest.raises(InferenceServerException, match="Unable to find system shared") as gone:
            wire.client.get_system_shared_memory_status("b")
        assert gone.value.status() in ("404", "StatusCode.NOT_FOUND")


def test_metadata_names_the_extension(wire: Wire) -> None:
    told = wire.client.get_server_metadata()
    extensions = told["extensions"] if wire.is_http else told.extensions
    assert "system_shared_memory" in extensions
    assert "cuda_shared_memory" not in extensions


def test_there_is_no_cuda_memory(wire: Wire) -> None:
    told = wire.client.get_cuda_shared_memory_status()
    assert not (told if wire.is_http else told.regions)
    with pytest.raises(InferenceServerException, match="GPUs not supported"):
        wire.client.register_cuda_shared_memory("r", b"aGFuZGxl", 0, 64)
    wire.client.unregister_cuda_shared_memory()


@pytest.mark.parametrize(
    ("key", "offset", "size", "why"),
    [
        ("/salver_test_missing", 0, 64, "Unable to open"),
        ("/../../etc/passwd", 0, 64, "without slashes"),
        ("", 0, 64, "its key needs"),
        ("..", 0, 64, "without slashes"),
        ("/sem.mp-1", 0, 64, "reserved"),
        ("/triton_python_backend_shm_region_1", 0, 64, "reserved"),
        ("{key}", 0, 65 << 10, "invalid args"),
        ("{key}", 60 << 10, 8 << 10, "invalid args"),
        ("{key}", 0, 0, "invalid args"),
        ("{key}", 1 << 63, 1 << 63, "invalid args"),
        ("/salver_test_link", 0, 64, "Unable to open"),
        ("/salver_test_folder", 0, 64, "Unable to open"),
    ],
)
def test_what_is_no_memory_object_is_not_registered(
    wire: Wire, key: str, offset: int, size: int, why: str, tmp_path: Path
) -> None:
    link, folder = Path("/dev/shm/salver_test_link"), Path("/dev/shm/salver_test_folder")
    folder.mkdir()
    (tmp_path / "file").write_bytes(bytes(64))
    link.symlink_to(tmp_path / "file")
    try:
        with region(wire, "whole", 64 << 10) as whole:
            key = key.replace("{key}", key_of(whole))
            with pytest.raises(InferenceServerException, match=why) as refused:
                wire.client.register_system_shared_memory("bad", key, size, offset=offset)
            assert refused.value.status() in ("400", "StatusCode.INVALID_ARGUMENT")
    finally:
        link.unlink()
        folder.rmdir()


@pytest.mark.parametrize(
    ("name", "at", "size", "status", "why"),
    [
        ("nowhere", 0, 64, ("404", "StatusCode.NOT_FOUND"), "Unable to find shared memory region"),
        ("here", 128, 64, ("400", "StatusCode.INVALID_ARGUMENT"), "Invalid offset for"),
        ("here", 100, 64, ("400", "StatusCode.INVALID_ARGUMENT"), "Invalid offset . byte size"),
        ("here", 0, 32, ("400", "StatusCode.INVALID_ARGUMENT"), "32 bytes of binary data"),
    ],
)
def test_an_input_that_is_not_there_is_refused(
    wire: Wire, name: str, at: int, size: int, status: tuple[str, str], why: str
) -> None:
    with region(wire, "here", 128):
        inputs = [wire.given(f"INPUT{i}", "INT32", [1, 16], name, size, at=at) for i in (0, 1)]
        error = refusal(wire, "simple", inputs)
    assert error.status() in status
    assert re.search(why, error.message())


def test_an_output_that_does_not_fit_is_refused_and_harms_nobody(
    server: Server, wire: Wire
) -> None:
    rows = np.ones((1, 16), np.int32)
    workers = server.descendants()
    with region(wire, "small", 64) as small:
        inputs = [wire.inline(f"INPUT{i}", "INT32", rows) for i in (0, 1)]
        error = refusal(wire, "simple", inputs, [wire.wanted("OUTPUT0", "small", 60)])
        assert "should be at least 64 bytes to hold the results" in error.message()
        ask(wire, "simple", inputs, [wire.wanted("OUTPUT0", "small", 64)])
        found = shm.get_contents_as_numpy(small, np.int32, [1, 16])
        np.testing.assert_array_equal(found, rows * 2)
    assert server.descendants() == workers


def test_an_ensemble_refuses_memory_by_name(wire: Wire) -> None:
    rows = np.ones((1, 16), np.int32)
    with region(wire, "here", 128):
        inputs = [wire.given(f"INPUT{i}", "INT32", [1, 16], "here", 64) for i in (0, 1)]
        assert "shared memory" in refusal(wire, "both", inputs).message()
        inputs = [wire.inline(f"INPUT{i}", "INT32", rows) for i in (0, 1)]
        error = refusal(wire, "both", inputs, [wire.wanted("OUTPUT0", "here", 64)])
        assert "shared memory" in error.message()


def test_a_region_outlives_the_worker_and_its_own_key(server: Server, wire: Wire) -> None:
    """A worker that is killed, or a key unlinked: nothing has to be registered again."""
    values = np.full((1, COUNT), 3, np.float32)
    with region(wire, "kept", 3 * SIZE) as kept:
        Path("/dev/shm" + key_of(kept)).rename("/dev/shm/salver_test_aside")
        try:
            shm.set_shared_memory_region(kept, [values, values])
            inputs = [
                wire.given(f"INPUT{i}", "FP32", [1, COUNT], "kept", SIZE, at=SIZE * i)
                for i in (0, 1)
            ]
            output = wire.wanted("OUTPUT0", "kept", SIZE, at=2 * SIZE)
            for _ in range(2):
                ask(wire, "floats", inputs, [output])
                found = shm.get_contents_as_numpy(kept, np.float32, [1, COUNT], offset=2 * SIZE)
                np.testing.assert_array_equal(found, values * 2)
                found[:] = 0
                (worker,) = holders(server, "aside", f"{os.getpid()}_kept")
                os.kill(worker, signal.SIGKILL)
        finally:
            Path("/dev/shm/salver_test_aside").rename("/dev/shm" + key_of(kept))


def holders(server: Server, *names: str) -> list[int]:
    """The workers that have a memory object mapped with one of these names in its own."""
    found = []
    for pid in server.descendants():
        with contextlib.suppress(OSError):
            maps = Path(f"/proc/{pid}/maps").read_text()
            if any(f"/salver_test_{name}" in maps for name in names):
                found.append(pid)
    return found


def test_memory_that_is_unregistered_is_let_go(server: Server, wire: Wire) -> None:
    with region(wire, "dropped", 2 * SIZE):
        inputs = [
            wire.given(f"INPUT{i}", "FP32", [1, COUNT], "dropped", SIZE, at=SIZE * i)
            for i in (0, 1)
        ]
        ask(wire, "floats", inputs)
        assert holders(server, f"{os.getpid()}_dropped")
        wire.client.unregister_system_shared_memory("dropped")
        deadline_s = time.monotonic() + 10
        while holders(server, f"{os.getpid()}_dropped") and time.monotonic() < deadline_s:
            time.sleep(0.1)
        assert not holders(server, f"{os.getpid()}_dropped")
        assert "Unable to find" in refusal(wire, "floats", inputs).message()


def test_memory_that_was_shortened_is_refused(wire: Wire) -> None:
    with region(wire, "short", 2 * SIZE) as short:
        inputs = [
            wire.given(f"INPUT{i}", "FP32", [1, COUNT], "short", SIZE, at=SIZE * i) for i in (0, 1)
        ]
        ask(wire, "floats", inputs)
        os.truncate("/dev/shm" + key_of(short), SIZE)
        assert "has been shortened" in refusal(wire, "floats", inputs).message()
        error = refusal(
            wire,
            "floats",
            [wire.inline(f"INPUT{i}", "FP32", np.ones((1, 4), np.float32)) for i in (0, 1)],
            [wire.wanted("OUTPUT0", "short", 16)],
        )
        assert "has been shortened" in error.message()


def test_memory_taken_away_amid_a_prediction_costs_one_worker_once(tmp_path: Path) -> None:
    """The first time ends the worker, which comes back; then memory is copied, and nothing ends."""
    values = np.ones((1, COUNT), np.float32)
    with serving(str(write_repository(tmp_path))) as server:
        wire = wires(server.url.removeprefix("http://"), server.grpc)["grpc"]
        with region(wire, "short", 2 * SIZE) as short, ThreadPoolExecutor(1) as thread:
            path = "/dev/shm" + key_of(short)
            inputs = [
                wire.given(f"INPUT{i}", "FP32", [1, COUNT], "short", SIZE, at=SIZE * i)
                for i in (0, 1)
            ]
            shm.set_shared_memory_region(short, [values, values])
            ask(wire, "floats", inputs)
            first = thread.submit(refusal, wire, "slow", inputs)
            wait_until(lambda: len(holders(server, f"{os.getpid()}_short")) == 2, 20)
            os.truncate(path, 0)
            assert "has been shortened" in first.result(60).message()
            assert "memory is copied" in server.log.read_text()
            os.truncate(path, 2 * SIZE)
            shm.set_shared_memory_region(short, [values, values])
            workers = server.descendants()
            second = thread.submit(ask, wire, "slow", inputs)
            time.sleep(0.5)
            os.truncate(path, 0)
            np.testing.assert_array_equal(second.result(60).as_numpy("OUTPUT0"), values * 2)
            assert server.descendants() == workers
            os.truncate(path, 2 * SIZE)


def test_memory_is_for_callers_on_this_machine_if_it_is_wanted_at_all(tmp_path: Path) -> None:
    models = str(write_repository(tmp_path))
    rows = [np.ones((1, 16), np.int32)] * 2
    with serving(models, "--client-shared-memory", "off") as server:
        for wire in wires(server.url.removeprefix("http://"), server.grpc).values():
            with pytest.raises(InferenceServerException, match="--client-shared-memory local"):
                wire.client.register_system_shared_memory("r", "/salver_test_none", 64)
            inputs = [wire.given(f"INPUT{i}", "INT32", [1, 16], "r", 64) for i in (0, 1)]
            assert "--client-shared-memory local" in refusal(wire, "simple", inputs).message()
            told = wire.client.get_server_metadata()
            extensions = told["extensions"] if wire.is_http else told.extensions
            assert "system_shared_memory" not in extensions
    with serving(models, "--host", "0.0.0.0") as server:
        local = wires(f"127.0.0.1:{server.port}", f"127.0.0.1:{server.grpc.rsplit(':', 1)[1]}")
        address = own_address()
        outer = wires(f"{address}:{server.port}", f"{address}:{server.grpc.rsplit(':', 1)[1]}")
        for name, wire in local.items():
            with region(wire, "here", 128) as here:
                shm.set_shared_memory_region(here, rows)
                inputs = [wire.given(f"INPUT{i}", "INT32", [1, 16], "here", 64) for i in (0, 1)]
                assert ask(wire, "simple", inputs).as_numpy("OUTPUT0").max() == 2
                if address is None:
                    continue
                inputs = [
                    outer[name].given(f"INPUT{i}", "INT32", [1, 16], "here", 64) for i in (0, 1)
                ]
                assert "on this machine" in refusal(outer[name], "simple", inputs).message()
                with pytest.raises(InferenceServerException, match="loopback"):
                    outer[name].client.get_system_shared_memory_status()
                # Nor may callers from elsewhere change the server; they may look.
                outer[name].client.get_trace_settings()
                with pytest.raises(InferenceServerException, match="--admin-key"):
                    outer[name].client.update_trace_settings(settings={"trace_rate": "5"})
                with pytest.raises(InferenceServerException, match="--admin-key"):
                    outer[name].client.update_log_settings({"log_info": False})
                wire.client.update_trace_settings(settings={"trace_rate": "5"})


def own_address() -> str | None:
    """An address of this machine beside the loopback's, if it has one."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return None
        address = str(probe.getsockname()[0])
    return None if address.startswith("127.") or address == "0.0.0.0" else address
