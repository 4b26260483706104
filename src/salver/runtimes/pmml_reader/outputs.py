"""Targets and Output: from what a model computes to what its document promises."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import msgspec
import numpy as np

from salver.inference.tensor import Array
from salver.runtimes.pmml_reader.document import BadDocument, Element, Unsupported
from salver.runtimes.pmml_reader.expressions import Functions, expression_of
from salver.runtimes.pmml_reader.results import Result
from salver.runtimes.pmml_reader.values import (
    Expression,
    Table,
    check_datatype,
    constant,
    converted,
    is_text,
    missing_in,
    numbers,
)

_ROUNDERS: Mapping[str, Callable[[Array], Array]] = {
    "round": lambda y: np.floor(y + 0.5),
    "ceiling": np.ceil,
    "floor": np.floor,
}
_PREDICTED = ("predictedValue", "predictedDisplayValue")


class Target(msgspec.Struct, frozen=True):
    """What is done to a prediction. `displays` are the names of classes for people."""

    low: float
    high: float
    factor: float
    constant: float
    cast: str
    displays: dict[str, str]
    default: float
    priors: dict[str, float]

    def apply(self, result: Result) -> Result:
        value = result.value
        if is_text(value):
            return self._with_priors(result)
        value = np.clip(value, self.low, self.high)
        value = np.where(np.isnan(value), self.default, value * self.factor + self.constant)
        round_it = _ROUNDERS.get(self.cast)
        return msgspec.structs.replace(result, value=round_it(value) if round_it else value)

    def _with_priors(self, result: Result) -> Result:
        """A row without a prediction has the class that is likely beforehand."""
        missing = missing_in(result.value)
        if not self.priors or not missing.any():
            return result
        value = result.value.copy()
        value[missing] = max(self.priors, key=lambda each: self.priors[each])
        shares = dict(result.probabilities)
        for name, share in self.priors.items():
            column = shares.get(name, np.zeros(len(value)))
            shares[name] = np.where(missing, share, column)
        return msgspec.structs.replace(result, value=value, probabilities=shares)


def target_of(model: Element) -> Target | None:
    """The first of the model's Targets, None if it has none."""
    parent = model.first("Targets")
    element = parent.first("Target") if parent is not None else None
    if element is None:
        return None
    cast = element.get("castInteger")
    if cast and cast not in _ROUNDERS:
        raise Unsupported(f"{element.where} has castInteger {cast}")
    values = [each for each in element.all("TargetValue") if "value" in each.attributes]
    defaults = [each.number("defaultValue", math.nan) for each in element.all("TargetValue")]
    return Target(
        element.number("min", -math.inf),
        element.number("max", math.inf),
        element.number("rescaleFactor", 1.0),
        element.number("rescaleConstant", 0.0),
        cast,
        {
            each.need("value"): each.need("displayValue")
            for each in values
            if "displayValue" in each.attributes
        },
        next((each for each in defaults if not math.isnan(each)), math.nan),
        {
            each.need("value"): each.number("priorProbability", 0.0)
            for each in values
            if "priorProbability" in each.attributes
        },
    )


class OutputField(msgspec.Struct, frozen=True):
    """`is_final`: callers see it too, not only the models that follow in a chain."""

    name: str
    compute: Callable[[Result, Table], Array]
    datatype: str
    is_final: bool


def output_fields(
    model: Element, functions: Functions, target: Target | None
) -> tuple[OutputField, ...]:
    """Raises `Unsupported` for a feature that is not known."""
    parent = model.first("Output")
    found = []
    for each in parent.all("OutputField") if parent is not None else ():
        if each.get("segmentId"):
            raise Unsupported(f"{each.where} asks for one segment")
        datatype = each.get("dataType")
        compute = _feature(each, functions, target)
        found.append(
            OutputField(
                each.need("name"),
                compute,
                check_datatype(datatype, each.where) if datatype else "",
                each.get("isFinalResult", "true") != "false",
            )
        )
    return tuple(found)


def computed(fields: tuple[OutputField, ...], result: Result, table: Table) -> dict[str, Array]:
    """The output fields in their order, each of which may use those before it."""
    inner = table.inner({})
    found: dict[str, Array] = {}
    for each in fields:
        column = each.compute(result, inner)
        found[each.name] = converted(column, each.datatype) if each.datatype else column
        inner.add({each.name: found[each.name]})
    return found


def _feature(
    element: Element, functions: Functions, target: Target | None
) -> Callable[[Result, Table], Array]:
    feature = element.get("feature", "predictedValue")
    value = element.attributes.get("value")
    if feature in ("transformedValue", "decision"):
        return _transformed(element, functions)
    if feature == "predictedDisplayValue" and target is not None and target.displays:
        displays = target.displays
        return lambda result, _: _mapped(result.value, displays)
    if feature in _PREDICTED:
        return lambda result, _: result.value
    if feature == "probability":
        return lambda result, table: _of_class(result, result.probabilities, value, table)
    if feature == "confidence":
        return lambda result, table: _of_class(
            result, result.confidences or result.probabilities, value, table
        )
    if feature in ("entityId", "segmentId"):
        return lambda result, table: _or_missing(result.entity, table)
    if feature == "reasonCode":
        rank = int(element.number("rank", 1)) - 1
        return lambda result, table: _or_missing(
            result.reasons[rank] if rank < len(result.reasons) else None, table
        )
    raise Unsupported(f"{element.where} has the feature {feature}")


def _transformed(element: Element, functions: Functions) -> Callable[[Result, Table], Array]:
    bodies = [each for each in element.children if each.tag not in ("Decisions", "Value")]
    if len(bodies) != 1:
        raise BadDocument(f"{element.where} needs one expression, it has {len(bodies)}")
    expression: Expression = expression_of(bodies[0], functions)
    return lambda _, table: expression(table)


def _of_class(
    result: Result, columns: Mapping[str, Array], label: str | None, table: Table
) -> Array:
    """Of that class; of the predicted one if none is named."""
    if label is not None:
        return columns.get(label, np.full(table.rows, np.nan))
    answer = np.full(table.rows, np.nan)
    for name, column in columns.items():
        mine = result.value == name
        answer[mine] = numbers(column)[mine]
    return answer


def _mapped(value: Array, displays: Mapping[str, str]) -> Array:
    answer = np.empty(len(value), dtype=np.object_)
    answer[:] = [displays.get(each, each) for each in value.tolist()]
    return answer


def _or_missing(column: Array | None, table: Table) -> Array:
    return constant(table.rows, None, "string") if column is None else column
