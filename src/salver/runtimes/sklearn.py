"""scikit-learn estimators: joblib, pickle and skops; and whatever else predicts like them.

Owns loading, the choice between a matrix and a frame, and the outputs (`predict`,
`predict_proba`, `decision_function`, `transform`). What a model takes is read from it by
`estimators.py`. Answers are the estimator's own: the one short cut, for plain linear models,
is taken only if it gave the same bits as the estimator when the model was loaded.
"""

from __future__ import annotations

import warnings
import zipfile
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from salver.errors import LoadFailed
from salver.inference.metadata import ModelMetadata, TensorMetadata
from salver.inference.tensor import Array, InferRequest, InferResponse, Tensor, tensor_from_array
from salver.runtimes.compiled.compiling import compiled
from salver.runtimes.compiled.subjects import sklearn_subject
from salver.runtimes.estimators import Schema, prepare, schema_of
from salver.runtimes.linear import linear_shortcut
from salver.runtimes.loading import framework_module, load_failures
from salver.runtimes.ports import LoadedModel, ModelSource
from salver.runtimes.tabular import (
    INPUT_NAME,
    NUMERIC,
    Computation,
    decoded,
    frame_of,
    matrix_input,
    matrix_of,
    named_outputs,
    object_matrix_of,
    refuse_non_finite,
    refused_by,
)

_MOST_SCHEMA_BYTES = 256 << 20
_METHODS = ("predict", "predict_proba", "decision_function", "transform")


class SklearnRuntime:
    """Loads estimators with the installed scikit-learn."""

    name = "sklearn"
    framework = "scikit-learn"
    preload = ("joblib", "sklearn.base", "sklearn.pipeline")

    def load(self, source: ModelSource) -> LoadedModel:
        sklearn = framework_module(source, "sklearn", "sklearn")
        with load_failures(source, "scikit-learn"), warnings.catch_warnings():
            # Another version's pickle mostly works; where it does not, it fails below.
            warnings.simplefilter("ignore")
            estimator = _read(source)
        if not any(hasattr(estimator, method) for method in _METHODS):
            raise LoadFailed(
                f"model '{source.name}': {source.path} holds a {type(estimator).__name__}, which "
                f"has none of {', '.join(_METHODS)}; save the fitted estimator itself"
            )
        with load_failures(source, "scikit-learn"):
            default = _default_method(estimator, source)
            model = SklearnModel(estimator, source.threads, sklearn.__version__, default)
        return compiled(
            model, source, lambda native: sklearn_subject(native, source, estimator, default)
        )


def _default_method(estimator: Any, source: ModelSource) -> str:
    """What it answers with unless asked for something else: the first of the runtime's argument
    `methods` that it has, else `predict`, else the first method that it has."""
    offered = [method for method in _METHODS if hasattr(estimator, method)]
    wanted = source.parameters.get("methods")
    if not isinstance(wanted, list | tuple) or not wanted:
        return offered[0]
    found = next((method for method in wanted if method in offered), "")
    if not found:
        raise LoadFailed(
            f"model '{source.name}': {source.path} holds a {type(estimator).__name__}, which has "
            f"no {' or '.join(map(str, wanted))}; it has {', '.join(offered)}: name one of these"
        )
    return str(found)


def _read(source: ModelSource) -> Any:
    with source.path.open("rb") as file:
        is_zip = file.read(4) == b"PK\x03\x04"
    if is_zip:
        return _read_skops(source)
    import joblib

    try:
        return joblib.load(source.path)
    except ModuleNotFoundError as error:
        raise LoadFailed(
            f"model '{source.name}': {source.path} needs the module '{error.name}', which is not "
            "installed; install the packages the model was trained with"
        ) from error


_INNER_TYPES = (
    "sklearn._loss.",
    "sklearn.ensemble._hist_gradient_boosting.",
    "sklearn.metrics._dist_metrics.",
    "sklearn.neighbors._ball_tree.",
    "sklearn.neighbors._kd_tree.",
    "sklearn.tree._tree.",
)
"""scikit-learn's own data structures, which skops does not list as trusted: they hold numbers and
call nothing when they are loaded."""


def _read_skops(source: ModelSource) -> Any:
    skops = framework_module(source, "skops.io", "skops")
    _check_schema(source)
    unknown = skops.get_untrusted_types(file=source.path)
    inner = [each for each in unknown if each.startswith(_INNER_TYPES)]
    untrusted = [each for each in unknown if each not in inner]
    if untrusted:
        raise LoadFailed(
            f"model '{source.name}': {source.path} holds types that skops does not trust: "
            f"{', '.join(untrusted)}; if you trust them, save the model with joblib"
        )
    return skops.load(source.path, trusted=inner)


def _check_schema(source: ModelSource) -> None:
    """Raises `LoadFailed` for a description that would grow beyond measure when it is read."""
    with zipfile.ZipFile(source.path) as archive:
        size = archive.getinfo("schema.json").file_size
    if size > _MOST_SCHEMA_BYTES:
        raise LoadFailed(
            f"model '{source.name}': {source.path} would grow to {size >> 20} MiB in its "
            "schema.json alone, which skops does not write; save the model again"
        )


class SklearnModel:
    """An estimator in memory."""

    def __init__(self, estimator: Any, threads: int, version: str, default: str) -> None:
        self._schema = schema_of(estimator)
        prepare(estimator, threads, keep_names=self._schema.form == "frame")
        self._rows = self._row_builder()
        self._computations: dict[str, Computation] = {
            method: getattr(estimator, method) for method in _METHODS if hasattr(estimator, method)
        }
        self._defaults = (default,)
        probe = _blank_rows(self._schema)
        outputs = tuple(
            _output(name, method, probe, estimator) for name, method in self._computations.items()
        )
        self._forbids_nan = self._schema.form == "matrix" and _forbids_nan(
            self._computations[default], probe
        )
        shortcut = linear_shortcut(estimator) if self._schema.form == "matrix" else None
        if shortcut is not None:
            self._computations.update(shortcut)
        self._metadata = self._described(outputs, version)

    @property
    def metadata(self) -> ModelMetadata:
        return self._metadata

    def predict(self, request: InferRequest) -> InferResponse:
        wanted = named_outputs(request, self._defaults, self._computations)
        rows = self._rows(request)
        if self._forbids_nan:
            refuse_non_finite(rows, self._schema.names)
        try:
            return self._answered(wanted, rows)
        except (ValueError, TypeError) as error:
            if not _is_matrix_but_double(rows):
                raise refused_by("scikit-learn", error) from error
        # Some estimators (KMeans) take only the precision they were fitted with.
        try:
            return self._answered(wanted, rows.astype(np.float64))
        except (ValueError, TypeError) as error:
            raise refused_by("scikit-learn", error) from error

    def unload(self) -> None:
        """The estimator frees itself."""

    def _answered(self, wanted: Sequence[str], rows: Any) -> InferResponse:
        return InferResponse(tuple([self._tensor(name, rows) for name in wanted]))

    def _tensor(self, name: str, rows: Any) -> Tensor:
        return tensor_from_array(name, _dense(self._computations[name](rows)))

    def _row_builder(self) -> Callable[[InferRequest], Any]:
        schema = self._schema
        if schema.form == "matrix":
            return lambda request: matrix_of(request, schema.names, schema.width)
        if schema.form == "frame":
            return lambda request: frame_of(request, schema.names)
        if schema.form == "objects":
            return lambda request: object_matrix_of(request, schema.names)
        return lambda request: decoded(request.inputs[0].data).reshape(-1)

    def _described(self, outputs: tuple[TensorMetadata, ...], version: str) -> ModelMetadata:
        schema = self._schema
        return ModelMetadata(
            platform="sklearn",
            inputs=_inputs(schema),
            outputs=outputs,
            default_outputs=self._defaults,
            column_names=schema.names,
            column_datatypes=schema.datatypes,
            positional_input=not schema.is_mixed,
            forbids_nan=self._forbids_nan,
            framework_version=version,
        )


def _is_matrix_but_double(rows: Any) -> bool:
    return isinstance(rows, np.ndarray) and rows.dtype.kind in "fiub" and rows.dtype.char != "d"


def _inputs(schema: Schema) -> tuple[TensorMetadata, ...]:
    """One matrix; or a tensor per column where the columns are of different kinds."""
    if schema.form == "texts":
        return (TensorMetadata(INPUT_NAME, "BYTES", (-1,)),)
    if not schema.is_mixed:
        datatype = "BYTES" if schema.is_all_text else "FP64"
        if datatype == "BYTES":
            return (TensorMetadata(INPUT_NAME, "BYTES", (-1, schema.width)),)
        return (matrix_input(schema.width),)
    return tuple(
        TensorMetadata(
            name,
            datatype,
            (-1, 1),
            accepts=() if datatype == "BYTES" else tuple(x for x in NUMERIC if x != datatype),
        )
        for name, datatype in zip(schema.names, schema.datatypes, strict=True)
    )


def _blank_rows(schema: Schema) -> Any:
    """One row for learning the outputs' shapes; None if no row can be made up."""
    if schema.form == "matrix":
        return np.zeros((1, schema.width)) if schema.width > 0 else None
    if schema.form == "texts":
        return np.array([""], dtype=np.object_)
    values = np.empty((1, len(schema.example)), dtype=np.object_)
    values[0, :] = schema.example
    if schema.form == "objects":
        return values
    import pandas as pd

    return pd.DataFrame(
        {name: [value] for name, value in zip(schema.names, schema.example, strict=True)}
    )


def _output(name: str, method: Computation, probe: Any, estimator: Any) -> TensorMetadata:
    """Its datatype and shape, learnt from one row; without one, from the estimator's kind."""
    answer = _answer(method, probe)
    if answer is not None:
        datatype = tensor_from_array(name, answer).datatype
        labels = _labels(estimator, answer) if name == "predict_proba" else ()
        return TensorMetadata(name, datatype, (-1, *answer.shape[1:]), labels=labels)
    if name == "predict":
        classes = getattr(estimator, "classes_", None)
        dtype = classes.dtype if isinstance(classes, np.ndarray) else np.dtype(np.float64)
        datatype = tensor_from_array(name, np.empty(0, dtype)).datatype
        return TensorMetadata(name, datatype, (), any_shape=True)
    return TensorMetadata(name, "FP64", (), any_shape=True)


def _labels(estimator: Any, probabilities: Array) -> tuple[str, ...]:
    """The names of the classes; none if there are several outputs with classes of their own."""
    classes = getattr(estimator, "classes_", None)
    if not isinstance(classes, np.ndarray) or classes.shape != probabilities.shape[1:]:
        return ()
    return tuple(map(str, classes.tolist()))


def _answer(method: Computation, probe: Any) -> Array | None:
    if probe is None:
        return None
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            return _dense(method(probe))
    except Exception:
        # Any estimator may refuse a made-up row; then less is known of it, no more.
        return None


def _forbids_nan(method: Computation, probe: Any) -> bool:
    """Whether NaN is refused by the model as a whole, so that the refusal can name the place.

    Asked of the model itself: its tags speak of its first step only.
    """
    if probe is None or _answer(method, probe) is None:
        return False
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            method(np.full_like(probe, np.nan))
    except ValueError as error:
        return "NaN" in str(error)
    except Exception:
        return False
    return False


def _dense(answer: Any) -> Array:
    """An array for whatever an estimator answers: sparse matrices, frames, a list of arrays.

    A multi-output classifier's probabilities are a list, one array per output: they are
    stacked to [rows, outputs, classes], short ones padded with zeros.
    """
    if isinstance(answer, np.ndarray):
        return answer
    if isinstance(answer, list) and answer and isinstance(answer[0], np.ndarray):
        return _stacked(answer)
    if hasattr(answer, "toarray"):
        return np.asarray(answer.toarray())
    if hasattr(answer, "to_numpy"):
        return np.asarray(answer.to_numpy())
    return np.asarray(answer)


def _stacked(answers: list[Array]) -> Array:
    widest = max(each.shape[1] for each in answers)
    stacked = np.zeros((len(answers[0]), len(answers), widest))
    for index, each in enumerate(answers):
        stacked[:, index, : each.shape[1]] = each
    return stacked
