"""Tells a model's folder of a Triton repository, and its versions, by names.

`MODEL/config.pbtxt` makes one, and so does `MODEL/VERSION/model.py` with a `TritonPythonModel`; any
other model in numbered folders is served as such anyway. Opens no configuration.
"""

from __future__ import annotations

import re
from pathlib import Path

RUNTIME = "triton"
CONFIG = "config.pbtxt"
MOST_BYTES = 4 << 20
"""Of a text that is read."""
_VERSION = re.compile(r"[1-9][0-9]{0,17}\Z")
_CLASS = re.compile(rb"^class\s+TritonPythonModel\b", re.MULTILINE)


def is_triton_model(folder: Path) -> bool:
    """A folder with a `config.pbtxt`, or whose versions hold a `TritonPythonModel`."""
    if (folder / CONFIG).is_file():
        return True
    return any(_holds_class(version / "model.py") for version in version_folders(folder))


def version_folders(folder: Path) -> list[Path]:
    """The folders of versions, by number."""
    found = [each for each in folders_in(folder) if _VERSION.match(each.name)]
    return sorted(found, key=lambda each: int(each.name))


def folders_in(folder: Path) -> list[Path]:
    """The folders in a folder, by name; none if it cannot be read."""
    try:
        return sorted(each for each in folder.iterdir() if each.is_dir())
    except OSError:
        return []


def _holds_class(file: Path) -> bool:
    try:
        with file.open("rb") as opened:
            return _CLASS.search(opened.read(MOST_BYTES)) is not None
    except OSError:
        return False
