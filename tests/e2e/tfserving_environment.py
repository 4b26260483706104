"""The environment of TensorFlow Serving's client: its messages and stubs, without TensorFlow.

`tensorflow-serving-api` is installed without what it depends on, which is all of TensorFlow; the
few messages of TensorFlow's that it imports come from a package that has nothing else.
"""

from __future__ import annotations

import fcntl
import json
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
ALONE = ("tensorflow-protobuf==2.11.0", "tensorflow-serving-api==2.21.0")
"""Installed in this order, as both have `tensorflow_serving`: the second is to be the one used."""
REQUIREMENTS = ("protobuf>=6.31.1,<7", "grpcio>=1.74")


def tfserving_python() -> Path:
    """The interpreter of an environment with the client, made under `.venvs/` when needed."""
    folder = ROOT / ".venvs" / "tfserving"
    folder.parent.mkdir(exist_ok=True)
    with (folder.parent / "tfserving.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return _made(folder)


def _made(folder: Path) -> Path:
    python, stamp = folder / "bin" / "python", folder / "requirements.json"
    wanted = json.dumps([*ALONE, *REQUIREMENTS, sys.version])
    if stamp.exists() and stamp.read_text() == wanted:
        return python
    shutil.rmtree(folder, ignore_errors=True)
    uv = shutil.which("uv")
    if uv:
        _run(uv, "venv", "--quiet", "--python", sys.executable, str(folder))
        install: tuple[str, ...] = (uv, "pip", "install", "--quiet", "--python", str(python))
    else:
        _run(sys.executable, "-m", "venv", str(folder))
        install = (str(python), "-m", "pip", "install", "--quiet")
    _run(*install, *REQUIREMENTS)
    for each in ALONE:
        _run(*install, "--no-deps", each)
    stamp.write_text(wanted)
    return python


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
