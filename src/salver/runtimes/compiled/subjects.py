"""Loaded models of each runtime as compilers see them.

Owns which outputs may be compiled, and which forms of input cannot be.
"""

from __future__ import annotations

from typing import Any

from salver.runtimes.compiled.ports import Subject
from salver.runtimes.estimators import schema_of
from salver.runtimes.ports import LoadedModel, ModelSource

_SKLEARN_OUTPUTS = ("predict", "predict_proba", "decision_function")
_BOOSTER_OUTPUTS = {
    "xgboost": ("predict", "margin"),
    "lightgbm": ("predict", "raw_score"),
    "catboost": ("predict", "probability", "raw_score"),
}


def sklearn_subject(
    native: LoadedModel, source: ModelSource, estimator: Any, default: str
) -> Subject | None:
    """None for models of free text and of unknown width, and for those that only transform."""
    metadata = native.metadata
    width = len(metadata.column_names) or _matrix_width(native)
    outputs = tuple(each for each in _SKLEARN_OUTPUTS if hasattr(estimator, each))
    if width <= 0 or default not in outputs:
        return None
    takes_columns = schema_of(estimator).form != "matrix" or "BYTES" in metadata.column_datatypes
    if takes_columns and not metadata.column_names:
        return None
    return Subject(
        name=source.name,
        family="sklearn",
        artifact=estimator,
        native=native,
        form="columns" if takes_columns else "matrix",
        width=width,
        outputs=outputs,
        defaults=(default,),
        names=metadata.column_names,
        datatypes=metadata.column_datatypes,
        threads=source.threads,
    )


def booster_subject(native: LoadedModel, source: ModelSource, booster: Any) -> Subject | None:
    """A booster's one matrix; its text columns are coded by the runtime, and so not compiled."""
    width = _matrix_width(native)
    if width <= 0:
        return None
    names = native.metadata.column_names
    return Subject(
        name=source.name,
        family=source.runtime,
        artifact=booster,
        native=native,
        form="matrix",
        width=width,
        outputs=tuple(
            each.name
            for each in native.metadata.outputs
            if each.name in _BOOSTER_OUTPUTS[source.runtime]
        ),
        defaults=("predict",),
        names=() if "BYTES" in native.metadata.column_datatypes else names,
        threads=source.threads,
    )


def _matrix_width(native: LoadedModel) -> int:
    inputs = native.metadata.inputs
    if len(inputs) != 1 or len(inputs[0].shape) != 2:
        return -1
    return inputs[0].shape[1]
