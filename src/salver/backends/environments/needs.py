"""What a worker process needs in a model's environment: a few packages, and Salver's code.

The code is put on the search path by a folder that holds nothing else, so that no package of
the server's own environment comes along with it.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

import salver

WORKER_PACKAGES = (
    "numpy>=1.23",
    "msgspec>=0.19",
    "orjson>=3.10",
    "pysimdjson>=7.0",
    "protobuf>=3.20.2,<8",
)
"""Everything that `salver.backends.local.worker` imports, as a test makes sure."""
OLDEST_PYTHON = (3, 11)
"""The oldest Python that Salver's own code runs on."""

_NOT_HANDED_ON = ("PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP", "VIRTUAL_ENV", "UV_PYTHON")


def code_folder(root: Path) -> Path:
    """A folder below `root` with the package `salver` in it and nothing else."""
    package = Path(salver.__file__).resolve().parent
    folder = root / "code" / hashlib.sha256(os.fsencode(package)).hexdigest()[:16]
    link = folder / "salver"
    if not link.is_symlink():
        folder.mkdir(parents=True, exist_ok=True)
        new = folder / f".salver-{os.getpid()}"
        new.unlink(missing_ok=True)
        new.symlink_to(package, target_is_directory=True)
        new.replace(link)
    return folder


def worker_environ(environ: Mapping[str, str], folder: Path, code: Path) -> dict[str, str]:
    """The variables for a process of the environment in `folder`, with none of the server's."""
    kept = {name: value for name, value in environ.items() if name not in _NOT_HANDED_ON}
    path = os.pathsep.join(filter(None, (str(folder / "bin"), kept.get("PATH", os.defpath))))
    return kept | {
        "PATH": path,
        "VIRTUAL_ENV": str(folder),
        "PYTHONPATH": str(code),
        # Else the folder that the server was started in would come first.
        "PYTHONSAFEPATH": "1",
    }
