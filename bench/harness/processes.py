"""A server's process tree: start, what it costs (from /proc), certain end.

Knows nothing of what the processes serve. Ends only processes that it started, by their id.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

PROC = Path("/proc")
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
STOP_S = 5.0
QUIET_WINDOW_S = 0.1


def free_ports(count: int) -> list[int]:
    """Different ports that nobody listens on now, on loopback."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


@contextmanager
def started(
    command: list[str], *, env: Mapping[str, str], cwd: Path, log: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """The running command; at the end of the block it and all it started are gone."""
    with log.open("wb") as output:
        root = subprocess.Popen(
            command,
            env=dict(os.environ) | dict(env),
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield root
    finally:
        _end(root)


def _end(root: subprocess.Popen[bytes]) -> None:
    members = {(pid, _started_at(pid)) for pid in tree(root.pid)}
    if root.poll() is None:
        root.send_signal(signal.SIGTERM)
        try:
            root.wait(STOP_S)
        except subprocess.TimeoutExpired:
            members |= {(pid, _started_at(pid)) for pid in tree(root.pid)}
            root.kill()
            root.wait()
    for pid, birth in members:
        # An id may have been given to a stranger since: only the process born then is ours.
        if pid != root.pid and birth is not None and _started_at(pid) == birth:
            os.kill(pid, signal.SIGKILL)


def tree(root: int) -> list[int]:
    """The process, its descendants, and whoever is in its session (daemons that left home)."""
    parents: dict[int, int] = {}
    session: set[int] = {root}
    for pid in _all_pids():
        fields = _stat(pid)
        if fields:
            parents[pid] = int(fields[1])
            if int(fields[3]) == root:
                session.add(pid)
    members = set(session)
    while True:
        more = {pid for pid, parent in parents.items() if parent in members} - members
        if not more:
            return sorted(members)
        members |= more


def cpu_s(root: int) -> float:
    """CPU seconds of the tree so far, of its dead and awaited children too."""
    total = 0
    for pid in tree(root):
        fields = _stat(pid)
        if fields:
            total += sum(int(value) for value in fields[11:15])
    return total / TICKS_PER_S


def memory_bytes(pids: list[int]) -> int:
    """The proportional set size: shared pages are split among those that share them."""
    return sum(_pss(pid) for pid in pids)


def listener(root: int, port: int) -> int:
    """The process of the tree that listens on the port: the gateway, where there is one."""
    inodes = _listening_inodes(port)
    for pid in tree(root):
        if _owns(pid, inodes):
            return pid
    return root


def wait_quiet(root: int, *, at_most_s: float) -> bool:
    """Waits until the tree has been idle (a tick of CPU at most) for a tenth of a second.

    A server goes on working on what clients have given up; the next one must not pay for it.
    False if the time was not enough.
    """
    deadline = time.monotonic() + at_most_s
    while time.monotonic() < deadline:
        before = cpu_s(root)
        time.sleep(QUIET_WINDOW_S)
        if cpu_s(root) - before <= 1 / TICKS_PER_S + 1e-9:
            return True
    return False


def _all_pids() -> list[int]:
    return [int(entry.name) for entry in PROC.iterdir() if entry.name.isdigit()]


def _stat(pid: int) -> list[str]:
    """The fields after the command's name: state, ppid, pgrp, session, ... Empty when gone."""
    try:
        return (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _started_at(pid: int) -> str | None:
    fields = _stat(pid)
    return fields[19] if fields else None


def _pss(pid: int) -> int:
    try:
        lines = (PROC / str(pid) / "smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)


def _listening_inodes(port: int) -> set[str]:
    inodes = set()
    for table in ("tcp", "tcp6"):
        for line in (PROC / "net" / table).read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and int(fields[1].rpartition(":")[2], 16) == port:
                inodes.add(f"socket:[{fields[9]}]")
    return inodes


def _owns(pid: int, inodes: set[str]) -> bool:
    try:
        return any(str(entry.readlink()) in inodes for entry in (PROC / str(pid) / "fd").iterdir())
    except OSError:
        return False
