"""The parent of a foreign command: ends it, and all it has started, when Salver is gone.

Run as a file, by itself: `python -I -S guard.py FD [--after JSON] -- COMMAND ...`. The command
gets a session of its own. FD is one end of a socket: the byte `t` asks for SIGTERM, `k` for
SIGKILL; when it closes, however that comes about, everything is killed. This process adopts
what the command leaves behind (it is a subreaper), so nothing escapes by forking twice.
It exits as the command did; `--after` is a command to run at the very end.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import signal
import subprocess
import sys
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_NOT_FOUND = 127
_AFTER_TIMEOUT_S = 20
_KILL_ROUNDS = 500


def main() -> int:
    """The guard's whole life; returns the exit code."""
    control = int(sys.argv[1])
    rest = sys.argv[2:]
    after = []
    if rest[0] == "--after":
        after, rest = json.loads(rest[1]), rest[2:]
    command = rest[1:]
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, signal.SIG_IGN)
    wake_read, wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
    os.set_inheritable(control, False)
    child = _start(command, libc)
    status = _watch(child, control, wake_read)
    _kill_all()
    if after:
        _run(after)
    return os.waitstatus_to_exitcode(status)


def _start(command: list[str], libc: ctypes.CDLL) -> int:
    parent = os.getpid()
    child = os.fork()
    if child:
        return child
    try:
        os.setsid()
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(_NOT_FOUND)
        for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD):
            signal.signal(signum, signal.SIG_DFL)
        signal.set_wakeup_fd(-1)
        os.execvp(command[0], command)
    except OSError as error:
        print(f"{command[0]} cannot be run: {error.strerror}", file=sys.stderr, flush=True)
    finally:
        os._exit(_NOT_FOUND)


def _watch(child: int, control: int, wake_read: int) -> int:
    """Returns the wait status of the command once it has ended."""
    is_connected = True
    while True:
        status = _reap(child)
        if status is not None:
            return status
        sources = [wake_read, control] if is_connected else [wake_read]
        ready, _, _ = select.select(sources, [], [], None if is_connected else 0.2)
        if wake_read in ready:
            os.read(wake_read, 512)
        if control in ready:
            order = os.read(control, 1)
            is_connected = bool(order)
            if order == b"t":
                _signal_group(child, signal.SIGTERM)
            else:
                _kill_once()
        elif not is_connected:
            _kill_once()


def _reap(child: int) -> int | None:
    """The command's status if it has ended; what it has left behind is waited for on the way."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return 0
        if pid == child:
            return status
        if pid == 0:
            return None


def _signal_group(pid: int, signum: int) -> None:
    with contextlib.suppress(OSError):
        os.killpg(pid, signum)


def _kill_once() -> bool:
    """Kills every descendant that there is now; False if there is none."""
    found = _descendants(os.getpid())
    for pid in found:
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGKILL)
    return bool(found)


def _kill_all() -> None:
    """Kills until none is left: those adopted meanwhile turn up in the next round."""
    for _ in range(_KILL_ROUNDS):
        if not _kill_once():
            return
        with contextlib.suppress(OSError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        select.select([], [], [], 0.01)


def _descendants(root: int) -> list[int]:
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


def _run(command: list[str]) -> None:
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=_AFTER_TIMEOUT_S,
            check=False,
        )


if __name__ == "__main__":
    code = main()
    if code < 0:
        # Ends by the same signal, so that whoever waits sees what became of the command.
        if -code not in (signal.SIGKILL, signal.SIGSTOP):
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    sys.exit(code)
