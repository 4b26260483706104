"""Targets of `serve` that are manifests, told from models by their content.

`salver serve service.yaml` means `salver serve -f service.yaml`. A folder counts if manifests are
all that is in it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

_SUFFIXES = (".yaml", ".yml", ".json")
_LOOKED_AT_BYTES = 64 << 10
_API_VERSION = re.compile(rb'(?m)^\s*(?:-\s+)?"?apiVersion"?\s*:|[{,]\s*"apiVersion"\s*:')
_KIND = re.compile(rb'(?m)(?:^\s*(?:-\s+)?|[{,]\s*)"?kind"?\s*:')


def split_targets(targets: Sequence[str]) -> tuple[list[str], list[str]]:
    """The targets that are manifests, and the others."""
    manifests = [target for target in targets if _holds_manifests(Path(target).expanduser())]
    return manifests, [target for target in targets if target not in manifests]


def _holds_manifests(path: Path) -> bool:
    if path.is_dir():
        files = [each for each in path.iterdir() if not each.name.startswith(".")]
        return bool(files) and all(each.is_file() and _is_manifest(each) for each in files)
    return path.is_file() and _is_manifest(path)


def _is_manifest(path: Path) -> bool:
    if path.suffix.lower() not in _SUFFIXES:
        return False
    try:
        with path.open("rb") as file:
            head = file.read(_LOOKED_AT_BYTES)
    except OSError:
        return False
    return bool(_API_VERSION.search(head) and _KIND.search(head))
