"""Whole models through compilation: the trap, refusals, guards, samples, reports."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import joblib
import msgspec
import numpy as np
import pandas as pd
import pytest
from sklearn.compose import make_column_transformer
from sklearn.datasets import make_classification
from sklearn.ensemble import RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.tree import DecisionTreeRegressor
from tests.unit.runtimes.compiled.subjects import disagreements, judged, sklearn_subject
from tests.unit.runtimes.requests import arrays, ask, load, matrix, only

from salver.errors import InvalidInput, LoadFailed
from salver.inference.compilation import NATIVE, CompileReport
from salver.runtimes.compiled.model import CompiledModel
from salver.runtimes.sklearn import SklearnModel

ROWS, CLASSES = make_classification(400, 6, n_informative=4, n_classes=3, random_state=0)
FOREST = RandomForestClassifier(20, random_state=0).fit(ROWS, CLASSES)


def _saved(model: Any, folder: Path) -> Path:
    joblib.dump(model, folder / "model.joblib")
    return folder / "model.joblib"


def _compiled(model: Any, folder: Path, **parameters: Any) -> CompiledModel:
    # Enough time on the busiest machine: what is skipped is another test's subject.
    parameters = {"compile_budget_s": 600} | parameters
    loaded = load(_saved(model, folder), "sklearn", parameters=parameters)
    assert isinstance(loaded, CompiledModel)
    return loaded


def test_a_scaler_before_a_tree_is_refused_in_float32_and_served_exactly(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    rows = generator.integers(0, 1_000_000, (4000, 6)).astype(np.float64)
    rows[:, 0] *= 1e6
    target = generator.normal(0, 20, 4000)
    tree = make_pipeline(StandardScaler(), DecisionTreeRegressor(random_state=0)).fit(rows, target)

    verdicts, questions = judged(sklearn_subject(tree, tmp_path))
    by_name = {each.report.name: each for each in verdicts}

    fast = by_name["onnxruntime"].report
    assert fast.accepts == ()
    assert fast.difference is not None and fast.difference > 0.1
    assert "'predict' differs by" in fast.reason
    exact = by_name["direct"]
    assert exact.report.accepts == ("FP64", "FP32", "INT64")
    assert exact.report.difference == 0.0
    assert disagreements(exact, questions) == []
    model = _compiled(tree, tmp_path)
    assert model.compile_report.is_compiled
    assert np.array_equal(only(model.predict(matrix(rows))), tree.predict(rows))


def test_a_forest_answers_one_row_from_an_engine_with_the_same_bits(tmp_path: Path) -> None:
    model = _compiled(FOREST, tmp_path)
    assert model.compile_report.choices[0].engine != NATIVE
    assert model.compile_report.choices[0].speed_up > 1.1
    for rows in (ROWS[:1], ROWS[:7], ROWS, ROWS.astype(np.float32)):
        answers = arrays(model.predict(matrix(rows, "predict", "predict_proba")))
        assert np.array_equal(answers["predict"], FOREST.predict(rows))
        assert np.allclose(answers["predict_proba"], FOREST.predict_proba(rows), rtol=1e-12)
    assert model.counts.answered == 4
    assert model.counts.failed == model.counts.declined == 0


def test_what_the_framework_refuses_is_refused_in_its_words(tmp_path: Path) -> None:
    scaled = make_pipeline(StandardScaler(), LogisticRegression()).fit(ROWS, CLASSES)
    model = _compiled(scaled, tmp_path)
    assert model.compile_report.choices[0].engine == "numpy"
    rows = ROWS[:3].copy()
    rows[1, 2] = np.nan
    with pytest.raises(InvalidInput, match="NaN at row 1, column 2"):
        model.predict(matrix(rows))
    assert model.counts.declined == 1


def test_columns_of_mixed_kinds_need_no_frame(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "age": generator.integers(18, 90, 300).astype(float),
            "city": generator.choice(["Oslo", "Rome", "Bonn"], 300),
        }
    )
    frame.loc[::7, "age"] = np.nan
    transformer = make_column_transformer(
        (make_pipeline(SimpleImputer(), StandardScaler()), ["age"]),
        (OneHotEncoder(handle_unknown="ignore"), ["city"]),
    )
    pipeline = make_pipeline(transformer, LogisticRegression()).fit(frame, frame["city"] == "Rome")
    model = _compiled(pipeline, tmp_path)
    assert {each.engine for each in model.compile_report.choices} == {"numpy"}

    asked = pd.DataFrame({"age": [31.0, np.nan, 50.0], "city": ["Rome", "Oslo", "Nowhere"]})
    request = ask("predict_proba", age=asked["age"], city=asked["city"].to_numpy(object))
    assert np.allclose(
        only(model.predict(request)), pipeline.predict_proba(asked), rtol=1e-12, atol=0
    )
    whole = ask("predict_proba", age=np.array([31, 50]), city=np.array(["Rome", "Oslo"], object))
    expected = pipeline.predict_proba(pd.DataFrame({"age": [31, 50], "city": ["Rome", "Oslo"]}))
    assert np.allclose(only(model.predict(whole)), expected, rtol=1e-12, atol=0)
    assert model.counts.answered == 2
    with pytest.raises(InvalidInput, match="column 'city' is missing"):
        model.predict(ask(age=np.array([1.0])))


def test_off_leaves_the_model_as_it_is(tmp_path: Path) -> None:
    path = _saved(FOREST, tmp_path)
    for off in ("off", False):  # YAML reads a bare off as false
        assert type(load(path, "sklearn", parameters={"compile": off})) is SklearnModel


def test_the_default_tries_exact_engines_only(tmp_path: Path) -> None:
    report = _compiled(FOREST, tmp_path).compile_report
    assert report.mode == "auto"
    assert {each.tier for each in report.engines} == {"exact"}


def test_a_model_without_an_engine_is_served_by_its_framework_and_says_why(
    tmp_path: Path,
) -> None:
    neighbours = make_pipeline(StandardScaler(), KNeighborsClassifier()).fit(ROWS, CLASSES)
    model = _compiled(neighbours, tmp_path)
    assert not model.compile_report.is_compiled
    assert "no engine was accepted" in model.compile_report.note
    assert "no exact engine for KNeighborsClassifier" in model.compile_report.engines[0].reason
    assert np.array_equal(only(model.predict(matrix(ROWS))), neighbours.predict(ROWS))


def test_an_absent_library_is_named_with_its_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "treelite", None)
    report = _compiled(FOREST, tmp_path).compile_report
    (absent,) = [each for each in report.engines if each.name == "treelite"]
    assert absent.reason == "treelite is not installed: salver[compile] brings it"
    assert report.is_compiled


def test_the_budget_bounds_what_is_tried_and_the_report_says_so(tmp_path: Path) -> None:
    report = _compiled(FOREST, tmp_path, compile_budget_s=0).compile_report
    assert report.skipped == ("direct", "treelite")
    assert not report.is_compiled


def test_the_report_travels_as_json(tmp_path: Path) -> None:
    report = _compiled(FOREST, tmp_path, compile="fast").compile_report
    assert msgspec.json.decode(msgspec.json.encode(report), type=CompileReport) == report


@pytest.mark.parametrize("kind", ["json", "csv", "npy"])
def test_the_users_sample_is_probed_too(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"sample.{kind}"
    if kind == "json":
        path.write_text(json.dumps({"instances": ROWS[:50].tolist()}))
    elif kind == "csv":
        np.savetxt(path, ROWS[:50], delimiter=",")
    else:
        np.save(path, ROWS[:50])
    without = _compiled(FOREST, tmp_path).compile_report.probe_rows
    given = _compiled(FOREST, tmp_path, sample=str(path)).compile_report.probe_rows
    assert given == without + 50


@pytest.mark.parametrize("text", ["[[1, 2]]", "{}", "[]", '[["a", 1, 2, 3, 4, 5]]', "nonsense"])
def test_a_sample_of_something_else_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "sample.json").write_text(text)
    with pytest.raises(LoadFailed, match=r"holds no rows of its 6 columns"):
        _compiled(FOREST, tmp_path, sample=str(tmp_path / "sample.json"))


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"compile": "quick"}, "compile is 'quick'; give auto, exact, fast or off"),
        ({"compile_check": "often"}, "compile_check is 'often'; give a number from 0 to 1"),
        ({"compile_check": 2}, "compile_check is 2; give a number from 0 to 1"),
        ({"compile_budget_s": -1}, "compile_budget_s is -1"),
    ],
)
def test_a_setting_that_means_nothing_fails_the_load(
    tmp_path: Path, parameters: dict[str, Any], message: str
) -> None:
    with pytest.raises(LoadFailed, match=message):
        load(_saved(FOREST, tmp_path), "sklearn", parameters=parameters)
