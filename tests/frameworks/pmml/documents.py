"""PMML documents, written here: from parts, from random numbers, and from scikit-learn's models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

HEAD = '<PMML xmlns="http://www.dmg.org/PMML-4_4" version="4.4"><Header/>'
NUMBER = '<DataField name="{}" optype="continuous" dataType="double"/>'
COMPARISONS = ("lessThan", "lessOrEqual", "greaterThan", "greaterOrEqual")


def categorical(name: str, values: Sequence[str]) -> str:
    inner = "".join(f'<Value value="{each}"/>' for each in values)
    return f'<DataField name="{name}" optype="categorical" dataType="string">{inner}</DataField>'


def schema(names: Sequence[str], target: str = "y", **more: str) -> str:
    fields = "".join(f'<MiningField name="{each}"{more.get(each, "")}/>' for each in names)
    last = f'<MiningField name="{target}" usageType="target"/>' if target else ""
    return f"<MiningSchema>{fields}{last}</MiningSchema>"


def document(fields: str, model: str, transformations: str = "") -> str:
    return f"{HEAD}<DataDictionary>{fields}</DataDictionary>{transformations}{model}</PMML>"


FIELDS = (
    NUMBER.format("a")
    + NUMBER.format("b")
    + categorical("c", ["red", "green", "blue"])
    + '<DataField name="n" optype="continuous" dataType="integer"/>'
)
NAMES = ("a", "b", "c", "n")
TARGET_NUMBER = NUMBER.format("y")
CLASSES = ("no", "maybe", "yes")
TARGET_CLASS = categorical("y", CLASSES)


def random_tree(
    random: np.random.Generator, *, is_class: bool, depth: int = 4, only_simple: bool = False
) -> str:
    """A node and all below it, with an id each."""
    counter = [0]

    def node(predicate: str, level: int) -> str:
        counter[0] += 1
        number = counter[0]
        inner = ""
        counts = random.integers(1, 50, 3)
        if is_class:
            inner = "".join(
                f'<ScoreDistribution value="{name}" recordCount="{count}"/>'
                for name, count in zip(CLASSES, counts, strict=True)
            )
            score = CLASSES[int(counts.argmax())]
        else:
            score = repr(round(float(random.normal()), 4))
        below, default = "", ""
        if level < depth and random.random() < 0.8:
            first, second = random_split(random, 2 if only_simple else 5)
            place = counter[0] + 1
            below = node(first, level + 1) + node(second, level + 1)
            default = f' defaultChild="{place}"'
        return f'<Node id="{number}" score="{score}"{default}>{predicate}{inner}{below}</Node>'

    return node("<True/>", 0)


def random_split(random: np.random.Generator, kinds: int) -> tuple[str, str]:
    """Two predicates, of which mostly one holds."""
    kind = random.integers(0, kinds)
    if kind <= 1:
        field, value = str(random.choice(["a", "b", "n"])), round(float(random.normal()), 2)
        return (
            f'<SimplePredicate field="{field}" operator="lessOrEqual" value="{value}"/>',
            f'<SimplePredicate field="{field}" operator="greaterThan" value="{value}"/>',
        )
    if kind == 2:
        first = '<Array type="string" n="2">red "green"</Array>'
        return tuple(
            f'<SimpleSetPredicate field="c" booleanOperator="{each}">{first}</SimpleSetPredicate>'
            for each in ("isIn", "isNotIn")
        )  # type: ignore[return-value]
    parts = "".join(
        f'<SimplePredicate field="{field}" operator="{random.choice(COMPARISONS)}" '
        f'value="{round(float(random.normal()), 2)}"/>'
        for field in ("a", "b")
    )
    join = str(random.choice(["and", "or", "surrogate"]))
    whole = f'<CompoundPredicate booleanOperator="{join}">{parts}</CompoundPredicate>'
    return whole, "<True/>"


def tree_model(node: str, *, is_class: bool, attributes: str = "", names: Any = NAMES) -> str:
    kind = "classification" if is_class else "regression"
    return f'<TreeModel functionName="{kind}" {attributes}>{schema(names)}{node}</TreeModel>'


def ensemble(method: str, models: Sequence[str], *, is_class: bool, names: Any = NAMES) -> str:
    kind = "classification" if is_class else "regression"
    segments = "".join(
        f'<Segment id="{place}" weight="{1 + place / 4}"><True/>{each}</Segment>'
        for place, each in enumerate(models)
    )
    return (
        f'<MiningModel functionName="{kind}">{schema(names)}'
        f'<Segmentation multipleModelMethod="{method}">{segments}</Segmentation></MiningModel>'
    )


def of_sklearn_tree(tree: Any, names: Sequence[str], classes: Sequence[str] = ()) -> str:
    """A fitted tree of scikit-learn as a node."""

    def node(index: int, predicate: str) -> str:
        values = tree.value[index, 0]
        inner = (
            "".join(
                f'<ScoreDistribution value="{name}" recordCount="{float(value)!r}"/>'
                for name, value in zip(classes, values, strict=bool(classes))
            )
            if classes
            else ""
        )
        score = classes[int(values.argmax())] if classes else repr(float(values[0]))
        below = ""
        if tree.children_left[index] >= 0:
            name, at = names[tree.feature[index]], repr(float(tree.threshold[index]))
            for child, sign in (
                (tree.children_left[index], "lessOrEqual"),
                (tree.children_right[index], "greaterThan"),
            ):
                test = f'<SimplePredicate field="{name}" operator="{sign}" value="{at}"/>'
                below += node(child, test)
        return f'<Node id="{index}" score="{score}">{predicate}{inner}{below}</Node>'

    return node(0, "<True/>")


def naive_bayes() -> str:
    """A model that our reader does not know."""
    fields = '<NaiveBayesModel functionName="classification" threshold="0.001">'
    counts = "".join(
        f'<TargetValueCount value="{name}" count="{20 + place}"/>'
        for place, name in enumerate(CLASSES)
    )
    inputs = "".join(
        f'<PairCounts value="{value}"><TargetValueCounts>{counts}</TargetValueCounts></PairCounts>'
        for value in ("red", "green", "blue")
    )
    model = (
        f'{fields}{schema(["c"])}<BayesInputs><BayesInput fieldName="c">{inputs}</BayesInput>'
        f'</BayesInputs><BayesOutput fieldName="y"><TargetValueCounts>{counts}'
        "</TargetValueCounts></BayesOutput></NaiveBayesModel>"
    )
    return document(FIELDS + TARGET_CLASS, model)
