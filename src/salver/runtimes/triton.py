"""Models of a Triton repository: a folder with `config.pbtxt` and numbered versions.

Owns which version and which backend, and what of the configuration is kept around any of them:
warm-up, response cache, sequences. What a framework computes is its own runtime's; Python models
are `triton_python.py`'s.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import msgspec

from salver.errors import ArtifactError, LoadFailed
from salver.runtimes.ports import LoadedModel, ModelSource
from salver.runtimes.registry import runtime_named
from salver.runtimes.triton_cache import CachedModel
from salver.runtimes.triton_framework import framework_model
from salver.runtimes.triton_place import TritonPlace
from salver.runtimes.triton_python import load_python
from salver.runtimes.triton_sequences import SequencedModel
from salver.runtimes.triton_shapes import inner_tensors
from salver.runtimes.triton_warmup import warm_up
from salver.spec.triton_backends import PYTHON, Backend, backend_of, model_filename
from salver.spec.triton_config import TritonConfig
from salver.spec.triton_read import triton_config

CONFIG = "config.pbtxt"
_SIGNATURE = "TF_SIGNATURE_DEF"


class TritonRuntime:
    """Loads them with the runtime of their framework. Its own parameter is `version`."""

    name = "triton"
    framework = "numpy"
    preload: tuple[str, ...] = ()

    def load(self, source: ModelSource) -> LoadedModel:
        place = place_of(source)
        config = _config_of(place, source.name)
        if config.is_ensemble:
            raise LoadFailed(
                f"model '{source.name}' is an ensemble: it is served as a graph, with the "
                "repository that its models are in"
            )
        try:
            names = frozenset(each.name for each in place.version_folder.iterdir())
            backend = backend_of(config, names, f"model '{source.name}'")
        except OSError as error:
            raise LoadFailed(
                f"model '{source.name}': {place.version_folder} cannot be read: {error.strerror}"
            ) from error
        if backend.name == PYTHON:
            model, config = load_python(source, place, config)
        else:
            model = _framework(source, place, config, backend)
        return _surrounded(model, config, source, place)


def place_of(source: ModelSource) -> TritonPlace:
    """Where the model's version lies. The path is the model's folder, a version's, or its file.

    Raises `LoadFailed` if there is no such version.
    """
    path = source.path
    for version in (path, path.parent):
        if version.name.isdecimal() and version.is_dir():
            return TritonPlace(version.parent, version.name)
    wanted = str(source.parameters.get("version", ""))
    versions = [each.name for each in path.iterdir() if each.is_dir() and each.name.isdecimal()]
    chosen = wanted or max(versions, key=int, default="")
    if chosen not in versions:
        raise LoadFailed(
            f"model '{source.name}': {path} has no version {chosen or 'at all'}: put the model "
            "into a folder with a number"
        )
    return TritonPlace(path, chosen)


def _config_of(place: TritonPlace, name: str) -> TritonConfig:
    file = place.folder / CONFIG
    try:
        text = file.read_text() if file.is_file() else ""
        config = triton_config(text, str(file))
    except (OSError, UnicodeDecodeError) as error:
        raise LoadFailed(f"model '{name}': {file} cannot be read: {error}") from error
    except ArtifactError as error:
        raise LoadFailed(f"model '{name}': {error}") from error
    return msgspec.structs.replace(config, name=name)


def _framework(
    source: ModelSource, place: TritonPlace, config: TritonConfig, backend: Backend
) -> LoadedModel:
    path = place.version_folder / model_filename(config, backend)
    inner_source = msgspec.structs.replace(
        source,
        path=path,
        runtime=backend.runtime,
        batch_requested=config.max_batch_size > 0,
        parameters=_parameters(config, backend),
        **inner_tensors(config, backend),
    )
    inner = runtime_named(backend.runtime).load(inner_source)
    return framework_model(inner, config, backend, place)


def _parameters(config: TritonConfig, backend: Backend) -> dict[str, Any]:
    signature = config.parameters.get(_SIGNATURE)
    if backend.name == "tensorflow" and signature is not None:
        return {"signature": signature.string_value}
    return {}


def _surrounded(
    model: LoadedModel, config: TritonConfig, source: ModelSource, place: TritonPlace
) -> LoadedModel:
    """The model, warm, with what the configuration puts around it."""
    if config.sequence_batching is not None and not config.is_decoupled:
        model = SequencedModel(model, config, config.sequence_batching, place, time.monotonic)
    if config.is_cached and not config.is_decoupled and config.sequence_batching is None:
        model = CachedModel(model)
    warm_up(model, config, Path(place.folder), source.name)
    return model
