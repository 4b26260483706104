"""LightGBM boosters: the text format, or a pickled `Booster`.

Owns the outputs of a booster (`predict`, `raw_score`, `leaf`, `contributions`) and the
coding of text categories, which the model file carries. A missing value is NaN. Pickled
sklearn wrappers (`LGBMClassifier`) are the sklearn runtime's.
"""

from __future__ import annotations

import mmap
import re
from typing import Any

import numpy as np

from salver.inference.metadata import Datatype, ModelMetadata, TensorMetadata
from salver.inference.tensor import Array, InferRequest, InferResponse, tensor_from_array
from salver.runtimes.compiled.compiling import compiled
from salver.runtimes.compiled.subjects import booster_subject
from salver.runtimes.loading import framework_module, load_failures
from salver.runtimes.ports import LoadedModel, ModelSource
from salver.runtimes.tabular import (
    Computation,
    coded_categories,
    is_one_matrix,
    matrix_input,
    matrix_of,
    named_outputs,
    object_matrix_of,
    refused_by,
)

_FEATURE_INFOS = re.compile(r"^feature_infos=(.*)$", re.MULTILINE)
_MARKS_END = re.compile(rb"tree\r?\nversion=v[3-9]")
_AUTOMATIC_NAME = re.compile(r"Column_\d+\Z")


class LightgbmRuntime:
    """Loads boosters with the installed LightGBM."""

    name = "lightgbm"
    framework = "lightgbm"
    preload = ("lightgbm",)

    def load(self, source: ModelSource) -> LoadedModel:
        lightgbm = framework_module(source, "lightgbm", "lightgbm")
        with load_failures(source, "LightGBM"):
            booster = _read(lightgbm, source)
            model = LightgbmModel(lightgbm, booster, source.threads)
        return compiled(model, source, lambda native: booster_subject(native, source, booster))


def _read(lightgbm: Any, source: ModelSource) -> Any:
    with source.path.open("rb") as file:
        is_text = file.read(4) == b"tree"
    if is_text:
        _check_end(source)
        return lightgbm.Booster(model_file=str(source.path))
    import joblib

    booster = joblib.load(source.path)
    if not isinstance(booster, lightgbm.Booster):
        kind = type(booster).__name__
        raise TypeError(f"it holds a {kind}, not a Booster (try --runtime sklearn)")
    return booster


def _check_end(source: ModelSource) -> None:
    """Raises `ValueError` for a file that is cut off: LightGBM would end the process."""
    with source.path.open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as data:
        if _MARKS_END.match(data) and data.find(b"\nend of trees") < 0:
            raise ValueError("it is cut off before the end of its trees; copy or save it again")


class LightgbmModel:
    """A booster in memory."""

    def __init__(self, lightgbm: Any, booster: Any, threads: int) -> None:
        self._predict_with = booster.predict
        self._threads = threads
        self._error = lightgbm.basic.LightGBMError
        self._width = int(booster.num_feature())
        names = tuple(booster.feature_name())
        self._names = () if all(map(_AUTOMATIC_NAME.match, names)) else names
        self._categories = _categories(booster, names)
        self._computations: dict[str, Computation] = {
            "predict": self._predict,
            "raw_score": self._raw_score,
            "leaf": self._leaf,
            "contributions": self._contributions,
        }
        self._metadata = self._described(lightgbm.__version__)

    @property
    def metadata(self) -> ModelMetadata:
        return self._metadata

    def predict(self, request: InferRequest) -> InferResponse:
        wanted = named_outputs(request, ("predict",), self._computations)
        matrix = self._matrix(request)
        try:
            return InferResponse(
                tuple(tensor_from_array(each, self._computations[each](matrix)) for each in wanted)
            )
        except (self._error, ValueError, TypeError) as error:
            raise refused_by("LightGBM", error) from error

    def unload(self) -> None:
        """The booster frees itself."""

    def _matrix(self, request: InferRequest) -> Array:
        if self._categories and self._names and not is_one_matrix(request, self._width):
            rows = object_matrix_of(request, self._names)
            return coded_categories(rows, self._names, self._categories, unknown_is_missing=True)
        matrix = matrix_of(request, self._names, self._width)
        return matrix if matrix.dtype.char in "fd" else matrix.astype(np.float64)

    def _predict(self, matrix: Array) -> Array:
        answer: Array = self._predict_with(matrix, num_threads=self._threads)
        return answer

    def _raw_score(self, matrix: Array) -> Array:
        answer: Array = self._predict_with(matrix, raw_score=True, num_threads=self._threads)
        return answer

    def _leaf(self, matrix: Array) -> Array:
        answer: Array = self._predict_with(matrix, pred_leaf=True, num_threads=self._threads)
        return answer.reshape(len(matrix), -1)

    def _contributions(self, matrix: Array) -> Array:
        answer: Array = self._predict_with(matrix, pred_contrib=True, num_threads=self._threads)
        return answer

    def _described(self, version: str) -> ModelMetadata:
        datatypes: tuple[Datatype, ...] = tuple(
            "BYTES" if name in self._categories else "FP64" for name in self._names
        )
        return ModelMetadata(
            platform="lightgbm",
            inputs=(matrix_input(self._width),),
            outputs=tuple(self._output(name) for name in self._computations),
            default_outputs=("predict",),
            column_names=self._names,
            column_datatypes=datatypes,
            positional_input=True,
            framework_version=version,
        )

    def _output(self, name: str) -> TensorMetadata:
        """Its datatype and shape, learnt from one row."""
        answer = self._computations[name](np.zeros((1, self._width)))
        datatype = tensor_from_array(name, answer).datatype
        return TensorMetadata(name, datatype, (-1, *answer.shape[1:]))


def _categories(booster: Any, names: tuple[str, ...]) -> dict[str, dict[str, float]]:
    """The text categories of pandas columns as codes by column.

    `pandas_categorical` lists them in the order of the categorical columns, and
    `feature_infos` shows which columns those are: `[low:high]` is a numeric one.
    """
    listed = booster.pandas_categorical or []
    if not any(values and isinstance(values[0], str) for values in listed):
        return {}
    match = _FEATURE_INFOS.search(booster.model_to_string(num_iteration=1))
    infos = match.group(1).split() if match else []
    columns = [name for name, info in zip(names, infos, strict=False) if not info.startswith("[")]
    if len(columns) != len(listed):
        return {}
    return {
        name: {value: float(code) for code, value in enumerate(values)}
        for name, values in zip(columns, listed, strict=True)
        if values and isinstance(values[0], str)
    }
