"""What a packed Python environment holds: its packages and its Python, by name and version.

MLServer takes environments as `conda-pack` makes them, as an archive or a folder. They are
made for another machine and lack what workers need, so they are read as a list, and an
environment with the same packages is made of it. Nothing in them is run or unpacked.
"""

from __future__ import annotations

import re
import tarfile
from collections.abc import Iterable
from pathlib import Path

from salver.errors import ArtifactError
from salver.inference.requirements import Requirements

_INSTALLED = re.compile(
    r"(?:^|/)lib/python(?P<python>3\.\d+)/site-packages/"
    r"(?P<name>[A-Za-z0-9_.]+?)-(?P<version>[0-9][^/-]*?)\.dist-info(?:/|\Z)"
)
_NOT_FOR_WORKERS = frozenset(
    {"pip", "setuptools", "wheel", "conda", "conda_pack", "menuinst", "ruamel_yaml"}
)
_MOST_ENTRIES = 2_000_000


def requirements_in(path: Path) -> Requirements:
    """The packages of the environment at `path`. Raises `ArtifactError` if it is none."""
    if path.is_dir():
        found = sorted(path.glob("lib/python3*/site-packages/*.dist-info"))
        names: Iterable[str] = [str(each.relative_to(path)) for each in found]
    else:
        names = _entries(path)
    packages: dict[str, str] = {}
    python = ""
    for name in names:
        match = _INSTALLED.search(name)
        if match is not None and match["name"].lower() not in _NOT_FOR_WORKERS:
            packages[match["name"].replace("_", "-").lower()] = match["version"]
            python = match["python"]
    if not packages:
        raise ArtifactError(
            f"{path} holds no Python environment: it has no lib/python3.*/site-packages; pack it "
            "with conda-pack, or write a requirements.txt beside the model instead"
        )
    return Requirements(
        tuple(f"{name}=={version}" for name, version in sorted(packages.items())),
        python=python,
        python_is_preferred=True,
        origin=path.name,
    )


def _entries(path: Path) -> list[str]:
    """The names of directories' files in an archive, which is read once and not unpacked."""
    found: list[str] = []
    try:
        with tarfile.open(path) as archive:
            for count, member in enumerate(archive):
                if member.name.endswith((".dist-info", ".dist-info/METADATA")):
                    found.append(member.name)
                if count > _MOST_ENTRIES:
                    break
    except FileNotFoundError:
        raise ArtifactError(f"{path} does not exist; it is relative to the settings file") from None
    except (OSError, EOFError, tarfile.TarError) as error:
        raise ArtifactError(f"{path} is no archive that can be read: {error}") from error
    return found
