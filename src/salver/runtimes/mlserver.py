"""Classes written for MLServer: those that derive from its `MLModel` or one of its runtimes.

MLServer itself must be installed in the model's environment: such a class uses its types and
codecs. Owns the way from tensors to MLServer's requests and back; nothing of MLServer's own
server runs.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from salver.errors import InvalidInput, LoadFailed, MissingFramework
from salver.inference.metadata import DATATYPES, ModelMetadata, TensorMetadata
from salver.inference.tensor import NUMPY_TYPES, InferRequest, InferResponse, Tensor
from salver.runtimes.awaiting import Awaiter
from salver.runtimes.ports import ModelSource
from salver.runtimes.user_module import import_user_module, user_failures

_MISSING = (
    "model '{name}': {attribute} derives from a class of MLServer's, which is not installed in its "
    "environment: add mlserver to a requirements.txt beside model-settings.json, or run pip "
    "install mlserver; a plain class with load and predict needs neither"
)


class MlserverRuntime:
    """Loads classes that derive from MLServer's."""

    name = "mlserver"
    framework = "mlserver"
    preload: tuple[str, ...] = ()

    def load(self, source: ModelSource) -> MlserverModel:
        try:
            import mlserver
        except ImportError as error:
            raise MissingFramework(
                _MISSING.format(name=source.name, attribute=source.attribute)
            ) from error
        settings = _settings(mlserver, source)
        module = import_user_module(source)
        factory = getattr(module, source.attribute, None)
        if not callable(factory):
            raise LoadFailed(
                f"model '{source.name}': {source.path} has no class '{source.attribute}'"
            )
        with user_failures(source, f"{source.attribute}()"):
            instance = factory(settings)
        model = MlserverModel(instance, source, mlserver.__version__)
        model.start()
        return model


def _settings(mlserver: Any, source: ModelSource) -> Any:
    """MLServer's own settings of the model, from its file."""
    file = source.parameters.get("settings_file")
    with user_failures(source, "reading its settings with MLServer"):
        if file:
            # Relative paths in the file are meant from where it lies.
            os.chdir(os.path.dirname(file))  # noqa: PTH120
            settings = mlserver.ModelSettings.parse_file(file)
        else:
            settings = mlserver.ModelSettings(name=source.name, implementation=source.attribute)
        settings.name = source.name
        return settings


class MlserverModel:
    """An instance of the user's class, loaded when `start` returns."""

    def __init__(self, instance: Any, source: ModelSource, version: str) -> None:
        self._instance = instance
        self._source = source
        self._version = version
        self._awaiter = Awaiter()

    def start(self) -> None:
        """Runs the class's `load`. Raises `LoadFailed` for whatever it raises."""
        with user_failures(self._source, f"{self._source.attribute}.load"):
            is_ready = self._awaiter.finished(self._instance.load())
        if is_ready is False:
            raise LoadFailed(
                f"model '{self._source.name}': {self._source.attribute}.load returned False"
            )
        self._instance.ready = True

    @property
    def metadata(self) -> ModelMetadata:
        """What the class has said by the end of its `load`, else what its settings say."""
        inputs = _tensors(getattr(self._instance, "inputs", None)) or self._source.inputs
        outputs = _tensors(getattr(self._instance, "outputs", None)) or self._source.outputs
        return ModelMetadata(
            platform=str(getattr(self._instance.settings, "platform", "") or "mlserver"),
            inputs=inputs,
            outputs=outputs,
            batchable=False,
            framework_version=self._version,
        )

    def predict(self, request: InferRequest) -> InferResponse:
        from mlserver.errors import MLServerError
        from mlserver.types import InferenceRequest

        payload = InferenceRequest.model_validate(_document(request))
        try:
            answer = self._awaiter.finished(self._instance.predict(payload))
        except MLServerError as error:
            if 400 <= getattr(error, "status_code", 500) < 500:
                raise InvalidInput(str(error)) from error
            raise
        outputs = tuple(_tensor(each) for each in answer.outputs)
        if request.outputs:
            outputs = tuple(each for each in outputs if each.name in request.outputs)
        return InferResponse(outputs)

    def unload(self) -> None:
        unload = getattr(self._instance, "unload", None)
        if callable(unload):
            self._awaiter.finished(unload())
        self._awaiter.close()


def _document(request: InferRequest) -> dict[str, Any]:
    """The request as V2 JSON has it."""
    document: dict[str, Any] = {"inputs": [_input(tensor) for tensor in request.inputs]}
    if request.parameters:
        document["parameters"] = dict(request.parameters)
    if request.outputs:
        document["outputs"] = [{"name": name} for name in request.outputs]
    return document


def _input(tensor: Tensor) -> dict[str, Any]:
    values = tensor.data.reshape(-1).tolist()
    return {
        "name": tensor.name,
        "shape": list(tensor.data.shape),
        "datatype": tensor.datatype,
        "data": [_text(each) for each in values] if tensor.datatype == "BYTES" else values,
    }


def _text(value: Any) -> Any:
    """Text as MLServer's JSON has it; bytes that are none stay bytes, as over gRPC."""
    if not isinstance(value, bytes):
        return value
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value


def _tensor(output: Any) -> Tensor:
    data = getattr(output.data, "root", output.data)
    datatype = str(getattr(output.datatype, "value", output.datatype))
    if datatype == "BYTES":
        values = data if isinstance(data, list) else [data]
        texts = np.empty(len(values), dtype=np.object_)
        texts[:] = [each.encode() if isinstance(each, str) else bytes(each) for each in values]
        return Tensor(output.name, "BYTES", texts.reshape(output.shape))
    array = np.asarray(data, dtype=NUMPY_TYPES[datatype])
    return Tensor(output.name, datatype, array.reshape(output.shape))  # type: ignore[arg-type]


def _tensors(found: Any) -> tuple[TensorMetadata, ...]:
    return tuple(
        TensorMetadata(
            each.name,
            str(getattr(each.datatype, "value", each.datatype)),  # type: ignore[arg-type]
            tuple(each.shape or ()),
            any_shape=not each.shape,
        )
        for each in found or ()
        if str(getattr(each.datatype, "value", each.datatype)) in DATATYPES
    )
