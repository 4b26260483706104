"""Scikit-learn's fitted preprocessing steps in plain NumPy, with the same arithmetic.

Owns scalers, imputers, encoders, projections and column transformers, read from their fitted
attributes. Computes in the precision of the rows, as scikit-learn does: float64 stays float64,
which is what makes a scaler before a tree exact. Refuses, with `NotCompiled`, every step and
option that it does not know.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from salver.inference.tensor import Array
from salver.runtimes.compiled.encoders import ColumnsStep, encoder_of
from salver.runtimes.compiled.pipelines import picked_columns, steps_of
from salver.runtimes.compiled.ports import NotCompiled, Rows, Subject

MatrixStep = Callable[[Array], Array]
Prepare = Callable[[Any], Array]
"""Rows as they come from the request into the matrix that the last estimator sees."""


def preparation_of(subject: Subject, steps: Sequence[Any]) -> Prepare:
    """The steps before the last estimator as one function. Raises `NotCompiled`."""
    rest = list(steps)
    if rest and hasattr(rest[0], "transformers_"):
        first = _column_transformer(rest.pop(0), subject)
        return _chained(first, [_matrix_step(each) for each in rest])
    if subject.text_columns or (rest and hasattr(rest[0], "categories_")):
        first, rest = _group(rest, list(range(subject.width)), subject)
        return _chained(_columns_first(first), [_matrix_step(each) for each in rest])
    matrix_steps = [_matrix_step(each) for each in rest]
    if subject.form == "columns":
        return _chained(np.column_stack, matrix_steps)
    return _chained(None, matrix_steps)


def _chained(first: Callable[[Any], Array] | None, steps: Sequence[MatrixStep]) -> Prepare:
    chain = [first, *steps] if first is not None else list(steps)
    if not chain:
        return lambda rows: rows
    if len(chain) == 1:
        return chain[0]

    def prepared(rows: Any) -> Array:
        for step in chain:
            rows = step(rows)
        return np.asarray(rows)

    return prepared


def _columns_first(step: ColumnsStep) -> Prepare:
    return lambda rows: step(rows if isinstance(rows, list) else list(rows.T))


def _column_transformer(transformer: Any, subject: Subject) -> Prepare:
    if transformer.transformer_weights:
        raise NotCompiled("its ColumnTransformer has weights")
    groups: list[tuple[list[int], ColumnsStep]] = []
    for inner, picked in picked_columns(transformer, subject.names):
        first, rest = _group(steps_of(inner), picked, subject)
        groups.append((picked, _then(first, [_matrix_step(each) for each in rest])))
    if len(groups) == 1:
        ((only, step),) = groups
        return lambda rows: step([_columns(rows)[index] for index in only])

    def transformed(rows: Rows) -> Array:
        columns = _columns(rows)
        parts = [step([columns[index] for index in picked]) for picked, step in groups]
        return np.hstack(parts)

    return transformed


def _columns(rows: Rows) -> list[Array]:
    return rows if isinstance(rows, list) else list(rows.T)


def _then(first: ColumnsStep, steps: Sequence[MatrixStep]) -> ColumnsStep:
    if not steps:
        return first

    def both(columns: list[Array]) -> Array:
        rows = first(columns)
        for step in steps:
            rows = step(rows)
        return rows

    return both


def _group(
    steps: Sequence[Any], picked: Sequence[int], subject: Subject
) -> tuple[ColumnsStep, list[Any]]:
    """What makes a matrix of columns, and the steps that are left for that matrix."""
    texts = [position for position, index in enumerate(picked) if index in subject.text_columns]
    rest = list(steps)
    if texts:
        while rest and type(rest[0]).__name__ == "SimpleImputer" and len(texts) == len(picked):
            # A text is never missing: it may be empty, which is a text. So this step is none.
            _refuse_odd_imputer(rest.pop(0))
        if not rest or not hasattr(rest[0], "categories_"):
            raise NotCompiled("a text column reaches a step that is no encoder")
    if rest and hasattr(rest[0], "categories_"):
        return encoder_of(rest[0]), rest[1:]
    return np.column_stack, rest


def _matrix_step(step: Any) -> MatrixStep:
    kind = type(step).__name__
    builder = _BUILDERS.get(kind)
    if type(step).__module__.split(".")[0] != "sklearn" or (
        builder is None and not hasattr(step, "get_support")
    ):
        raise NotCompiled(f"there is no engine for the step {kind}")
    return builder(step) if builder is not None else _selector(step)


def _doubled(rows: Array) -> Array:
    """A copy to work in, in the rows' precision."""
    return rows.astype(rows.dtype if rows.dtype.char in "fd" else np.float64)


def _standard_scaler(step: Any) -> MatrixStep:
    mean = step.mean_ if step.with_mean else None
    scale = step.scale_ if step.with_std else None

    def scaled(rows: Array) -> Array:
        rows = _doubled(rows)
        if mean is not None:
            rows -= mean.astype(rows.dtype, copy=False)
        if scale is not None:
            rows /= scale.astype(rows.dtype, copy=False)
        return rows

    return scaled


def _robust_scaler(step: Any) -> MatrixStep:
    if step.unit_variance:
        raise NotCompiled("there is no engine for a RobustScaler with unit_variance")
    centre = step.center_ if step.with_centering else None
    scale = step.scale_ if step.with_scaling else None

    def scaled(rows: Array) -> Array:
        rows = _doubled(rows)
        if centre is not None:
            rows -= centre
        if scale is not None:
            rows /= scale
        return rows

    return scaled


def _min_max_scaler(step: Any) -> MatrixStep:
    scale, low, limits = step.scale_, step.min_, step.feature_range if step.clip else None

    def scaled(rows: Array) -> Array:
        rows = _doubled(rows)
        rows *= scale
        rows += low
        return np.clip(rows, *limits, out=rows) if limits is not None else rows

    return scaled


def _max_abs_scaler(step: Any) -> MatrixStep:
    if getattr(step, "clip", False):
        raise NotCompiled("there is no engine for a MaxAbsScaler that clips")
    scale = step.scale_

    def scaled(rows: Array) -> Array:
        rows = _doubled(rows)
        rows /= scale
        return rows

    return scaled


def _refuse_odd_imputer(step: Any) -> None:
    missing = step.missing_values
    if not (missing is None or missing != missing or type(missing).__name__ == "NAType"):
        raise NotCompiled(f"its SimpleImputer takes {missing!r} for missing")
    if step.add_indicator:
        raise NotCompiled("its SimpleImputer adds an indicator")


def _imputer(step: Any) -> MatrixStep:
    _refuse_odd_imputer(step)
    try:
        fill = np.asarray(step.statistics_, dtype=np.float64)  # constants come as objects
    except (ValueError, TypeError) as error:
        raise NotCompiled("its SimpleImputer fills a column with a text") from error
    if not np.isfinite(fill).all():
        raise NotCompiled("its SimpleImputer drops a column")

    def filled(rows: Array) -> Array:
        missing = np.isnan(rows)
        return np.where(missing, fill.astype(rows.dtype), rows) if missing.any() else rows

    return filled


def _selector(step: Any) -> MatrixStep:
    chosen = np.flatnonzero(step.get_support())
    return lambda rows: rows[:, chosen]


def _projection(step: Any) -> MatrixStep:
    if step.whiten:
        raise NotCompiled("there is no engine for a PCA that whitens")
    turned, centre = step.components_.T, step.mean_

    def projected(rows: Array) -> Array:
        if rows.dtype.char == "f":
            narrow = turned.astype(rows.dtype)
            answer: Array = rows @ narrow
            answer -= (centre.reshape(1, -1).astype(rows.dtype)) @ narrow
            return answer
        return np.asarray(rows @ turned - centre.reshape(1, -1) @ turned)

    return projected


_BUILDERS: dict[str, Callable[[Any], MatrixStep]] = {
    "StandardScaler": _standard_scaler,
    "RobustScaler": _robust_scaler,
    "MinMaxScaler": _min_max_scaler,
    "MaxAbsScaler": _max_abs_scaler,
    "SimpleImputer": _imputer,
    "PCA": _projection,
}
