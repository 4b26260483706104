"""The real Triton server, as a peer: the binary that the `nvidia-pytriton` wheel carries.

Owns its environment under `.venvs/triton` (the wheel and NumPy, nothing else) and its process on a
model repository. The wheel has the Python backend only; PyTriton itself is not used.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx

from tests.e2e.own_environment import own_environment

REQUIREMENTS = ("nvidia-pytriton==0.7.0", "numpy<2")
"""Installed without what they depend on: that is PyTriton's, and the binary needs none of it."""


@dataclass(frozen=True)
class RealTriton:
    """A running tritonserver, and where it listens."""

    process: subprocess.Popen[bytes]
    http: str
    """`127.0.0.1:PORT`, without a scheme, as tritonclient takes it."""
    grpc: str
    metrics: str
    log: Path

    @property
    def url(self) -> str:
        return f"http://{self.http}"


def triton_environment() -> Path:
    """The folder of the environment with the binary."""
    return own_environment("triton", ("--no-deps", *REQUIREMENTS)).parents[1]


def triton_binary() -> Path:
    """The tritonserver program. It runs with `triton_variables` and `triton_backends` only."""
    return _root() / "bin" / "tritonserver"


def _root() -> Path:
    return _wheel() / "pytriton" / "tritonserver"


def _wheel() -> Path:
    (site_packages,) = triton_environment().glob("lib/python*/site-packages")
    return site_packages


def triton_variables() -> dict[str, str]:
    """The environment variables that the binary and the stub of its Python backend need.

    The stub is linked to libpython: without the path it takes the system's, which lacks our
    packages. It ignores PYTHONPATH and takes the packages of the first `python3` in PATH.
    """
    libraries = f"{sysconfig.get_config_var('LIBDIR')}:{_wheel() / 'nvidia_pytriton.libs'}"
    search = f"{triton_environment() / 'bin'}:{os.environ['PATH']}"
    return {"LD_LIBRARY_PATH": libraries, "PATH": search, "OMP_NUM_THREADS": "1"}


def triton_backends(folder: Path) -> Path:
    """Writes a backends' folder with the Python stub of this version, which the wheel keeps apart.

    Linked, not copied: the binaries find their libraries by paths relative to themselves.
    """
    root = _root()
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    stub = root / "python_backend_stubs" / version / "triton_python_backend_stub"
    backend = folder / "python"
    backend.mkdir(parents=True)
    for source in (*(root / "backends" / "python").iterdir(), stub):
        (backend / source.name).symlink_to(source)
    return folder


@contextlib.contextmanager
def real_triton(
    repository: Path, *options: str, start_timeout_s: float = 60.0, allow_unready: bool = False
) -> Iterator[RealTriton]:
    """Runs tritonserver on a repository until the block ends; options are the binary's own.

    Raises AssertionError with its log if it ends or is not ready in time. With `allow_unready`
    a model that cannot load is no fault: the server only has to be live.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        backends = triton_backends(folder / "backends")
        ports = _free_ports(3)
        command = [str(triton_binary()), "--model-repository", str(repository)]
        command += [
            "--backend-directory",
            str(backends),
            "--cache-directory",
            str(_root() / "caches"),
        ]
        for kind, port in zip(("http", "grpc", "metrics"), ports, strict=True):
            command += [f"--{kind}-address", "127.0.0.1", f"--{kind}-port", str(port)]
        shared = f"real-triton-{os.getpid()}-{ports[0]}-"
        command += ["--backend-config", f"python,shm-region-prefix-name={shared}"]
        if allow_unready:
            command += ["--exit-on-error", "false", "--strict-readiness", "false"]
        log = folder / "log.txt"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [*command, *options],
                stdout=output,
                stderr=subprocess.STDOUT,
                env=os.environ | triton_variables(),
                cwd=folder,
                start_new_session=True,
            )
        http, grpc, metrics = (f"127.0.0.1:{port}" for port in ports)
        running = RealTriton(process, http, grpc, metrics, log)
        try:
            _wait_ready(running, "live" if allow_unready else "ready", start_timeout_s)
            yield running
        finally:
            _stop(process)
            for left in Path("/dev/shm").glob(f"{shared}*"):
                left.unlink(missing_ok=True)


def _free_ports(count: int) -> list[int]:
    """Ports that were free a moment ago: the binary cannot say which one the OS gave it."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [int(each.getsockname()[1]) for each in sockets]


def _wait_ready(server: RealTriton, condition: str, timeout_s: float) -> None:
    deadline_s = time.monotonic() + timeout_s
    while time.monotonic() < deadline_s:
        if server.process.poll() is not None:
            ended = f"tritonserver ended with {server.process.returncode}"
            raise AssertionError(f"{ended}: {server.log.read_text()}")
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(f"{server.url}/v2/health/{condition}", timeout=5).status_code == 200:
                return
        time.sleep(0.05)
    raise AssertionError(f"tritonserver not {condition} in {timeout_s} s: {server.log.read_text()}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Stops the server; its stubs are in its session, so that none of them outlives it."""
    if process.poll() is None:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(10)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
