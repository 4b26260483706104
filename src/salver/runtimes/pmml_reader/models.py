"""A document as a whole: its fields, its model, and the models within.

Owns which elements are models, and what a model's scope is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from salver.inference.tensor import Array
from salver.runtimes.pmml_reader.document import BadDocument, Element, Unsupported
from salver.runtimes.pmml_reader.expressions import Functions, UserFunction, derived_fields
from salver.runtimes.pmml_reader.fields import (
    DataField,
    MiningField,
    data_field,
    mining_fields,
    treated,
)
from salver.runtimes.pmml_reader.general import general_regression
from salver.runtimes.pmml_reader.mining import Scored, mining_model
from salver.runtimes.pmml_reader.outputs import OutputField, computed, output_fields, target_of
from salver.runtimes.pmml_reader.regression import regression_model
from salver.runtimes.pmml_reader.results import Result, Scorer
from salver.runtimes.pmml_reader.scorecard import scorecard
from salver.runtimes.pmml_reader.trees import tree_model
from salver.runtimes.pmml_reader.values import Expression, Table

_FRAME = frozenset({"Header", "MiningBuildTask", "DataDictionary", "TransformationDictionary"})


class Document(msgspec.Struct, frozen=True):
    """A document that can be scored. `classes` are the target's values, if it has such."""

    version: str
    kind: str
    function: str
    inputs: tuple[DataField, ...]
    target: DataField | None
    classes: tuple[str, ...]
    outputs: tuple[OutputField, ...]
    score: Scored


class Scope(msgspec.Struct, frozen=True):
    """What all models of a document have in common."""

    fields: Mapping[str, DataField]
    functions: Functions
    derived: Mapping[str, Expression]


def document_of(root: Element) -> Document:
    """Raises `BadDocument`, or `Unsupported` naming what this reader does not know."""
    if root.tag != "PMML":
        raise BadDocument(f"its root is {root.tag}, not PMML")
    version = root.get("version")
    if not version.startswith(("3.", "4.")):
        raise Unsupported(f"the document has the version '{version}'")
    scope = _scope(root)
    models = [each for each in root.children if each.tag not in _FRAME]
    if not models:
        raise BadDocument("it holds no model")
    model = models[0]
    if model.get("isScorable") == "false":
        raise BadDocument(f"{model.where} says that it is not to be scored")
    used = mining_fields(model)
    target = next((scope.fields.get(each.name) for each in used if each.is_target), None)
    target = target or _named_target(model, scope)
    return Document(
        version,
        model.tag,
        model.get("functionName"),
        tuple(_input(each, scope, model) for each in used if each.is_active),
        target,
        _classes(target, model),
        output_fields(model, scope.functions, target_of(model)),
        _model(model, scope, is_top=True),
    )


def _scope(root: Element) -> Scope:
    dictionary = root.first("DataDictionary")
    if dictionary is None:
        raise BadDocument("it lacks its DataDictionary")
    fields = {each.need("name"): data_field(each) for each in dictionary.all("DataField")}
    transformations = root.first("TransformationDictionary")
    functions: dict[str, UserFunction] = {}
    for each in transformations.all("DefineFunction") if transformations is not None else ():
        functions[each.need("name")] = UserFunction(each, functions)
    return Scope(fields, functions, derived_fields(transformations, functions))


def _named_target(model: Element, scope: Scope) -> DataField | None:
    targets = model.first("Targets")
    element = targets.first("Target") if targets is not None else None
    return scope.fields.get(element.get("field")) if element is not None else None


def _input(field: MiningField, scope: Scope, model: Element) -> DataField:
    found = scope.fields.get(field.name)
    if found is None:
        raise BadDocument(
            f"{model.where} uses the field '{field.name}', which the DataDictionary has not"
        )
    return found


def _classes(target: DataField | None, model: Element) -> tuple[str, ...]:
    if model.get("functionName") != "classification" or target is None:
        return ()
    return target.valid


def _model(element: Element, scope: Scope, *, is_top: bool = False) -> Scored:
    schema = mining_fields(element)
    used = [each for each in schema if not each.is_target]
    derived = {
        **(scope.derived if is_top else {}),
        **derived_fields(element.first("LocalTransformations"), scope.functions),
    }
    target = next((scope.fields.get(each.name) for each in schema if each.is_target), None)
    score = _scorer(element, scope, target)
    change = target_of(element)
    outputs = output_fields(element, scope.functions, change)
    datas = scope.fields if is_top else {}

    def scored(table: Table) -> tuple[Result, Mapping[str, Array]]:
        inner = table.inner(
            {
                each.name: treated(table.column(each.name), each, datas.get(each.name))
                for each in used
                if each.is_active or not is_top
            },
            derived,
        )
        result = score(inner)
        if change is not None:
            result = change.apply(result)
        return result, computed(outputs, result, inner) if outputs else {}

    return scored


def _scorer(element: Element, scope: Scope, target: DataField | None) -> Scorer:
    classes: Sequence[str] = _classes(target, element)
    if element.tag == "RegressionModel":
        is_ordinal = target is not None and target.optype == "ordinal"
        return regression_model(element, classes, is_ordinal=is_ordinal)
    if element.tag == "TreeModel":
        return tree_model(element, classes)
    if element.tag == "MiningModel":
        return mining_model(element, classes, lambda inner: _model(inner, scope))
    if element.tag == "GeneralRegressionModel":
        return general_regression(element, classes)
    if element.tag == "Scorecard":
        return scorecard(element, scope.functions)
    raise Unsupported(f"the document has a {element.tag}")
