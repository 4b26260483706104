"""The PMML reader against the specification, and against documents that mean harm.

That its answers are pypmml's is shown in tests/frameworks/pmml.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.unit.runtimes.requests import arrays, ask, load, matrix, only, texts

from salver.errors import InvalidInput, LoadFailed
from salver.runtimes.warmup import warmup_request

FIELDS = (
    '<DataField name="a" optype="continuous" dataType="double"/>'
    '<DataField name="b" optype="continuous" dataType="double"/>'
    '<DataField name="y" optype="continuous" dataType="double"/>'
)
SCHEMA = (
    '<MiningSchema><MiningField name="a"/><MiningField name="b"/>'
    '<MiningField name="y" usageType="target"/></MiningSchema>'
)


def document(model: str, fields: str = FIELDS, version: str = "4.4") -> str:
    return (
        f'<?xml version="1.0"?><PMML xmlns="http://www.dmg.org/PMML-4_4" version="{version}">'
        f"<Header/><DataDictionary>{fields}</DataDictionary>{model}</PMML>"
    )


def tree(inner: str, attributes: str = "") -> str:
    return document(
        f'<TreeModel functionName="regression" {attributes}>{SCHEMA}{inner}</TreeModel>'
    )


LINEAR = document(
    f'<RegressionModel functionName="regression">{SCHEMA}<RegressionTable intercept="1">'
    '<NumericPredictor name="a" coefficient="2"/><NumericPredictor name="b" coefficient="-1"/>'
    "</RegressionTable></RegressionModel>"
)


def loaded(tmp_path: Path, text: str | bytes) -> Any:
    path = tmp_path / "m.pmml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return load(path, "pmml", parameters={"engine": "own"})


def test_a_model_of_numbers_takes_its_matrix_or_its_columns(tmp_path: Path) -> None:
    model = loaded(tmp_path, LINEAR)
    rows = np.array([[1.0, 2.0], [0.5, np.nan]])
    np.testing.assert_array_equal(only(model.predict(matrix(rows))), [1.0, np.nan])
    np.testing.assert_array_equal(only(model.predict(ask(b=[2.0], a=[1.0]))), [1.0])
    assert model.metadata.column_names == ("a", "b")
    request = warmup_request(model.metadata)
    assert request is not None
    assert only(model.predict(request)).tolist() == [1.0]


SPLIT = (
    '<Node id="1" score="0"><True/>'
    '<Node id="2" score="1"><SimplePredicate field="a" operator="lessThan" value="0"/></Node>'
    '<Node id="3" score="2"><True/></Node></Node>'
)


@pytest.mark.parametrize(
    ("strategy", "answer"),
    [("none", 2.0), ("lastPrediction", 0.0), ("nullPrediction", np.nan), ("defaultChild", 2.0)],
)
def test_a_missing_value_does_what_the_strategy_says(
    tmp_path: Path, strategy: str, answer: float
) -> None:
    text = tree(SPLIT, f'missingValueStrategy="{strategy}"')
    text = text.replace('id="1" score="0"', 'id="1" score="0" defaultChild="3"')
    found = only(loaded(tmp_path, text).predict(matrix([[np.nan, 0.0], [-1.0, 0.0], [1.0, 0.0]])))
    np.testing.assert_array_equal(found, [answer, 1.0, 2.0])


@pytest.mark.parametrize(
    ("join", "answers"),
    [
        ("and", [1, 2, 2, 2, 2, 2]),
        ("or", [1, 1, 1, 2, 1, 2]),
        ("xor", [2, 1, 1, 2, 2, 2]),
        ("surrogate", [1, 1, 2, 2, 1, 2]),
    ],
)
def test_predicates_are_joined_in_three_values(
    tmp_path: Path, join: str, answers: list[int]
) -> None:
    parts = "".join(
        f'<SimplePredicate field="{each}" operator="lessThan" value="0"/>' for each in "ab"
    )
    simple = '<SimplePredicate field="a" operator="lessThan" value="0"/>'
    compound = f'<CompoundPredicate booleanOperator="{join}">{parts}</CompoundPredicate>'
    model = loaded(tmp_path, tree(SPLIT.replace(simple, compound)))
    nan = np.nan
    rows = [[-1, -1], [-1, 1], [1, -1], [1, 1], [nan, -1], [nan, 1]]
    np.testing.assert_array_equal(only(model.predict(matrix(np.array(rows, float)))), answers)


def test_votes_are_weighted(tmp_path: Path) -> None:
    fields = FIELDS.replace(
        '<DataField name="y" optype="continuous" dataType="double"/>',
        '<DataField name="y" optype="categorical" dataType="integer"><Value value="0"/>'
        '<Value value="7"/></DataField>',
    )
    segments = "".join(
        f'<Segment weight="{weight}"><True/><TreeModel functionName="classification">{SCHEMA}'
        f'<Node score="{score}"><True/></Node></TreeModel></Segment>'
        for weight, score in ((1, 0), (1, 0), (3, 7))
    )
    model = loaded(
        tmp_path,
        document(
            f'<MiningModel functionName="classification">{SCHEMA}<Segmentation '
            f'multipleModelMethod="weightedMajorityVote">{segments}</Segmentation></MiningModel>',
            fields,
        ),
    )
    found = arrays(model.predict(ask("predict", "probability", a=[0.0], b=[0.0])))
    assert found["predict"].tolist() == [7]
    assert found["predict"].dtype == np.int64
    np.testing.assert_allclose(found["probability"], [[0.4, 0.6]])


def random_node(random: np.random.Generator, level: int, predicate: str = "<True/>") -> str:
    """Splits at whole numbers, so that rows meet thresholds."""
    below = ""
    if level:
        first, second = [
            ("lessThan", "greaterOrEqual"),
            ("lessOrEqual", "greaterThan"),
            ("greaterThan", "lessOrEqual"),
            ("greaterOrEqual", "lessThan"),
        ][random.integers(0, 4)]
        field, value = random.choice(["a", "b"]), round(float(random.integers(-2, 3)) / 10, 1)
        for sign in (first, second):
            test = f'<SimplePredicate field="{field}" operator="{sign}" value="{value}"/>'
            below += random_node(random, level - 1, test)
    return f'<Node score="{random.normal():.6f}">{predicate}{below}</Node>'


@pytest.mark.parametrize("datatype", ["double", "float"])
@pytest.mark.parametrize("method", ["sum", "average", "weightedAverage", "max", "median"])
def test_a_forest_asked_at_once_answers_as_its_trees_do(
    tmp_path: Path, method: str, datatype: str
) -> None:
    random = np.random.default_rng(0)
    always = "<True/><TreeModel"
    segments = "".join(
        f'<Segment weight="{1 + place}">{always} functionName="regression">{SCHEMA}'
        f"{random_node(random, place % 5)}</TreeModel></Segment>"
        for place in range(12)
    )
    text = document(
        f'<MiningModel functionName="regression">{SCHEMA}<Segmentation '
        f'multipleModelMethod="{method}">{segments}</Segmentation></MiningModel>',
        FIELDS.replace('"double"', f'"{datatype}"'),
    )
    twice = '<CompoundPredicate booleanOperator="or"><True/><True/></CompoundPredicate><TreeModel'
    rows = random.integers(-3, 4, (200, 2)) / 10
    slowly = loaded(tmp_path, text.replace(always, twice))
    at_once = loaded(tmp_path, text)
    found = only(at_once.predict(matrix(rows)))
    np.testing.assert_array_equal(found, only(slowly.predict(matrix(rows))))
    assert len(np.unique(found)) > 5
    rows[::7, 0] = np.nan
    np.testing.assert_array_equal(
        only(at_once.predict(matrix(rows))), only(slowly.predict(matrix(rows)))
    )


def test_the_documents_outputs_are_the_models(tmp_path: Path) -> None:
    output = (
        '<Output><OutputField name="cost" feature="predictedValue" dataType="double"/>'
        '<OutputField name="inner" feature="predictedValue" isFinalResult="false"/>'
        '<OutputField name="kind" dataType="string" feature="transformedValue"><Apply '
        'function="if"><Apply function="greaterThan"><FieldRef field="cost"/><Constant>0'
        "</Constant></Apply><Constant>high</Constant><Constant>low</Constant></Apply>"
        "</OutputField></Output>"
    )
    model = loaded(tmp_path, LINEAR.replace("</MiningSchema>", f"</MiningSchema>{output}"))
    found = arrays(model.predict(matrix(np.array([[1.0, 0.0], [-3.0, 0.0]]))))
    assert list(found) == ["cost", "kind"]
    assert found["cost"].tolist() == [3.0, -5.0]
    assert found["kind"].tolist() == texts(["high", "low"])


def test_a_discretised_value_may_be_in_no_bin(tmp_path: Path) -> None:
    local = (
        '<LocalTransformations><DerivedField name="x" optype="continuous" dataType="double">'
        '<Discretize field="a" defaultValue="9" mapMissingTo="8" dataType="double">'
        '<DiscretizeBin binValue="1"><Interval closure="closedOpen" leftMargin="0" '
        'rightMargin="1"/></DiscretizeBin></Discretize></DerivedField></LocalTransformations>'
    )
    text = LINEAR.replace("</MiningSchema>", f"</MiningSchema>{local}").replace(
        'name="a" coefficient="2"', 'name="x" coefficient="1"'
    )
    rows = np.array([[0.0, 0], [1.0, 0], [np.nan, 0]])
    assert only(loaded(tmp_path, text).predict(matrix(rows))).tolist() == [2.0, 10.0, 9.0]


def test_single_precision_decides_as_it_was_trained(tmp_path: Path) -> None:
    text = tree(SPLIT.replace('value="0"', 'value="0.1"')).replace(
        'name="a" optype="continuous" dataType="double"',
        'name="a" optype="continuous" dataType="float"',
    )
    rows = np.array([[0.1, 0], [float(np.nextafter(np.float32(0.1), np.float32(0))), 0]])
    assert only(loaded(tmp_path, text).predict(matrix(rows))).tolist() == [2.0, 1.0]


def test_invalid_values_are_refused_or_changed(tmp_path: Path) -> None:
    text = LINEAR.replace(
        '<DataField name="a" optype="continuous" dataType="double"/>',
        '<DataField name="a" optype="continuous" dataType="double"><Interval '
        'closure="closedClosed" leftMargin="0" rightMargin="1"/></DataField>',
    )
    with pytest.raises(InvalidInput, match=r"'a' has the value 4\.0 at row 1.*send 0 to 1"):
        loaded(tmp_path, text).predict(matrix(np.array([[1.0, 0], [4.0, 0]])))
    for treatment, answer in (("asIs", 9.0), ("asMissing", np.nan)):
        changed = text.replace(
            '<MiningField name="a"', f'<MiningField name="a" invalidValueTreatment="{treatment}"'
        )
        found = only(loaded(tmp_path, changed).predict(matrix(np.array([[4.0, 0.0]]))))
        np.testing.assert_array_equal(found, [answer])


LAUGHS = (
    '<?xml version="1.0"?><!DOCTYPE PMML [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;">]>'
    '<PMML version="4.4"><Header/>&b;</PMML>'
)
OUTSIDE = LINEAR.replace("<PMML", '<!DOCTYPE PMML SYSTEM "file:///etc/hostname"><PMML', 1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (LAUGHS, "it has a DTD"),
        (OUTSIDE, "it has a DTD"),
        ("", "no well-formed XML"),
        (LINEAR[:300], "no well-formed XML"),
        (LINEAR.replace('version="1.0"', 'version="1.0" encoding="none-such"'), "XML"),
        ("<net/>", "its root is net"),
        (LINEAR.replace('version="4.4"', 'version="9.9"'), "version '9.9'"),
        (tree("<Node>" * 5000 + "</Node>" * 5000), "nested more than 400 levels"),
        (LINEAR.replace("RegressionModel", "NeuralNetwork"), "has a NeuralNetwork, which Salver"),
        (LINEAR.replace('name="a" coefficient="2"', 'name="a" coefficient="two"'), "'two' where"),
        (LINEAR.replace('name="b" coefficient', 'name="gone" coefficient'), "field 'gone'"),
        (LINEAR.replace('dataType="double"', 'dataType="dateTime"'), "the dataType dateTime"),
        (document(""), "it holds no model"),
        (tree(""), "needs one Node"),
        (tree(SPLIT.replace("lessThan", "like")), "has the operator like"),
        (tree(SPLIT, 'missingValueStrategy="aggregateNodes"'), "Strategy aggregateNodes"),
        (LINEAR.replace("<MiningSchema>", "<X>").replace("</MiningSchema>", "</X>"), "lacks its"),
    ],
)
def test_a_document_is_refused_with_the_reason(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(LoadFailed, match=message) as caught:
        loaded(tmp_path, text)
    assert "\n" not in str(caught.value)


def test_a_function_that_is_not_known_is_named_with_its_line(tmp_path: Path) -> None:
    local = (
        '<LocalTransformations><DerivedField name="x" optype="continuous" dataType="double">\n'
        '<Apply function="soundex"><FieldRef field="a"/></Apply></DerivedField>'
        "</LocalTransformations>"
    )
    with pytest.raises(
        LoadFailed, match=r"Apply \(line 2\) has the function 'soundex'.*pypmml|JVM"
    ):
        loaded(tmp_path, LINEAR.replace("</MiningSchema>", f"</MiningSchema>{local}"))


def test_an_engine_that_is_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "m.pmml").write_text(LINEAR)
    with pytest.raises(LoadFailed, match="engine is 'fast'; give auto, own, jvm"):
        load(tmp_path / "m.pmml", "pmml", parameters={"engine": "fast"})
