"""Environments of peers and clients that cannot share the tests', each its own folder in `.venvs/`.

Made when first needed and kept from run to run. Those of heavy frameworks, which also hold Salver,
are `framework_environments.py`'s.
"""

from __future__ import annotations

import fcntl
import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]


def own_environment(name: str, *installs: Sequence[str]) -> Path:
    """The interpreter of the environment; each of `installs` are the words of one `pip install`."""
    folder = ROOT / ".venvs" / name
    folder.parent.mkdir(exist_ok=True)
    with (folder.parent / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return _made(folder, installs)


def _made(folder: Path, installs: Sequence[Sequence[str]]) -> Path:
    python, stamp = folder / "bin" / "python", folder / "requirements.json"
    wanted = json.dumps([*installs, sys.version])
    if stamp.exists() and stamp.read_text() == wanted:
        return python
    shutil.rmtree(folder, ignore_errors=True)
    install = _installer(folder, python)
    for words in installs:
        run(*install, *words)
    stamp.write_text(wanted)
    return python


def _installer(folder: Path, python: Path) -> tuple[str, ...]:
    """Makes it empty; what installs into it."""
    uv = shutil.which("uv", path=str(Path(sys.executable).parent)) or shutil.which("uv")
    if uv:
        run(uv, "venv", "--quiet", "--python", sys.executable, str(folder))
        return uv, "pip", "install", "--quiet", "--python", str(python)
    run(sys.executable, "-m", "venv", str(folder))
    return str(python), "-m", "pip", "install", "--quiet"


def run(*command: str) -> None:
    """Runs it, and fails the test with what it says if it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
