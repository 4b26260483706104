"""Environments of heavy frameworks, each in its own folder under `.venvs/`, made when needed.

`tests/frameworks/NAME/` holds tests and a `requirements.txt`; the environment has Salver as it
lies here, those requirements and what tests need.
"""

from __future__ import annotations

import fcntl
import json
import re
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


def environment_of(name: str) -> str:
    """The name of the environment that the framework's tests run in."""
    return SHARED.get(name, name)


def names() -> list[str]:
    """The frameworks that have tests of their own."""
    return sorted(path.parent.name for path in FRAMEWORKS.glob("*/requirements.txt"))


def framework_python(name: str) -> Path:
    """The interpreter of the framework's environment."""
    environment = environment_of(name)
    sharing = [each for each in names() if environment_of(each) == environment]
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
    install = _installer(python, texts)
    # First what it is about: its versions decide which others fit.
    _run(*install, *wanted_files)
    _run(*install, "-e", f"{ROOT}[sklearn,onnx,parquet]", *TOOLS, *wanted_files)
    stamp.write_text(wanted)
    return python


def _installer(python: Path, requirements: list[str]) -> tuple[str, ...]:
    """uv, being quicker; but pip for PyTorch, whose CPU builds pip may be set up to find."""
    uv = Path(sys.executable).with_name("uv")
    if uv.exists() and not any(re.search(r"^torch\b", text, re.MULTILINE) for text in requirements):
        return str(uv), "pip", "install", "--quiet", "--python", str(python)
    return str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
