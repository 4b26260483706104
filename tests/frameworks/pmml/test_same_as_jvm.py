"""Our reader's answers against pypmml's on the JVM: the same documents, the same rows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pypmml
import pytest
from sklearn.datasets import load_iris
from sklearn.ensemble import GradientBoostingRegressor, RandomForestClassifier
from tests.frameworks.pmml import documents as d
from tests.unit.runtimes.requests import arrays, ask, load

from salver.runtimes.pmml_jvm import JvmPmmlModel

RANDOM = np.random.default_rng(5)
ROWS: dict[str, Any] = {
    "a": RANDOM.normal(size=120).round(2),
    "b": RANDOM.normal(size=120).round(2),
    "c": RANDOM.choice(np.array(["red", "green", "blue"], dtype=object), 120),
    "n": RANDOM.integers(-3, 4, 120),
}


@pytest.fixture(scope="module", autouse=True)
def jvm() -> Iterator[None]:
    yield
    pypmml.PMMLContext.shutdown()


def both(path: Path, text: str, rows: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Our outputs, by pypmml's names, and pypmml's."""
    path.write_text(text)
    own = load(path, "pmml", parameters={"engine": "own"})
    jvm = load(path, "pmml", parameters={"engine": "jvm"})
    assert isinstance(jvm, JvmPmmlModel)
    names = [each.name for each in own.metadata.outputs]
    found = arrays(own.predict(ask(*names, **rows)))
    labels = {each.name: each.labels for each in own.metadata.outputs}
    if "probability" in found and labels["probability"]:
        matrix = found.pop("probability")
        for index, label in enumerate(labels["probability"]):
            found[f"probability_{label}"] = matrix[:, index]
    found["predicted_y"] = found.pop("predict")
    return found, arrays(jvm.predict(ask(**rows)))


def check(path: Path, text: str, rows: dict[str, Any] = ROWS, names: tuple[str, ...] = ()) -> None:
    found, wanted = both(path, text, rows)
    shared = set(names) or found.keys() & wanted.keys()
    assert shared, (found.keys(), wanted.keys())
    for name in shared:
        if wanted[name].dtype == np.object_:
            assert found[name].tolist() == wanted[name].tolist(), name
        else:
            np.testing.assert_allclose(
                found[name].astype(float), wanted[name], rtol=1e-9, atol=1e-12, err_msg=name
            )


def with_missing(rows: dict[str, Any]) -> dict[str, Any]:
    random = np.random.default_rng(1)
    holes = {name: random.random(len(column)) < 0.15 for name, column in rows.items()}
    found = {}
    for name, column in rows.items():
        if column.dtype == np.object_:
            found[name] = np.where(holes[name], "", column).astype(object)
        else:
            found[name] = np.where(holes[name], np.nan, column.astype(float))
    return found


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("is_class", [False, True])
def test_random_trees(tmp_path: Path, seed: int, is_class: bool) -> None:
    node = d.random_tree(np.random.default_rng(seed), is_class=is_class)
    target = d.TARGET_CLASS if is_class else d.TARGET_NUMBER
    model = d.tree_model(node, is_class=is_class)
    check(tmp_path / "m.pmml", d.document(d.FIELDS + target, model))


# pypmml goes on to the next child where a value is missing and the strategy says to stop there:
# those are held against the specification, in tests/unit.
@pytest.mark.parametrize("strategy", ["none", "defaultChild"])
@pytest.mark.parametrize("last", ["returnNullPrediction", "returnLastPrediction"])
@pytest.mark.parametrize("seed", range(4))
def test_trees_with_missing_values(tmp_path: Path, strategy: str, last: str, seed: int) -> None:
    random = np.random.default_rng(seed)
    node = d.random_tree(random, is_class=True, only_simple=True)
    attributes = f'missingValueStrategy="{strategy}" noTrueChildStrategy="{last}"'
    model = d.tree_model(node, is_class=True, attributes=attributes)
    text = d.document(d.FIELDS + d.TARGET_CLASS, model)
    check(tmp_path / "m.pmml", text, with_missing(ROWS))


TERMS = (
    '<NumericPredictor name="a" coefficient="1.5"/>'
    '<NumericPredictor name="b" exponent="2" coefficient="-0.3"/>'
    '<CategoricalPredictor name="c" value="red" coefficient="0.7"/>'
    '<CategoricalPredictor name="c" value="blue" coefficient="-1.1"/>'
    '<PredictorTerm coefficient="0.2"><FieldRef field="a"/><FieldRef field="n"/></PredictorTerm>'
)


def regression(attributes: str, *tables: str) -> str:
    inner = "".join(tables)
    return f"<RegressionModel {attributes}>{d.schema(d.NAMES)}{inner}</RegressionModel>"


@pytest.mark.parametrize("method", ["none", "softmax", "logit", "exp", "probit", "cloglog"])
def test_regressions(tmp_path: Path, method: str) -> None:
    table = f'<RegressionTable intercept="0.25">{TERMS}</RegressionTable>'
    model = regression(f'functionName="regression" normalizationMethod="{method}"', table)
    check(tmp_path / "m.pmml", d.document(d.FIELDS + d.TARGET_NUMBER, model))


@pytest.mark.parametrize("method", ["logit", "softmax", "probit", "cauchit", "loglog", "cloglog"])
def test_two_classes(tmp_path: Path, method: str) -> None:
    tables = (
        f'<RegressionTable targetCategory="yes" intercept="0.25">{TERMS}</RegressionTable>',
        '<RegressionTable targetCategory="no" intercept="0"/>',
    )
    attributes = f'functionName="classification" normalizationMethod="{method}"'
    target = d.categorical("y", ["no", "yes"])
    model = regression(attributes, *tables)
    check(tmp_path / "m.pmml", d.document(d.FIELDS + target, model))


@pytest.mark.parametrize("method", ["softmax", "simplemax"])
def test_several_classes(tmp_path: Path, method: str) -> None:
    tables = [
        f'<RegressionTable targetCategory="{name}" intercept="{9 + place}">'
        f'<NumericPredictor name="a" coefficient="{place - 1}"/></RegressionTable>'
        for place, name in enumerate(d.CLASSES)
    ]
    attributes = f'functionName="classification" normalizationMethod="{method}"'
    model = regression(attributes, *tables)
    check(tmp_path / "m.pmml", d.document(d.FIELDS + d.TARGET_CLASS, model))


@pytest.mark.parametrize("method", ["sum", "average", "weightedAverage", "median"])
def test_ensembles_of_numbers(tmp_path: Path, method: str) -> None:
    random = np.random.default_rng(3)
    trees = [d.tree_model(d.random_tree(random, is_class=False), is_class=False) for _ in range(6)]
    model = d.ensemble(method, trees, is_class=False)
    check(tmp_path / "m.pmml", d.document(d.FIELDS + d.TARGET_NUMBER, model), ROWS)


@pytest.mark.parametrize("method", ["majorityVote", "weightedMajorityVote", "average"])
def test_ensembles_of_classes(tmp_path: Path, method: str) -> None:
    random = np.random.default_rng(4)
    trees = [d.tree_model(d.random_tree(random, is_class=True), is_class=True) for _ in range(7)]
    model = d.ensemble(method, trees, is_class=True)
    # pypmml divides weighted votes by their number, and so has probabilities beyond 1.
    names = ("predicted_y",) if method.startswith("weighted") else ()
    check(tmp_path / "m.pmml", d.document(d.FIELDS + d.TARGET_CLASS, model), ROWS, names)


def test_the_first_model_whose_predicate_holds(tmp_path: Path) -> None:
    random = np.random.default_rng(6)
    trees = [d.tree_model(d.random_tree(random, is_class=True), is_class=True) for _ in range(2)]
    first = '<SimplePredicate field="a" operator="lessThan" value="0"/>'
    model = d.ensemble("selectFirst", trees, is_class=True).replace(
        "<True/><Tree", f"{first}<Tree", 1
    )
    check(tmp_path / "m.pmml", d.document(d.FIELDS + d.TARGET_CLASS, model))


def chain() -> str:
    """A regression whose output is the input of the next."""
    first = (
        f'<RegressionModel functionName="regression">{d.schema(d.NAMES, "")}'
        '<Output><OutputField name="score" optype="continuous" dataType="double" '
        f'feature="predictedValue"/></Output><RegressionTable intercept="1">{TERMS}'
        "</RegressionTable></RegressionModel>"
    )
    second = (
        '<RegressionModel functionName="classification" normalizationMethod="logit">'
        f"{d.schema(['score'])}"
        '<RegressionTable targetCategory="yes" intercept="0">'
        '<NumericPredictor name="score" coefficient="0.5"/>'
        '</RegressionTable><RegressionTable targetCategory="no" intercept="0"/>'
        "</RegressionModel>"
    )
    return d.ensemble("modelChain", [first, second], is_class=True)


def test_a_chain_of_models(tmp_path: Path) -> None:
    target = d.categorical("y", ["no", "yes"])
    check(tmp_path / "m.pmml", d.document(d.FIELDS + target, chain()))


DERIVED = {
    "continuous": '<NormContinuous field="a"><LinearNorm orig="-1" norm="0"/>'
    '<LinearNorm orig="0" norm="3"/><LinearNorm orig="2" norm="4"/></NormContinuous>',
    "extreme": '<NormContinuous field="a" outliers="asExtremeValues">'
    '<LinearNorm orig="-1" norm="0"/><LinearNorm orig="1" norm="3"/></NormContinuous>',
    "discrete": '<NormDiscrete field="c" value="green"/>',
    "bins": '<Discretize field="b" dataType="double"><DiscretizeBin binValue="1">'
    '<Interval closure="openClosed" rightMargin="-0.5"/></DiscretizeBin>'
    '<DiscretizeBin binValue="2"><Interval closure="openOpen" leftMargin="-0.5" rightMargin="1"/>'
    "</DiscretizeBin></Discretize>",
    "map": '<MapValues outputColumn="v" dataType="double" defaultValue="7"><FieldColumnPair '
    'field="c" column="k"/><InlineTable><row><k>red</k><v>2.5</v></row><row><k>blue</k><v>-1</v>'
    "</row></InlineTable></MapValues>",
    "if": '<Apply function="if"><Apply function="greaterThan"><FieldRef field="a"/>'
    '<Constant dataType="double">0</Constant></Apply><FieldRef field="b"/>'
    '<Constant dataType="double">-5</Constant></Apply>',
    "isIn": '<Apply function="if"><Apply function="isIn"><FieldRef field="c"/><Constant>red'
    "</Constant><Constant>blue</Constant></Apply><Constant>1</Constant><Constant>2</Constant>"
    "</Apply>",
    "logic": '<Apply function="if"><Apply function="and"><Apply function="lessThan"><FieldRef '
    'field="a"/><Constant>0.5</Constant></Apply><Apply function="not"><Apply function="equal">'
    '<FieldRef field="c"/><Constant dataType="string">red</Constant></Apply></Apply></Apply>'
    "<Constant>1</Constant><Constant>0</Constant></Apply>",
}
for _name in ("+", "-", "*", "/", "min", "max", "sum", "avg"):
    DERIVED[_name] = f'<Apply function="{_name}"><FieldRef field="a"/><FieldRef field="b"/></Apply>'
for _name in ("abs", "exp", "floor", "ceil", "round"):
    DERIVED[_name] = f'<Apply function="{_name}"><FieldRef field="a"/></Apply>'
for _name in ("ln", "sqrt", "log10"):
    DERIVED[_name] = (
        f'<Apply function="{_name}"><Apply function="abs"><FieldRef field="a"/></Apply></Apply>'
    )


@pytest.mark.parametrize("is_local", [True, False])
@pytest.mark.parametrize("name", DERIVED)
def test_derived_fields(tmp_path: Path, name: str, is_local: bool) -> None:
    field = (
        f'<DerivedField name="x" optype="continuous" dataType="double">{DERIVED[name]}'
        "</DerivedField>"
    )
    local = f"<LocalTransformations>{field}</LocalTransformations>" if is_local else ""
    whole = "" if is_local else f"<TransformationDictionary>{field}</TransformationDictionary>"
    term = '<NumericPredictor name="x" coefficient="1"/>'
    table = f'<RegressionTable intercept="0">{term}</RegressionTable>'
    model = regression('functionName="regression"', local, table)
    check(tmp_path / "m.pmml", d.document(d.FIELDS + d.TARGET_NUMBER, model, whole))


@pytest.mark.parametrize(
    ("treatment", "value"),
    [
        (' missingValueReplacement="0.75"', np.nan),
        (' outliers="asExtremeValues" lowValue="-0.5" highValue="0.5"', 3.0),
        (' outliers="asMissingValues" lowValue="-0.5" highValue="0.5"', 3.0),
    ],
)
def test_missing_and_outlying_values(tmp_path: Path, treatment: str, value: float) -> None:
    model = (
        f'<RegressionModel functionName="regression">{d.schema(d.NAMES, a=treatment)}'
        f'<RegressionTable intercept="0.25">{TERMS}</RegressionTable></RegressionModel>'
    )
    rows = {**ROWS, "a": np.where(np.arange(120) % 3 == 0, value, ROWS["a"])}
    check(tmp_path / "m.pmml", d.document(d.FIELDS + d.TARGET_NUMBER, model), rows)


def test_targets_and_output_fields(tmp_path: Path) -> None:
    output = (
        '<Output><OutputField name="predicted_y" optype="continuous" dataType="double" '
        'feature="predictedValue"/><OutputField name="twice" optype="continuous" '
        'dataType="double" feature="transformedValue"><Apply function="*"><FieldRef '
        'field="predicted_y"/><Constant dataType="double">2</Constant></Apply></OutputField>'
        "</Output>"
    )
    targets = (
        '<Targets><Target field="y" optype="continuous" rescaleFactor="3" rescaleConstant="1" '
        'min="-2" max="2"/></Targets>'
    )
    table = f'<RegressionTable intercept="0.25">{TERMS}</RegressionTable>'
    model = regression('functionName="regression"', output, targets, table)
    check(tmp_path / "m.pmml", d.document(d.FIELDS + d.TARGET_NUMBER, model))


@pytest.mark.parametrize("algorithm", ["pointsBelow", "pointsAbove"])
def test_a_scorecard_and_its_reasons(tmp_path: Path, algorithm: str) -> None:
    def part(field: str, base: int, code: str, *points: int) -> str:
        return (
            f'<Characteristic name="{field}_" baselineScore="{base}" reasonCode="{code}">'
            f'<Attribute partialScore="{points[0]}"><SimplePredicate field="{field}" '
            'operator="lessThan" value="0"/></Attribute>'
            f'<Attribute partialScore="{points[1]}"><True/></Attribute></Characteristic>'
        )

    output = (
        '<Output><OutputField name="predicted_y" optype="continuous" dataType="double" '
        'feature="predictedValue"/><OutputField name="why" optype="categorical" '
        'dataType="string" feature="reasonCode" rank="1"/></Output>'
    )
    model = (
        f'<Scorecard functionName="regression" initialScore="10" useReasonCodes="true" '
        f'reasonCodeAlgorithm="{algorithm}" baselineScore="5">{d.schema(d.NAMES)}{output}'
        f"<Characteristics>{part('a', 8, 'RA', 3, 21)}{part('b', 6, 'RB', 15, 2)}"
        "</Characteristics></Scorecard>"
    )
    check(tmp_path / "m.pmml", d.document(d.FIELDS + d.TARGET_NUMBER, model))


def general(attributes: str, cells: str) -> str:
    return (
        f"<GeneralRegressionModel {attributes}>{d.schema(d.NAMES)}<ParameterList>"
        '<Parameter name="p0" label="Intercept"/><Parameter name="p1" label="a"/>'
        '<Parameter name="p2" label="red"/></ParameterList><FactorList><Predictor name="c"/>'
        '</FactorList><CovariateList><Predictor name="a"/></CovariateList><PPMatrix><PPCell '
        'value="1" predictorName="a" parameterName="p1"/><PPCell value="red" predictorName="c" '
        f'parameterName="p2"/></PPMatrix><ParamMatrix>{cells}</ParamMatrix>'
        "</GeneralRegressionModel>"
    )


def weights(category: str, *betas: float) -> str:
    target = f'targetCategory="{category}" ' if category else ""
    return "".join(
        f'<PCell {target}parameterName="p{place}" df="1" beta="{beta}"/>'
        for place, beta in enumerate(betas)
    )


@pytest.mark.parametrize("link", ["identity", "log", "logit", "cloglog", "probit"])
def test_generalised_linear_models(tmp_path: Path, link: str) -> None:
    attributes = (
        f'functionName="regression" modelType="generalizedLinear" linkFunction="{link}" '
        'targetVariableName="y"'
    )
    model = general(attributes, weights("", 0.3, -0.8, 0.4))
    check(tmp_path / "m.pmml", d.document(d.FIELDS + d.TARGET_NUMBER, model))


def test_multinomial_logistic_regression(tmp_path: Path) -> None:
    attributes = (
        'functionName="classification" modelType="multinomialLogistic" targetVariableName="y" '
        'targetReferenceCategory="yes"'
    )
    cells = weights("no", 0.3, -0.8, 0.4) + weights("maybe", -0.1, 1.8, 0.2)
    model = general(attributes, cells)
    check(tmp_path / "m.pmml", d.document(d.FIELDS + d.TARGET_CLASS, model))


FLOWERS, KINDS = load_iris(return_X_y=True)
COLUMNS = ("w", "x", "v", "z")
FLOWER_FIELDS = "".join(d.NUMBER.format(each) for each in COLUMNS)
FLOWER_ROWS = {name: FLOWERS[:, place] for place, name in enumerate(COLUMNS)}


def test_a_forest_as_scikit_learn_has_it(tmp_path: Path) -> None:
    names = ["setosa", "versicolor", "virginica"]
    forest = RandomForestClassifier(12, max_depth=5, random_state=0).fit(FLOWERS, KINDS)
    trees = [
        d.tree_model(d.of_sklearn_tree(each.tree_, COLUMNS, names), is_class=True, names=COLUMNS)
        for each in forest.estimators_
    ]
    model = d.ensemble("average", trees, is_class=True, names=COLUMNS)
    text = d.document(FLOWER_FIELDS + d.categorical("y", names), model)
    check(tmp_path / "m.pmml", text, FLOWER_ROWS)
    found = load(tmp_path / "m.pmml", "pmml").predict(ask("probability", **FLOWER_ROWS))
    np.testing.assert_allclose(arrays(found)["probability"], forest.predict_proba(FLOWERS))


def test_boosted_trees_as_scikit_learn_has_them(tmp_path: Path) -> None:
    boosted = GradientBoostingRegressor(n_estimators=20, learning_rate=1.0, random_state=0)
    boosted.fit(FLOWERS, FLOWERS[:, 0] * KINDS)
    trees = [
        d.tree_model(d.of_sklearn_tree(each.tree_, COLUMNS), is_class=False, names=COLUMNS)
        for each in boosted.estimators_[:, 0]
    ]
    start = float(boosted.init_.constant_[0, 0])
    targets = f'<Targets><Target field="y" rescaleConstant="{start!r}"/></Targets><Segmentation'
    model = d.ensemble("sum", trees, is_class=False, names=COLUMNS).replace(
        "<Segmentation", targets
    )
    text = d.document(FLOWER_FIELDS + d.TARGET_NUMBER, model)
    check(tmp_path / "m.pmml", text, FLOWER_ROWS)
    found = load(tmp_path / "m.pmml", "pmml").predict(ask(**FLOWER_ROWS))
    np.testing.assert_allclose(arrays(found)["predict"], boosted.predict(FLOWERS))
