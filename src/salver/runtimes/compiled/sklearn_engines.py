"""The engines that may hold a scikit-learn model: its steps in NumPy, its last estimator in any.

Each is the preparation of `preprocessing` followed by one way to compute the last estimator's
outputs. A model is prepared once for all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from salver.runtimes.compiled.direct_trees import direct_trees
from salver.runtimes.compiled.pipelines import final_of
from salver.runtimes.compiled.ports import Candidate, Compute, NotCompiled, Subject
from salver.runtimes.compiled.preprocessing import Prepare, preparation_of
from salver.runtimes.compiled.treelite_engine import treelite_trees
from salver.runtimes.compiled.wrapped_boosters import family_of, wrapped_booster
from salver.runtimes.linear import linear_shortcut

Last = Callable[[Any, int], Mapping[str, Compute]]
"""From the last estimator and the number of threads to its outputs."""


def sklearn_candidates(subject: Subject) -> list[Candidate]:
    """Those worth trying for the model's last estimator, the most promising first."""
    final, before = final_of(subject.artifact)
    if family_of(final):
        lasts: list[tuple[str, Last]] = [
            ("lignum", partial(wrapped_booster, engine="lignum")),
            ("direct", partial(wrapped_booster, engine="direct")),
        ]
    elif _has_trees(final):
        lasts = [("direct", direct_trees), ("treelite", treelite_trees)]
    else:
        if not before:
            raise NotCompiled("the runtime computes plain estimators directly where it can")
        lasts = [("numpy", _linear)]
    return [Candidate(name, "exact", partial(_built, last)) for name, last in lasts]


def _has_trees(final: Any) -> bool:
    return (
        hasattr(final, "tree_")
        or hasattr(final, "_predictors")
        or "Forest" in str(type(final).__name__)
        or type(final).__name__.startswith(("ExtraTrees", "GradientBoosting"))
    )


def _linear(final: Any, threads: int) -> Mapping[str, Compute]:
    found = linear_shortcut(final)
    if not found:
        raise NotCompiled(f"there is no exact engine for {type(final).__name__}")
    return found


def _built(last: Last, subject: Subject) -> Mapping[str, Compute]:
    final, before = final_of(subject.artifact)
    prepare = preparation_of(subject, before)
    computations = last(final, subject.threads)
    if not before and subject.form == "matrix":
        return computations
    return {name: _after(prepare, compute) for name, compute in computations.items()}


def _after(prepare: Prepare, compute: Compute) -> Compute:
    return lambda rows: compute(prepare(rows))
