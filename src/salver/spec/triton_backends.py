"""Which backend runs a model of a Triton repository, and which file of its version is the model.

Pure: a configuration and the names in a version's folder in, a decision out.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from types import MappingProxyType

import msgspec

from salver.errors import ArtifactError
from salver.spec.problems import did_you_mean
from salver.spec.triton_config import TritonConfig
from salver.spec.triton_url import TRITONSERVER

PYTHON = "python"
"""The backend of `TritonPythonModel` classes."""
ENSEMBLE = "ensemble"
RUNTIME_PARAMETER = "SALVER_RUNTIME"
"""A parameter in `config.pbtxt`: with the value `tritonserver`, Triton itself runs the model."""


class Backend(msgspec.Struct, frozen=True):
    """`runtime` is Salver's runtime behind it, `filename` what the model is called by default."""

    name: str
    runtime: str
    filename: str
    platform: str
    preload: tuple[str, ...] = ()


BACKENDS: Mapping[str, Backend] = MappingProxyType(
    {
        each.name: each
        for each in (
            Backend("onnxruntime", "onnx", "model.onnx", "onnxruntime_onnx", ("onnxruntime",)),
            Backend("pytorch", "torch", "model.pt", "pytorch_libtorch", ("torch",)),
            Backend("tensorflow", "tensorflow", "model.savedmodel", "tensorflow_savedmodel"),
            Backend("openvino", "openvino", "model.xml", "openvino"),
            Backend(PYTHON, "", "model.py", "python", ("numpy",)),
        )
    }
)
_BY_PLATFORM: Mapping[str, str] = MappingProxyType(
    {
        "onnxruntime_onnx": "onnxruntime",
        "pytorch_libtorch": "pytorch",
        "tensorflow_savedmodel": "tensorflow",
        "openvino": "openvino",
        "python": PYTHON,
    }
)
_TRITONS: Mapping[str, str] = MappingProxyType(
    {
        "tensorrt_plan": "model.plan",
        "tensorrt": "model.plan",
        "dali": "model.dali",
        "tensorflow_graphdef": "model.graphdef",
        "tensorrtllm": "",
        "vllm": "",
        "fil": "",
        "identity": "",
        "repeat": "",
        "square": "",
    }
)
"""Backends and platforms that Triton has and Salver has not, with what they call a model."""


def backend_of(config: TritonConfig, names: Collection[str], label: str) -> Backend:
    """The backend by `backend`, else `platform`, else by the files of the version.

    One that Salver has not is Triton's own to run, unless the name is a misspelt one. `names` are
    those in the version's folder, `label` names the model. Raises `ArtifactError`.
    """
    forced = config.parameters.get(RUNTIME_PARAMETER)
    if forced is not None and forced.string_value != TRITONSERVER:
        raise ArtifactError(
            f"{label}: the parameter {RUNTIME_PARAMETER} is '{forced.string_value}': it may be "
            f"'{TRITONSERVER}' or absent"
        )
    wanted = config.backend or _BY_PLATFORM.get(config.platform, config.platform)
    if forced is not None or wanted in _TRITONS or config.platform in _TRITONS:
        return _delegated(config.platform if config.platform in _TRITONS else wanted)
    if wanted in BACKENDS:
        return BACKENDS[wanted]
    if wanted:
        near = did_you_mean(wanted, (*BACKENDS, *_TRITONS))
        if near:
            raise ArtifactError(_refusal(config, label, near))
        return _delegated(wanted)
    return _by_files(config, names, label)


def _delegated(name: str) -> Backend:
    return Backend(name, TRITONSERVER, _TRITONS.get(name, ""), name)


def _by_files(config: TritonConfig, names: Collection[str], label: str) -> Backend:
    candidates = {config.default_model_filename} if config.default_model_filename else set(names)
    found = [each for each in BACKENDS.values() if _is_of(each, candidates)]
    tritons = [name for name, file in _TRITONS.items() if file and file in candidates]
    if not found and tritons:
        return _delegated(tritons[0])
    if len(found) == 1:
        return found[0]
    raise ArtifactError(
        f"{label} names neither backend nor platform, and its version holds "
        f"{', '.join(sorted(names)[:5]) or 'nothing'}: write backend: "
        f'"{"|".join(BACKENDS)}" in config.pbtxt'
    )


def model_filename(config: TritonConfig, backend: Backend) -> str:
    """What the model is called in its version's folder."""
    return config.default_model_filename or backend.filename


def _is_of(backend: Backend, names: Collection[str]) -> bool:
    suffix = "." + backend.filename.rpartition(".")[2]
    return any(name == backend.filename or name.endswith(suffix) for name in names)


def _refusal(config: TritonConfig, label: str, near: str) -> str:
    named = "backend" if config.backend else "platform"
    value = config.backend or config.platform
    return (
        f"{label} has the {named} '{value}', which this server does not run: there are "
        f"{', '.join(BACKENDS)}{near} (if Triton has it under this name, say so with the parameter "
        f'{RUNTIME_PARAMETER}: "{TRITONSERVER}")'
    )
