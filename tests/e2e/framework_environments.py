"""Environments of heavy frameworks, each in its own folder under `.venvs/`, made when needed.

`tests/frameworks/NAME/` holds tests and a `requirements.txt`; the environment has Salver as it
lies here, those requirements and what tests need. Its packages come by pip.

"""

from __future__ import annotations

import fcntl
import json
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
FRAMEWORKS = ROOT / "tests" / "frameworks"
TOOLS = (
    "pytest>=8.3",
    "pytest-timeout>=2.3",
    "httpx>=0.28",
    "tritonclient[http,grpc]>=2.55",
    "grpcio-tools>=1.71",
)


SHARED = {
    "catboost": "light",
    "huggingface": "torch",
    "openvino": "light",
    "pmml": "light",
    "tflite": "light",
}
"""The environment of a framework that does not have its own: several get along in one."""


def names() -> list[str]:
    """The frameworks that have tests of their own."""
    return sorted(path.parent.name for path in FRAMEWORKS.glob("*/requirements.txt"))


def framework_python(name: str) -> Path:
    """The interpreter of the framework's environment."""
    environment = SHARED.get(name, name)
    sharing = [each for each in names() if SHARED.get(each, each) == environment]
    folder = ROOT / ".venvs" / environment
    folder.parent.mkdir(exist_ok=True)
    with (folder.parent / f"{environment}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return _made(folder, [FRAMEWORKS / each / "requirements.txt" for each in sharing])


def _made(folder: Path, requirements: list[Path]) -> Path:
    python, stamp = folder / "bin" / "python", folder / "requirements.json"
    texts = [path.read_text() for path in requirements]
    # What an installation of Salver consists of; its tools' settings are none of it.
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = json.dumps([*texts, project, *TOOLS, sys.version])
    if stamp.exists() and stamp.read_text() == wanted:
        return python
    shutil.rmtree(folder, ignore_errors=True)
    _run(sys.executable, "-m", "venv", str(folder))
    wanted_files = [word for path in requirements for word in ("-r", str(path))]
    # First what it is about: its versions decide which others fit.
    _pip(python, *wanted_files)
    _pip(python, "-e", f"{ROOT}[sklearn,onnx,parquet]", *TOOLS, *wanted_files)
    stamp.write_text(wanted)
    return python


def _pip(python: Path, *arguments: str) -> None:
    _run(str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *arguments)


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
