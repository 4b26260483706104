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

PYTHON = "python"
"""The backend of `TritonPythonModel` classes."""
ENSEMBLE = "ensemble"


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
_ELSEWHERE: Mapping[str, str] = MappingProxyType(
    {
        "tensorrt_plan": "TensorRT plans need NVIDIA's own server",
        "tensorrt": "TensorRT plans need NVIDIA's own server",
        "dali": "DALI needs NVIDIA's own server",
        "tensorflow_graphdef": "frozen graphs need the TensorFlow 1 that made them: save the model "
        "as a SavedModel",
    }
)


def backend_of(config: TritonConfig, names: Collection[str], label: str) -> Backend:
    """The backend by `backend`, else `platform`, else by the files of the version.

    `names` are those in the version's folder, `label` names the model. Raises `ArtifactError`.
    """
    wanted = config.backend or _BY_PLATFORM.get(config.platform, config.platform)
    if wanted in BACKENDS and config.platform not in _ELSEWHERE:
        return BACKENDS[wanted]
    if wanted:
        raise ArtifactError(_refusal(config, wanted, label))
    candidates = {config.default_model_filename} if config.default_model_filename else set(names)
    found = [each for each in BACKENDS.values() if _is_of(each, candidates)]
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


def _refusal(config: TritonConfig, wanted: str, label: str) -> str:
    named = "backend" if config.backend else "platform"
    value = config.backend or config.platform
    reason = _ELSEWHERE.get(config.platform) or _ELSEWHERE.get(wanted)
    if reason is None:
        reason = f"there are {', '.join(BACKENDS)}{did_you_mean(wanted, BACKENDS)}"
    return f"{label} has the {named} '{value}', which this server does not run: {reason}"
