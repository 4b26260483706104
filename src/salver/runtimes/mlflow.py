"""MLflow models of every pyfunc flavour: a folder with an `MLmodel`.

MLflow's own `mlflow.pyfunc` loads the model, holds requests against its signature and predicts:
answers are what `mlflow models serve` would give. mlflow-skinny and pandas are enough for that;
the flavour's packages come from the model's own environment. Owns loading, the choice of what may
be batched, and whose fault an error is; conversions are `mlflow_inputs.py`'s and
`mlflow_answers.py`'s.
"""

from __future__ import annotations

import importlib
import inspect
import logging
from pathlib import Path
from typing import Any

from salver.errors import InvalidInput, LoadFailed, MissingFramework
from salver.inference.metadata import ModelMetadata, TensorMetadata
from salver.inference.tensor import InferRequest, InferResponse
from salver.runtimes.loading import (
    first_lines,
    framework_module,
    load_failures,
    missing_framework,
)
from salver.runtimes.mlflow_answers import described, response_of
from salver.runtimes.mlflow_description import check_description
from salver.runtimes.mlflow_inputs import data_for, params_for
from salver.runtimes.mlflow_signature import Signature, parse_signature
from salver.runtimes.ports import ModelSource
from salver.runtimes.tabular import refused_by

logger = logging.getLogger("salver.worker")

_BY_ROW = frozenset(
    {"mlflow.sklearn", "mlflow.xgboost", "mlflow.lightgbm", "mlflow.catboost", "mlflow.spacy"}
)
"""Flavours whose rows are independent of each other, so that requests may be stacked."""
_OF_TABLES = frozenset({"mlflow.spacy", "mlflow.prophet", "mlflow.pmdarima", "mlflow.diviner"})
"""Flavours that take a table and nothing else, also where no signature says so."""
_OWN_CODE = "mlflow.pyfunc.model"
"""The flavour of Python models: what they raise is their fault, not the caller's."""


class MlflowRuntime:
    """Loads models with the installed MLflow."""

    name = "mlflow"
    framework = "mlflow-skinny"
    preload = ("salver.runtimes.mlflow_import", "sklearn.base")

    def load(self, source: ModelSource) -> MlflowModel:
        folder = _folder(source)
        framework_module(source, "pandas", "mlflow")
        pyfunc = _pyfunc(source)
        with load_failures(source, "MLflow"):
            check_description(folder / "MLmodel")
            loaded = _loaded(pyfunc, folder, source)
            signature = _signature(loaded)
            model = MlflowModel(loaded, signature, source)
            model.learn_outputs(_example(loaded, folder))
            return model


def _pyfunc(source: ModelSource) -> Any:
    """MLflow's module. Raises `MissingFramework` if it, or what it needs, is not installed."""
    framework_module(source, "pandas", "mlflow")
    try:
        from salver.runtimes.mlflow_import import pyfunc
    except ImportError as error:
        raise MissingFramework(missing_framework(source, "mlflow", "mlflow", error)) from error
    return pyfunc


def _folder(source: ModelSource) -> Path:
    folder = source.path.parent if source.path.name == "MLmodel" else source.path
    if not (folder / "MLmodel").is_file():
        raise LoadFailed(
            f"model '{source.name}': {folder} has no file MLmodel; name the folder that "
            "mlflow's save_model or log_model has written"
        )
    return folder


def _loaded(pyfunc: Any, folder: Path, source: ModelSource) -> Any:
    config = source.parameters.get("model_config")
    more = {"model_config": config} if config else {}
    try:
        # Whether the packages are the model's was decided when its environment was chosen.
        return pyfunc.load_model(str(folder), suppress_warnings=True, **more)
    except ModuleNotFoundError as error:
        if str(error.name).startswith("mlflow."):
            version = importlib.import_module("mlflow").__version__
            raise LoadFailed(
                f"model '{source.name}': {folder} is of the flavour {error.name}, which MLflow "
                f"{version} does not have; install the version that saved it"
            ) from error
        raise LoadFailed(
            f"model '{source.name}': {folder} needs the module '{error.name}', which is not "
            "installed; serve it with an environment of its own, or run: pip install -r "
            f"{folder / 'requirements.txt'}"
        ) from error


def _signature(loaded: Any) -> Signature:
    signature = loaded.metadata.signature
    is_hinted = getattr(loaded.metadata, "_is_signature_from_type_hint", lambda: False)
    document = signature.to_dict() if signature is not None else None
    return parse_signature(document, is_hinted=bool(is_hinted()))


def _example(loaded: Any, folder: Path) -> tuple[Any, Any] | None:
    """The input example that was saved with the model, and its params."""
    metadata = loaded.metadata
    if not metadata.saved_input_example_info:
        return None
    try:
        example = metadata.load_input_example(str(folder))
        params = getattr(metadata, "load_input_example_params", lambda _: None)(str(folder))
    except Exception as error:
        logger.warning("the input example of %s cannot be read: %s", folder, first_lines(error))
        return None
    return (example, params) if example is not None else None


class MlflowModel:
    """A pyfunc model in memory."""

    def __init__(self, loaded: Any, signature: Signature, source: ModelSource) -> None:
        self._model = loaded
        self._signature = signature
        self._source = source
        mlflow = importlib.import_module("mlflow")
        self._error: type[Exception] = mlflow.exceptions.MlflowException
        self._loader = str(loaded.loader_module)
        self._takes_params = "params" in inspect.signature(loaded.predict).parameters
        self._metadata = self._described(str(mlflow.__version__), signature.outputs)

    @property
    def metadata(self) -> ModelMetadata:
        return self._metadata

    def learn_outputs(self, example: tuple[Any, Any] | None) -> None:
        """Predicts on the model's own example, which warms it up and shows what it answers."""
        if example is None:
            return
        try:
            answer = self._predicted(*example)
            outputs = described(response_of(answer, self._signature.outputs))
        except Exception as error:
            # What counts is that its code has run once: callers may do better.
            logger.warning(
                "model '%s' refused its input example: %s", self._source.name, first_lines(error)
            )
            return
        names = {each.name for each in self._signature.outputs}
        if names != {each.name for each in outputs}:
            self._metadata = self._described(self._metadata.framework_version, outputs)

    def predict(self, request: InferRequest) -> InferResponse:
        data = data_for(self._signature, request, is_table=self._loader in _OF_TABLES)
        params = params_for(self._signature, request)
        answer = self._checked(data, params or None)
        return response_of(answer, self._metadata.outputs, request.outputs)

    def unload(self) -> None:
        """The model frees itself."""

    def _checked(self, data: Any, params: dict[str, Any] | None) -> Any:
        try:
            return self._predicted(data, params)
        except InvalidInput:
            raise
        except self._error as error:
            if error.get_http_status_code() >= 500:  # type: ignore[attr-defined]
                raise
            raise InvalidInput(_reason(error)) from error
        except (ValueError, TypeError, KeyError) as error:
            if self._loader == _OWN_CODE:
                raise
            raise refused_by(self._loader, error) from error

    def _predicted(self, data: Any, params: Any) -> Any:
        if self._takes_params:
            return self._model.predict(data, params=params)
        return self._model.predict(data)

    def _described(self, version: str, outputs: tuple[TensorMetadata, ...]) -> ModelMetadata:
        signature = self._signature
        is_by_row = self._loader in _BY_ROW and signature.form in ("matrix", "columns", "array")
        return ModelMetadata(
            platform="mlflow",
            inputs=signature.inputs,
            outputs=outputs,
            default_outputs=tuple(each.name for each in outputs),
            column_names=signature.column_names,
            column_datatypes=signature.column_datatypes,
            positional_input=len(signature.inputs) == 1
            and signature.form in ("matrix", "array", "hints", "unnamed"),
            batchable=is_by_row or self._source.batch_requested,
            framework_version=version,
        )


def _reason(error: Exception) -> str:
    """MLflow's reason, without the data that it repeats in front."""
    text = str(error)
    return f"the signature refuses it: {first_lines(ValueError(text.split('. Error: ')[-1]))}"
