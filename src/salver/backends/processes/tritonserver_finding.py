"""Where the program `tritonserver` is, and how it is run. Starts nothing."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from salver.errors import MissingFramework

PROGRAM = "tritonserver"
USUAL_PLACE = Path("/opt/tritonserver/bin/tritonserver")
"""Where NVIDIA's containers have it."""

Which = Callable[[str], str | None]


def find_tritonserver(named: str, *, which: Which = shutil.which, usual: Path = USUAL_PLACE) -> str:
    """The program that was named, else the first of PATH, else the one at the usual place.

    Raises `MissingFramework` with what was looked for and what can be done.
    """
    if named:
        found = which(named)
        if found is None:
            raise MissingFramework(
                f"--tritonserver {named}: there is no program of this name that can be run: "
                f"correct it{_OTHERWISE}"
            )
        return str(Path(found).absolute())
    found = which(PROGRAM) or which(str(usual))
    if found is None:
        raise MissingFramework(
            f"no program {PROGRAM} is in PATH, nor is there {usual}: install NVIDIA's Triton, or "
            "run Salver in a container of Triton's, or name the program with --tritonserver PATH "
            f"or SALVER_TRITONSERVER{_OTHERWISE}"
        )
    return found


_OTHERWISE = "; a Triton server elsewhere is reached with: salver serve triton://HOST:8000/MODEL"


def tritonserver_command(program: str, repository: Path, port: int) -> tuple[str, ...]:
    """Triton, to load what it is told to from the repository, for this machine's own callers.

    `port` is to be held by a socket with SO_REUSEPORT, so that nobody else can take it while no
    Triton runs. Callers ask Salver for metrics; gRPC and metrics of its own would take ports.
    """
    return (
        program,
        *("--model-repository", str(repository)),
        *("--model-control-mode", "explicit"),
        *("--http-address", "127.0.0.1"),
        *("--http-port", str(port)),
        *("--reuse-http-port", "true"),
        *("--allow-grpc", "false"),
        *("--allow-metrics", "false"),
        *("--exit-on-error", "false"),
        *("--strict-readiness", "false"),
        *("--exit-timeout-secs", "3"),
        *("--backend-config", f"python,shm-region-prefix-name={shared_memory_prefix(port)}"),
    )


def shared_memory_prefix(port: int) -> str:
    """What the shared memory of its Python backend begins with, which it leaves if it is killed."""
    return f"salver-tritonserver-{os.getpid()}-{port}-"
