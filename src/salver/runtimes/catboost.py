"""CatBoost models: `.cbm`, or the library's JSON.

Owns the outputs of a model (`predict`, `probability`, `raw_score`, `leaf`, `contributions`) and
its columns: numbers, categories and free text. A missing number is NaN, as the model was trained
to take it; a category is the text that it was in training, so a number is sent as its digits.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from salver.errors import LoadFailed
from salver.inference.metadata import Datatype, ModelMetadata, TensorMetadata
from salver.inference.tensor import Array, InferRequest, InferResponse, tensor_from_array
from salver.runtimes.catboost_files import Answer, answer_of, check_json, format_of, loss_of
from salver.runtimes.compiled.compiling import compiled
from salver.runtimes.compiled.subjects import booster_subject
from salver.runtimes.loading import framework_module, load_failures
from salver.runtimes.ports import LoadedModel, ModelSource
from salver.runtimes.tabular import (
    NUMERIC,
    Computation,
    matrix_input,
    matrix_of,
    named_outputs,
    object_matrix_of,
    refused_by,
)


class CatboostRuntime:
    """Loads models with the installed CatBoost."""

    name = "catboost"
    framework = "catboost"
    preload = ("catboost",)

    def load(self, source: ModelSource) -> LoadedModel:
        catboost = framework_module(source, "catboost", "catboost")
        with load_failures(source, "CatBoost"):
            kind = format_of(source.path)
            if kind == "json":
                check_json(source.path)
            booster = catboost.CatBoost().load_model(str(source.path), format=kind)
            _check_features(source, booster)
            model = CatboostModel(catboost, booster, source.threads)
        return compiled(model, source, lambda native: booster_subject(native, source, booster))


def _check_features(source: ModelSource, booster: Any) -> None:
    if booster._get_embedding_feature_indices():
        raise LoadFailed(
            f"model '{source.name}': it has embedding features, which the catboost runtime cannot "
            "carry; serve it from a Python class that calls CatBoost"
        )


class CatboostModel:
    """A model in memory."""

    def __init__(self, catboost: Any, booster: Any, threads: int) -> None:
        self._booster = booster
        self._pool = catboost.Pool
        self._error = catboost.CatBoostError
        self._threads = threads
        names = tuple(map(str, booster.feature_names_))
        self._width = len(names)
        self._texts = frozenset(
            [*booster._get_cat_feature_indices(), *booster._get_text_feature_indices()]
        )
        is_automatic = names == tuple(map(str, range(self._width)))
        self._names = names if self._texts or not is_automatic else ()
        self._computations = self._outputs_of(
            answer_of(loss_of(booster), has_classes=len(booster.classes_) > 0)
        )
        self._metadata = self._described(catboost.__version__)

    @property
    def metadata(self) -> ModelMetadata:
        return self._metadata

    def predict(self, request: InferRequest) -> InferResponse:
        wanted = named_outputs(request, ("predict",), self._computations)
        rows = self._rows(request)
        try:
            return InferResponse(
                tuple(tensor_from_array(each, self._computations[each](rows)) for each in wanted)
            )
        except (self._error, ValueError, TypeError) as error:
            raise refused_by("CatBoost", error) from error

    def unload(self) -> None:
        """The model frees itself."""

    def _rows(self, request: InferRequest) -> Array:
        if self._texts:
            return object_matrix_of(request, self._names)
        matrix = matrix_of(request, self._names, self._width)
        return matrix if matrix.dtype.char in "fd" else matrix.astype(np.float64)

    def _outputs_of(self, answer: Answer) -> dict[str, Computation]:
        found: dict[str, Computation] = {"predict": partial(self._answer, answer)}
        if answer == "Class":
            found["predict"] = self._classes
            found["probability"] = partial(self._answer, "Probability")
        found["raw_score"] = partial(self._answer, "RawFormulaVal")
        found["leaf"] = self._leaves
        found["contributions"] = self._contributions
        return found

    def _answer(self, kind: str, rows: Array) -> Array:
        answer = self._booster.predict(rows, prediction_type=kind, thread_count=self._threads)
        return np.asarray(answer)

    def _classes(self, rows: Array) -> Array:
        classes = self._answer("Class", rows)
        # Several classes come as a column; several labels a row stay a matrix.
        return classes.reshape(-1) if classes.size == len(rows) else classes

    def _leaves(self, rows: Array) -> Array:
        answer = self._booster.calc_leaf_indexes(self._data(rows), thread_count=self._threads)
        return np.asarray(answer)

    def _contributions(self, rows: Array) -> Array:
        answer = self._booster.get_feature_importance(
            self._data(rows), type="ShapValues", thread_count=self._threads
        )
        return np.asarray(answer)

    def _data(self, rows: Array) -> Any:
        booster = self._booster
        return self._pool(
            rows,
            cat_features=booster._get_cat_feature_indices() or None,
            text_features=booster._get_text_feature_indices() or None,
            feature_names=list(booster.feature_names_),
        )

    def _described(self, version: str) -> ModelMetadata:
        datatypes: tuple[Datatype, ...] = tuple(
            "BYTES" if index in self._texts else "FP64" for index in range(len(self._names))
        )
        return ModelMetadata(
            platform="catboost",
            inputs=self._inputs(datatypes),
            outputs=tuple(self._output(name) for name in tuple(self._computations)),
            default_outputs=("predict",),
            column_names=self._names,
            column_datatypes=datatypes,
            positional_input=not self._texts,
            framework_version=version,
        )

    def _inputs(self, datatypes: tuple[Datatype, ...]) -> tuple[TensorMetadata, ...]:
        if not self._texts:
            return (matrix_input(self._width),)
        numbers = tuple(each for each in NUMERIC if each != "FP64")
        return tuple(
            TensorMetadata(name, datatype, (-1, 1), accepts=() if datatype == "BYTES" else numbers)
            for name, datatype in zip(self._names, datatypes, strict=True)
        )

    def _output(self, name: str) -> TensorMetadata:
        """Its datatype and shape, learnt from one row."""
        try:
            answer = self._computations[name](self._blank_row())
        except (self._error, ValueError, TypeError):
            # Models of text have no contributions, for one: an output that is not there.
            if name != "predict":
                del self._computations[name]
            return TensorMetadata(name, "FP64", (), any_shape=True)
        tensor = tensor_from_array(name, answer)
        labels = tuple(map(str, self._booster.classes_))
        is_by_class = name == "probability" and answer.shape[1:] == (len(labels),)
        return TensorMetadata(
            name, tensor.datatype, (-1, *answer.shape[1:]), labels=labels if is_by_class else ()
        )

    def _blank_row(self) -> Array:
        if not self._texts:
            return np.zeros((1, self._width))
        row = np.zeros((1, self._width), dtype=np.object_)
        row[0, sorted(self._texts)] = "a"
        return row
