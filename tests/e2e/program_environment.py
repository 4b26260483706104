"""Java and R for the tests of programs: what is there, else R from Debian, once."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
BUILD = ROOT / "wrappers" / "java" / "build.sh"


def java() -> str | None:
    """The Java compiler."""
    return shutil.which("javac")


@cache
def rscript() -> str | None:
    """Rscript; installed when first needed, if this is Debian and we may."""
    found = shutil.which("Rscript")
    if found or shutil.which("apt-get") is None or os.geteuid() != 0:
        return found
    folder = ROOT / ".venvs"
    folder.mkdir(exist_ok=True)
    with (folder / "r.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if shutil.which("Rscript") is None:
            words = ["apt-get", "install", "-y", "--no-install-recommends", "r-base-core"]
            environ = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
            subprocess.run(words, capture_output=True, timeout=600, env=environ)
    return shutil.which("Rscript")


def build_jar(main_class: str, jar: Path, *sources: Path) -> Path:
    """A model's jar. Fails the test with what the compiler says."""
    words = [str(BUILD), main_class, str(jar), *map(str, sources)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return jar
