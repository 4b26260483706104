"""The gateway's end of a fork server: starts it, asks it for workers, hears of their ends."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import msgspec

from salver.backends.local.worker_messages import MAX_MESSAGE_BYTES, ForkOrder, ForkReport

logger = logging.getLogger("salver.supervisor")

_FORK_SERVER = "salver.backends.local.forkstart"
_END_WAIT_S = 0.02
_FULL_WAIT_S = 0.01


class WorkerEvents(Protocol):
    """Whoever asked for a worker hears of its process here."""

    def on_forked(self, pid: int) -> None: ...

    def on_ended(self, status: int) -> None: ...

    def on_failed(self, reason: str) -> None:
        """No worker comes, and asking again would be no use; nothing else is heard of it."""


class Environment:
    """One Python environment's fork server, started at once and again whenever it is gone.

    `python` and `environ` are those of the environment that the workers are to run in, this
    process's own by default.
    """

    def __init__(
        self,
        runtime: str,
        preload: Sequence[str] = (),
        *,
        python: str = sys.executable,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self._runtime = runtime
        self._preload = tuple(preload)
        self._python = python
        self._environ = environ
        self._waiting: dict[int, WorkerEvents] = {}
        self._next_id = 1
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._remove_reader: Callable[[], object] = lambda: None
        self._has_been_ready = False
        self._failure = ""
        self.start()

    @property
    def pid(self) -> int:
        """The fork server's process id, 0 if it is not running."""
        return self._process.pid if self._process is not None else 0

    def start(self) -> None:
        """Starts the process; needs no event loop, so that it can go first of all.

        If that fails, whoever asks for a worker hears the reason.
        """
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        command = [self._python, "-m", _FORK_SERVER, str(theirs.fileno())]
        command += ["--runtime", self._runtime]
        for module in self._preload:
            command += ["--preload", module]
        self._has_been_ready, self._failure = False, ""
        self._control = ours
        with theirs:
            try:
                # A session of its own: the terminal's Ctrl-C must not reach the workers.
                self._process = subprocess.Popen(
                    command,
                    pass_fds=[theirs.fileno()],
                    stdin=subprocess.DEVNULL,
                    env=self._environ,
                    start_new_session=True,
                )
            except OSError as error:
                self._process = None
                self._failure = f"{error.strerror or error}"

    def fork(self, events: WorkerEvents, fds: Sequence[int]) -> None:
        """Asks for a worker that gets these descriptors; `events` hears what becomes of it."""
        if self._process is None or self._process.poll() is not None:
            logger.warning("the fork server has ended: starting another")
            self._forget()
            self.start()
        control = self._control
        assert control is not None
        self._listen(control)
        order = ForkOrder(self._next_id)
        self._next_id += 1
        self._waiting[order.id] = events
        self._send(control, order, fds)

    def _send(self, control: socket.socket, order: ForkOrder, fds: Sequence[int]) -> None:
        loop = asyncio.get_running_loop()
        try:
            socket.send_fds(control, [msgspec.json.encode(order)], fds)
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.ETOOMANYREFS):
                # More orders than the socket holds: these descriptors go later, as copies.
                copies = [os.dup(fd) for fd in fds]
                loop.call_later(_FULL_WAIT_S, self._send_later, control, order, copies)
                return
            # It has ended meanwhile; whoever asks is told once this call is over.
            loop.call_soon(self._lose, control)

    def _send_later(self, control: socket.socket, order: ForkOrder, fds: Sequence[int]) -> None:
        try:
            # If it is gone, whoever waits sees a closed socket, as if the worker had died.
            if control is self._control and order.id in self._waiting:
                self._send(control, order, fds)
        finally:
            for fd in fds:
                os.close(fd)

    def _listen(self, control: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        control.setblocking(False)
        loop.add_reader(control.fileno(), self._on_report)
        self._remove_reader = lambda: loop.remove_reader(control.fileno())

    def _on_report(self) -> None:
        control = self._control
        assert control is not None
        try:
            message = control.recv(MAX_MESSAGE_BYTES)
        except BlockingIOError:
            return
        except OSError:
            message = b""
        if not message:
            self._lose(control)
            return
        report = msgspec.json.decode(message, type=ForkReport)
        if report.id == 0:
            self._has_been_ready, self._failure = not report.failure, report.failure
        elif report.status is None:
            self._waiting[report.id].on_forked(report.pid)
        else:
            self._waiting.pop(report.id).on_ended(report.status)

    def _lose(self, control: socket.socket) -> None:
        """The fork server has gone. If it never was ready, those who wait hear why."""
        if control is not self._control:
            return
        self._hear_out(control)
        waiting = [] if self._has_been_ready else list(self._waiting.values())
        reason = self._reason() if waiting else ""
        self._forget()
        for events in waiting:
            events.on_failed(reason)

    def _hear_out(self, control: socket.socket) -> None:
        """Why it never was ready, if it said so before it went and nobody has read it."""
        try:
            while message := control.recv(MAX_MESSAGE_BYTES, socket.MSG_DONTWAIT):
                report = msgspec.json.decode(message, type=ForkReport)
                if report.id == 0:
                    self._failure = report.failure
        except OSError:
            return

    def _reason(self) -> str:
        reason = self._failure
        if not reason and self._process is not None:
            try:
                # Its socket closes a moment before it has ended.
                reason = cause_of_end(self._process.wait(_END_WAIT_S), is_code=True)
            except subprocess.TimeoutExpired:
                reason = "it closed its socket"
        return (
            f"workers for '{self._runtime}' cannot be started with {self._python}: "
            f"{reason or 'it has ended'}; see the server's log for more"
        )

    def _forget(self) -> None:
        """The fork server has gone and its workers with it, as their sockets will tell."""
        self._remove_reader()
        self._remove_reader = lambda: None
        if self._control is not None:
            self._control.close()
            self._control = None
        self._waiting.clear()

    def end(self) -> None:
        """Lets the fork server end by itself, without waiting; for one that has no workers."""
        self._forget()
        process, self._process = self._process, None
        if process is not None:
            threading.Thread(target=process.wait, daemon=True).start()

    def close(self) -> None:
        """Ends the fork server and every worker that it still has."""
        self._forget()
        if self._process is not None:
            try:
                self._process.wait(timeout=2.0)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None


def cause_of_end(status: int, *, is_code: bool = False) -> str:
    """Why a process ended, for people: from its wait status, or from its exit code."""
    code = status if is_code else os.waitstatus_to_exitcode(status)
    if code >= 0:
        return f"exited with code {code}"
    return f"was killed by signal {-code}"
