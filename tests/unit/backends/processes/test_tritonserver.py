"""Triton as the gateway's child, with a small program in its place: who needs it has it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from salver.backends.processes.output import OutputLog
from salver.backends.processes.process import descendants
from salver.backends.processes.tritonserver import TritonOptions
from salver.backends.processes.tritonserver_finding import find_tritonserver, tritonserver_command
from salver.backends.processes.tritonserver_leases import TritonLeases
from salver.errors import LoadFailed, MissingFramework
from salver.runtimes.tritonserver_lease import Lease

SMALL = Path(__file__).parents[3] / "small_triton.py"


def put(folder: Path, **files: str) -> Path:
    folder.mkdir(parents=True)
    for name, text in files.items():
        (folder / name).write_text(text)
    return folder


class Tritons:
    """The part under test, its log and its workers."""

    def __init__(self, folder: Path, start: str, start_timeout_s: float) -> None:
        program = folder / "tritonserver"
        program.write_text(f'#!/bin/sh\nSTART={start} exec {sys.executable} {SMALL} "$@"\n')
        program.chmod(0o755)
        self.logs: dict[str, OutputLog] = {}
        self.leases = TritonLeases(
            # A socket's path must be short, and pytest's are not.
            Path(tempfile.mkdtemp(prefix="salver-test-")),
            lambda: find_tritonserver(str(program)),
            lambda name: self.logs.setdefault(name, OutputLog()),
            TritonOptions(start_timeout_s=start_timeout_s, load_timeout_s=10.0, grace_s=2.0),
            linger_s=0.05,
        )

    def lease(self, folder: Path, name: str = "m") -> Lease:
        return Lease(
            self.leases.address, name=name, folder=folder, backend="dali", model="salver's"
        )

    @property
    def events(self) -> list[str]:
        return [line for log in self.logs.values() for line in log.read()]

    def pids(self) -> list[int]:
        """The processes themselves, not their guards."""
        return [pid for guard in self.leases.pids for pid in descendants(guard)]


@contextlib.asynccontextmanager
async def tritons(
    folder: Path, start: str = "", start_timeout_s: float = 20.0
) -> AsyncIterator[Tritons]:
    made = Tritons(folder, start, start_timeout_s)
    await made.leases.start()
    try:
        yield made
    finally:
        await made.leases.close()


async def until(condition: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + 10.0
    while not condition():
        assert time.monotonic() < deadline_s, "it never came about"
        await asyncio.sleep(0.01)


def run(test: Callable[[Tritons], Awaitable[None]], folder: Path, **more: object) -> None:
    async def main() -> None:
        async with tritons(folder, **more) as made:  # type: ignore[arg-type]
            await test(made)

    asyncio.run(main())


def test_a_model_is_loaded_once_for_all_of_its_workers(tmp_path: Path) -> None:
    model = put(tmp_path / "m")

    async def test(made: Tritons) -> None:
        first, second = made.lease(model), made.lease(model)
        urls = {await asyncio.to_thread(each.ask, 10.0) for each in (first, second)}
        assert len(urls) == 1
        assert made.events == ["load m"]
        first.close()
        second.close()

    run(test, tmp_path)


def test_no_triton_runs_before_a_model_is_wanted_nor_after(tmp_path: Path) -> None:
    model = put(tmp_path / "m")

    async def test(made: Tritons) -> None:
        assert made.leases.pids == []
        lease = made.lease(model)
        await asyncio.to_thread(lease.ask, 10.0)
        assert len(made.leases.pids) == 1
        lease.close()
        await until(lambda: made.leases.pids == [])
        again = made.lease(model)
        await asyncio.to_thread(again.ask, 10.0)
        assert made.events == ["load m", "load m"]
        again.close()

    run(test, tmp_path)


def test_a_model_that_nobody_holds_is_unloaded_beside_those_that_are_held(tmp_path: Path) -> None:
    first, second = put(tmp_path / "one"), put(tmp_path / "two")

    async def test(made: Tritons) -> None:
        kept, given_up = made.lease(first, "a"), made.lease(second, "b")
        await asyncio.to_thread(kept.ask, 10.0)
        await asyncio.to_thread(given_up.ask, 10.0)
        given_up.close()
        await until(lambda: "unload b" in made.events)
        assert len(made.leases.pids) == 1
        kept.close()

    run(test, tmp_path)


def test_files_that_change_are_loaded_anew_but_not_what_python_keeps(tmp_path: Path) -> None:
    model = put(tmp_path / "m")

    async def test(made: Tritons) -> None:
        first, second = made.lease(model), made.lease(model)
        await asyncio.to_thread(first.ask, 10.0)
        put(model / "1" / "__pycache__", code="x")
        await asyncio.to_thread(second.ask, 10.0)
        assert made.events == ["load m"]
        (model / "weights").write_text("new")
        third = made.lease(model)
        await asyncio.to_thread(third.ask, 10.0)
        assert made.events == ["load m", "load m"]
        for each in (first, second, third):
            each.close()

    run(test, tmp_path)


def test_two_folders_of_one_name_have_a_triton_each(tmp_path: Path) -> None:
    stable, canary = put(tmp_path / "v1" / "m"), put(tmp_path / "v2" / "m")

    async def test(made: Tritons) -> None:
        leases = made.lease(stable), made.lease(canary)
        urls = [await asyncio.to_thread(each.ask, 10.0) for each in leases]
        assert urls[0] != urls[1]
        assert sorted(made.logs) == ["tritonserver", "tritonserver-2"]
        for each in leases:
            each.close()

    run(test, tmp_path)


def test_one_that_is_killed_is_back_with_its_models_at_the_same_address(tmp_path: Path) -> None:
    model = put(tmp_path / "m")

    async def test(made: Tritons) -> None:
        lease = made.lease(model)
        url = await asyncio.to_thread(lease.ask, 10.0)
        for _ in range(2):
            (pid,) = made.pids()
            os.kill(pid, signal.SIGKILL)
            # At once: the worker sees the end before the gateway does.
            assert await asyncio.to_thread(lease.ask, 10.0) == url
            assert made.pids() != [pid]
        assert made.events.count("load m") == 3
        lease.close()

    run(test, tmp_path)


def test_one_that_is_killed_is_back_before_anybody_asks(tmp_path: Path) -> None:
    model = put(tmp_path / "m")

    async def test(made: Tritons) -> None:
        lease = made.lease(model)
        await asyncio.to_thread(lease.ask, 10.0)
        os.kill(made.pids()[0], signal.SIGKILL)
        await until(lambda: made.events.count("load m") == 2)
        lease.close()

    run(test, tmp_path)


def test_a_model_that_cannot_be_loaded_says_tritons_reason_on_one_line(tmp_path: Path) -> None:
    model = put(tmp_path / "m", refuses="plan of another GPU")

    async def test(made: Tritons) -> None:
        lease = made.lease(model)
        with pytest.raises(LoadFailed) as failed:
            await asyncio.to_thread(lease.ask, 10.0)
        assert str(failed.value) == (
            "model 'salver's': Triton could not load 'm': load failed: plan of another GPU; see "
            "the log 'tritonserver'"
        )
        lease.close()

    run(test, tmp_path)


def test_a_model_that_kills_triton_leaves_the_others_served(tmp_path: Path) -> None:
    good, bad = put(tmp_path / "good"), put(tmp_path / "bad", dies="")

    async def test(made: Tritons) -> None:
        kept, lost = made.lease(good, "good"), made.lease(bad, "bad")
        await asyncio.to_thread(kept.ask, 10.0)
        with pytest.raises(LoadFailed, match="Triton ended before it had done the load of 'bad'"):
            await asyncio.to_thread(lost.ask, 10.0)
        lost.close()
        assert (await asyncio.to_thread(kept.ask, 10.0)).startswith("http://127.0.0.1:")
        kept.close()

    run(test, tmp_path)


@pytest.mark.parametrize(
    ("start", "message"),
    [("garbage", "did not come up: it exited with code 7.*no server"), ("never", "within 0.2 s")],
)
def test_one_that_does_not_come_up_is_given_its_reason(
    tmp_path: Path, start: str, message: str
) -> None:
    model = put(tmp_path / "m")

    async def test(made: Tritons) -> None:
        lease = made.lease(model)
        with pytest.raises(LoadFailed, match=message):
            await asyncio.to_thread(lease.ask, 10.0)
        lease.close()

    run(test, tmp_path, start=start, start_timeout_s=20.0 if start == "garbage" else 0.2)


def test_without_a_program_the_model_its_backend_and_the_remedies_are_named(
    tmp_path: Path,
) -> None:
    model = put(tmp_path / "m")

    async def test(made: Tritons) -> None:
        (tmp_path / "tritonserver").unlink()
        lease = made.lease(model)
        with pytest.raises(MissingFramework) as missing:
            await asyncio.to_thread(lease.ask, 10.0)
        for part in ("model 'salver's' (backend 'dali')", "--tritonserver", "triton://HOST:8000"):
            assert part in str(missing.value)
        lease.close()

    run(test, tmp_path)


def test_a_worker_that_stays_is_not_waited_for_and_is_no_error(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = put(tmp_path / "m")

    async def test(made: Tritons) -> None:
        lease = made.lease(model)
        await asyncio.to_thread(lease.ask, 10.0)
        await made.leases.close()
        assert made.pids() == []
        lease.close()

    run(test, tmp_path)
    assert [each for each in caplog.records if each.levelno >= logging.ERROR] == []


@pytest.mark.parametrize("line", [b"no json\n", b'{"name": "../x", "folder": "/"}\n', b"{}\n"])
def test_a_wish_that_is_none_ends_its_connection_alone(tmp_path: Path, line: bytes) -> None:
    model = put(tmp_path / "m")

    def wrong(address: str) -> bytes:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(address)
            connection.settimeout(5.0)
            connection.sendall(line)
            return connection.recv(100)

    async def test(made: Tritons) -> None:
        assert await asyncio.to_thread(wrong, made.leases.address) == b""
        lease = made.lease(model)
        assert await asyncio.to_thread(lease.ask, 10.0)
        lease.close()

    run(test, tmp_path)


def test_the_program_is_the_one_named_else_of_the_path_else_of_the_usual_place() -> None:
    there = {"tritonserver": "/bin/tritonserver", "/opt/t": "/opt/t", "mine": "/home/mine"}
    assert find_tritonserver("mine", which=there.get) == "/home/mine"
    assert find_tritonserver("", which=there.get, usual=Path("/opt/t")) == "/bin/tritonserver"
    del there["tritonserver"]
    assert find_tritonserver("", which=there.get, usual=Path("/opt/t")) == "/opt/t"
    del there["/opt/t"]
    with pytest.raises(MissingFramework, match="no program tritonserver is in PATH, nor is there"):
        find_tritonserver("", which=there.get, usual=Path("/opt/t"))


def test_triton_listens_for_this_machine_alone_and_loads_what_it_is_told_to() -> None:
    command = tritonserver_command("/t", Path("/r"), 4711)
    options = dict(zip(command[1::2], command[2::2], strict=True))
    assert options["--http-address"] == "127.0.0.1"
    assert options["--http-port"] == "4711"
    assert options["--model-control-mode"] == "explicit"
    assert options["--allow-grpc"] == options["--allow-metrics"] == "false"
