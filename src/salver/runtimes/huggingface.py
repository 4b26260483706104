"""Hugging Face models from a local folder: texts and images into labels, words and vectors.

Owns loading. It stays offline, runs no code of the folder and reads safetensors only, unless
the settings say otherwise; what each task does with a request is `huggingface_tasks.py`'s.
"""

from __future__ import annotations

import importlib
from typing import Any

from salver.errors import LoadFailed, MissingFramework
from salver.runtimes.huggingface_folder import ModelFolder, check_weights, model_folder
from salver.runtimes.huggingface_model import Loaded
from salver.runtimes.huggingface_settings import (
    HuggingfaceSettings,
    Task,
    huggingface_settings,
    task_of,
)
from salver.runtimes.huggingface_tasks import BUILDERS
from salver.runtimes.loading import load_failures, missing_framework
from salver.runtimes.ports import LoadedModel, ModelSource

_CLASSES: dict[Task, str] = {
    "text-classification": "AutoModelForSequenceClassification",
    "token-classification": "AutoModelForTokenClassification",
    "feature-extraction": "AutoModel",
    "image-classification": "AutoModelForImageClassification",
    "fill-mask": "AutoModelForMaskedLM",
    "text-generation": "AutoModelForCausalLM",
}


class HuggingfaceRuntime:
    """Loads folders with the installed transformers."""

    name = "huggingface"
    framework = "transformers"
    preload = ("salver.runtimes.huggingface_import",)

    def load(self, source: ModelSource) -> LoadedModel:
        settings = huggingface_settings(source.name, source.parameters)
        folder = model_folder(source.name, source.path)
        given = settings.task or ("feature-extraction" if folder.has_modules else "")
        task = task_of(source.name, given, folder.architectures)
        safe = check_weights(source.name, folder.path, allow_pickled=settings.allow_pickled_weights)
        libraries = _libraries(source)
        with load_failures(source, f"transformers {libraries.transformers.__version__}"):
            loaded = _loaded(libraries, source, folder, settings, task, safe=safe)
            return BUILDERS[task](loaded)


def _libraries(source: ModelSource) -> Any:
    try:
        return importlib.import_module("salver.runtimes.huggingface_import")
    except ImportError as error:
        missing = "torch" if getattr(error, "name", "") == "torch" else "transformers"
        raise MissingFramework(missing_framework(source, missing, "huggingface", error)) from error


def _loaded(
    libraries: Any,
    source: ModelSource,
    folder: ModelFolder,
    settings: HuggingfaceSettings,
    task: Task,
    *,
    safe: bool,
) -> Loaded:
    torch, transformers = libraries.torch, libraries.transformers
    torch.set_num_threads(source.threads)
    device = _device(torch, source, settings.device)
    common = {"local_files_only": True, "trust_remote_code": settings.trust_remote_code}
    kind = "AutoImageProcessor" if task == "image-classification" else "AutoTokenizer"
    reader = getattr(transformers, kind).from_pretrained(folder.path, **common)
    model, report = getattr(transformers, _CLASSES[task]).from_pretrained(
        folder.path, use_safetensors=safe, output_loading_info=True, **common
    )
    missing = sorted(report["missing_keys"])
    if missing and task != "feature-extraction":
        raise LoadFailed(
            f"model '{source.name}': its weights lack {missing[0]} and {len(missing) - 1} more of "
            f"what {type(model).__name__} needs; is it trained for {task}?"
        )
    model = model.to(device).eval()
    version = transformers.__version__
    return Loaded(torch, transformers, model, reader, device, settings, folder, version)


def _device(torch: Any, source: ModelSource, wanted: str) -> Any:
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    name = ("cuda" if count else "cpu") if wanted == "auto" else wanted
    kind, _, index = name.partition(":")
    if kind not in ("cpu", "cuda") or (index and not index.isdigit()):
        raise LoadFailed(
            f"model '{source.name}': device '{wanted}' is none; use auto, cpu, cuda or cuda:N"
        )
    if kind == "cuda" and int(index or 0) >= count:
        raise LoadFailed(
            f"model '{source.name}': device {wanted} cannot be had: there are {count} CUDA devices "
            "here; choose cpu or auto"
        )
    return torch.device(name)
