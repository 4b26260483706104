"""RegressionModel: sums of predictors, and what makes probabilities of them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from salver.inference.tensor import Array
from salver.runtimes.pmml_reader.document import BadDocument, Element, Unsupported
from salver.runtimes.pmml_reader.results import Result, Scorer, result_of_classes
from salver.runtimes.pmml_reader.values import Table, equal_to, missing_in, numbers

_erf = np.frompyfunc(math.erf, 1, 1)


def _probit(y: Array) -> Array:
    answer: Array = 0.5 * (1.0 + np.asarray(_erf(y / math.sqrt(2.0)), dtype=np.float64))
    return answer


INVERSE_LINKS: Mapping[str, Callable[[Array], Array]] = {
    "none": lambda y: y,
    "identity": lambda y: y,
    "logit": lambda y: 1.0 / (1.0 + np.exp(-y)),
    "softmax": lambda y: 1.0 / (1.0 + np.exp(-y)),
    "probit": _probit,
    "cloglog": lambda y: 1.0 - np.exp(-np.exp(y)),
    "loglog": lambda y: np.exp(-np.exp(-y)),
    "cauchit": lambda y: 0.5 + np.arctan(y) / np.pi,
    "exp": np.exp,
    "log": np.exp,
}
"""What makes a prediction of a sum; for one number, softmax is the logistic function."""


def regression_model(model: Element, classes: Sequence[str], *, is_ordinal: bool) -> Scorer:
    """`classes` are the target's values in their order."""
    method = model.get("normalizationMethod", "none")
    if method not in INVERSE_LINKS and method != "simplemax":
        raise Unsupported(f"{model.where} has the normalizationMethod {method}")
    tables = [(each.get("targetCategory"), _sum(each)) for each in model.all("RegressionTable")]
    if not tables:
        raise BadDocument(f"{model.where} has no RegressionTable")
    if model.get("functionName") != "classification":
        link = INVERSE_LINKS.get(method, lambda y: y)
        return lambda table: Result(_linked(link, tables[0][1](table)))
    names = [name for name, _ in tables]
    if not all(names):
        raise BadDocument(f"{model.where} has a RegressionTable without targetCategory")
    order = [each for each in classes if each in names] if is_ordinal else names

    def score(table: Table) -> Result:
        sums = {name: add(table) for name, add in tables}
        with np.errstate(all="ignore"):
            found = _probabilities([sums[name] for name in order], method, is_ordinal=is_ordinal)
        return result_of_classes(dict(zip(order, found, strict=True)), table.rows)

    return score


def _linked(link: Callable[[Array], Array], y: Array) -> Array:
    with np.errstate(all="ignore"):
        return link(y)


def _probabilities(sums: list[Array], method: str, *, is_ordinal: bool) -> list[Array]:
    if method == "simplemax":
        total = np.add.reduce(sums)
        return [each / total for each in sums]
    link = INVERSE_LINKS[method]
    if is_ordinal and len(sums) > 1:
        below = [link(each) for each in sums[:-1]]
        parts = [below[0], *(b - a for a, b in itertools.pairwise(below))]
        return [*parts, 1.0 - below[-1]]
    if method == "softmax" and len(sums) > 1:
        highest = np.maximum.reduce(sums)
        powers = [np.exp(each - highest) for each in sums]
        total = np.add.reduce(powers)
        return [each / total for each in powers]
    if len(sums) == 2:
        first = link(sums[0])
        return [first, 1.0 - first]
    if method == "none" and len(sums) > 1:
        return [*sums[:-1], 1.0 - np.add.reduce(sums[:-1])]
    return [link(each) for each in sums]


Term = Callable[[Table], Array]


def _sum(element: Element) -> Term:
    intercept = element.number("intercept", 0.0)
    terms = [_term(each) for each in element.children if each.tag in _TERMS]

    def add(table: Table) -> Array:
        total = np.full(table.rows, intercept)
        for term in terms:
            total = total + term(table)
        return total

    return add


def _term(element: Element) -> Term:
    return _TERMS[element.tag](element)


def _numeric(element: Element) -> Term:
    name, weight = element.need("name"), element.number("coefficient", 0.0)
    power = element.number("exponent", 1.0)
    if power == 1.0:
        return lambda table: weight * numbers(table.column(name))
    return lambda table: weight * numbers(table.column(name)) ** power


def _categorical(element: Element) -> Term:
    name, value = element.need("name"), element.need("value")
    weight = element.number("coefficient", 0.0)

    def term(table: Table) -> Array:
        column = table.column(name)
        return np.where(missing_in(column), 0.0, weight * equal_to(column, value))

    return term


def _product(element: Element) -> Term:
    names = [each.need("field") for each in element.all("FieldRef")]
    weight = element.number("coefficient", 0.0)
    if not names:
        raise BadDocument(f"{element.where} has no FieldRef")

    def term(table: Table) -> Array:
        answer = np.full(table.rows, weight)
        for name in names:
            answer = answer * numbers(table.column(name))
        return answer

    return term


_TERMS: Mapping[str, Callable[[Element], Term]] = {
    "NumericPredictor": _numeric,
    "CategoricalPredictor": _categorical,
    "PredictorTerm": _product,
}
