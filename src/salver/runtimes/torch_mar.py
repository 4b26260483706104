"""TorchServe's archives (.mar, or a folder): the manifest, the files, the handler's batches.

Owns how requests become the list of rows that a handler takes, and its list of answers
tensors. Installs nothing: the archive's requirements are reported. The handler is code that
the archive brings; it runs here as a Python model's does.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from salver.errors import InvalidInput, LoadFailed, ModelFailed
from salver.inference.metadata import ModelMetadata
from salver.inference.tensor import InferRequest, InferResponse, Tensor
from salver.inference.torch_archives import MANIFEST
from salver.runtimes.answers import response_of
from salver.runtimes.ports import ModelSource
from salver.runtimes.torch_code import check_code
from salver.runtimes.torch_context import Context
from salver.runtimes.torch_handlers import default_handler, stand_in
from salver.runtimes.torch_unpack import unpacked
from salver.runtimes.user_module import import_user_module, user_failures
from salver.spec.yaml_source import first_value

logger = logging.getLogger("salver.worker")


class ArchivedModel(msgspec.Struct, frozen=True, rename="camel"):
    """What the manifest says of the model; what else is in it, nobody reads."""

    handler: str
    model_name: str = ""
    serialized_file: str = ""
    model_file: str = ""
    model_version: str = ""
    requirements_file: str = ""
    config_file: str = ""


class Manifest(msgspec.Struct, frozen=True):
    """MAR-INF/MANIFEST.json."""

    model: ArchivedModel
    runtime: str = "python"


def read_manifest(text: bytes) -> Manifest:
    """Raises `ValueError` for a manifest that does not describe a model in Python."""
    manifest = msgspec.json.decode(text, type=Manifest)
    if not manifest.runtime.lower().startswith("python"):
        raise ValueError(f"its runtime is {manifest.runtime}, only python can be served")
    return manifest


def read_mar(torch: Any, source: ModelSource, path: Path, device: Any) -> MarModel:
    """Imports the handler and has it initialised. Raises `LoadFailed` for what it raises."""
    folder = unpacked(source.name, path)
    text = (folder / MANIFEST).read_bytes()
    manifest = read_manifest(text)
    config = _config(folder, manifest.model.config_file or "model-config.yaml")
    batch_size = _batch_size(config)
    _report(source.name, manifest, config)
    for each in (manifest.model.serialized_file, manifest.model.model_file):
        _check_within(source, folder, each)
    if (folder / manifest.model.serialized_file).is_file():
        check_code(source.name, folder / manifest.model.serialized_file)
    context = Context(
        model_name=manifest.model.model_name or source.name,
        model_dir=str(folder),
        manifest=json.loads(text),
        batch_size=batch_size,
        gpu=getattr(device, "index", None),
        model_yaml_config=config,
    )
    handle = _handler(source, folder, manifest.model.handler, context)
    return MarModel(handle, context, str(torch.__version__), is_batched=batch_size > 1)


def _config(folder: Path, name: str) -> dict[str, Any]:
    """The model's own settings; none where the archive has no such file."""
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()) or not path.is_file():
        return {}
    import yaml

    text = path.read_text()
    _, fault = first_value(text)
    if fault:
        # Nested beyond measure, or a few lines whose aliases stand for more than memory holds.
        raise ValueError(f"{name} is no YAML that is read: {fault}")
    found = yaml.safe_load(text)
    if found is not None and not isinstance(found, dict):
        raise ValueError(f"{name} is no mapping of settings")
    return found or {}


def _check_within(source: ModelSource, folder: Path, name: str) -> None:
    if not (folder / name).resolve().is_relative_to(folder.resolve()):
        raise LoadFailed(
            f"model '{source.name}': the archive's manifest names {name!r}, which leads out of it; "
            "archive the file with it"
        )


def _batch_size(config: dict[str, Any]) -> int:
    size = config.get("batchSize", 1)
    if not isinstance(size, int) or size < 1:
        raise ValueError(f"batchSize is {size!r}, it must be a whole number from 1")
    return size


def _report(name: str, manifest: Manifest, config: dict[str, Any]) -> None:
    known = ("batchSize", "maxBatchDelay", "minWorkers", "maxWorkers", "responseTimeout")
    said = {key: config[key] for key in known if key in config}
    if said:
        logger.info(
            "model '%s': its archive says %s; workers and their limits are Salver's",
            name,
            said,
        )
    if manifest.model.requirements_file:
        logger.warning(
            "model '%s': its archive brings %s, which is not installed by itself; give the model "
            "an environment with these packages if its handler needs them",
            name,
            manifest.model.requirements_file,
        )


def _handler(source: ModelSource, folder: Path, named: str, context: Context) -> Any:
    """What is called with rows and context, initialised."""
    stand_in()
    default = default_handler(named)
    if default is not None:
        with user_failures(source, f"initialising {named}"):
            default.initialize(context)
        return default.handle
    file_name, _, entry = named.partition(":")
    file = folder / (file_name if file_name.endswith(".py") else f"{file_name}.py")
    if not file.resolve().is_relative_to(folder.resolve()) or not file.is_file():
        raise LoadFailed(
            f"model '{source.name}': the archive names the handler {named}, which is neither in it "
            "nor one of base_handler, image_classifier, object_detector; archive the file with it"
        )
    user = msgspec.structs.replace(source, path=file)
    module = import_user_module(user)
    found = getattr(module, entry or "handle", None)
    if found is None and not entry:
        found = _only_class(source, module, named)
    if isinstance(found, type):
        with user_failures(user, f"initialising {found.__name__}"):
            handler = found()
            handler.initialize(context)
        return handler.handle
    if not callable(found):
        raise LoadFailed(f"model '{source.name}': {named} has no class or function to call")
    with user_failures(user, f"initialising {named}"):
        initialize = getattr(module, "initialize", None)
        if callable(initialize):
            initialize(context)
        # A function is told to initialise itself by a call without data.
        found(None, context)
    return found


def _only_class(source: ModelSource, module: Any, named: str) -> Any:
    own = [
        each
        for each in vars(module).values()
        if isinstance(each, type) and each.__module__ == module.__name__ and hasattr(each, "handle")
    ]
    if len(own) != 1:
        raise LoadFailed(
            f"model '{source.name}': {named} has {len(own)} classes with a method handle, and no "
            "function handle; leave one"
        )
    return own[0]


class MarModel:
    """A handler, initialised."""

    def __init__(self, handle: Any, context: Context, version: str, *, is_batched: bool) -> None:
        self._handle = handle
        self._context = context
        self._metadata = ModelMetadata(
            platform="pytorch_torchserve",
            inputs=(),
            outputs=(),
            batchable=is_batched,
            framework_version=version,
        )

    @property
    def metadata(self) -> ModelMetadata:
        return self._metadata

    def predict(self, request: InferRequest) -> InferResponse:
        """One row of the handler's for each row of the inputs; raises what the handler does."""
        rows = rows_of(request.inputs)
        self._context.begin(len(rows))
        answers = self._handle(rows, self._context)
        self._check_statuses()
        if not isinstance(answers, list | tuple) or len(answers) != len(rows):
            what = len(answers) if isinstance(answers, list | tuple) else type(answers).__name__
            raise ModelFailed(
                f"its handler answered {len(rows)} rows with {what}; it must return a list with "
                "an entry for each"
            )
        return response_of(answer_of(list(answers)), (), request.outputs, len(rows))

    def unload(self) -> None:
        """The handler frees itself."""

    def _check_statuses(self) -> None:
        for code, phrase in self._context.statuses.values():
            if 400 <= code < 500:
                raise InvalidInput(f"its handler refused the input with {code} {phrase}")
            if code >= 500:
                raise ModelFailed(f"its handler answered {code} {phrase}")


def rows_of(inputs: Sequence[Tensor]) -> list[dict[str, Any]]:
    """A dict for each row: `data` and `body` hold it, and each input under its own name.

    Raises `InvalidInput` where inputs have different numbers of rows.
    """
    columns = {tensor.name: _values(tensor) for tensor in inputs}
    counts = {name: len(values) for name, values in columns.items()}
    if len(set(counts.values())) > 1:
        raise InvalidInput(f"the inputs have different numbers of rows: {counts}")
    if len(columns) == 1:
        (values,) = columns.values()
        return [{"data": value, "body": value} for value in values]
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    return [{"body": row, **row} for row in rows]


def _values(tensor: Tensor) -> list[Any]:
    data = tensor.data if tensor.data.ndim else tensor.data.reshape(1)
    values: list[Any] = data.tolist()
    if tensor.parameters.get("content_type") == "json":
        return [_json(tensor.name, each) for each in values]
    return values


def _json(name: str, text: Any) -> Any:
    try:
        return json.loads(text)
    except (ValueError, TypeError, RecursionError) as error:
        raise InvalidInput(f"input '{name}' holds a text that is no JSON: {error}") from error


def answer_of(answers: list[Any]) -> Any:
    """The answers as an array where they are regular, else each as a JSON text."""
    first = answers[0]
    if all(isinstance(each, str | bytes | bytearray) for each in answers):
        return [bytes(each) if isinstance(each, bytearray) else each for each in answers]
    if isinstance(first, dict) and all(
        isinstance(each, dict) and each.keys() == first.keys() for each in answers
    ):
        return {name: answer_of([each[name] for each in answers]) for name in first}
    if hasattr(first, "detach"):
        answers = [each.detach().cpu().tolist() for each in answers]
    try:
        array = np.asarray(answers)
    except ValueError:
        return [json.dumps(each) for each in answers]
    return array if array.dtype.kind in "biuf" else [json.dumps(each) for each in answers]
