"""From a tree ensemble's scores to the outputs that scikit-learn's methods give.

What the scores are depends on the kind: shares of votes, means, sums of leaves. Every engine of
trees gives the same scores, and this turns them into labels, probabilities and decisions. Raises
`NotCompiled` for kinds and options that are not known here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from salver.inference.tensor import Array
from salver.runtimes.compiled.ports import Compute, NotCompiled

Scores = Callable[[Array], Array]
Finish = Callable[[Array], Array]

VOTING = frozenset(
    {
        "sklearn.tree._classes.DecisionTreeClassifier",
        "sklearn.tree._classes.ExtraTreeClassifier",
        "sklearn.ensemble._forest.RandomForestClassifier",
        "sklearn.ensemble._forest.ExtraTreesClassifier",
    }
)
AVERAGING = frozenset(
    {
        "sklearn.tree._classes.DecisionTreeRegressor",
        "sklearn.tree._classes.ExtraTreeRegressor",
        "sklearn.ensemble._forest.RandomForestRegressor",
        "sklearn.ensemble._forest.ExtraTreesRegressor",
    }
)
BOOSTING = frozenset(
    {
        "sklearn.ensemble._gb.GradientBoostingClassifier",
        "sklearn.ensemble._gb.GradientBoostingRegressor",
    }
)
HISTOGRAMS = frozenset(
    {
        "sklearn.ensemble._hist_gradient_boosting.gradient_boosting.HistGradientBoostingClassifier",
        "sklearn.ensemble._hist_gradient_boosting.gradient_boosting.HistGradientBoostingRegressor",
    }
)


def kind_name(estimator: Any) -> str:
    return f"{type(estimator).__module__}.{type(estimator).__qualname__}"


def finished(estimator: Any, scores: Scores) -> Mapping[str, Compute]:
    """The estimator's outputs, computed from `scores`."""
    return {name: _after(scores, finish) for name, finish in _finishes(estimator).items()}


def _after(scores: Scores, finish: Finish) -> Compute:
    return lambda rows: finish(scores(rows))


def _finishes(estimator: Any) -> Mapping[str, Finish]:
    kind = kind_name(estimator)
    if kind in VOTING:
        if estimator.n_outputs_ != 1:
            raise NotCompiled("there is no engine for trees that classify several outputs")
        classes = estimator.classes_
        return {
            "predict": lambda shares: classes.take(shares.argmax(axis=1), axis=0),
            "predict_proba": _same,
        }
    if kind in AVERAGING:
        return {"predict": _same}
    if kind in HISTOGRAMS and kind.endswith("Regressor"):
        inverse = estimator._loss.link.inverse
        return {"predict": lambda raw: inverse(raw.ravel())}
    if kind in HISTOGRAMS:
        return _boosted_classes(estimator, np.greater)
    if kind in BOOSTING and kind.endswith("Regressor"):
        return {"predict": lambda raw: raw.ravel()}
    if kind in BOOSTING:
        return _boosted_classes(estimator, np.greater_equal)
    raise NotCompiled(f"there is no tree engine for {type(estimator).__name__}")


def _same(scores: Array) -> Array:
    return scores


def _boosted_classes(estimator: Any, wins: Callable[[Array, float], Array]) -> dict[str, Finish]:
    """`wins` compares the decision with zero: the two families treat a tie differently."""
    classes, probabilities = estimator.classes_, estimator._loss.predict_proba

    def predict(raw: Array) -> Array:
        if raw.shape[1] == 1:
            winners = wins(raw.ravel(), 0.0).astype(np.intp)
        else:
            winners = raw.argmax(axis=1)
        taken: Array = classes.take(winners, axis=0)
        return taken

    def decision(raw: Array) -> Array:
        return raw.ravel() if raw.shape[1] == 1 else raw

    def predict_proba(raw: Array) -> Array:
        shares: Array = probabilities(raw.ravel() if raw.shape[1] == 1 else raw)
        return shares

    return {"predict": predict, "predict_proba": predict_proba, "decision_function": decision}
