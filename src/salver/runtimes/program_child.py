"""One process of a program: started, asked over its pipes, ended with all that it has started.

Owns the pipes and the process group. A shell in that group kills it when this worker is gone,
however that came about; the group's number is taken as long as the shell is in it. Refuses to
decide whether a process is started again.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence

from salver.runtimes.program_frames import (
    PREFIX,
    Message,
    NotAMessage,
    head_of,
    is_start,
    message_of,
    shown,
    sizes_of,
)
from salver.runtimes.program_spec import ProgramSpec

_KEEPER = "read -r line; sleep 2; kill -KILL 0"
"""Its input ends with the worker; the program sees the end of its own, and has two seconds."""
_PIPE_BYTES = 1 << 20
_READ_BYTES = 1 << 16
_END_TIMEOUT_S = 2.0

Piece = bytes | memoryview


class ProgramEnded(Exception):
    """The process is gone; the text says how, after `its program`."""


class BrokenProtocol(Exception):
    """The process said what no message is, or not what it was asked; the text says what."""


class ProgramChild:
    """A running process. Called from one thread; `wait_end` may be from another."""

    def __init__(self, spec: ProgramSpec, env: Mapping[str, str]) -> None:
        """Starts it. Raises `OSError` if the command cannot be run."""
        answers, their_answers = os.pipe2(os.O_CLOEXEC)
        self._answers = answers
        self._buffer = bytearray()
        try:
            self._process = _started(spec, env, their_answers)
        except OSError:
            os.close(answers)
            raise
        finally:
            os.close(their_answers)
        assert self._process.stdin is not None
        self._requests = self._process.stdin.fileno()
        for descriptor in (self._requests, self._answers):
            with contextlib.suppress(OSError):
                fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        self._keeper = _keeper_of(self._process.pid)

    @property
    def pid(self) -> int:
        return self._process.pid

    def send(self, lines: Sequence[Sequence[str]], body: Sequence[Piece] = ()) -> None:
        """Writes a message. Raises `ProgramEnded`."""
        size = sum(len(each) for each in body)
        pieces: list[Piece] = [head_of(lines, size), *body]
        if size <= _READ_BYTES:
            pieces = [b"".join(pieces)]
        try:
            for piece in pieces:
                _write(self._requests, piece)
        except BrokenPipeError:
            raise ProgramEnded(self._cause("closed its input")) from None

    def receive(self, timeout_s: float | None = None) -> Message:
        """The next message.

        Raises `ProgramEnded`, `BrokenProtocol`, and `TimeoutError` where a time is given.
        """
        deadline_s = None if timeout_s is None else time.monotonic() + timeout_s
        try:
            self._fill(PREFIX.size, deadline_s)
            head_bytes, body_bytes = sizes_of(self._buffer)
            body_at = PREFIX.size + head_bytes
            end = body_at + body_bytes
            self._fill(end, deadline_s)
            message = message_of(
                self._buffer[PREFIX.size : body_at], bytes(memoryview(self._buffer)[body_at:end])
            )
        except NotAMessage as error:
            raise BrokenProtocol(
                f"wrote {error} where a message of the protocol belongs; print to standard error"
            ) from None
        del self._buffer[:end]
        return message

    def _fill(self, count: int, deadline_s: float | None) -> None:
        buffer = self._buffer
        while len(buffer) < count:
            if deadline_s is not None and not self._is_readable(deadline_s - time.monotonic()):
                raise TimeoutError
            data = os.read(self._answers, min(max(_READ_BYTES, count - len(buffer)), _PIPE_BYTES))
            if not data:
                raise ProgramEnded(self._cause("closed its output"))
            buffer += data
            if not is_start(buffer):
                raise NotAMessage(shown(buffer))

    def _is_readable(self, timeout_s: float) -> bool:
        poll = select.poll()
        poll.register(self._answers, select.POLLIN)
        return bool(poll.poll(max(0.0, timeout_s) * 1000))

    def _cause(self, otherwise: str) -> str:
        """How it ended. One that has closed a pipe is about to end, as a rule."""
        try:
            code = self._process.wait(_END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            return otherwise
        return f"was killed by signal {-code}" if code < 0 else f"exited with code {code}"

    def wait_end(self) -> str:
        """Returns how it ended once it has, without taking that from whoever else asks."""
        with contextlib.suppress(ChildProcessError):
            os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
        return self._cause("ended")

    def kill(self) -> None:
        """Ends the whole group at once and closes the pipes."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        self._close()

    def finish(self) -> None:
        """Closes its input, which asks it to end, and kills what is left after a moment."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_END_TIMEOUT_S)
        self.kill()

    def _close(self) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        if self._answers >= 0:
            os.close(self._answers)
            self._answers = -1
        for process in (self._process, self._keeper):
            if process is None:
                continue
            if process.stdin is not None:
                process.stdin.close()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_END_TIMEOUT_S)


def _started(spec: ProgramSpec, env: Mapping[str, str], answers: int) -> subprocess.Popen[bytes]:
    environ = {**os.environ, **env, **spec.env}
    if spec.prints_freely:
        environ["SALVER_ANSWERS"] = f"/dev/fd/{answers}"
    return subprocess.Popen(
        spec.command,
        stdin=subprocess.PIPE,
        stdout=2 if spec.prints_freely else answers,
        pass_fds=(answers,) if spec.prints_freely else (),
        cwd=spec.folder,
        env=environ,
        bufsize=0,
        process_group=0,
    )


def _keeper_of(group: int) -> subprocess.Popen[bytes] | None:
    """The shell in the program's group that outlives this process by two seconds at most."""
    try:
        return subprocess.Popen(
            ["/bin/sh", "-c", _KEEPER],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            process_group=group,
        )
    except (OSError, subprocess.SubprocessError):
        # The program has ended already, as whoever reads from it is about to see.
        return None


def _write(descriptor: int, piece: Piece) -> None:
    view = memoryview(piece)
    while view:
        view = view[os.write(descriptor, view) :]
