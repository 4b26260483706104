"""Environments are made once, whole or not at all, shared, and collected: with the real uv."""

from __future__ import annotations

import asyncio
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
import pytest
from tests.unit.backends.environments.index_folder import make_index, variables

from salver.backends.environments.manager import PreparedEnvironment, PythonEnvironments
from salver.errors import EnvironmentFailed
from salver.inference.requirements import Requirements

LEFTPAD = Requirements(("leftpad==1.0",), origin="runtimeVersion 1.0")


class Bench:
    """A root, an index and the environments over them."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "root"
        self.index = make_index(folder / "index")
        self.environ = variables(self.index, folder / "cache")
        self.told: list[str] = []

    def open(self, **settings: object) -> PythonEnvironments:
        settings.setdefault("timeout_s", 60)
        settings.setdefault("environ", self.environ)
        return PythonEnvironments(self.root, **settings)  # type: ignore[arg-type]

    def visible(self) -> list[str]:
        return sorted(path.parent.name for path in self.root.glob("*/content.json"))

    def run(
        self, act: Callable[[PythonEnvironments], Awaitable[object]], **settings: object
    ) -> object:
        """Acts on environments of its own and closes them."""

        async def acted() -> object:
            environments = self.open(**settings)
            try:
                return await asyncio.wait_for(act(environments), 60)
            finally:
                await environments.close()

        return asyncio.run(acted())

    def made(self, requirements: Requirements, **settings: object) -> PreparedEnvironment:
        prepared = self.run(lambda each: each.ensure(requirements, self.told.append), **settings)
        assert isinstance(prepared, PreparedEnvironment)
        return prepared

    def failure(self, requirements: Requirements, **settings: object) -> str:
        with pytest.raises(EnvironmentFailed) as caught:
            self.made(requirements, **settings)
        assert self.visible() == []
        return str(caught.value)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_an_environment_has_the_packages_and_what_a_worker_needs(bench: Bench) -> None:
    prepared = bench.made(LEFTPAD)
    names = [line.partition("==")[0] for line in prepared.packages]
    assert names == ["leftpad", "msgspec", "numpy", "orjson", "protobuf", "pysimdjson"]
    program = "import leftpad, salver, sys; print(leftpad.VERSION, sys.prefix)"
    done = subprocess.run(
        [prepared.python, "-c", program], capture_output=True, text=True, env=prepared.environ
    )
    assert done.stdout.split() == ["1.0", str(bench.root / prepared.digest)], done.stderr
    assert bench.told[0] == "solving leftpad==1.0 (runtimeVersion 1.0)"
    assert any(line.startswith("Installed 6 packages") for line in bench.told)


def test_nothing_asked_for_is_the_servers_own_environment(bench: Bench) -> None:
    prepared = bench.made(Requirements())
    assert (str(prepared.python), prepared.digest) == (sys.executable, "")
    assert not bench.root.exists()


def test_what_was_made_once_needs_no_index_and_no_solver(bench: Bench) -> None:
    first = bench.made(LEFTPAD)
    shutil.rmtree(bench.index)
    bench.told.clear()
    assert bench.made(LEFTPAD, offline=True) == first
    assert bench.told == []


def test_those_that_ask_at_once_share_one_build(bench: Bench) -> None:
    async def ask(environments: PythonEnvironments) -> object:
        return await asyncio.gather(
            *(environments.ensure(LEFTPAD, bench.told.append) for _ in range(3))
        )

    prepared = bench.run(ask)
    assert isinstance(prepared, list)
    assert prepared[0] is prepared[1] is prepared[2]
    installed = [line for line in bench.told if line.startswith("Installed")]
    assert len(installed) == 3, "each is told, of one installation"


def test_lists_that_come_to_the_same_packages_share_an_environment(bench: Bench) -> None:
    async def ask(environments: PythonEnvironments) -> object:
        other = Requirements(("leftpad<2", "numpy>=2"), origin="requirements.txt")
        return await asyncio.gather(environments.ensure(LEFTPAD), environments.ensure(other))

    prepared = bench.run(ask)
    assert isinstance(prepared, list)
    assert prepared[0].digest == prepared[1].digest
    assert bench.visible() == [prepared[0].digest]


def test_a_constraint_bounds_what_comes_along(bench: Bench) -> None:
    prepared = bench.made(Requirements(("leftpad",), constraints=("leftpad<2",)))
    assert "leftpad==1.0" in prepared.packages


@pytest.mark.parametrize(
    ("requirements", "reason"),
    [
        (
            Requirements(("leftpad==9.9",), origin="runtimeVersion 9.9"),
            "the Python environment of leftpad==9.9 (runtimeVersion 9.9) cannot be made: "
            "Because there is no version of leftpad==9.9 and you require leftpad==9.9, "
            "there is no solution",
        ),
        (
            Requirements(("leftpad==2.0", "rightpad")),
            "all versions of rightpad depend on leftpad==1.0",
        ),
        (Requirements(("centrepad",)), "centrepad was not found"),
        (Requirements(("leftpad",), python="3.9"), "needs Python 3.9, and Salver runs on"),
        (Requirements(("leftpad",), python="3.99"), "needs Python 3.99, and this machine has none"),
        (
            Requirements(("git+https://a/b", "-e .", "left pad"), origin="requirements.txt"),
            "requirements.txt: 'git+https://a/b' is no package of an index, and nothing else is "
            "installed; '-e .' is no package of an index, and nothing else is installed; 'left "
            "pad' cannot be read: ",
        ),
        (Requirements(("leftpad @ file:///etc/passwd",)), "no package of an index"),
    ],
)
def test_what_cannot_be_made_says_why_on_one_line(
    bench: Bench, requirements: Requirements, reason: str
) -> None:
    message = bench.failure(requirements)
    assert reason in message
    assert "\n" not in message


def test_a_preferred_python_that_is_not_there_is_replaced_and_told(bench: Bench) -> None:
    wanted = msgspec.structs.replace(LEFTPAD, python="3.8", python_is_preferred=True)
    assert bench.made(wanted).digest == bench.made(LEFTPAD).digest
    assert bench.told[0].startswith("Python 3.8 is asked for, and Salver runs on Python 3.11")


def test_offline_without_a_cache_says_that_the_network_is_off(bench: Bench) -> None:
    environ = bench.environ | {"UV_DEFAULT_INDEX": "http://127.0.0.1:9/simple"}
    message = bench.failure(LEFTPAD, environ=environ, offline=True)
    assert "leftpad was not found in the cache" in message
    assert "network was disabled" in message


def test_an_index_that_is_down_is_named_without_its_password(bench: Bench) -> None:
    environ = bench.environ | {"UV_DEFAULT_INDEX": "http://me:secret@127.0.0.1:9/simple"}
    message = bench.failure(LEFTPAD, environ=environ | {"UV_HTTP_RETRIES": "0"})
    assert "http://127.0.0.1:9/simple" in message
    assert "Connection refused" in message
    assert "secret" not in message


def test_an_index_that_does_not_answer_ends_at_the_time_limit_with_uv_killed(bench: Bench) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/simple"
        environ = bench.environ | {"UV_DEFAULT_INDEX": url}
        message = bench.failure(LEFTPAD, environ=environ, timeout_s=0.5)
    assert "it was not complete after 0.5 s" in message
    assert children() == []


def test_a_build_that_nobody_waits_for_any_more_is_given_up(bench: Bench) -> None:
    async def leave(environments: PythonEnvironments) -> None:
        building = asyncio.Event()
        waits = [
            asyncio.ensure_future(environments.ensure(LEFTPAD, lambda _: building.set()))
            for _ in range(2)
        ]
        await asyncio.wait_for(building.wait(), 30)
        for wait in waits:
            wait.cancel()
        await asyncio.gather(*waits, return_exceptions=True)

    bench.run(leave)
    assert bench.visible() == []
    assert children() == []


def test_a_root_that_is_no_folder_says_what_and_where(bench: Bench) -> None:
    bench.root.write_text("")
    with pytest.raises(EnvironmentFailed, match=r"cannot be made: .*root.*; see to the disk"):
        bench.made(LEFTPAD)


def test_a_kill_during_a_build_leaves_nothing_visible_and_is_cleared_away(bench: Bench) -> None:
    program = f"""
import asyncio, os
from pathlib import Path
from salver.backends.environments.manager import PythonEnvironments
from salver.inference.requirements import Requirements
told = []
def tell(line):
    told.append(line)
    if sum(each.startswith("Resolved") for each in told) == 2:  # solved, now installing
        os.kill(os.getpid(), 9)
environments = PythonEnvironments(Path({str(bench.root)!r}), timeout_s=60)
asyncio.run(environments.ensure(Requirements(("leftpad==1.0",)), tell))
"""
    done = subprocess.run([sys.executable, "-c", program], env=bench.environ, timeout=60)
    assert done.returncode == -signal.SIGKILL
    assert bench.visible() == []
    assert list(bench.root.glob(".building-*"))

    async def clear(environments: PythonEnvironments) -> None:
        await environments.ensure(LEFTPAD)
        deadline_s = time.monotonic() + 20  # the orphaned uv holds its folder until it ends
        while list(bench.root.glob(".building-*")) and time.monotonic() < deadline_s:
            await environments.collect(set())
            await asyncio.sleep(0.05)

    bench.run(clear, now=lambda: time.time() + 3600)
    assert list(bench.root.glob(".*")) == []


def test_collecting_removes_what_nobody_uses(bench: Bench) -> None:
    async def act(environments: PythonEnvironments) -> object:
        used = await environments.ensure(LEFTPAD)
        unused = await environments.ensure(Requirements(("rightpad",)))
        assert await environments.collect({used.digest}) == (unused.digest,)
        assert bench.visible() == [used.digest]
        again = await environments.ensure(Requirements(("rightpad",)))
        return again.digest == unused.digest

    assert bench.run(act) is True


def test_collecting_spares_what_another_server_uses(bench: Bench) -> None:
    async def act(environments: PythonEnvironments) -> None:
        other = bench.open()
        prepared = await other.ensure(LEFTPAD)
        assert await environments.collect(set()) == ()
        await other.close()
        assert await environments.collect(set()) == (prepared.digest,)

    bench.run(act)


def test_the_last_used_stay_within_the_caches_limit(bench: Bench) -> None:
    clock = iter(range(1000, 2000))
    first = bench.made(LEFTPAD, now=lambda: next(clock))
    second = bench.made(Requirements(("rightpad",)), now=lambda: next(clock))
    assert bench.run(lambda each: each.collect(set()), cache_limit_bytes=1 << 40) == ()
    bytes_of_one = sum(
        path.lstat().st_size
        for path in (bench.root / second.digest).rglob("*")
        if not path.is_symlink()
    )
    limit = int(bytes_of_one * 1.5)
    removed = bench.run(lambda each: each.collect(set()), cache_limit_bytes=limit)
    assert removed == (first.digest,)


def test_an_environment_whose_python_has_gone_is_made_anew(bench: Bench) -> None:
    prepared = bench.made(LEFTPAD)
    prepared.python.unlink()
    assert bench.made(LEFTPAD) == prepared
    assert prepared.python.exists()


def children() -> list[int]:
    """Processes of this one that run still."""
    found = []
    for thread in Path("/proc/self/task").iterdir():
        for pid in (thread / "children").read_text().split():
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
            program = Path(f"/proc/{pid}/cmdline").read_text().split("\0")[0]
            if state != "Z" and Path(program).name == "uv":
                found.append(int(pid))
    return found
