"""Models compiled at load against their frameworks: what a prediction takes, in one run.

    python bench/compiled.py [--turns 9] [--mode auto] [--models 0] [-o result.json]

Every model is loaded twice, as it is and compiled, and both are asked in turns with the same
requests of 1, 10, 100 and 1,000 rows; the best of the turns counts. Answers are compared before
anything is timed. `--models 200` also compiles that many random models and counts which engines
agree on rows that they have never seen. One thread for each prediction.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.random_models import save_random_model
from tests.unit.runtimes.compiled.subjects import disagreements, judged, subject_of

from salver.inference.tensor import InferRequest, tensor_from_array
from salver.runtimes.ports import LoadedModel, ModelSource
from salver.runtimes.registry import runtime_named

SIZES = (1, 10, 100, 1000)
WIDTH = 20


def rows_and_classes(count: int = 4000) -> tuple[Any, Any]:
    from sklearn.datasets import make_classification

    return make_classification(count, WIDTH, n_informative=12, random_state=0)


def _saved(model: Any, folder: Path) -> tuple[str, Path]:
    import joblib

    joblib.dump(model, folder / "model.joblib")
    return "sklearn", folder / "model.joblib"


def scaled_regression(folder: Path) -> tuple[str, Path]:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return _saved(
        make_pipeline(StandardScaler(), LogisticRegression()).fit(*rows_and_classes()), folder
    )


def _ensemble(name: str, **settings: Any) -> Callable[[Path], tuple[str, Path]]:
    def save(folder: Path) -> tuple[str, Path]:
        from sklearn import ensemble, tree

        kind = getattr(tree if name.startswith("Decision") else ensemble, name)
        return _saved(kind(random_state=0, **settings).fit(*rows_and_classes()), folder)

    return save


def scaler_and_tree(folder: Path) -> tuple[str, Path]:
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.tree import DecisionTreeRegressor

    generator = np.random.default_rng(0)
    rows = generator.integers(0, 1_000_000, (4000, WIDTH)).astype(np.float64)
    rows[:, 0] *= 1e6
    model = make_pipeline(StandardScaler(), DecisionTreeRegressor(random_state=0))
    return _saved(model.fit(rows, generator.normal(0, 20, 4000)), folder)


def xgboost_booster(folder: Path) -> tuple[str, Path]:
    import xgboost

    rows, classes = rows_and_classes()
    settings = {"objective": "binary:logistic", "max_depth": 6, "nthread": 1}
    booster = xgboost.train(settings, xgboost.DMatrix(rows, classes), 100)
    booster.save_model(folder / "model.json")
    return "xgboost", folder / "model.json"


def xgboost_classifier(folder: Path) -> tuple[str, Path]:
    import xgboost

    model = xgboost.XGBClassifier(n_estimators=100, max_depth=6, n_jobs=1)
    return _saved(model.fit(*rows_and_classes()), folder)


def lightgbm_booster(folder: Path) -> tuple[str, Path]:
    import lightgbm

    rows, classes = rows_and_classes()
    settings = {"objective": "binary", "verbose": -1, "num_threads": 1}
    booster = lightgbm.train(settings, lightgbm.Dataset(rows, classes), 100)
    booster.save_model(folder / "model.txt")
    return "lightgbm", folder / "model.txt"


def mixed_columns(folder: Path) -> tuple[str, Path]:
    import pandas as pd
    from sklearn.compose import make_column_transformer
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    frame = pd.DataFrame(mixed_values(4000))
    numbers, texts = ["age", "income"], ["city", "job"]
    transformer = make_column_transformer(
        (make_pipeline(SimpleImputer(), StandardScaler()), numbers),
        (OneHotEncoder(handle_unknown="ignore"), texts),
    )
    model = make_pipeline(transformer, LogisticRegression())
    return _saved(model.fit(frame, frame["city"] == "Rome"), folder)


def mixed_values(count: int) -> dict[str, Any]:
    generator = np.random.default_rng(count)
    return {
        "age": generator.integers(18, 90, count).astype(np.float64),
        "income": generator.normal(3e4, 1e4, count),
        "city": generator.choice(np.array(["Oslo", "Rome", "Bonn"], object), count),
        "job": generator.choice(np.array(list("abcdefgh"), object), count),
    }


MODELS: dict[str, Callable[[Path], tuple[str, Path]]] = {
    "scaler + logistic regression": scaled_regression,
    "columns: impute, scale, one-hot + logistic regression": mixed_columns,
    "scaler + tree, whole numbers to 1e12 (the trap)": scaler_and_tree,
    "tree": _ensemble("DecisionTreeClassifier"),
    "forest, 100 trees, depth 10": _ensemble(
        "RandomForestClassifier", n_estimators=100, max_depth=10
    ),
    "forest, 100 trees, full depth": _ensemble("RandomForestClassifier", n_estimators=100),
    "gradient boosting, 100 trees": _ensemble("GradientBoostingClassifier", n_estimators=100),
    "histogram boosting, 100 trees": _ensemble("HistGradientBoostingClassifier", max_iter=100),
    "XGBoost booster, 100 trees": xgboost_booster,
    "XGBClassifier, 100 trees": xgboost_classifier,
    "LightGBM booster, 100 trees": lightgbm_booster,
}


def request_of(model: LoadedModel, rows: int) -> InferRequest:
    if "BYTES" in model.metadata.column_datatypes:
        values = mixed_values(rows)
        return InferRequest(tuple(tensor_from_array(name, values[name]) for name in values))
    matrix = np.random.default_rng(rows).standard_normal((rows, WIDTH))
    return InferRequest((tensor_from_array("x", matrix),))


def microseconds(ask: Callable[[InferRequest], object], request: InferRequest) -> float:
    """One turn: as many calls as take about 4 ms."""
    calls = 1
    while True:
        started_s = time.perf_counter()
        for _ in range(calls):
            ask(request)
        took_s = time.perf_counter() - started_s
        if took_s > 0.004 or calls >= 4096:
            return took_s / calls * 1e6
        calls *= 4


def compared(name: str, folder: Path, mode: str, turns: int) -> dict[str, Any]:
    runtime, path = MODELS[name](folder)
    native = _loaded(runtime, path, compile="off")
    compiled = _loaded(runtime, path, compile=mode, compile_budget_s=20)
    cells = {}
    for rows in SIZES:
        request = request_of(native, rows)
        expected, given = native.predict(request).outputs[0], compiled.predict(request).outputs[0]
        if expected.data.dtype.kind == "f":
            np.testing.assert_allclose(given.data, expected.data, rtol=1e-5, atol=1e-7)
        else:
            np.testing.assert_array_equal(given.data, expected.data)
        pairs = [
            (microseconds(native.predict, request), microseconds(compiled.predict, request))
            for _ in range(turns)
        ]
        cells[rows] = {"native_us": min(p[0] for p in pairs), "us": min(p[1] for p in pairs)}
    report = compiled.compile_report
    engines = {each.rows: each.engine for each in report.choices}
    return {"cells": cells, "engines": engines, "took_s": report.took_s, "note": report.note}


def _loaded(runtime: str, path: Path, **parameters: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return runtime_named(runtime).load(
            ModelSource(path.stem, path, runtime, parameters=parameters)
        )


def table(results: dict[str, Any]) -> str:
    lines = [
        "| model | 1 row | 10 | 100 | 1,000 | engines | load |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, found in results.items():
        cells = [
            f"{native_us:,.1f} → {us:,.1f} (**{native_us / us:.2f}x**)"
            for native_us, us in (each.values() for each in found["cells"].values())
        ]
        engines = ", ".join(dict.fromkeys(found["engines"].values()))
        lines.append(f"| {name} | {' | '.join(cells)} | {engines} | +{found['took_s']:.2f} s |")
    return "\n".join(lines)


def random_models(count: int, folder: Path) -> dict[str, Any]:
    """How many engines were accepted, refused, and wrong all the same."""
    tally: Counter[str] = Counter()
    wrong: list[str] = []
    for number in range(count):
        runtime, path, words = save_random_model(number, folder)
        verdicts, questions = judged(subject_of(runtime, path), seed=number)
        for verdict in verdicts:
            tally[f"{verdict.report.name} {'accepted' if verdict.engines else 'refused'}"] += 1
            wrong += [f"model {number}, {words}: {e}" for e in disagreements(verdict, questions)]
        tally["models with an engine"] += any(each.engines for each in verdicts)
    return {"models": count, "tally": dict(sorted(tally.items())), "wrong": wrong}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--turns", type=int, default=9)
    parser.add_argument("--mode", choices=("auto", "exact", "fast"), default="auto")
    parser.add_argument("--models", type=int, default=0, help="random models to compile as well")
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    results: dict[str, Any] = {}
    for name in MODELS:
        with tempfile.TemporaryDirectory() as folder:
            results[name] = compared(name, Path(folder), options.mode, options.turns)
        print(f"{name}: {results[name]['note']}", file=sys.stderr)
    print(table(results))
    ratios = [c["native_us"] / c["us"] for each in results.values() for c in each["cells"].values()]
    print(f"\nlowest ratio: {min(ratios):.2f}")
    found = {"speed": results}
    if options.models:
        with tempfile.TemporaryDirectory() as folder:
            found["random"] = random_models(options.models, Path(folder))
        print(json.dumps(found["random"], indent=1))
    if options.output:
        options.output.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
