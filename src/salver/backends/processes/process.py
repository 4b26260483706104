"""One foreign process under guard: started, listened to, told to stop, and its end reported.

Knows nothing of HTTP and nothing of restarts.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec

from salver.backends.local.environment import cause_of_end
from salver.backends.processes.output import OutputLog
from salver.errors import LoadFailed

GUARD = Path(__file__).with_name("guard.py")
_READ_BYTES = 64 << 10


class Launch(msgspec.Struct, frozen=True):
    """What is to be run. `after`: a command that clears up what the process may leave."""

    command: tuple[str, ...]
    env: Mapping[str, str]
    port: int
    working_dir: str = ""
    after: tuple[str, ...] = ()


class ForeignProcess:
    """A command that runs, or has run. `on_end` is called with why, once."""

    def __init__(
        self, launch: Launch, output: OutputLog, on_end: Callable[[ForeignProcess, str], object]
    ) -> None:
        self.launch = launch
        self._output = output
        self._on_end = on_end
        self._process: asyncio.subprocess.Process | None = None
        self._control: socket.socket | None = None
        self._task: asyncio.Task[None] | None = None
        self._ended = asyncio.Event()

    @property
    def pid(self) -> int:
        """The guard's process id, 0 if it does not run."""
        return self._process.pid if self._process is not None and not self.has_ended else 0

    @property
    def has_ended(self) -> bool:
        return self._ended.is_set()

    async def start(self) -> None:
        """Starts it. Raises `LoadFailed` if not even that can be done."""
        ours, theirs = socket.socketpair()
        launch = self.launch
        after = ("--after", json.dumps(launch.after)) if launch.after else ()
        try:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", "-S", str(GUARD), str(theirs.fileno())),
                *(*after, "--", *launch.command),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                env=dict(launch.env),
                cwd=launch.working_dir or None,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
            )
        except OSError as error:
            ours.close()
            raise LoadFailed(
                f"'{launch.command[0]}' cannot be started in {launch.working_dir or '.'}: "
                f"{error.strerror or error}"
            ) from error
        except BaseException:
            # A guard that has been started all the same sees this, and ends.
            ours.close()
            raise
        finally:
            theirs.close()
        self._control = ours
        self._task = asyncio.get_running_loop().create_task(self._listen())

    async def _listen(self) -> None:
        process = self._process
        assert process is not None and process.stdout is not None
        source = str(process.pid)
        while data := await process.stdout.read(_READ_BYTES):
            self._output.feed(data, source)
        code = await process.wait()
        self._output.end(source)
        self._ended.set()
        self._close_control()
        status = -code if code < 0 else code << 8
        self._on_end(self, cause_of_end(status))

    async def stop(self, grace_s: float) -> None:
        """SIGTERM to its group, SIGKILL to all of it once the grace is over; returns at its end."""
        if self._process is None or self.has_ended:
            return
        self._order(b"t")
        try:
            await asyncio.wait_for(self._ended.wait(), grace_s)
        except TimeoutError:
            self.kill()
            await self._ended.wait()

    def kill(self) -> None:
        """Ends it and all its descendants at once."""
        self._order(b"k")
        self._close_control()

    def _order(self, order: bytes) -> None:
        if self._control is not None:
            try:
                self._control.send(order)
            except OSError:
                # The guard has gone, and has taken the rest with it.
                return

    def _close_control(self) -> None:
        if self._control is not None:
            self._control.close()
            self._control = None


def descendants(root: int) -> list[int]:
    """The processes below this one, as far as they can be seen."""
    found: list[int] = []
    level = [root]
    while level:
        children: list[int] = []
        for pid in level:
            with contextlib.suppress(OSError):
                for thread in Path(f"/proc/{pid}/task").iterdir():
                    children += [int(each) for each in (thread / "children").read_text().split()]
        found += children
        level = children
    return found


def free_port() -> int:
    """A port of the loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def why_not_runnable(command: Sequence[str], env: Mapping[str, str]) -> str:
    """Why the command cannot be run here; empty if its program is found."""
    program = command[0] if command else ""
    if program and shutil.which(program, path=env.get("PATH")):
        return ""
    return f"there is no program '{program}' on this machine: install it, or correct the command"
