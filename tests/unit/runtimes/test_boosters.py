"""The XGBoost and LightGBM runtimes against the libraries themselves."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import joblib
import lightgbm
import numpy as np
import pandas as pd
import pytest
import xgboost
from tests import models
from tests.unit.runtimes.requests import arrays, ask, load, matrix, only

from salver.errors import InvalidInput, LoadFailed
from salver.runtimes.warmup import warmup_request

ROWS, CLASSES = models.wide_rows(200, 6)
NAMES = tuple("abcdef")


def xgboost_trained(objective: str, names: tuple[str, ...] = (), **more: Any) -> Any:
    target = CLASSES + (ROWS[:, 3] > 1) if "multi" in objective else CLASSES
    data = xgboost.DMatrix(ROWS, target, feature_names=list(names) or None)
    return xgboost.train({"objective": objective, "nthread": 1, **more}, data, 4)


@pytest.mark.parametrize("suffix", [".json", ".ubj", ".bst", ".model", ".joblib"])
def test_every_file_format_of_xgboost_predicts_like_xgboost(tmp_path: Path, suffix: str) -> None:
    booster = xgboost_trained("binary:logistic")
    path = tmp_path / f"model{suffix}"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        joblib.dump(booster, path) if suffix == ".joblib" else booster.save_model(path)
    answer = only(load(path, "xgboost").predict(matrix(ROWS)))
    np.testing.assert_array_equal(answer, booster.predict(xgboost.DMatrix(ROWS)))


@pytest.mark.parametrize(
    ("objective", "more"),
    [
        ("binary:logistic", {}),
        ("binary:logitraw", {}),
        ("reg:squarederror", {}),
        ("count:poisson", {}),
        ("multi:softprob", {"num_class": 3}),
        ("multi:softmax", {"num_class": 3}),
        ("binary:logistic", {"booster": "dart"}),
        ("reg:squarederror", {"booster": "gblinear"}),
    ],
)
def test_every_output_of_xgboost_is_its_own(
    tmp_path: Path, objective: str, more: dict[str, Any]
) -> None:
    booster = xgboost_trained(objective, **more)
    booster.save_model(tmp_path / "m.json")
    model = load(tmp_path / "m.json", "xgboost")
    data = xgboost.DMatrix(ROWS[:9])
    offered = ["predict", "margin", "contributions"]
    if more.get("booster") != "gblinear":
        offered.append("leaf")
    answers = arrays(model.predict(matrix(ROWS[:9], *offered)))
    np.testing.assert_array_equal(answers["predict"], booster.predict(data))
    np.testing.assert_array_equal(answers["margin"], booster.predict(data, output_margin=True))
    np.testing.assert_array_equal(
        answers["contributions"], booster.predict(data, pred_contribs=True)
    )
    if "leaf" in offered:
        np.testing.assert_array_equal(answers["leaf"], booster.predict(data, pred_leaf=True))
    described = {each.name: each for each in model.metadata.outputs}
    for name, answer in answers.items():
        assert described[name].shape == (-1, *answer.shape[1:])


def test_nan_is_a_missing_value_to_a_booster(tmp_path: Path) -> None:
    rows = ROWS[:5].copy()
    rows[2, 0] = np.nan
    booster = xgboost_trained("binary:logistic")
    booster.save_model(tmp_path / "m.ubj")
    model = load(tmp_path / "m.ubj", "xgboost")
    assert not model.metadata.forbids_nan
    expected = booster.predict(xgboost.DMatrix(rows))
    np.testing.assert_array_equal(only(model.predict(matrix(rows))), expected)


def test_columns_of_a_booster_may_come_in_any_order(tmp_path: Path) -> None:
    booster = xgboost_trained("binary:logistic", NAMES)
    booster.save_model(tmp_path / "m.json")
    model = load(tmp_path / "m.json", "xgboost")
    assert model.metadata.column_names == NAMES
    columns = {name: ROWS[:7, index] for index, name in reversed(list(enumerate(NAMES)))}
    expected = booster.predict(xgboost.DMatrix(ROWS[:7], feature_names=list(NAMES)))
    np.testing.assert_array_equal(only(model.predict(ask(**columns))), expected)
    np.testing.assert_array_equal(only(model.predict(matrix(ROWS[:7]))), expected)


def frame_of_cities(second: str = "Genève") -> pd.DataFrame:
    cities = np.array(["Bern", second, "Oslo", "Rom"])[np.arange(80) % 4]
    return pd.DataFrame({"age": np.arange(80.0), "city": pd.Categorical(cities)})


def xgboost_of_cities(frame: pd.DataFrame) -> Any:
    target = frame["city"].cat.codes.to_numpy() + (frame["age"] > 60).to_numpy() > 1
    data = xgboost.DMatrix(frame, target, enable_categorical=True)
    return xgboost.train({"objective": "binary:logistic", "nthread": 1}, data, 5)


def test_text_categories_of_xgboost_are_coded_as_it_codes_them(tmp_path: Path) -> None:
    frame = frame_of_cities("Geneva")
    booster = xgboost_of_cities(frame)
    booster.save_model(tmp_path / "m.json")
    model = load(tmp_path / "m.json", "xgboost")
    assert model.metadata.column_datatypes == ("FP32", "BYTES")
    answer = only(model.predict(ask(city=frame["city"].astype(str), age=frame["age"])))
    np.testing.assert_array_equal(answer, booster.inplace_predict(frame))
    with pytest.raises(InvalidInput, match="no category 'Paris'"):
        model.predict(ask(city=["Paris"], age=[1.0]))


def test_categories_that_xgboost_stores_cut_are_taken_by_code(tmp_path: Path) -> None:
    frame = frame_of_cities("Genève")
    booster = xgboost_of_cities(frame)
    booster.save_model(tmp_path / "m.json")
    model = load(tmp_path / "m.json", "xgboost")
    assert model.metadata.column_datatypes == ("FP32", "FP32")
    answer = only(model.predict(ask(city=frame["city"].cat.codes, age=frame["age"])))
    np.testing.assert_array_equal(answer, booster.inplace_predict(frame))


def test_text_categories_of_lightgbm_are_coded_as_it_codes_them(tmp_path: Path) -> None:
    frame = frame_of_cities()
    target = (frame["city"] == "Genève").to_numpy() | (frame["age"] > 60).to_numpy()
    booster = lightgbm.train(
        {"objective": "binary", "verbose": -1, "num_threads": 1, "min_data_in_leaf": 2},
        lightgbm.Dataset(frame, target),
        5,
    )
    booster.save_model(tmp_path / "m.txt")
    model = load(tmp_path / "m.txt", "lightgbm")
    assert model.metadata.column_datatypes == ("FP64", "BYTES")
    strange = pd.DataFrame({"age": [3.0], "city": pd.Categorical(["Paris"])})
    for rows in (frame, strange):
        texts = rows["city"].astype(str).to_numpy()
        answer = only(model.predict(ask(city=texts, age=rows["age"].to_numpy())))
        np.testing.assert_array_equal(answer, booster.predict(rows))


@pytest.mark.parametrize("objective", ["binary", "regression", "multiclass"])
def test_every_output_of_lightgbm_is_its_own(tmp_path: Path, objective: str) -> None:
    parameters = {"objective": objective, "verbose": -1, "num_threads": 1}
    target = CLASSES
    if objective == "multiclass":
        parameters["num_class"] = 3
        target = CLASSES + (ROWS[:, 3] > 1)
    booster = lightgbm.train(parameters, lightgbm.Dataset(ROWS, target), 4)
    booster.save_model(tmp_path / "m.txt")
    model = load(tmp_path / "m.txt", "lightgbm")
    assert model.metadata.column_names == ()
    for rows in (ROWS[:9], ROWS[:9].astype(np.float32), np.ones((2, 6), dtype=np.int32)):
        answers = arrays(
            model.predict(matrix(rows, "predict", "raw_score", "leaf", "contributions"))
        )
        np.testing.assert_array_equal(answers["predict"], booster.predict(rows))
        np.testing.assert_array_equal(answers["raw_score"], booster.predict(rows, raw_score=True))
        np.testing.assert_array_equal(answers["leaf"], booster.predict(rows, pred_leaf=True))
        np.testing.assert_array_equal(
            answers["contributions"], booster.predict(rows, pred_contrib=True)
        )
    for described in model.metadata.outputs:
        assert described.shape == (-1, *answers[described.name].shape[1:])


def test_a_pickled_lightgbm_booster_is_loaded(tmp_path: Path) -> None:
    predict = models.save_lightgbm(tmp_path / "m.txt", trees=3, width=6)
    joblib.dump(lightgbm.Booster(model_file=str(tmp_path / "m.txt")), tmp_path / "m.joblib")
    model = load(tmp_path / "m.joblib", "lightgbm")
    np.testing.assert_array_equal(only(model.predict(matrix(ROWS))), predict(ROWS))


def test_boosters_answer_their_warm_up_request(tmp_path: Path) -> None:
    models.save_xgboost(tmp_path / "m.json", trees=2)
    models.save_lightgbm(tmp_path / "m.txt", trees=2)
    for file, runtime in (("m.json", "xgboost"), ("m.txt", "lightgbm")):
        model = load(tmp_path / file, runtime)
        request = warmup_request(model.metadata)
        assert request is not None
        assert len(only(model.predict(request))) == 1


@pytest.mark.parametrize("runtime", ["xgboost", "lightgbm"])
@pytest.mark.parametrize("content", [b"", b'{"learner": {}}', b"tree\nversion=v4\nx", b"{L\x00"])
def test_a_broken_booster_fails_with_the_librarys_reason_on_one_line(
    tmp_path: Path, runtime: str, content: bytes
) -> None:
    path = tmp_path / "broken.bst"
    path.write_bytes(content)
    with pytest.raises(LoadFailed, match="could not load") as caught:
        load(path, runtime)
    assert "\n" not in str(caught.value)
    assert "Stack trace" not in str(caught.value)


def test_a_matrix_of_the_wrong_width_is_the_callers_fault(tmp_path: Path) -> None:
    models.save_xgboost(tmp_path / "m.json", trees=2)
    models.save_lightgbm(tmp_path / "m.txt", trees=2)
    for file, runtime in (("m.json", "xgboost"), ("m.txt", "lightgbm")):
        with pytest.raises(InvalidInput, match="refused the input"):
            load(tmp_path / file, runtime).predict(matrix(np.ones((2, 3))))
