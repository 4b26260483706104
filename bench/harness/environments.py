"""Each peer's own virtual environment, made with uv when first needed and kept in `.bench/`."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

from harness.places import ENVIRONMENTS, PEERS

OVERRIDES = PEERS / "overrides.txt"
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"


class EnvironmentFailed(Exception):
    """uv could not make it; the message is uv's."""


def peer_environment(name: str) -> Path:
    """The environment of `peers/NAME.txt`, made anew when that file has changed."""
    requirements = PEERS / f"{name}.txt"
    content = requirements.read_bytes() + OVERRIDES.read_bytes() + PYTHON.encode()
    return make_environment(
        ENVIRONMENTS / name,
        ["-r", str(requirements), "--override", str(OVERRIDES)],
        stamp=hashlib.sha256(content).hexdigest(),
    )


def make_environment(folder: Path, packages: list[str], *, stamp: str) -> Path:
    """The environment with the packages; the stamp, written last, says that it is whole."""
    marker = folder / ".stamp"
    if marker.exists() and marker.read_text() == stamp:
        return folder
    _uv("venv", "--clear", "--python", PYTHON, str(folder))
    _uv("pip", "install", "--python", str(folder / "bin" / "python"), *packages)
    marker.write_text(stamp)
    return folder


def _uv(*arguments: str) -> str:
    """uv's output; raises `EnvironmentFailed` with its complaint."""
    done = subprocess.run(
        ["uv", "--quiet", *arguments], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise EnvironmentFailed(f"uv {' '.join(arguments[:2])}: {done.stderr.strip()[-800:]}")
    return done.stdout


def own_constraints() -> str:
    """The versions in the environment that runs the benchmark, for a like-for-like copy of it."""
    return _uv("pip", "freeze", "--python", sys.executable, "--exclude-editable")


def installed_version(environment: Path, package: str) -> str:
    """The package's version in the environment, from its metadata's folder name; or `?`."""
    name = package.replace("-", "_").lower()
    for found in environment.glob("lib/python*/site-packages/*.dist-info"):
        stem, _, version = found.name.removesuffix(".dist-info").partition("-")
        if stem.lower() == name:
            return version
    return "?"
