"""Turns a target of `salver serve` into the models it stands for.

Owns the folder conventions: a model file; `file.py:Class`; a model's folder (one model file,
or numbered version folders); a folder of models; what MLServer's settings files describe
(`mlserver.py`); a model of a Triton repository (`triton.py`), or of a Triton server. Refuses to
open a model: formats are `recognise.py`'s.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

import msgspec

from salver.artifacts.folders import recognise_folder
from salver.artifacts.mlserver import (
    FILE_NAME,
    SettingsModel,
    read_settings_model,
    settings_files,
)
from salver.artifacts.model_files import (
    AMBIGUOUS_SUFFIXES,
    MODEL_SUFFIXES,
    contents_of,
    entries_in,
    looks_like_a_model,
    stem_of,
)
from salver.artifacts.overrides import NO_OVERRIDES, ModelOverrides
from salver.artifacts.recognise import recognise
from salver.artifacts.recognised import Recognised
from salver.artifacts.triton_layout import is_triton_model
from salver.errors import ArtifactError, UnrecognisedArtifact
from salver.inference.requirements import Requirements
from salver.spec import triton_url
from salver.spec.triton_url import TRITONSERVER

_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,126}[A-Za-z0-9_])?\Z")
_VERSION = re.compile(r"[0-9]{1,18}\Z")


class ModelTarget(msgspec.Struct, frozen=True):
    """One version of one model, found on disk. `preload`: modules to import before forking.

    Without a runtime it has not been read yet: `read_target` does. `requirements` are packages
    that somebody has named for it, `notes` say what in its settings has no effect. With a
    `refusal` it cannot be served, for that reason.
    """

    name: str
    version: str
    path: Path
    runtime: str
    attribute: str = ""
    preload: tuple[str, ...] = ()
    overrides: ModelOverrides = NO_OVERRIDES
    requirements: Requirements | None = None
    notes: tuple[str, ...] = ()
    refusal: str = ""


class _Reading(msgspec.Struct, frozen=True):
    """How what is found is read: see `discover`."""

    runtime: str
    reads: bool
    lists_refused: bool

    def recognised(self, path: Path, attribute: str) -> Recognised:
        """What a file is; `attribute` is the class that was named."""
        if self.reads:
            return _recognised(self.runtime, path, attribute)
        return Recognised(self.runtime, "not read yet", (), attribute)

    def or_refused(
        self, name: str, version: str, path: Path, find: Callable[[], list[ModelTarget]]
    ) -> list[ModelTarget]:
        """What is found there, or that it cannot be served. Raises unless such are listed."""
        try:
            return find()
        except ArtifactError as error:
            if not self.lists_refused:
                raise
            refusal = str(error)
        except OSError as error:
            refusal = f"{path} cannot be read: {error.strerror or error}; check its permissions"
            if not self.lists_refused:
                raise ArtifactError(refusal) from error
        return [ModelTarget(name, version, path, "", refusal=refusal)]


def discover(
    target: str,
    name: str = "",
    runtime: str = "",
    *,
    reads: bool = True,
    lists_refused: bool = False,
) -> list[ModelTarget]:
    """The models that `target` stands for, by name, then version.

    `name` renames the one model of the target; `runtime` overrules what is recognised. Unless
    it `reads`, no file is opened, and anything with a model's suffix is one. In a folder of
    several models or versions, one that is wrong is among the others with its `refusal` if it
    `lists_refused`; else it is raised.
    A `triton://` address is a model that a Triton server has, which is not asked here.
    Raises `ArtifactError` when there is no model, or more than the names allow.
    """
    if triton_url.is_triton_url(target):
        return [_elsewhere(target, name)]
    path, attribute = _split(target)
    reading = _Reading(runtime, reads, lists_refused)
    if path.name == FILE_NAME and path.is_file():
        found = [_settings_model(read_settings_model(path), name, runtime)]
    elif path.is_dir() and is_triton_model(path):
        found = _triton_folder(path, name, runtime)
    elif not path.is_dir() or recognise_folder(path) is not None:
        found = [_model_file(path, name or stem_of(path.resolve()), "1", attribute, reading)]
    else:
        found = _folder(path, name, reading)
    for model in found:
        _check_name(model)
    _check_unique(found)
    return sorted(found, key=lambda model: (model.name, version_order(model.version)))


def _elsewhere(target: str, name: str) -> ModelTarget:
    """A model that a Triton server has. Its path is only something to show."""
    found = triton_url.parse_triton_url(target)
    model = ModelTarget(
        name or found.model,
        found.version or "1",
        Path(f"{found.host}:{found.port}") / found.model,
        TRITONSERVER,
        preload=("numpy",),
        overrides=ModelOverrides(
            parameters={"url": found.base, "name": found.model, "version": found.version}
        ),
    )
    _check_name(model)
    return model


def version_order(version: str) -> tuple[tuple[int, str], ...]:
    """By what versions are sorted: numbers by size (10 after 9), what is between as text."""
    parts = re.findall(r"\d+|\D+", version)
    return tuple((int(part), "") if part.isdecimal() else (-1, part) for part in parts)


def _split(target: str) -> tuple[Path, str]:
    """The path and the class behind its last colon, if the target has one."""
    path = Path(target).expanduser()
    attribute = ""
    if not path.exists():
        before, colon, after = target.rpartition(":")
        if colon and after.isidentifier():
            path, attribute = Path(before).expanduser(), after
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        raise ArtifactError(
            f"{path} does not exist (looked in {Path.cwd()}); check the path"
        ) from None
    except OSError as error:
        raise ArtifactError(f"{path} cannot be read: {error.strerror}; check the path") from error
    if not os.access(path, os.R_OK):
        raise ArtifactError(f"{path} cannot be read: Permission denied; check its permissions")
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise ArtifactError(
            f"{path} is neither file nor folder but a pipe, socket or device; copy the model into "
            "a file"
        )
    return path, attribute


def read_target(target: ModelTarget) -> ModelTarget:
    """The target with what its file says. Raises `UnrecognisedArtifact`."""
    found = _recognised(target.runtime, target.path, target.attribute)
    attribute = found.attribute or target.attribute
    return msgspec.structs.replace(
        target, runtime=found.runtime, attribute=attribute, preload=found.preload
    )


def _model_file(
    path: Path, name: str, version: str, attribute: str, reading: _Reading
) -> ModelTarget:
    found = reading.recognised(path, attribute)
    return ModelTarget(
        name, version, path.resolve(), found.runtime, found.attribute or attribute, found.preload
    )


def _recognised(runtime: str, path: Path, attribute: str) -> Recognised:
    """The caller's `runtime` wins; the content is still read for what to import early."""
    if not runtime:
        return recognise(path, attribute)
    try:
        found = recognise(path, attribute)
    except UnrecognisedArtifact:
        if runtime == "python":
            raise
        return Recognised(runtime, "named by the caller", (), attribute)
    return msgspec.structs.replace(found, runtime=runtime)


def _settings_model(settings: SettingsModel, name: str, runtime: str) -> ModelTarget:
    """The model that a `model-settings.json` describes."""
    runtime = runtime or settings.runtime
    if settings.is_class:
        found = Recognised(runtime, f"class {settings.attribute}", (), settings.attribute)
        path = settings.path
    else:
        path, found = _artifact_of(settings, runtime)
    return ModelTarget(
        name or settings.name,
        settings.version,
        path,
        found.runtime,
        found.attribute,
        found.preload,
        settings.overrides,
        settings.requirements if settings.requirements.is_needed else None,
        settings.notes,
    )


def _artifact_of(settings: SettingsModel, runtime: str) -> tuple[Path, Recognised]:
    """The file, and what its content says; the settings count where that says nothing."""
    path = settings.path
    if path.is_dir():
        path = _only_model(path).resolve()
    try:
        return path, recognise(path)
    except UnrecognisedArtifact:
        if not runtime:
            raise
        return path, Recognised(runtime, "named by its settings", ())


def _folder(path: Path, name: str, reading: _Reading) -> list[ModelTarget]:
    """A model's folder, or a folder of models, of which some may have MLServer's settings."""
    described = list(settings_files(path))
    if described:
        found = [each for file in described for each in _described_model(file, reading)]
        taken = {file.parent for file in described}
        if path not in taken:
            found += _models_beside(path, taken, reading)
        return _named(path, found, name)
    if _is_model_folder(path):
        return _model_folder(path, name or path.resolve().name, reading)
    found, refusal = _models_in(path, reading)
    if not found:
        if refusal is not None:
            raise refusal
        raise ArtifactError(
            f"{path} holds no model: {contents_of(path)}; put model files "
            f"({' '.join(sorted(MODEL_SUFFIXES))}) or folders of them there"
        )
    return _named(path, found, name)


def _described_model(file: Path, reading: _Reading) -> list[ModelTarget]:
    """The model of a settings file in a folder of models. It may be too wrong to have a name."""

    def find() -> list[ModelTarget]:
        settings = read_settings_model(file)
        return reading.or_refused(
            settings.name,
            settings.version,
            settings.path,
            lambda: [_settings_model(settings, "", reading.runtime)],
        )

    return reading.or_refused(file.parent.resolve().name, "1", file, find)


def _models_beside(path: Path, taken: set[Path], reading: _Reading) -> list[ModelTarget]:
    """The models that no settings file describes, in a folder where some have one."""
    found: list[ModelTarget] = []
    for entry in entries_in(path):
        is_theirs = any(each.is_relative_to(entry) for each in taken)
        if entry.is_dir() and not is_theirs:
            found.extend(_models_of(entry, reading))
    return found


def _models_of(entry: Path, reading: _Reading) -> list[ModelTarget]:
    """The model that a folder among models is, if it is one."""
    find = partial(_model_folder, entry, entry.name, reading)
    return reading.or_refused(entry.name, "1", entry, find)


def _named(path: Path, found: list[ModelTarget], name: str) -> list[ModelTarget]:
    if name and len({model.name for model in found}) > 1:
        raise ArtifactError(
            f"--name {name} cannot name the {len(found)} models of {path}; serve one of them, "
            "or leave --name out"
        )
    return [msgspec.structs.replace(model, name=name or model.name) for model in found]


def _models_in(
    path: Path, reading: _Reading
) -> tuple[list[ModelTarget], UnrecognisedArtifact | None]:
    """One model per entry; and why a file was left out that may be another thing, if one was.

    Such files lie beside models for other reasons, so they are no error among models.
    """
    found: list[ModelTarget] = []
    refusal: UnrecognisedArtifact | None = None
    for entry in entries_in(path):
        if entry.is_dir():
            found.extend(_models_of(entry, reading))
        elif looks_like_a_model(entry) and entry.suffix in AMBIGUOUS_SUFFIXES:
            try:
                found.append(_model_file(entry, stem_of(entry), "1", "", reading))
            except UnrecognisedArtifact as error:
                refusal = error
        elif looks_like_a_model(entry):
            found.extend(_one_file(entry, stem_of(entry), "1", reading))
    return found, refusal


def _one_file(path: Path, name: str, version: str, reading: _Reading) -> list[ModelTarget]:
    return reading.or_refused(
        name, version, path, lambda: [_model_file(path, name, version, "", reading)]
    )


def _is_model_folder(path: Path) -> bool:
    """A target folder is a model itself if it has versions or its one model is `model.*`.

    With any other file name it is a folder of models that happens to hold one: a second
    model must not rename the first.
    """
    entries = list(entries_in(path))
    files = [entry for entry in entries if looks_like_a_model(entry)]
    return any(entry.is_dir() and _VERSION.match(entry.name) for entry in entries) or (
        len(files) == 1 and stem_of(files[0]) == "model"
    )


def _model_folder(path: Path, name: str, reading: _Reading) -> list[ModelTarget]:
    """The model that a folder is, or the versions in it; none if it is no such folder."""
    if is_triton_model(path):
        return _triton_folder(path, name, reading.runtime)
    if recognise_folder(path) is not None:
        return [_model_file(path, name, "1", "", reading)]
    entries = list(entries_in(path))
    versions = [entry for entry in entries if entry.is_dir() and _VERSION.match(entry.name)]
    if versions:
        return [each for entry in versions for each in _version_in(entry, name, reading)]
    files = [entry for entry in entries if looks_like_a_model(entry)]
    if len(files) > 1:
        raise ArtifactError(
            f"{path} holds {len(files)} model files ({', '.join(each.name for each in files)}); "
            "a model's folder has one: give each a folder, or serve the files"
        )
    return [_model_file(files[0], name, "1", "", reading)] if files else []


def _version_in(folder: Path, name: str, reading: _Reading) -> list[ModelTarget]:
    version = str(int(folder.name))
    return reading.or_refused(
        name,
        version,
        folder,
        lambda: [_model_file(_only_model(folder), name, version, "", reading)],
    )


def _triton_folder(path: Path, name: str, runtime: str) -> list[ModelTarget]:
    """The versions that a model of a Triton repository serves; none of an ensemble."""
    # Imported here: few models have such a configuration, and reading one takes a parser.
    from salver.artifacts.triton import triton_models

    return [
        ModelTarget(
            each.name,
            each.version,
            each.path,
            each.runtime,
            preload=each.preload,
            overrides=each.overrides,
            requirements=each.requirements,
            notes=each.notes,
        )
        for each in triton_models(path, name, runtime)
    ]


def _only_model(version: Path) -> Path:
    if recognise_folder(version) is not None:
        return version
    files = [entry for entry in entries_in(version) if _is_a_model(entry)]
    if len(files) != 1:
        raise ArtifactError(
            f"the version folder {version} must hold exactly one model file: {contents_of(version)}"
        )
    return files[0]


def _is_a_model(path: Path) -> bool:
    return recognise_folder(path) is not None if path.is_dir() else looks_like_a_model(path)


def _check_name(model: ModelTarget) -> None:
    if not _NAME.match(model.name):
        raise ArtifactError(
            f"{model.name!r} ({model.path}) cannot be a model's name: letters, digits, '.', '_' "
            "and '-' are allowed, beginning with a letter or digit; choose one with --name"
        )


def _check_unique(models: Iterable[ModelTarget]) -> None:
    seen: dict[tuple[str, str], Path] = {}
    for model in models:
        other = seen.setdefault((model.name, model.version), model.path)
        if other != model.path:
            raise ArtifactError(
                f"{other} and {model.path} both claim the name {model.name!r} "
                f"(version {model.version}); rename one of them"
            )
