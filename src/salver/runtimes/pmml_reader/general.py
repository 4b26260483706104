"""GeneralRegressionModel: parameters, each of which is a product of factors and covariates."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec
import numpy as np

from salver.inference.tensor import Array
from salver.runtimes.pmml_reader.document import BadDocument, Element, Unsupported
from salver.runtimes.pmml_reader.regression import INVERSE_LINKS
from salver.runtimes.pmml_reader.results import Result, Scorer, result_of_classes
from salver.runtimes.pmml_reader.values import Table, equal_to, missing_in, numbers

_TYPES = ("regression", "generalLinear", "generalizedLinear", "multinomialLogistic")


class Cell(msgspec.Struct, frozen=True):
    predictor: str
    value: str
    is_factor: bool
    power: float


class Design(msgspec.Struct, frozen=True):
    """Cells by parameter, and by class the weights of parameters; one class may have no name."""

    cells: dict[str, list[Cell]]
    weights: dict[str, dict[str, float]]
    offset: str
    offset_value: float

    def sum(self, table: Table, weights: dict[str, float]) -> Array:
        total = np.full(table.rows, self.offset_value)
        if self.offset:
            total = total + numbers(table.column(self.offset))
        for name, weight in weights.items():
            product = np.full(table.rows, weight)
            for cell in self.cells.get(name, ()):
                product = product * _value(cell, table)
            total = total + product
        return total


def general_regression(model: Element, classes: Sequence[str]) -> Scorer:
    kind = model.need("modelType")
    if kind not in _TYPES:
        raise Unsupported(f"{model.where} has the modelType {kind}")
    if model.get("trialsVariable") or model.get("trialsValue"):
        raise Unsupported(f"{model.where} has trials")
    design, link = _design(model), _inverse_link(model, kind)
    if model.get("functionName") != "classification":
        weights = next(iter(design.weights.values()), {})
        return lambda table: Result(_of(link, design.sum(table, weights)))
    names = [each for each in design.weights if each]
    reference = model.get("targetReferenceCategory") or _other(classes, names, model)
    if kind == "multinomialLogistic":
        return lambda table: _multinomial(design, names, reference, table)

    def score(table: Table) -> Result:
        named = names[0] if names else next((each for each in classes if each != reference), "")
        weights = design.weights.get(named) or design.weights.get("", {})
        first = _of(link, design.sum(table, weights))
        return result_of_classes({named: first, reference: 1.0 - first}, table.rows)

    return score


def _of(link: Callable[[Array], Array], y: Array) -> Array:
    with np.errstate(all="ignore"):
        return link(y)


def _other(classes: Sequence[str], names: Sequence[str], model: Element) -> str:
    """The class that no weights are given for."""
    found = [each for each in classes if each not in names]
    if len(found) == 1:
        return found[0]
    if len(classes) == 2 and not names:
        return classes[0]
    raise BadDocument(f"{model.where} lacks its targetReferenceCategory")


def _multinomial(design: Design, names: Sequence[str], reference: str, table: Table) -> Result:
    sums = {name: design.sum(table, design.weights[name]) for name in names}
    sums[reference] = np.zeros(table.rows)
    highest = np.maximum.reduce(list(sums.values()))
    powers = {name: np.exp(each - highest) for name, each in sums.items()}
    total = np.add.reduce(list(powers.values()))
    return result_of_classes({name: each / total for name, each in powers.items()}, table.rows)


def _design(model: Element) -> Design:
    factors = {each.need("name") for each in _list(model, "FactorList", "Predictor")}
    cells: dict[str, list[Cell]] = {}
    for each in _list(model, "PPMatrix", "PPCell"):
        if each.get("targetCategory"):
            raise Unsupported(f"{each.where} has a targetCategory")
        predictor = each.need("predictorName")
        is_factor = predictor in factors
        power = 1.0 if is_factor else each.number("value", 1.0)
        cell = Cell(predictor, each.need("value"), is_factor, power)
        cells.setdefault(each.need("parameterName"), []).append(cell)
    weights: dict[str, dict[str, float]] = {}
    for each in _list(model, "ParamMatrix", "PCell"):
        of = weights.setdefault(each.get("targetCategory"), {})
        of[each.need("parameterName")] = each.number("beta", 0.0)
    if not weights:
        raise BadDocument(f"{model.where} has no ParamMatrix")
    if _list(model, "FactorList", "Matrix") or _has_matrix(model):
        raise Unsupported(f"{model.where} has a contrast Matrix")
    return Design(cells, weights, model.get("offsetVariable"), model.number("offsetValue", 0.0))


def _has_matrix(model: Element) -> bool:
    return any(each.first("Matrix") for each in _list(model, "FactorList", "Predictor"))


def _list(model: Element, tag: str, item: str) -> list[Element]:
    parent = model.first(tag)
    return list(parent.all(item)) if parent is not None else []


def _value(cell: Cell, table: Table) -> Array:
    column = table.column(cell.predictor)
    if not cell.is_factor:
        return numbers(column) ** cell.power
    return np.where(missing_in(column), np.nan, equal_to(column, cell.value).astype(np.float64))


def _inverse_link(model: Element, kind: str) -> Callable[[Array], Array]:
    if kind != "generalizedLinear":
        return INVERSE_LINKS["logit" if kind == "multinomialLogistic" else "identity"]
    name = model.get("linkFunction", "identity")
    power = model.number("linkParameter", 1.0)
    if name == "power":
        return (lambda y: np.exp(y)) if power == 0 else (lambda y: y ** (1.0 / power))
    if name == "logc":
        return lambda y: 1.0 - np.exp(y)
    if name not in INVERSE_LINKS:
        raise Unsupported(f"{model.where} has the linkFunction {name}")
    return INVERSE_LINKS[name]
