"""`XGBClassifier`, `LGBMRegressor` and the like: a booster's scores as scikit-learn's outputs.

Owns what the wrappers do after the booster has answered.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from salver.inference.tensor import Array
from salver.runtimes.compiled.boosters import lightgbm_direct, lignum_boosters, xgboost_direct
from salver.runtimes.compiled.ports import Compute, NotCompiled


def family_of(estimator: Any) -> str:
    """The library of a booster's wrapper; empty for other estimators."""
    name = type(estimator).__name__
    if name.startswith("XGB") and hasattr(estimator, "get_booster"):
        return "xgboost"
    return "lightgbm" if name.startswith("LGBM") and hasattr(estimator, "booster_") else ""


def wrapped_booster(estimator: Any, threads: int, *, engine: str) -> Mapping[str, Compute]:
    """The wrapper's outputs. `engine` is `direct` or `lignum`. Raises `NotCompiled`."""
    family = family_of(estimator)
    booster = _booster(estimator, family)
    if engine == "lignum":
        computations = lignum_boosters(booster, threads, family=family)
    elif family == "xgboost":
        booster.set_param({"nthread": threads})
        computations = xgboost_direct(booster)
    else:
        computations = lightgbm_direct(booster, threads)
    scores = computations["predict"]
    if not hasattr(estimator, "predict_proba"):
        return {"predict": scores}
    classes = np.asarray(estimator.classes_)

    def shares(rows: Array) -> Array:
        found = scores(rows)
        return found if found.ndim == 2 else np.vstack((1.0 - found, found)).transpose()

    def predict(rows: Array) -> Array:
        found = scores(rows)
        winners = (found > 0.5).astype(np.intp) if found.ndim == 1 else found.argmax(axis=1)
        taken: Array = classes.take(winners, axis=0)
        return taken

    return {"predict": predict, "predict_proba": shares}


def _booster(estimator: Any, family: str) -> Any:
    if family == "lightgbm":
        if callable(estimator.objective_):
            raise NotCompiled("its objective is a function of its own")
        return estimator.booster_
    if not family:
        raise NotCompiled(f"{type(estimator).__name__} wraps no booster")
    missing = getattr(estimator, "missing", None)
    if missing is not None and not np.isnan(missing):
        raise NotCompiled(f"it takes {missing!r} for missing")
    if str(getattr(estimator, "objective", "")).startswith("multi:softmax"):
        raise NotCompiled("its objective is multi:softmax")
    booster = estimator.get_booster()
    best = getattr(estimator, "best_iteration", None) if _stopped_early(estimator) else None
    return booster if best is None else booster[: best + 1]


def _stopped_early(estimator: Any) -> bool:
    return getattr(estimator, "early_stopping_rounds", None) is not None
