"""A model's folder of a Triton repository as models to serve: which versions, how, with what.

Owns Triton's layout: `MODEL/config.pbtxt`, `MODEL/VERSION/model.*`, and what of the configuration
concerns workers and batches. An ensemble is no model of its own: `graphs/triton_ensemble.py` makes
a graph of it. Opens text files alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from salver.artifacts.overrides import ModelOverrides
from salver.artifacts.packed_environments import requirements_in
from salver.artifacts.triton_layout import (
    CONFIG,
    MOST_BYTES,
    RUNTIME,
    folders_in,
    version_folders,
)
from salver.artifacts.triton_scheduling import limited_groups, scheduling_of
from salver.errors import ArtifactError
from salver.inference.requirements import Requirements
from salver.spec.triton_backends import PYTHON, Backend, backend_of, model_filename
from salver.spec.triton_config import TritonConfig
from salver.spec.triton_read import read_triton_config
from salver.spec.triton_url import TRITONSERVER

_ENVIRONMENT = "EXECUTION_ENV_PATH"
_MODEL_FOLDER = "$$TRITON_MODEL_DIRECTORY"


class TritonModel(msgspec.Struct, frozen=True):
    """One version of a model. `path` is the model's folder, which holds the version's."""

    name: str
    version: str
    path: Path
    preload: tuple[str, ...]
    overrides: ModelOverrides
    requirements: Requirements | None = None
    notes: tuple[str, ...] = ()
    runtime: str = RUNTIME
    """Salver's own, or the one that has Triton itself run the model."""


def triton_models(folder: Path, name: str = "", runtime: str = "") -> list[TritonModel]:
    """The versions that the model's policy serves, by number; none of an ensemble.

    `runtime` may be that of Triton itself: it then runs the model, whatever its backend.

    Raises `ArtifactError` with all that is wrong in `config.pbtxt`, and for a folder without
    versions.
    """
    folder = folder.resolve()
    config, notes = read_config(folder)
    if config.is_ensemble:
        return []
    label = f"model '{name or config.name or folder.name}' ({folder})"
    return [
        _version(folder, name, config, version, notes, label, runtime)
        for version in _served(folder, config, label)
    ]


def ensembles_in(folder: Path) -> Iterator[tuple[str, TritonConfig]]:
    """The ensembles that the folder is or holds, with their names.

    Raises `ArtifactError` for the folder's own configuration; a model's in it that is wrong is no
    ensemble, and is told of when it is found as a model.
    """
    for each in (folder, *folders_in(folder)):
        if not (each / CONFIG).is_file():
            continue
        try:
            config, _ = read_config(each)
        except ArtifactError:
            if each == folder:
                raise
            continue
        if config.is_ensemble:
            yield config.name or each.resolve().name, config


def read_config(folder: Path) -> tuple[TritonConfig, tuple[str, ...]]:
    """The folder's configuration and what in it has no effect; an empty one if it has no file.

    Raises `ArtifactError`.
    """
    file = folder / CONFIG
    if not file.is_file():
        return TritonConfig(), ()
    try:
        with file.open("rb") as opened:
            text = opened.read(MOST_BYTES + 1).decode()
    except (OSError, UnicodeDecodeError) as error:
        raise ArtifactError(f"{file} cannot be read: {error}; check the file") from error
    reading = read_triton_config(text, str(file))
    if reading.config is None:
        raise ArtifactError("; ".join(str(problem) for problem in reading.problems))
    return reading.config, tuple(str(note) for note in reading.notes)


def _served(folder: Path, config: TritonConfig, label: str) -> list[Path]:
    """The versions that the policy names: by default the highest. Raises `ArtifactError`."""
    versions = version_folders(folder)
    if not versions:
        raise ArtifactError(
            f"{label} has no version: put the model into a folder with a number, {folder}/1"
        )
    policy = config.version_policy
    if policy is not None and policy.specific is not None:
        wanted = {str(each) for each in policy.specific.versions}
        missing = wanted - {each.name for each in versions}
        if missing:
            raise ArtifactError(
                f"{label}: version_policy names version {min(missing, key=int)}, which has no "
                f"folder (there are {', '.join(each.name for each in versions)}); add it"
            )
        return [each for each in versions if each.name in wanted]
    if policy is not None and policy.all is not None:
        return versions
    count = policy.latest.num_versions if policy is not None and policy.latest is not None else 1
    return versions[-count:]


def _version(
    folder: Path,
    name: str,
    config: TritonConfig,
    version: Path,
    notes: Sequence[str],
    label: str,
    runtime: str,
) -> TritonModel:
    names = frozenset(each.name for each in version.iterdir())
    if runtime == TRITONSERVER:
        return _delegated(folder, name, config, version)
    backend = backend_of(config, names, label)
    if backend.runtime == TRITONSERVER:
        return _delegated(folder, name, config, version)
    filename = model_filename(config, backend)
    if filename not in names and not (backend.name == PYTHON and (folder / filename).is_file()):
        raise ArtifactError(
            f"{label}: version {version.name} holds no {filename}, which the {backend.name} "
            f"backend loads (it has {', '.join(sorted(names)[:5]) or 'nothing'}); add it, or name "
            "it with default_model_filename"
        )
    overrides, caveats = _overrides(config, version.name)
    return TritonModel(
        name or config.name or folder.name,
        version.name,
        folder,
        backend.preload,
        overrides,
        _environment(folder, config, backend),
        (*notes, *(f"{folder / CONFIG}: {each}" for each in caveats)),
    )


def _delegated(folder: Path, name: str, config: TritonConfig, version: Path) -> TritonModel:
    """One that Triton itself runs: what of it has no effect here, or lacks, is Triton's to say."""
    overrides, _ = _overrides(config, version.name)
    own_name = config.name or folder.name
    parameters = {
        **overrides.parameters,
        "name": own_name,
        "backend": config.backend or config.platform,
    }
    return TritonModel(
        name or own_name,
        version.name,
        folder,
        ("numpy",),
        # Triton waits for its batches to fill by itself: twice would be too long.
        msgspec.structs.replace(overrides, parameters=parameters, max_batch_delay_s=0.0),
        runtime=TRITONSERVER,
    )


def _overrides(config: TritonConfig, version: str) -> tuple[ModelOverrides, tuple[str, ...]]:
    """Workers and batches as the configuration has them; and what cannot be kept to the letter."""
    workers, notes = _workers(config)
    batching = config.dynamic_batching
    rows, delay_s = 0, 0.0
    if batching is not None:
        rows = config.max_batch_size
        delay_s = batching.max_queue_delay_microseconds / 1e6
    elif workers > 1:
        # Each instance has one request at a time, so that no idle one is passed by.
        rows = 1
    found = ModelOverrides(
        parameters={"version": version},
        max_batch_rows=rows,
        max_batch_delay_s=delay_s,
        workers=workers,
        scheduling=scheduling_of(config),
        limited=limited_groups(config),
    )
    return found, tuple(notes)


def _workers(config: TritonConfig) -> tuple[int, list[str]]:
    """How many workers the instance groups ask for; 0: they do not say."""
    notes = []
    count = sum(max(1, group.count) for group in config.instance_group if not group.passive)
    if any(group.kind == "KIND_GPU" for group in config.instance_group):
        notes.append("instance_group: KIND_GPU has no effect: the instances run on the CPU")
    if config.sequence_batching is not None:
        if count > 1:
            notes.append(
                f"instance_group: {count} instances become 1, since a sequence stays in one worker"
            )
        return 1, notes
    return count, notes


def _environment(folder: Path, config: TritonConfig, backend: Backend) -> Requirements | None:
    """The packages of the environment that a Python model has packed up."""
    given = config.parameters.get(_ENVIRONMENT)
    if backend.name != PYTHON or given is None or not given.string_value:
        return None
    named = given.string_value.replace(_MODEL_FOLDER, str(folder))
    found = requirements_in(folder / named)
    return found if found.is_needed else None
