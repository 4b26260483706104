"""The environment of Seldon's own Python package, which the tests' cannot hold: old protobuf."""

from __future__ import annotations

import fcntl
import json
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
REQUIREMENTS = ("seldon-core==1.17.1",)
"""The last version under the Apache licence."""


def seldon_python() -> Path:
    """The interpreter of an environment with `seldon-core`, made under `.venvs/` when needed."""
    folder = ROOT / ".venvs" / "seldon"
    folder.parent.mkdir(exist_ok=True)
    with (folder.parent / "seldon.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return _made(folder)


def _made(folder: Path) -> Path:
    python, stamp = folder / "bin" / "python", folder / "requirements.json"
    wanted = json.dumps([*REQUIREMENTS, sys.version])
    if stamp.exists() and stamp.read_text() == wanted:
        return python
    shutil.rmtree(folder, ignore_errors=True)
    uv = shutil.which("uv")
    if uv:
        _run(uv, "venv", "--quiet", "--python", sys.executable, str(folder))
        _run(uv, "pip", "install", "--quiet", "--python", str(python), *REQUIREMENTS)
    else:
        _run(sys.executable, "-m", "venv", str(folder))
        _run(str(python), "-m", "pip", "install", "--quiet", *REQUIREMENTS)
    stamp.write_text(wanted)
    return python


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
