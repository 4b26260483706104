"""The fork server: imports a framework once, then forks workers that have it already.

Importing scikit-learn takes a second or more, a fork about ten milliseconds; the pages of
the imported modules stay shared. One process per environment, single-threaded, so that a
fork is safe. It is told what to do over a Unix seqpacket socket, and dies, with all of its
workers, when that closes.

    <- {"id": 0, "pid": p} once it is ready (`forkstart.py`), with "failure" if it never will be
    -> {"id": n} with 4 descriptors: worker socket, request arena, reply arena, output
    <- {"id": n, "pid": p}, and when the worker ends {"id": n, "pid": p, "status": s}
"""

from __future__ import annotations

import ctypes
import faulthandler
import importlib
import logging
import os
import select
import signal
import socket
import sys
from collections.abc import Sequence
from typing import NoReturn

import msgspec

from salver.backends.local.worker_messages import MAX_MESSAGE_BYTES, ForkOrder, ForkReport
from salver.errors import SalverError
from salver.runtimes.registry import runtime_named

logger = logging.getLogger("salver.forkserver")

_PR_SET_PDEATHSIG = 1


def preload(runtime: str, modules: Sequence[str]) -> None:
    """Imports what every worker will need. What is missing, the worker's load will report.

    Raises `ImportError` if not even a worker's own code can be imported here.
    """
    importlib.import_module("salver.backends.local.worker")
    try:
        wanted = (*runtime_named(runtime).preload, *modules)
    except SalverError as error:
        logger.debug("no preload for runtime %s: %s", runtime, error)
        wanted = tuple(modules)
    for module in wanted:
        try:
            importlib.import_module(module)
        except Exception as error:
            # Foreign code: a worker that needs it will say so with its remedy.
            logger.debug("could not preload %s: %s", module, error)


class ForkServer:
    """Forks on demand and reports the ends of its children."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._children: dict[int, int] = {}
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def serve(self) -> None:
        """Returns when the gateway closes the control socket."""
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        while True:
            ready, _, _ = select.select([self._control.fileno(), self._wake_read], [], [])
            if self._wake_read in ready:
                os.read(self._wake_read, 512)
                self._reap()
            if self._control.fileno() in ready and not self._obey():
                break
        for pid in self._children:
            os.kill(pid, signal.SIGKILL)

    def _obey(self) -> bool:
        try:
            message, fds, _, _ = socket.recv_fds(self._control, MAX_MESSAGE_BYTES, 4)
        except ConnectionError:
            # The gateway has gone without reading what it was told last.
            return False
        if not message:
            return False
        order = msgspec.json.decode(message, type=ForkOrder)
        pid = os.fork()
        if pid == 0:
            self._become_worker(fds)
        for fd in fds:
            os.close(fd)
        self._children[pid] = order.id
        self._report(ForkReport(order.id, pid))
        return True

    def _become_worker(self, fds: list[int]) -> NoReturn:
        code = 1
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            _die_with_parent()
            self._control.close()
            os.close(self._wake_read)
            os.close(self._wake_write)
            _print_to(fds[3])
            from salver.backends.local import worker

            worker.run(socket.socket(fileno=fds[0]), fds[1], fds[2])
            code = 0
        except SystemExit as error:
            code = error.code if isinstance(error.code, int) else 1
        except BaseException:
            logger.exception("a worker failed")
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            # Not sys.exit: atexit handlers and buffers belong to the process forked from.
            os._exit(code)

    def _reap(self) -> None:
        while self._children:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            self._report(ForkReport(self._children.pop(pid), pid, status))

    def _report(self, report: ForkReport) -> None:
        try:
            self._control.send(msgspec.json.encode(report))
        except OSError:
            logger.debug("the gateway has gone")


def _print_to(fd: int) -> None:
    """Sends what this process prints there, each line at once."""
    os.dup2(fd, 1)
    os.dup2(fd, 2)
    os.close(fd)
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    sys.stderr.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    faulthandler.enable()


def _die_with_parent() -> None:
    """Asks the kernel to kill this process with its fork server, even after a kill -9."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
