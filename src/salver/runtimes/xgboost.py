"""XGBoost boosters: JSON, UBJSON, or a pickled `Booster`.

Owns the outputs of a booster (`predict`, `margin`, `leaf`, `contributions`). A missing value
is NaN, as XGBoost means it. Pickled sklearn wrappers (`XGBClassifier`) are the sklearn
runtime's.
"""

from __future__ import annotations

import itertools
import json
import warnings
from typing import Any

import numpy as np

from salver.inference.metadata import Datatype, ModelMetadata, TensorMetadata
from salver.inference.tensor import Array, InferRequest, InferResponse, Tensor, tensor_from_array
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

_PICKLE_HEADS = (b"\x80", b"x", b"\x1f\x8b", b"BZh", b"\xfd7zXZ")


class XgboostRuntime:
    """Loads boosters with the installed XGBoost."""

    name = "xgboost"
    framework = "xgboost-cpu"
    preload = ("xgboost",)

    def load(self, source: ModelSource) -> LoadedModel:
        xgboost = framework_module(source, "xgboost", "xgboost")
        with load_failures(source, "XGBoost"), warnings.catch_warnings():
            # It warns that it guesses UBJSON for `.bst` and `.model`, and guesses right.
            warnings.simplefilter("ignore", UserWarning)
            booster = _read(xgboost, source)
            booster.set_param({"nthread": source.threads})
            model = XgboostModel(xgboost, booster, source.threads)
        return compiled(model, source, lambda native: booster_subject(native, source, booster))


def _read(xgboost: Any, source: ModelSource) -> Any:
    with source.path.open("rb") as file:
        head = file.read(8)
    if not head.startswith(_PICKLE_HEADS):
        return xgboost.Booster(model_file=str(source.path))
    import joblib

    booster = joblib.load(source.path)
    if not isinstance(booster, xgboost.Booster):
        kind = type(booster).__name__
        raise TypeError(f"the pickle holds a {kind}, not a Booster (try --runtime sklearn)")
    return booster


class XgboostModel:
    """A booster in memory."""

    def __init__(self, xgboost: Any, booster: Any, threads: int) -> None:
        self._booster = booster
        self._error = xgboost.core.XGBoostError
        self._matrix_type = xgboost.DMatrix
        self._threads = threads
        self._width = int(booster.num_features())
        names = booster.feature_names or []
        self._names = tuple(names)
        self._types = tuple(booster.feature_types or ["float"] * self._width)
        self._categories = _categories(booster, self._names)
        self._computations: dict[str, Computation] = {
            "predict": self._predict,
            "margin": self._margin,
            "leaf": self._leaf,
            "contributions": self._contributions,
        }
        self._predicts_in_place = self._can_predict_in_place()
        self._metadata = self._described(xgboost.__version__)

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
            raise refused_by("XGBoost", error) from error

    def unload(self) -> None:
        """The booster frees itself."""

    def _matrix(self, request: InferRequest) -> Array:
        if self._categories and not is_one_matrix(request, self._width):
            rows = object_matrix_of(request, self._names)
            return coded_categories(rows, self._names, self._categories, unknown_is_missing=False)
        matrix = matrix_of(request, self._names, self._width)
        return matrix if matrix.dtype.kind == "f" else matrix.astype(np.float32)

    def _predict(self, matrix: Array) -> Array:
        # Feature names are checked before this: the matrix is in the model's order.
        if not self._predicts_in_place:
            return self._predict_dmatrix(matrix)
        answer: Array = self._booster.inplace_predict(matrix, validate_features=False)
        return answer

    def _margin(self, matrix: Array) -> Array:
        if not self._predicts_in_place:
            return self._predict_dmatrix(matrix, output_margin=True)
        answer: Array = self._booster.inplace_predict(
            matrix, predict_type="margin", validate_features=False
        )
        return answer

    def _leaf(self, matrix: Array) -> Array:
        return self._predict_dmatrix(matrix, pred_leaf=True).reshape(len(matrix), -1)

    def _contributions(self, matrix: Array) -> Array:
        return self._predict_dmatrix(matrix, pred_contribs=True)

    def _can_predict_in_place(self) -> bool:
        """Trees can; gblinear cannot."""
        try:
            self._booster.inplace_predict(
                np.zeros((1, self._width), dtype=np.float32), validate_features=False
            )
        except self._error:
            return False
        return True

    def _predict_dmatrix(self, matrix: Array, **wanted: bool) -> Array:
        data = self._matrix_type(
            matrix,
            nthread=self._threads,
            feature_names=list(self._names) or None,
            feature_types=list(self._types),
            enable_categorical=True,
        )
        answer: Array = self._booster.predict(data, validate_features=False, **wanted)
        return answer

    def _described(self, version: str) -> ModelMetadata:
        datatypes = tuple(
            _datatype(kind, name in self._categories)
            for kind, name in zip(self._types, self._names, strict=False)
        )
        return ModelMetadata(
            platform="xgboost",
            inputs=(matrix_input(self._width, "FP32"),),
            outputs=tuple(self._output(name) for name in self._computations),
            default_outputs=("predict",),
            column_names=self._names,
            column_datatypes=datatypes,
            positional_input=True,
            framework_version=version,
        )

    def _output(self, name: str) -> TensorMetadata:
        """Its datatype and shape, learnt from one row."""
        try:
            answer = self._computations[name](np.zeros((1, self._width), dtype=np.float32))
        except self._error:
            # gblinear has no leaves: the output is listed with what is known of it.
            return TensorMetadata(name, "FP32", (-1, -1))
        tensor: Tensor = tensor_from_array(name, answer)
        return TensorMetadata(name, tensor.datatype, (-1, *answer.shape[1:]))


def _datatype(feature_type: str, is_text: bool) -> Datatype:
    return "BYTES" if is_text else ("INT64" if feature_type == "int" else "FP32")


def _categories(booster: Any, names: tuple[str, ...]) -> dict[str, dict[str, float]]:
    """The text categories that XGBoost 3.1 and later store, as codes by column.

    They are read from the JSON model: the method that lists them needs pyarrow. XGBoost 3.2
    cuts texts that are not ASCII at the wrong bytes, so a column of such is left to codes.
    """
    if not names or "c" not in (booster.feature_types or ()):
        return {}
    gradient_booster = json.loads(booster.save_raw("json"))["learner"]["gradient_booster"]
    model = gradient_booster.get("gbtree", gradient_booster).get("model", {})  # dart nests it
    columns = model.get("cats", {}).get("enc", ())
    found: dict[str, dict[str, float]] = {}
    for name, column in zip(names, columns, strict=False):
        if len(column.get("offsets", ())) > 1 and min(column["values"], default=-1) >= 0:
            found[name] = {text: float(code) for code, text in enumerate(_texts(column))}
    return found


def _texts(column: dict[str, list[int]]) -> list[str]:
    """Texts as Arrow packs them: one run of bytes, cut at the offsets."""
    offsets = column["offsets"]
    packed = bytes(column["values"])
    return [packed[start:end].decode() for start, end in itertools.pairwise(offsets)]
