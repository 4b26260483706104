"""Ensembles in the targets of `serve` that are Triton repositories: each becomes a graph.

Its models are served as any others of the repository.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from salver.artifacts.triton_layout import CONFIG, folders_in


def ensembles_of(targets: Sequence[str], note: Callable[[str], object]) -> list[dict[str, Any]]:
    """The graphs of all ensembles, as objects of the API; `note` gets what has no effect.

    Raises `ArtifactError` for a configuration that is wrong.
    """
    folders = [Path(target).expanduser() for target in targets]
    repositories = [folder for folder in folders if folder.is_dir() and _has_configs(folder)]
    if not repositories:
        return []
    from salver.artifacts.triton import ensembles_in
    from salver.graphs.triton_ensemble import (
        ensemble_manifest,
        ensemble_notes,
        unanswerable_notes,
    )

    found = [each for folder in repositories for each in ensembles_in(folder)]
    for name, config in found:
        for text in ensemble_notes(name, config):
            note(text)
    models = {each.name for folder in repositories for each in (folder, *folders_in(folder))}
    for text in unanswerable_notes(dict(found), models):
        note(text)
    return [ensemble_manifest(name, config) for name, config in found]


def _has_configs(folder: Path) -> bool:
    return any((each / CONFIG).is_file() for each in (folder, *folders_in(folder)))
