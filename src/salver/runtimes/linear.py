"""A short cut for plain linear models: `X @ coef_.T + intercept_`, as scikit-learn computes it.

On one row scikit-learn spends about 95% of `predict` on checks of input that the server has
made already. The documented attributes give the same arithmetic, and `linear_shortcut` hands
it out only for known classes and only after it has given the estimator's own bits on sample
rows. Refuses anything it does not know for certain.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from salver.inference.tensor import Array
from salver.runtimes.tabular import Computation

_CLASSIFIERS = frozenset(
    {
        "sklearn.linear_model._logistic.LogisticRegression",
        "sklearn.linear_model._logistic.LogisticRegressionCV",
        "sklearn.linear_model._perceptron.Perceptron",
        "sklearn.linear_model._stochastic_gradient.SGDClassifier",
        "sklearn.linear_model._passive_aggressive.PassiveAggressiveClassifier",
        "sklearn.svm._classes.LinearSVC",
        "sklearn.discriminant_analysis.LinearDiscriminantAnalysis",
    }
)
_REGRESSORS = frozenset(
    f"sklearn.linear_model.{each}"
    for each in (
        "_base.LinearRegression",
        "_ridge.Ridge",
        "_ridge.RidgeCV",
        "_coordinate_descent.Lasso",
        "_coordinate_descent.LassoCV",
        "_coordinate_descent.ElasticNet",
        "_coordinate_descent.ElasticNetCV",
        "_bayes.BayesianRidge",
        "_least_angle.Lars",
        "_least_angle.LassoLars",
        "_huber.HuberRegressor",
    )
)
_SAMPLE_ROWS = (1, 2, 3, 7, 32)
_SAMPLE_SCALES = (0.0, 1.0, 1e-3, 1e3, 1.0)


def linear_shortcut(estimator: Any) -> dict[str, Computation] | None:
    """Quicker computations of the same outputs for a linear model; None for other models."""
    kind = f"{type(estimator).__module__}.{type(estimator).__qualname__}"
    if kind in _CLASSIFIERS:
        found = _classifier(estimator)
    elif kind in _REGRESSORS:
        found = {"predict": _regression(estimator)}
    else:
        return None
    return {name: method for name, method in found.items() if _agrees(estimator, name, method)}


def _classifier(estimator: Any) -> dict[str, Computation]:
    native_decision, native_predict = estimator.decision_function, estimator.predict
    weights, bias, classes = estimator.coef_.T, estimator.intercept_, estimator.classes_
    is_binary = weights.shape[1] == 1

    def decision_function(rows: Array) -> Array:
        if rows.dtype.char not in "fd":
            return np.asarray(native_decision(rows))
        scores: Array = rows @ weights + bias
        return scores.reshape(-1) if is_binary else scores

    def predict(rows: Array) -> Array:
        if rows.dtype.char not in "fd":
            return np.asarray(native_predict(rows))
        scores: Array = rows @ weights
        scores = scores + bias
        if is_binary:
            winners: Array = (scores.reshape(-1) > 0).astype(np.intp)
        else:
            winners = scores.argmax(axis=1)
        taken: Array = classes.take(winners, axis=0)
        return taken

    found: dict[str, Computation] = {"predict": predict, "decision_function": decision_function}
    if type(estimator).__name__ == "LogisticRegression":
        found["predict_proba"] = _probabilities(decision_function, is_binary=is_binary)
    return found


def _probabilities(decision_function: Computation, *, is_binary: bool) -> Computation:
    from scipy.special import expit
    from sklearn.utils.extmath import softmax

    def of_two(rows: Array) -> Array:
        second: Array = expit(decision_function(rows))
        return np.stack([1 - second, second], axis=1)

    def of_many(rows: Array) -> Array:
        shares: Array = softmax(decision_function(rows), copy=False)
        return shares

    return of_two if is_binary else of_many


def _regression(estimator: Any) -> Computation:
    native = estimator.predict
    weights, bias = estimator.coef_, estimator.intercept_
    if weights.ndim == 2:
        weights = weights.T

    def predict(rows: Array) -> Array:
        if rows.dtype.char not in "fd":
            return np.asarray(native(rows))
        answer: Array = rows @ weights + bias
        return answer

    return predict


def _agrees(estimator: Any, name: str, method: Computation) -> bool:
    """Whether the short cut gives the same bits and dtype on rows of several sizes."""
    generator = np.random.default_rng(0)
    width = int(estimator.n_features_in_)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        for count, scale in zip(_SAMPLE_ROWS, _SAMPLE_SCALES, strict=True):
            rows = generator.standard_normal((count, width)) * scale
            for sample in (rows, rows.astype(np.float32)):
                own, ours = getattr(estimator, name)(sample), method(sample)
                if own.dtype != ours.dtype or not np.array_equal(own, ours):
                    return False
    return True
