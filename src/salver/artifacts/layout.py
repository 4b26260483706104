"""Turns a target of `salver serve` into the models it stands for.

Owns the folder conventions: a model file; `file.py:Class`; a model's folder (one model file,
or numbered version folders); a folder of models; what MLServer's settings files describe
(`mlserver.py`); a model of a Triton repository (`triton.py`). Refuses to open a
model: formats are `recognise.py`'s.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator
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
from salver.artifacts.overrides import NO_OVERRIDES, ModelOverrides
from salver.artifacts.recognise import recognise
from salver.artifacts.recognised import Recognised
from salver.artifacts.triton_layout import RUNTIME as TRITON
from salver.artifacts.triton_layout import is_triton_model
from salver.errors import ArtifactError, UnrecognisedArtifact
from salver.inference.requirements import Requirements

MODEL_SUFFIXES = frozenset(
    {
        ".R",
        ".bst",
        ".cbm",
        ".h5",
        ".jar",
        ".joblib",
        ".json",
        ".keras",
        ".lgb",
        ".mar",
        ".model",
        ".onnx",
        ".pickle",
        ".pkl",
        ".pmml",
        ".pt",
        ".pt2",
        ".pth",
        ".py",
        ".safetensors",
        ".skops",
        ".tflite",
        ".txt",
        ".ubj",
        ".xml",
    }
)
"""What counts as a model inside a folder; a file named by the user may be called anything."""

_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,126}[A-Za-z0-9_])?\Z")
_VERSION = re.compile(r"[0-9]{1,18}\Z")
_NOT_MODELS = frozenset(
    {
        "model-settings.json",
        "settings.json",
        "config.json",
        "metadata.json",
        "requirements.txt",
        "readme.txt",
        "license.txt",
        "setup.py",
        "__init__.py",
        "conftest.py",
    }
)


class ModelTarget(msgspec.Struct, frozen=True):
    """One version of one model, found on disk. `preload`: modules to import before forking.

    Without a runtime it has not been read yet: `read_target` does. `requirements` are packages
    that somebody has named for it, `notes` say what in its settings has no effect.
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


Reader = Callable[[Path, str], Recognised]
"""Tells what a file is; the second argument is the class that was named."""


def discover(
    target: str, name: str = "", runtime: str = "", *, reads: bool = True
) -> list[ModelTarget]:
    """The models that `target` stands for, by name, then version.

    `name` renames the one model of the target; `runtime` overrules what is recognised. Unless
    it `reads`, no file is opened, and anything with a model's suffix is one.
    Raises `ArtifactError` when there is no model, or more than the names allow.
    """
    path, attribute = _split(target)
    reader = partial(_recognised if reads else _unread, runtime)
    if path.name == FILE_NAME and path.is_file():
        found = [_settings_model(path, name, runtime)]
    elif path.is_dir() and is_triton_model(path):
        found = _triton_folder(path, name)
    elif not path.is_dir() or recognise_folder(path) is not None:
        found = [_model_file(path, name or _stem(path.resolve()), "1", attribute, reader)]
    else:
        found = _folder(path, name, runtime, reader)
    for model in found:
        _check_name(model)
    _check_unique(found)
    return sorted(found, key=lambda model: (model.name, version_order(model.version)))


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
        path.stat()
    except FileNotFoundError:
        raise ArtifactError(
            f"{path} does not exist (looked in {Path.cwd()}); check the path"
        ) from None
    except OSError as error:
        raise ArtifactError(f"{path} cannot be read: {error.strerror}; check the path") from error
    if not os.access(path, os.R_OK):
        raise ArtifactError(f"{path} cannot be read: Permission denied; check its permissions")
    return path, attribute


def _stem(path: Path) -> str:
    """The file's name without its suffix, and without a compression's: `iris.joblib.gz`."""
    stem = Path(path.name)
    if stem.suffix in (".gz", ".z", ".bz2", ".xz", ".lzma"):
        stem = stem.with_suffix("")
    return stem.stem if stem.suffix in MODEL_SUFFIXES or path.is_file() else stem.name


def read_target(target: ModelTarget) -> ModelTarget:
    """The target with what its file says. Raises `UnrecognisedArtifact`."""
    found = _recognised(target.runtime, target.path, target.attribute)
    attribute = found.attribute or target.attribute
    return msgspec.structs.replace(
        target, runtime=found.runtime, attribute=attribute, preload=found.preload
    )


def _model_file(path: Path, name: str, version: str, attribute: str, reader: Reader) -> ModelTarget:
    found = reader(path, attribute)
    return ModelTarget(
        name, version, path.resolve(), found.runtime, found.attribute or attribute, found.preload
    )


def _unread(runtime: str, path: Path, attribute: str) -> Recognised:
    return Recognised(runtime, "not read yet", (), attribute)


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


def _settings_model(file: Path, name: str, runtime: str) -> ModelTarget:
    """The model that a `model-settings.json` describes."""
    settings = read_settings_model(file)
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


def _folder(path: Path, name: str, runtime: str, reader: Reader) -> list[ModelTarget]:
    """A model's folder, or a folder of models, of which some may have MLServer's settings."""
    described = list(settings_files(path))
    if described:
        found = [_settings_model(file, "", runtime) for file in described]
        taken = {file.parent for file in described}
        if path not in taken:
            found += _models_beside(path, taken, reader)
        return _named(path, found, name)
    if _is_model_folder(path):
        return _model_folder(path, name or path.resolve().name, reader)
    found, refusal = _models_in(path, reader)
    if not found:
        if refusal is not None:
            raise refusal
        raise ArtifactError(
            f"{path} holds no model: {_contents(path)}; put model files "
            f"({' '.join(sorted(MODEL_SUFFIXES))}) or folders of them there"
        )
    return _named(path, found, name)


def _models_beside(path: Path, taken: set[Path], reader: Reader) -> list[ModelTarget]:
    """The models that no settings file describes, in a folder where some have one."""
    found: list[ModelTarget] = []
    for entry in _entries(path):
        is_theirs = any(each.is_relative_to(entry) for each in taken)
        if entry.is_dir() and not is_theirs:
            found.extend(_model_folder(entry, entry.name, reader))
    return found


def _named(path: Path, found: list[ModelTarget], name: str) -> list[ModelTarget]:
    if name and len({model.name for model in found}) > 1:
        raise ArtifactError(
            f"--name {name} cannot name the {len(found)} models of {path}; serve one of them, "
            "or leave --name out"
        )
    return [msgspec.structs.replace(model, name=name or model.name) for model in found]


def _models_in(path: Path, reader: Reader) -> tuple[list[ModelTarget], UnrecognisedArtifact | None]:
    """One model per entry; and why a file was left out that may be another thing, if one was.

    Such files lie beside models for other reasons, so they are no error among models.
    """
    found: list[ModelTarget] = []
    refusal: UnrecognisedArtifact | None = None
    for entry in _entries(path):
        if entry.is_dir():
            found.extend(_model_folder(entry, entry.name, reader))
        elif _looks_like_a_model(entry):
            try:
                found.append(_model_file(entry, _stem(entry), "1", "", reader))
            except UnrecognisedArtifact as error:
                if entry.suffix not in (".txt", ".json", ".py", ".xml", ".jar", ".R"):
                    raise
                refusal = error
    return found, refusal


def _is_model_folder(path: Path) -> bool:
    """A target folder is a model itself if it has versions or its one model is `model.*`.

    With any other file name it is a folder of models that happens to hold one: a second
    model must not rename the first.
    """
    entries = list(_entries(path))
    files = [entry for entry in entries if _looks_like_a_model(entry)]
    return any(entry.is_dir() and _VERSION.match(entry.name) for entry in entries) or (
        len(files) == 1 and _stem(files[0]) == "model"
    )


def _model_folder(path: Path, name: str, reader: Reader) -> list[ModelTarget]:
    """The model that a folder is, or the versions in it; none if it is no such folder."""
    if is_triton_model(path):
        return _triton_folder(path, name)
    if recognise_folder(path) is not None:
        return [_model_file(path, name, "1", "", reader)]
    entries = list(_entries(path))
    versions = [entry for entry in entries if entry.is_dir() and _VERSION.match(entry.name)]
    if versions:
        return [
            _model_file(_only_model(entry), name, str(int(entry.name)), "", reader)
            for entry in versions
        ]
    files = [entry for entry in entries if _looks_like_a_model(entry)]
    if len(files) > 1:
        raise ArtifactError(
            f"{path} holds {len(files)} model files ({', '.join(each.name for each in files)}); "
            "a model's folder has one: give each a folder, or serve the files"
        )
    return [_model_file(files[0], name, "1", "", reader)] if files else []


def _triton_folder(path: Path, name: str) -> list[ModelTarget]:
    """The versions that a model of a Triton repository serves; none of an ensemble."""
    # Imported here: few models have such a configuration, and reading one takes a parser.
    from salver.artifacts.triton import triton_models

    return [
        ModelTarget(
            each.name,
            each.version,
            each.path,
            TRITON,
            preload=each.preload,
            overrides=each.overrides,
            requirements=each.requirements,
            notes=each.notes,
        )
        for each in triton_models(path, name)
    ]


def _only_model(version: Path) -> Path:
    if recognise_folder(version) is not None:
        return version
    files = [entry for entry in _entries(version) if _is_a_model(entry)]
    if len(files) != 1:
        raise ArtifactError(
            f"the version folder {version} must hold exactly one model file: {_contents(version)}"
        )
    return files[0]


def _is_a_model(path: Path) -> bool:
    return recognise_folder(path) is not None if path.is_dir() else _looks_like_a_model(path)


def _looks_like_a_model(path: Path) -> bool:
    if not path.is_file() or path.name.lower() in _NOT_MODELS:
        return False
    name = Path(path.name)
    if name.suffix in (".gz", ".z", ".bz2", ".xz", ".lzma"):
        name = name.with_suffix("")
    return name.suffix in MODEL_SUFFIXES


def _entries(path: Path) -> Iterator[Path]:
    try:
        found = sorted(path.iterdir())
    except OSError as error:
        raise ArtifactError(
            f"{path} cannot be read: {error.strerror}; check its permissions"
        ) from error
    return (entry for entry in found if not entry.name.startswith((".", "__pycache__")))


def _contents(path: Path) -> str:
    names = [entry.name for entry in _entries(path)]
    if not names:
        return "it is empty"
    shown = ", ".join(names[:5])
    return f"it has {shown}" + (f" and {len(names) - 5} more" if len(names) > 5 else "")


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
