"""The scikit-learn runtime against scikit-learn itself."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import (
    LinearDiscriminantAnalysis,
    QuadraticDiscriminantAnalysis,
)
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import (
    AdaBoostClassifier,
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    IsolationForest,
    RandomForestClassifier,
    RandomForestRegressor,
    StackingClassifier,
    VotingClassifier,
)
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import (
    BayesianRidge,
    ElasticNet,
    HuberRegressor,
    Lasso,
    LinearRegression,
    LogisticRegression,
    MultiTaskLasso,
    Perceptron,
    Ridge,
    RidgeClassifier,
    SGDClassifier,
)
from sklearn.model_selection import GridSearchCV
from sklearn.multioutput import MultiOutputClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.svm import SVC, LinearSVC, LinearSVR
from sklearn.tree import DecisionTreeClassifier
from tests import models
from tests.unit.runtimes.requests import arrays, ask, load, matrix, only, texts

from salver.errors import InvalidInput, LoadFailed
from salver.inference.tensor import InferRequest
from salver.runtimes.warmup import warmup_request

ROWS, CLASSES = models.iris()
TARGETS = np.stack([ROWS.sum(axis=1), ROWS[:, 0] * 2], axis=1)
BINARY = (CLASSES > 0).astype(int)
NAMES = np.array(["setosa", "versicolor", "virginica"])[CLASSES]

ESTIMATORS: list[tuple[str, Any, Any]] = [
    ("logistic", LogisticRegression(max_iter=500), CLASSES),
    ("logistic_binary", LogisticRegression(max_iter=500), BINARY),
    ("logistic_names", LogisticRegression(max_iter=500), NAMES),
    ("logistic_bool", LogisticRegression(max_iter=500), BINARY.astype(bool)),
    ("perceptron", Perceptron(), CLASSES),
    ("sgd", SGDClassifier(random_state=0), CLASSES),
    ("ridge_classifier", RidgeClassifier(), CLASSES),
    ("linear_svc", LinearSVC(random_state=0), CLASSES),
    ("lda", LinearDiscriminantAnalysis(), CLASSES),
    ("lda_binary", LinearDiscriminantAnalysis(), BINARY),
    ("qda", QuadraticDiscriminantAnalysis(reg_param=0.1), CLASSES),
    ("svc", SVC(), CLASSES),
    ("svc_binary_names", SVC(), np.where(BINARY > 0, "a", "b")),
    ("tree", DecisionTreeClassifier(random_state=0), CLASSES),
    ("forest", RandomForestClassifier(5, random_state=0, n_jobs=-1), NAMES),
    ("extra_trees", ExtraTreesClassifier(5, random_state=0), CLASSES),
    ("gradient_boosting", GradientBoostingClassifier(n_estimators=5), CLASSES),
    ("hist_boosting", HistGradientBoostingClassifier(max_iter=5), CLASSES),
    ("ada_boost", AdaBoostClassifier(n_estimators=5), CLASSES),
    ("isolation", IsolationForest(n_estimators=5, random_state=0), None),
    ("bayes", GaussianNB(), CLASSES),
    ("neighbours", KNeighborsClassifier(), CLASSES),
    ("mlp", make_pipeline(StandardScaler(), MLPClassifier((4,), solver="lbfgs")), BINARY),
    ("dummy", DummyClassifier(strategy="most_frequent"), CLASSES),
    ("kmeans", KMeans(3, n_init=1, random_state=0), None),
    ("pca", PCA(2), None),
    ("scaled", make_pipeline(StandardScaler(), LogisticRegression(max_iter=500)), CLASSES),
    ("imputed", make_pipeline(SimpleImputer(), LogisticRegression(max_iter=500)), CLASSES),
    ("calibrated", CalibratedClassifierCV(GaussianNB(), cv=2), CLASSES),
    (
        "voting",
        VotingClassifier([("a", GaussianNB()), ("b", LogisticRegression(max_iter=500))]),
        CLASSES,
    ),
    (
        "stacking",
        StackingClassifier([("a", GaussianNB()), ("b", DecisionTreeClassifier())], cv=2),
        BINARY,
    ),
    ("grid", GridSearchCV(DecisionTreeClassifier(), {"max_depth": [1, 3]}, cv=2), CLASSES),
    ("linear", LinearRegression(), TARGETS[:, 0]),
    ("linear_two", LinearRegression(), TARGETS),
    ("linear_column", LinearRegression(), TARGETS[:, :1]),
    ("ridge", Ridge(), TARGETS),
    ("lasso", Lasso(0.1), TARGETS[:, 0]),
    ("elastic", ElasticNet(0.1), TARGETS[:, 0]),
    ("multi_lasso", MultiTaskLasso(0.1), TARGETS),
    ("bayesian", BayesianRidge(), TARGETS[:, 0]),
    ("huber", HuberRegressor(max_iter=1000), TARGETS[:, 0] + np.sin(ROWS[:, 1] * 9)),
    ("svr", LinearSVR(random_state=0, max_iter=100_000), TARGETS[:, 0]),
    ("gaussian_process", GaussianProcessRegressor(optimizer=None), TARGETS[:, 0]),
    ("forest_two", RandomForestRegressor(5, random_state=0), TARGETS),
    (
        "many_outputs",
        MultiOutputClassifier(GaussianNB()),
        np.stack([CLASSES, np.minimum(CLASSES, 1)], axis=1),
    ),
]


@pytest.fixture(params=ESTIMATORS, ids=[each[0] for each in ESTIMATORS])
def fitted(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Any, Path]:
    name, estimator, target = request.param
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        estimator.fit(ROWS) if target is None else estimator.fit(ROWS, target)
    path = tmp_path / f"{name}.joblib"
    joblib.dump(estimator, path)
    return estimator, path


def assert_same(answer: Any, expected: Any) -> None:
    if isinstance(expected, list):
        for index, each in enumerate(expected):
            np.testing.assert_array_equal(answer[:, index, : each.shape[1]], each)
        return
    if expected.dtype.kind in "UO":
        assert answer.ravel().tolist() == texts(expected)
        return
    assert answer.dtype == expected.dtype
    assert answer.shape == expected.shape
    np.testing.assert_array_equal(answer, expected)


@pytest.mark.parametrize("count", [1, 2, 33])
def test_every_output_is_the_estimators_own_answer(fitted: tuple[Any, Path], count: int) -> None:
    estimator, path = fitted
    model = load(path, "sklearn")
    rows = ROWS[:count].copy()
    offered = [output.name for output in model.metadata.outputs]
    assert offered
    answers = arrays(model.predict(matrix(rows, *offered)))
    for name in offered:
        assert_same(answers[name], getattr(estimator, name)(rows))


def test_metadata_tells_the_datatype_and_shape_of_every_output(fitted: tuple[Any, Path]) -> None:
    _, path = fitted
    model = load(path, "sklearn")
    offered = tuple(output.name for output in model.metadata.outputs)
    response = model.predict(matrix(ROWS[:3], *offered))
    for described, tensor in zip(model.metadata.outputs, response.outputs, strict=True):
        assert described.datatype == tensor.datatype
        assert described.shape == (-1, *tensor.data.shape[1:])


def test_single_precision_rows_get_the_estimators_own_answer(fitted: tuple[Any, Path]) -> None:
    estimator, path = fitted
    rows = ROWS[:5].astype(np.float32)
    model = load(path, "sklearn")
    default = model.metadata.default_outputs[0]
    try:
        expected = getattr(estimator, default)(rows)
    except ValueError:  # KMeans takes only what it was fitted on.
        expected = getattr(estimator, default)(rows.astype(np.float64))
    assert_same(only(model.predict(matrix(rows))), expected)


def test_nan_gets_a_refusal_or_the_estimators_own_answer(fitted: tuple[Any, Path]) -> None:
    estimator, path = fitted
    model = load(path, "sklearn")
    rows = ROWS[:3].copy()
    rows[1, 2] = np.nan
    default = model.metadata.default_outputs[0]
    try:
        expected = getattr(estimator, default)(rows)
    except ValueError:
        assert model.metadata.forbids_nan
        with pytest.raises(InvalidInput, match=r"NaN at row 1, column 2"):
            model.predict(matrix(rows))
    else:
        assert not model.metadata.forbids_nan
        assert_same(only(model.predict(matrix(rows))), expected)


def test_the_warm_up_request_is_answered(fitted: tuple[Any, Path]) -> None:
    _, path = fitted
    model = load(path, "sklearn")
    request = warmup_request(model.metadata)
    assert request is not None
    assert len(only(model.predict(request))) == 1


def test_infinity_is_refused_with_its_place(tmp_path: Path) -> None:
    models.save_sklearn_lr(tmp_path / "iris.joblib")
    model = load(tmp_path / "iris.joblib", "sklearn")
    with pytest.raises(InvalidInput, match="infinity at row 0, column 3"):
        model.predict(matrix([[1.0, 2.0, 3.0, np.inf]]))


def test_svc_without_probabilities_does_not_offer_them(tmp_path: Path) -> None:
    joblib.dump(SVC().fit(ROWS, CLASSES), tmp_path / "svc.joblib")
    model = load(tmp_path / "svc.joblib", "sklearn")
    assert [each.name for each in model.metadata.outputs] == ["predict", "decision_function"]
    with pytest.raises(InvalidInput, match="'predict_proba' is unknown"):
        model.predict(matrix(ROWS[:1], "predict_proba"))


def test_a_model_of_named_numbers_takes_a_matrix_without_a_warning(tmp_path: Path) -> None:
    predict = models.save_sklearn_frame(tmp_path / "iris.joblib")
    model = load(tmp_path / "iris.joblib", "sklearn")
    frame = pd.DataFrame(ROWS, columns=list(models.IRIS_COLUMNS))
    assert model.metadata.column_names == models.IRIS_COLUMNS
    np.testing.assert_array_equal(only(model.predict(matrix(ROWS))), predict(frame))


def test_columns_may_come_in_any_order_and_as_single_columns(tmp_path: Path) -> None:
    predict = models.save_sklearn_frame(tmp_path / "iris.joblib")
    model = load(tmp_path / "iris.joblib", "sklearn")
    frame = pd.DataFrame(ROWS, columns=list(models.IRIS_COLUMNS))
    columns = {name: frame[name].to_numpy() for name in reversed(models.IRIS_COLUMNS)}
    columns["petal_width"] = columns["petal_width"].reshape(-1, 1)
    np.testing.assert_array_equal(only(model.predict(ask(**columns))), predict(frame))


def test_a_missing_or_unknown_column_is_named(tmp_path: Path) -> None:
    models.save_sklearn_frame(tmp_path / "iris.joblib")
    model = load(tmp_path / "iris.joblib", "sklearn")
    columns = dict(zip(models.IRIS_COLUMNS, ROWS.T, strict=True))
    with pytest.raises(InvalidInput, match="column 'height' is unknown"):
        model.predict(ask(**columns, height=ROWS[:, 0]))
    del columns["sepal_width"]
    with pytest.raises(InvalidInput, match="column 'sepal_width' is missing"):
        model.predict(ask(**columns))
    with pytest.raises(InvalidInput, match="has 3 rows"):
        model.predict(ask(**columns, sepal_width=ROWS[:3, 0]))


def test_a_model_of_mixed_columns_takes_a_tensor_per_column(tmp_path: Path) -> None:
    predict = models.save_sklearn_mixed(tmp_path / "mixed.joblib")
    model = load(tmp_path / "mixed.joblib", "sklearn")
    assert model.metadata.column_names == ("age", "city")
    assert model.metadata.column_datatypes == ("FP64", "BYTES")
    assert [each.name for each in model.metadata.inputs] == ["age", "city"]
    frame = pd.DataFrame({"age": [25.0, 45.0], "city": ["Rom", "Nowhere"]})
    answer = only(model.predict(ask(city=["Rom", "Nowhere"], age=[25.0, 45.0])))
    assert answer.tolist() == texts(predict(frame))
    assert model.metadata.outputs[0].datatype == "BYTES"


def test_whole_numbers_do_for_a_numeric_column(tmp_path: Path) -> None:
    predict = models.save_sklearn_mixed(tmp_path / "mixed.joblib")
    model = load(tmp_path / "mixed.joblib", "sklearn")
    frame = pd.DataFrame({"age": [25], "city": ["Rom"]})
    answer = only(model.predict(ask(city=[["Rom"]], age=np.array([25], dtype=np.int32))))
    assert answer.tolist() == texts(predict(frame))


def test_an_unknown_category_is_refused_with_the_reason(tmp_path: Path) -> None:
    encoder = OneHotEncoder().fit(pd.DataFrame({"city": ["Rom", "Bern"]}))
    joblib.dump(encoder, tmp_path / "encoder.joblib")
    model = load(tmp_path / "encoder.joblib", "sklearn")
    assert model.metadata.default_outputs == ("transform",)
    np.testing.assert_array_equal(only(model.predict(ask(city=["Rom"]))), [[0.0, 1.0]])
    with pytest.raises(InvalidInput, match="unknown categories"):
        model.predict(ask(city=["Oslo"]))


def test_mixed_columns_without_names_get_names_of_their_own(tmp_path: Path) -> None:
    rows = np.array([[1, "a"], [2, "b"]], dtype=object)
    joblib.dump(OneHotEncoder().fit(rows), tmp_path / "encoder.joblib")
    model = load(tmp_path / "encoder.joblib", "sklearn")
    assert model.metadata.column_datatypes == ("FP64", "BYTES")
    answer = only(model.predict(ask(x0=[2.0], x1=["a"])))
    np.testing.assert_array_equal(answer, [[0.0, 1.0, 1.0, 0.0]])


def test_a_text_model_takes_a_vector_of_strings(tmp_path: Path) -> None:
    predict = models.save_sklearn_text(tmp_path / "text.joblib")
    model = load(tmp_path / "text.joblib", "sklearn")
    (described,) = model.metadata.inputs
    assert (described.datatype, described.shape) == ("BYTES", (-1,))
    sentences = ["a good day", "so bad"]
    np.testing.assert_array_equal(only(model.predict(matrix(sentences))), predict(sentences))


def test_a_skops_file_is_loaded(tmp_path: Path) -> None:
    predict = models.save_sklearn_skops(tmp_path / "iris.skops")
    model = load(tmp_path / "iris.skops", "sklearn")
    np.testing.assert_array_equal(only(model.predict(matrix(ROWS))), predict(ROWS))


def test_sklearn_wrappers_of_xgboost_and_lightgbm_are_served(tmp_path: Path) -> None:
    import lightgbm
    import xgboost

    for wrapper in (
        xgboost.XGBClassifier(n_estimators=3, n_jobs=1),
        lightgbm.LGBMClassifier(n_estimators=3, verbose=-1, n_jobs=1),
    ):
        wrapper.fit(pd.DataFrame(ROWS, columns=list(models.IRIS_COLUMNS)), CLASSES)
        frame = pd.DataFrame(ROWS[:9], columns=list(models.IRIS_COLUMNS))
        path = tmp_path / f"{type(wrapper).__name__}.joblib"
        joblib.dump(wrapper, path)
        model = load(path, "sklearn")
        answers = arrays(model.predict(matrix(ROWS[:9], "predict", "predict_proba")))
        np.testing.assert_array_equal(answers["predict"], wrapper.predict(frame))
        np.testing.assert_array_equal(answers["predict_proba"], wrapper.predict_proba(frame))


def test_many_jobs_are_cut_to_the_threads_granted(tmp_path: Path) -> None:
    forest = RandomForestClassifier(3, n_jobs=-1).fit(ROWS, CLASSES)
    joblib.dump(forest, tmp_path / "forest.joblib")
    model = load(tmp_path / "forest.joblib", "sklearn", threads=1, parameters={"compile": "off"})
    assert model._computations["predict"].__self__.n_jobs == 1


def test_another_version_does_not_fail_the_load(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sklearn.base

    with monkeypatch.context() as patch:
        patch.setattr(sklearn.base, "__version__", "1.0.0")
        joblib.dump(GaussianNB().fit(ROWS, CLASSES), tmp_path / "old.joblib")
    assert len(only(load(tmp_path / "old.joblib", "sklearn").predict(matrix(ROWS)))) == 150


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"\x80\x04garbage", "could not load"), (b"", "EOFError"), (b"PK\x03\x04x", "could not load")],
)
def test_an_unreadable_artifact_fails_with_the_reason(
    tmp_path: Path, content: bytes, reason: str
) -> None:
    path = tmp_path / "bad.joblib"
    path.write_bytes(content)
    with pytest.raises(LoadFailed, match=reason) as caught:
        load(path, "sklearn")
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_pickle_of_no_model_fails_with_what_it_is(tmp_path: Path) -> None:
    joblib.dump({"weights": [1]}, tmp_path / "dict.joblib")
    with pytest.raises(LoadFailed, match="holds a dict"):
        load(tmp_path / "dict.joblib", "sklearn")


def test_a_wrong_width_is_the_callers_fault(tmp_path: Path) -> None:
    models.save_sklearn_lr(tmp_path / "iris.joblib")
    model = load(tmp_path / "iris.joblib", "sklearn")
    with pytest.raises(InvalidInput):
        model.predict(InferRequest(matrix([[1.0, 2.0]]).inputs))


def test_trees_saved_by_skops_are_read(tmp_path: Path) -> None:
    skops = pytest.importorskip("skops.io")
    rows, classes = models.iris()
    forest = RandomForestClassifier(5, random_state=0).fit(rows, classes)
    path = tmp_path / "forest.skops"
    skops.dump(forest, path)
    assert (only(load(path, "sklearn").predict(matrix(rows))) == forest.predict(rows)).all()
