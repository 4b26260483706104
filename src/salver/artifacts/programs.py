"""Tells which files are programs that Salver runs as models: settings of a command, Java, R.

Owns how they are told: by their names, and by what must be in them. Runs nothing.
"""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

from salver.artifacts.recognised import Recognised
from salver.artifacts.zip_files import UNREADABLE_ZIP
from salver.errors import UnrecognisedArtifact

PROGRAM_FILE = "salver-program.json"
"""In a folder: the command that is the model, and what it takes and gives."""
_MAX_MANIFEST_BYTES = 64 << 10
_MAX_SCRIPT_BYTES = 4 << 20
_MAIN_CLASS = re.compile(rb"^Main-Class:\s*(\S+)", re.MULTILINE)
_PREDICT = re.compile(rb"^predict\s*(?:<-|=)\s*(?:function\b|\\\()", re.MULTILINE)


def recognise_program(path: Path) -> Recognised | None:
    """What the file is, None if no program by its name.

    Raises `UnrecognisedArtifact` for a .jar or .R file that is no model.
    """
    if path.name == PROGRAM_FILE:
        return Recognised("program", "program")
    suffix = path.suffix.lower()
    if suffix == ".jar":
        return _recognise_jar(path)
    return _recognise_r(path) if suffix == ".r" else None


def _recognise_jar(path: Path) -> Recognised:
    try:
        with zipfile.ZipFile(path) as archive, archive.open("META-INF/MANIFEST.MF") as file:
            main = _MAIN_CLASS.search(file.read(_MAX_MANIFEST_BYTES))
    except KeyError:
        main = None
    except UNREADABLE_ZIP as error:
        raise UnrecognisedArtifact(
            f"{path} is no jar that can be read: {error}; build it again"
        ) from error
    if main is None:
        raise UnrecognisedArtifact(
            f"{path} has no Main-Class in its manifest, so it is a library and no model; build it "
            "with one that calls Salver.serve"
        )
    return Recognised("program", f"Java program {main[1].decode(errors='replace')}")


def _recognise_r(path: Path) -> Recognised:
    try:
        with path.open("rb") as file:
            text = file.read(_MAX_SCRIPT_BYTES)
    except OSError as error:
        raise UnrecognisedArtifact(
            f"{path} cannot be read: {error.strerror or error}; check the path and its permissions"
        ) from error
    if not _PREDICT.search(text):
        raise UnrecognisedArtifact(
            f"{path} defines no function predict; add one: predict <- function(x) ..."
        )
    return Recognised("program", "R function predict")
