"""Scikit-learn's own tree code, called without what surrounds it.

For one row of a forest nearly all of the time goes into checks, copies and thread pools around
each tree. The arrays of the trees are read by scikit-learn's own compiled code, in its order, so
the answers are the same bits. Raises `NotCompiled` where an attribute is not as expected.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from salver.inference.tensor import Array
from salver.runtimes.compiled.finishing import (
    AVERAGING,
    BOOSTING,
    HISTOGRAMS,
    VOTING,
    Scores,
    finished,
    kind_name,
)
from salver.runtimes.compiled.ports import Compute, Declined, NotCompiled


def direct_trees(estimator: Any, threads: int) -> Mapping[str, Compute]:
    """The outputs of a fitted ensemble of trees."""
    kind = kind_name(estimator)
    if kind in VOTING or kind in AVERAGING:
        return finished(estimator, _mean_of_trees(estimator, is_classifier=kind in VOTING))
    if kind in BOOSTING:
        return finished(estimator, _staged(estimator))
    if kind in HISTOGRAMS:
        return finished(estimator, _histograms(estimator, threads))
    raise NotCompiled(f"there is no direct engine for {type(estimator).__name__}")


def narrowed(rows: Array) -> Array:
    """The float32 rows that scikit-learn's trees compare; it refuses what does not fit."""
    if rows.dtype.char == "f":
        narrow = np.ascontiguousarray(rows)
    else:
        with np.errstate(over="ignore"):
            narrow = rows.astype(np.float32, order="C")
    flat = narrow.ravel()
    # A sum of squares is finite only if all are: NaN takes the slow way too.
    if not flat.dot(flat) <= _FLOAT32_SQUARES and np.isinf(narrow).any():
        raise Declined
    return narrow


_FLOAT32_SQUARES = float(np.finfo(np.float32).max)


def _mean_of_trees(estimator: Any, *, is_classifier: bool) -> Scores:
    members = getattr(estimator, "estimators_", None)
    trees: list[Callable[[Array], Array]] = [
        each.tree_.predict for each in (members if members is not None else [estimator])
    ]
    first, others, count = trees[0], trees[1:], len(trees)
    width = int(estimator.n_classes_) if is_classifier else int(estimator.n_outputs_)
    is_flat = not is_classifier and width == 1

    def scores(rows: Array) -> Array:
        narrow = narrowed(rows)
        total = first(narrow)
        if others:
            total = total.copy()
            for tree in others:
                total += tree(narrow)
            total /= count
        total = total[:, :width]
        return total[:, 0] if is_flat else total

    return scores


def _staged(estimator: Any) -> Scores:
    from sklearn.ensemble._gradient_boosting import predict_stages

    start = _start_of(estimator)
    stages, rate = estimator.estimators_, estimator.learning_rate

    def scores(rows: Array) -> Array:
        narrow = narrowed(rows)
        raw = np.repeat(start, len(narrow), axis=0)
        predict_stages(stages, narrow, rate, raw)
        return raw

    return scores


def _start_of(estimator: Any) -> Array:
    """What boosting starts from, if that is the same for all rows: a matrix of one row."""
    init = estimator.init_
    if not isinstance(init, str) and not type(init).__name__.startswith("Dummy"):
        raise NotCompiled(f"its boosting starts from a {type(init).__name__}")
    blank = np.zeros((1, int(estimator.n_features_in_)), dtype=np.float32)
    return np.array(estimator._raw_predict_init(blank), dtype=np.float64)


def _histograms(estimator: Any, threads: int) -> Scores:
    if getattr(estimator, "_preprocessor", None) is not None:
        raise NotCompiled("there is no direct engine for histogram boosting with categories")
    bitsets, places = estimator._bin_mapper.make_known_categories_bitsets()
    start, width = estimator._baseline_prediction, estimator.n_trees_per_iteration_
    stages = [[each.predict for each in stage] for stage in estimator._predictors]

    def scores(rows: Array) -> Array:
        rows = np.ascontiguousarray(rows, dtype=np.float64)
        raw = np.zeros((len(rows), width), dtype=start.dtype, order="F")
        raw += start
        for stage in stages:
            for index, tree in enumerate(stage):
                raw[:, index] += tree(rows, bitsets, places, threads)
        return raw

    return scores
