"""The shape of a scikit-learn model: its steps, its last estimator, its columns.

Reads fitted attributes only, and imports nothing of scikit-learn.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from salver.runtimes.compiled.ports import NotCompiled


def steps_of(estimator: Any) -> list[Any]:
    """The steps of nested pipelines in order; an estimator that is none is its only step."""
    if isinstance(estimator, str) or estimator is None:
        return []
    if hasattr(estimator, "best_estimator_"):
        return steps_of(estimator.best_estimator_)
    if hasattr(estimator, "steps"):
        return [inner for _, step in estimator.steps for inner in steps_of(step)]
    return [estimator]


def final_of(estimator: Any) -> tuple[Any, list[Any]]:
    """The last estimator and what comes before it."""
    steps = steps_of(estimator)
    if not steps:
        raise NotCompiled("it is an empty pipeline")
    return steps[-1], steps[:-1]


def picked_columns(transformer: Any, names: Sequence[str]) -> list[tuple[Any, list[int]]]:
    """What a fitted ColumnTransformer does to which of its columns, in the order of its output.

    Dropped columns are left out; `passthrough` is given as an empty pipeline.
    """
    width = int(transformer.n_features_in_)
    found = []
    for _, inner, picked in transformer.transformers_:
        if isinstance(inner, str) and inner == "drop":
            continue
        indices = _indices(picked, names, width)
        if indices:
            found.append((inner, indices))
    return found


def _indices(picked: Any, names: Sequence[str], width: int) -> list[int]:
    if isinstance(picked, slice):
        if isinstance(picked.start, str) or isinstance(picked.stop, str):
            start = names.index(picked.start) if picked.start is not None else 0
            stop = names.index(picked.stop) + 1 if picked.stop is not None else width
            return list(range(width))[start:stop]
        return list(range(width))[picked]
    values = [picked] if isinstance(picked, str | int) else list(picked)
    if values and all(str(value) in ("True", "False") for value in values):
        return [index for index, value in enumerate(values) if bool(value)]
    return [
        names.index(value) if isinstance(value, str) else int(value) % width for value in values
    ]
