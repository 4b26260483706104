"""Tree ensembles in treelite's inference library: float64 throughout. Optional.

Treelite reads scikit-learn's ensembles. Its boosters are not asked for: it adds their leaves in
another order, and so is not exact.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from salver.inference.tensor import Array
from salver.runtimes.compiled.direct_trees import narrowed
from salver.runtimes.compiled.finishing import (
    AVERAGING,
    BOOSTING,
    HISTOGRAMS,
    VOTING,
    finished,
    kind_name,
)
from salver.runtimes.compiled.ports import Compute, NotCompiled


def treelite_trees(estimator: Any, threads: int) -> Mapping[str, Compute]:
    """The outputs of a scikit-learn ensemble. Raises `NotCompiled`."""
    kind = kind_name(estimator)
    if kind not in VOTING | AVERAGING | BOOSTING | HISTOGRAMS:
        raise NotCompiled(f"treelite has no {type(estimator).__name__}")
    if getattr(estimator, "n_outputs_", 1) != 1:
        raise NotCompiled("its scores are compiled for one output only")
    import treelite

    trees = treelite.sklearn.import_model(estimator)
    predict, wants_margin = treelite.gtil.predict, kind in BOOSTING | HISTOGRAMS
    as_rows = _widened if kind not in HISTOGRAMS else _doubles
    is_flat = kind in AVERAGING

    def scores(rows: Array) -> Array:
        found = predict(trees, as_rows(rows), nthread=threads, pred_margin=wants_margin)
        matrix: Array = found.reshape(len(rows), -1)
        return matrix[:, 0] if is_flat else matrix

    return finished(estimator, scores)


def _widened(rows: Array) -> Array:
    """The float32 values that the trees were fitted on, as the float64 that treelite takes."""
    return narrowed(rows).astype(np.float64)


def _doubles(rows: Array) -> Array:
    return np.ascontiguousarray(rows, dtype=np.float64)
