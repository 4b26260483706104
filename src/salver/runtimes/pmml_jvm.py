"""PMML documents on the JVM, by pypmml.

Owns the exchange with it: rows go as JSON, and all of its outputs come back. The JVM is a child
of the worker, started at load.
"""

from __future__ import annotations

import importlib
import json
import math
import shutil
from typing import Any

import numpy as np

from salver.errors import LoadFailed
from salver.inference.metadata import Datatype, ModelMetadata, TensorMetadata
from salver.inference.tensor import Array, InferRequest, InferResponse, Tensor, tensor_from_array
from salver.runtimes.loading import framework_module, load_failures
from salver.runtimes.ports import LoadedModel, ModelSource
from salver.runtimes.tabular import (
    NUMERIC,
    columns_of,
    decoded,
    is_one_matrix,
    matrix_input,
    named_outputs,
    refused_by,
)

_TEXTS = ("string", "date", "dateTime", "time")


def load_on_jvm(source: ModelSource) -> LoadedModel:
    """Raises `MissingFramework` without pypmml, `LoadFailed` without Java."""
    pypmml = framework_module(source, "pypmml", "pmml")
    if shutil.which("java") is None:
        raise LoadFailed(
            f"model '{source.name}': pypmml needs Java, which is not on the PATH; install a JRE, "
            "or choose engine own"
        )
    with load_failures(source, "pypmml"):
        model = pypmml.Model.load(str(source.path))
        return JvmPmmlModel(pypmml, model)


def _error_of(pypmml: Any) -> type[Exception]:
    """What pypmml raises, by its name of old, too."""
    found: type[Exception] = getattr(pypmml, "PMMLError", None) or pypmml.PmmlError
    return found


class JvmPmmlModel:
    """A document in the JVM's memory."""

    def __init__(self, pypmml: Any, model: Any) -> None:
        self._model = model
        self._error = _error_of(pypmml)
        self._context = importlib.import_module("pypmml.base").PMMLContext
        self._names = tuple(map(str, model.inputNames))
        self._texts = frozenset(
            each.name for each in model.inputFields if str(each.dataType) in _TEXTS
        )
        self._outputs = {
            str(each.name): str(each.dataType) in _TEXTS for each in model.outputFields
        }
        datatypes: tuple[Datatype, ...] = tuple(
            "BYTES" if each in self._texts else "FP64" for each in self._names
        )
        self._metadata = ModelMetadata(
            platform="pmml",
            inputs=self._inputs(),
            outputs=tuple(
                TensorMetadata(name, "BYTES" if is_text else "FP64", (-1,))
                for name, is_text in self._outputs.items()
            ),
            default_outputs=tuple(self._outputs),
            column_names=self._names,
            column_datatypes=datatypes,
            positional_input=not self._texts,
            framework_version=f"pypmml {pypmml.__version__}",
        )

    @property
    def metadata(self) -> ModelMetadata:
        return self._metadata

    def predict(self, request: InferRequest) -> InferResponse:
        wanted = named_outputs(request, tuple(self._outputs), self._outputs)
        columns = [_plain(each) for each in self._columns(request)]
        # What is missing is left out: pypmml takes a whole number that is null for 0.
        rows = [
            {name: value for name, value in zip(self._names, row, strict=True) if value is not None}
            for row in zip(*columns, strict=True)
        ]
        try:
            answers = json.loads(self._model.predict(json.dumps(rows)))
        except (self._error, ValueError) as error:
            raise refused_by("pypmml", error) from error
        return InferResponse(tuple(self._tensor(name, answers) for name in wanted))

    def unload(self) -> None:
        self._model.close()
        self._context.shutdown()

    def _tensor(self, name: str, answers: list[dict[str, Any]]) -> Tensor:
        values = [each.get(name) for each in answers]
        return tensor_from_array(name, _column(values, is_text=self._outputs[name]))

    def _columns(self, request: InferRequest) -> list[Array]:
        if is_one_matrix(request, len(self._names)):
            return list(decoded(request.inputs[0].data).T)
        return [decoded(each) for each in columns_of(request, self._names)]

    def _inputs(self) -> tuple[TensorMetadata, ...]:
        if not self._texts:
            return (matrix_input(len(self._names)),)
        numbers = tuple(each for each in NUMERIC if each != "FP64")
        return tuple(
            TensorMetadata(name, "BYTES", (-1, 1))
            if name in self._texts
            else TensorMetadata(name, "FP64", (-1, 1), accepts=numbers)
            for name in self._names
        )


def _plain(column: Array) -> list[Any]:
    """JSON has no NaN; an empty text is a missing one."""
    return [
        None if each == "" or (isinstance(each, float) and not math.isfinite(each)) else each
        for each in column.tolist()
    ]


def _column(values: Any, *, is_text: bool) -> Array:
    if is_text:
        found = np.empty(len(values), dtype=np.object_)
        found[:] = ["" if each is None else str(each) for each in values]
        return found
    return np.asarray([np.nan if each is None else float(each) for each in values])
