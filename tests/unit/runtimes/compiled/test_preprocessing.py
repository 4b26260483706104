"""Steps in NumPy against scikit-learn's, and the options that are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.feature_selection import SelectKBest
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    MaxAbsScaler,
    MinMaxScaler,
    OneHotEncoder,
    OrdinalEncoder,
    PolynomialFeatures,
    RobustScaler,
    StandardScaler,
)
from sklearn.tree import DecisionTreeClassifier
from tests.unit.runtimes.compiled.subjects import sklearn_subject

from salver.runtimes.compiled.encoders import encoder_of
from salver.runtimes.compiled.ports import Declined, NotCompiled
from salver.runtimes.compiled.preprocessing import preparation_of

GENERATOR = np.random.default_rng(0)
ROWS = GENERATOR.standard_normal((60, 4)) * (1e-3, 1.0, 1e3, 1e6)
LABELS = (ROWS[:, 1] > 0).astype(int)
HOLED = np.where(GENERATOR.random(ROWS.shape) < 0.2, np.nan, ROWS)


@pytest.mark.parametrize(
    "step",
    [
        StandardScaler(),
        StandardScaler(with_mean=False),
        StandardScaler(with_std=False),
        MinMaxScaler((-1, 2)),
        MinMaxScaler(clip=True),
        RobustScaler(),
        RobustScaler(with_centering=False),
        MaxAbsScaler(),
        SelectKBest(k=2),
        SimpleImputer(),
        SimpleImputer(strategy="constant", fill_value=-1.0),
    ],
    ids=repr,
)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_a_step_gives_the_same_bits(step: Any, dtype: Any, tmp_path: Path) -> None:
    rows = HOLED if isinstance(step, SimpleImputer) else ROWS
    model = make_pipeline(step, DecisionTreeClassifier(max_depth=2)).fit(rows, LABELS)
    prepare = preparation_of(sklearn_subject(model, tmp_path), [step])
    given = (rows * 1.1).astype(dtype)
    before = given.copy()
    ours, theirs = prepare(given), step.transform(given)
    assert ours.dtype == theirs.dtype
    assert np.array_equal(ours, theirs, equal_nan=True)
    assert np.array_equal(given, before, equal_nan=True), "the caller's rows were written to"


def test_a_projection_agrees_to_rounding(tmp_path: Path) -> None:
    model = make_pipeline(PCA(2), LogisticRegression()).fit(ROWS, LABELS)
    prepare = preparation_of(sklearn_subject(model, tmp_path), [model[0]])
    assert np.allclose(prepare(ROWS), model[0].transform(ROWS), rtol=1e-12, atol=1e-6)


@pytest.mark.parametrize(
    ("step", "reason"),
    [
        (PolynomialFeatures(), "no engine for the step PolynomialFeatures"),
        (SimpleImputer(add_indicator=True), "adds an indicator"),
        (SimpleImputer(missing_values=-1), "takes -1 for missing"),
        (PCA(2, whiten=True), "PCA that whitens"),
        (RobustScaler(unit_variance=True), "unit_variance"),
        (OneHotEncoder(min_frequency=2, handle_unknown="ignore"), "groups rare categories"),
    ],
    ids=repr,
)
def test_a_step_that_is_not_known_is_named(step: Any, reason: str, tmp_path: Path) -> None:
    rows = np.round(ROWS / (1e-3, 1.0, 1e3, 1e6))
    rows = np.where(rows > 2, np.nan, rows) if "indicator" in reason else rows
    model = make_pipeline(step, GradientBoostingClassifier(n_estimators=2)).fit(rows, LABELS)
    with pytest.raises(NotCompiled, match=reason):
        preparation_of(sklearn_subject(model, tmp_path), [step])


COLUMNS = [
    np.array(["a", "b", "é", "a"], dtype=object),
    np.array([1.0, 3.0, np.nan, 1.0]),
]


def _as_wire(column: Any) -> Any:
    return np.array([each.encode() if isinstance(each, str) else each for each in column], object)


@pytest.mark.parametrize(
    "step",
    [
        OneHotEncoder(sparse_output=False),
        OneHotEncoder(sparse_output=False, drop="first"),
        OneHotEncoder(sparse_output=False, drop="if_binary", handle_unknown="ignore"),
        OneHotEncoder(sparse_output=False, dtype=np.float32),
        OrdinalEncoder(),
        OrdinalEncoder(encoded_missing_value=-5),
        OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1),
    ],
    ids=repr,
)
@pytest.mark.parametrize("column", [0, 1])
def test_an_encoder_gives_the_same_matrix(step: Any, column: int) -> None:
    values = COLUMNS[column]
    step.fit(values.reshape(-1, 1))
    encode = encoder_of(step)
    wire = _as_wire(values) if column == 0 else values
    for part in (slice(None), slice(0, 1), slice(2, 3)):
        ours, theirs = encode([wire[part]]), step.transform(values[part].reshape(-1, 1))
        assert ours.dtype == theirs.dtype
        assert np.array_equal(ours, theirs, equal_nan=True)


def test_an_unseen_value_is_as_the_encoder_has_it() -> None:
    column = COLUMNS[0].reshape(-1, 1)
    ignoring = OneHotEncoder(handle_unknown="ignore").fit(column)
    assert encoder_of(ignoring)([np.array([b"z"], object)]).tolist() == [[0.0, 0.0, 0.0]]
    ordinal = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1).fit(column)
    assert encoder_of(ordinal)([np.array([b"z", b"b"], object)]).tolist() == [[-1.0], [1.0]]
    with pytest.raises(Declined):
        encoder_of(OneHotEncoder().fit(column))([np.array([b"z"], object)])


def test_bytes_that_are_no_text_are_left_to_the_framework_to_refuse() -> None:
    ignoring = OneHotEncoder(handle_unknown="ignore").fit(COLUMNS[0].reshape(-1, 1))
    with pytest.raises(Declined):
        encoder_of(ignoring)([np.array([b"\xff\xfe"], object)])
