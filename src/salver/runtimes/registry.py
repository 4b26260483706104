"""Finds runtimes: the built-in ones, and those of other packages by their entry points.

The built-in ones are entry points too, but are listed here as well: in a model's own Python
environment Salver is on the search path without being installed, so nothing announces them.
Refuses to import a framework: a runtime's module imports its framework inside `load`.
"""

from __future__ import annotations

import difflib
from importlib.metadata import EntryPoint, entry_points
from types import MappingProxyType

from salver.errors import LoadFailed, UnrecognisedArtifact
from salver.runtimes.ports import Runtime

GROUP = "salver.runtimes"
BUILT_IN = MappingProxyType(
    {
        "sklearn": "salver.runtimes.sklearn:SklearnRuntime",
        "xgboost": "salver.runtimes.xgboost:XgboostRuntime",
        "lightgbm": "salver.runtimes.lightgbm:LightgbmRuntime",
        "onnx": "salver.runtimes.onnx:OnnxRuntime",
        "mlflow": "salver.runtimes.mlflow:MlflowRuntime",
        "torch": "salver.runtimes.torch:TorchRuntime",
        "tensorflow": "salver.runtimes.tensorflow:TensorflowRuntime",
        "tflite": "salver.runtimes.tflite:TfliteRuntime",
        "catboost": "salver.runtimes.catboost:CatboostRuntime",
        "program": "salver.runtimes.program:ProgramRuntime",
        "pmml": "salver.runtimes.pmml:PmmlRuntime",
        "openvino": "salver.runtimes.openvino:OpenvinoRuntime",
        "huggingface": "salver.runtimes.huggingface:HuggingfaceRuntime",
        "python": "salver.runtimes.python:PythonRuntime",
        "mlserver": "salver.runtimes.mlserver:MlserverRuntime",
        "triton": "salver.runtimes.triton:TritonRuntime",
        "tritonserver": "salver.runtimes.tritonserver:TritonserverRuntime",
        "transformer": "salver.runtimes.transformer:TransformerRuntime",
        "steps": "salver.runtimes.steps:StepsRuntime",
    }
)
"""The same as the entry points that pyproject.toml declares, as a test makes sure."""


def runtime_names() -> tuple[str, ...]:
    """All runtimes installed, sorted."""
    return tuple(sorted(_entries()))


def runtime_named(name: str) -> Runtime:
    """The runtime of that name.

    Raises `UnrecognisedArtifact` if there is none, and `LoadFailed` if its package is broken.
    """
    entries = _entries()
    entry = entries.get(name)
    if entry is None:
        raise UnrecognisedArtifact(_unknown(name, tuple(sorted(entries))))
    try:
        runtime: Runtime = entry.load()()
    except Exception as error:
        # A plugin's import is foreign code: whatever it raises is the reason it cannot serve.
        raise LoadFailed(
            f"runtime '{name}' ({entry.value}) cannot be imported: "
            f"{type(error).__name__}: {error}; reinstall the package that provides it"
        ) from error
    return runtime


def _entries() -> dict[str, EntryPoint]:
    built_in = {name: EntryPoint(name, value, GROUP) for name, value in BUILT_IN.items()}
    return built_in | {entry.name: entry for entry in entry_points(group=GROUP)}


def _unknown(name: str, known: tuple[str, ...]) -> str:
    near = difflib.get_close_matches(name.lower(), known, n=1, cutoff=0.5)
    hint = f"did you mean '{near[0]}'?" if near else "install the package that provides it"
    return f"there is no runtime '{name}' (there are {', '.join(known) or 'none'}); {hint}"
