"""Random real models of all families that are compiled at load, trained in a moment.

Used by the unit tests of compilation and by its benchmark: model `n` is the same everywhere.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

Trained = tuple[str, Path, str]
"""The runtime, the file, and what it is in words."""

_ROWS = 400


def save_random_model(number: int, folder: Path) -> Trained:
    """Trains and saves model `number`."""
    generator = np.random.default_rng(number)
    family = FAMILIES[number % len(FAMILIES)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return family(generator, folder / f"model{number}")


def _rows(generator: Any, *, missing: bool) -> Any:
    width = int(generator.integers(2, 12))
    rows = generator.standard_normal((_ROWS, width)) * 10.0 ** generator.integers(-3, 4, width)
    style = generator.integers(0, 4)
    if style == 1:
        rows = np.round(rows)
    elif style == 2:
        rows = rows.astype(np.float32)
    elif style == 3:
        rows = generator.integers(0, 1_000_000, (_ROWS, width)).astype(np.float64)
        rows[:, 0] *= 1e6
    if missing:
        rows = np.where(generator.random(rows.shape) < 0.1, np.nan, rows)
    return rows


def _target(generator: Any, rows: Any, *, classes: int) -> Any:
    filled = np.nan_to_num(rows)
    spread = filled.std(axis=0) + 1e-9
    score = ((filled - filled.mean(axis=0)) / spread) @ generator.standard_normal(rows.shape[1])
    score += 0.3 * generator.standard_normal(len(rows))
    if not classes:
        return score * 10.0 ** float(generator.integers(-2, 4))
    labels = np.digitize(score, np.quantile(score, np.linspace(0, 1, classes + 1)[1:-1]))
    if generator.random() < 0.3:
        return np.array(["red", "green", "blue", "grey"])[labels]
    return labels


def _saved(model: Any, path: Path) -> Trained:
    import joblib

    joblib.dump(model, path.with_suffix(".joblib"))
    return "sklearn", path.with_suffix(".joblib"), repr(model).replace("\n", "")[:160]


def _trees(generator: Any, path: Path) -> Trained:
    from sklearn import ensemble, tree

    classes = int(generator.integers(0, 4))
    classes = classes if classes > 1 else 0
    depth = [None, 2, 5, 9][generator.integers(0, 4)]
    count = int(generator.integers(2, 30))
    kind = "Classifier" if classes else "Regressor"
    name = ["DecisionTree", "RandomForest", "ExtraTrees", "GradientBoosting"][
        generator.integers(0, 4)
    ]
    settings: dict[str, Any] = {"max_depth": depth, "random_state": 0}
    if name != "DecisionTree":
        settings["n_estimators"] = count
    made = getattr(tree if name == "DecisionTree" else ensemble, name + kind)(**settings)
    missing = bool(generator.random() < 0.3) and name != "GradientBoosting"
    rows = _rows(generator, missing=missing)
    return _saved(
        _scaled(generator, made).fit(rows, _target(generator, rows, classes=classes)), path
    )


def _scaled(generator: Any, made: Any) -> Any:
    """The estimator, sometimes behind a scaler or two."""
    from sklearn import feature_selection, pipeline, preprocessing

    steps = [
        [],
        [],
        [preprocessing.StandardScaler()],
        [preprocessing.MinMaxScaler(clip=bool(generator.integers(0, 2)))],
        [preprocessing.RobustScaler(), preprocessing.MaxAbsScaler()],
        [feature_selection.VarianceThreshold(), preprocessing.StandardScaler()],
    ][generator.integers(0, 6)]
    return pipeline.make_pipeline(*steps, made) if steps else made


def _histograms(generator: Any, path: Path) -> Trained:
    from sklearn import ensemble

    classes = int(generator.choice([0, 2, 3]))
    made = getattr(
        ensemble, "HistGradientBoostingClassifier" if classes else "HistGradientBoostingRegressor"
    )(max_iter=int(generator.integers(2, 30)), max_depth=[None, 3][generator.integers(0, 2)])
    rows = _rows(generator, missing=bool(generator.integers(0, 2)))
    target = _target(generator, rows, classes=classes)
    if not classes and generator.random() < 0.3:
        made.set_params(loss="poisson")
        target = np.abs(target)
    if generator.random() < 0.3:
        rows = np.column_stack([rows, generator.integers(0, 8, _ROWS)])
        made.set_params(categorical_features=[rows.shape[1] - 1])
    return _saved(_scaled(generator, made).fit(rows, target), path)


def _linear(generator: Any, path: Path) -> Trained:
    from sklearn import impute, linear_model, pipeline

    classes = int(generator.choice([0, 2, 3]))
    made = (
        [
            linear_model.LogisticRegression(max_iter=50),
            linear_model.SGDClassifier(random_state=0),
        ]
        if classes
        else [linear_model.Ridge(), linear_model.Lasso(0.01)]
    )
    missing = bool(generator.integers(0, 2))
    rows = _rows(generator, missing=missing)
    model = _scaled(generator, made[generator.integers(0, 2)])
    if missing:
        strategy = ["mean", "median", "most_frequent"][generator.integers(0, 3)]
        model = pipeline.make_pipeline(impute.SimpleImputer(strategy=strategy), model)
    return _saved(model.fit(rows, _target(generator, rows, classes=classes)), path)


def _xgboost(generator: Any, path: Path) -> Trained:
    import xgboost

    classes = int(generator.choice([0, 2, 3]))
    rows = _rows(generator, missing=bool(generator.integers(0, 2)))
    target = _target(generator, rows, classes=classes)
    rounds = int(generator.integers(1, 30))
    depth = int(generator.integers(1, 9))
    if generator.random() < 0.4:
        kind = xgboost.XGBClassifier if classes else xgboost.XGBRegressor
        made = kind(n_estimators=rounds, max_depth=depth, n_jobs=1)
        codes = np.unique(target, return_inverse=True)[1] if classes else target
        return _saved(_scaled(generator, made).fit(rows, codes), path)
    codes = np.unique(target, return_inverse=True)[1] if classes else target
    settings: dict[str, Any] = {
        "max_depth": depth,
        "nthread": 1,
        "booster": "dart" if generator.random() < 0.15 else "gbtree",
        "objective": ["reg:squarederror", "", "binary:logistic", "multi:softprob"][classes],
    }
    if classes == 3:
        settings["num_class"] = 3
    names = [f"column {i}" for i in range(rows.shape[1])] if generator.random() < 0.4 else None
    data = xgboost.DMatrix(rows, codes, feature_names=names)
    booster = xgboost.train(settings, data, rounds)
    booster.save_model(path.with_suffix(".json"))
    return "xgboost", path.with_suffix(".json"), f"xgboost {settings} {rounds} rounds"


def _lightgbm(generator: Any, path: Path) -> Trained:
    import lightgbm

    classes = int(generator.choice([0, 2, 3]))
    rows = _rows(generator, missing=bool(generator.integers(0, 2)))
    target = _target(generator, rows, classes=classes)
    settings: dict[str, Any] = {
        "verbose": -1,
        "num_threads": 1,
        "num_leaves": int(generator.integers(2, 60)),
        "min_data_in_leaf": 5,
    }
    rounds = int(generator.integers(1, 30))
    if generator.random() < 0.4:
        kind = lightgbm.LGBMClassifier if classes else lightgbm.LGBMRegressor
        made = kind(n_estimators=rounds, n_jobs=1, verbose=-1, num_leaves=settings["num_leaves"])
        return _saved(_scaled(generator, made).fit(rows, target), path)
    codes = np.unique(target, return_inverse=True)[1] if classes else target
    settings["objective"] = ["regression", "", "binary", "multiclass"][classes]
    if classes == 3:
        settings["num_class"] = 3
    categorical: Any = "auto"
    if generator.random() < 0.3:
        rows = np.column_stack([rows, generator.integers(0, 20, _ROWS)])
        categorical = [rows.shape[1] - 1]
    data = lightgbm.Dataset(rows, codes, categorical_feature=categorical)
    lightgbm.train(settings, data, rounds).save_model(path.with_suffix(".txt"))
    return "lightgbm", path.with_suffix(".txt"), f"lightgbm {settings} {rounds} rounds"


def _columns(generator: Any, path: Path) -> Trained:
    """Columns of mixed kinds, by name."""
    import pandas as pd
    from sklearn import compose, ensemble, impute, linear_model, pipeline, preprocessing

    count = int(generator.integers(1, 4))
    numbers = {f"n{i}": generator.standard_normal(_ROWS) * 10.0**i for i in range(count)}
    texts = {
        f"t{i}": generator.choice(["a", "b", "é", "long text", ""][: 2 + i + 1], _ROWS)
        for i in range(int(generator.integers(1, 3)))
    }
    frame = pd.DataFrame(numbers | texts)
    if generator.random() < 0.5:
        frame.loc[generator.random(_ROWS) < 0.1, "n0"] = np.nan
    unknown = ["ignore", "error"][generator.integers(0, 2)]
    encoder: Any = preprocessing.OneHotEncoder(
        handle_unknown=unknown, drop=[None, "first", "if_binary"][generator.integers(0, 3)]
    )
    if generator.random() < 0.4:
        encoder = preprocessing.OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    scaler = [preprocessing.StandardScaler(), preprocessing.MinMaxScaler(), "passthrough"]
    number_steps = pipeline.make_pipeline(impute.SimpleImputer(), scaler[generator.integers(0, 3)])
    before = compose.make_column_transformer(
        (number_steps, list(numbers)), (encoder, list(texts)), remainder="drop"
    )
    last: Any = [
        linear_model.LogisticRegression(max_iter=50),
        ensemble.RandomForestClassifier(8, random_state=0),
        ensemble.HistGradientBoostingClassifier(max_iter=8),
        ensemble.GradientBoostingClassifier(n_estimators=8),
    ][generator.integers(0, 4)]
    if isinstance(last, ensemble.HistGradientBoostingClassifier):
        before.set_params(sparse_threshold=0)
    labels = (np.nan_to_num(frame["n0"].to_numpy()) > 0) ^ (frame["t0"] == "a").to_numpy()
    return _saved(pipeline.make_pipeline(before, last).fit(frame, labels.astype(int)), path)


FAMILIES: list[Callable[[Any, Path], Trained]] = [
    _trees,
    _histograms,
    _linear,
    _xgboost,
    _lightgbm,
    _columns,
    _trees,
]
