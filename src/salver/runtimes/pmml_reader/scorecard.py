"""Scorecard: partial scores of characteristics, and the reasons that cost the most."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from salver.inference.tensor import Array
from salver.runtimes.pmml_reader.document import BadDocument, Element, Unsupported
from salver.runtimes.pmml_reader.expressions import Functions, expression_of
from salver.runtimes.pmml_reader.predicates import TRUE, Predicate, predicate_of
from salver.runtimes.pmml_reader.results import Result, Scorer
from salver.runtimes.pmml_reader.values import Expression, Table, numbers


class Attribute(msgspec.Struct, frozen=True):
    """One answer of a characteristic. `score` is of the row where it is more than a number."""

    predicate: Predicate
    points: float
    score: Expression | None
    reason: str


class Characteristic(msgspec.Struct, frozen=True):
    attributes: tuple[Attribute, ...]
    baseline: float


def scorecard(model: Element, functions: Functions) -> Scorer:
    parent = model.first("Characteristics")
    if parent is None:
        raise BadDocument(f"{model.where} has no Characteristics")
    baseline = model.number("baselineScore", 0.0)
    found = [_characteristic(each, baseline, functions) for each in parent.all("Characteristic")]
    start = model.number("initialScore", 0.0)
    has_reasons = model.get("useReasonCodes", "true") == "true"
    sign = 1.0 if model.get("reasonCodeAlgorithm", "pointsBelow") == "pointsBelow" else -1.0

    def score(table: Table) -> Result:
        total = np.full(table.rows, start)
        costs, reasons = [], []
        for each in found:
            points, reason = _points(each, table)
            total = total + points
            costs.append(sign * (each.baseline - points))
            reasons.append(reason)
        return Result(total, reasons=_ranked(costs, reasons) if has_reasons and found else ())

    return score


def _characteristic(element: Element, baseline: float, functions: Functions) -> Characteristic:
    reason = element.get("reasonCode")
    return Characteristic(
        tuple(_attribute(each, reason, functions) for each in element.all("Attribute")),
        element.number("baselineScore", baseline),
    )


def _attribute(element: Element, reason: str, functions: Functions) -> Attribute:
    computed = element.first("ComplexPartialScore")
    if computed is not None and len(computed.children) != 1:
        raise Unsupported(f"{computed.where} needs one expression")
    return Attribute(
        predicate_of(element),
        element.number("partialScore", float("nan")),
        expression_of(computed.children[0], functions) if computed is not None else None,
        element.get("reasonCode") or reason,
    )


def _points(characteristic: Characteristic, table: Table) -> tuple[Array, Array]:
    """Of the first attribute that holds; a row for which none does has no score."""
    points = np.full(table.rows, np.nan)
    reasons = np.full(table.rows, None, dtype=np.object_)
    left = np.arange(table.rows)
    for each in characteristic.attributes:
        if not len(left):
            break
        holds = each.predicate(table, left) == TRUE
        hit = left[holds]
        points[hit] = numbers(each.score(table))[hit] if each.score is not None else each.points
        reasons[hit] = each.reason
        left = left[~holds]
    return points, reasons


def _ranked(costs: Sequence[Array], reasons: Sequence[Array]) -> tuple[Array, ...]:
    """Reason codes by what they cost, dearest first; equal ones in the document's order.

    What was gained is no reason.
    """
    amounts = np.vstack(costs)
    order = np.argsort(-amounts, axis=0, kind="stable")
    codes = np.take_along_axis(np.vstack(reasons), order, axis=0)
    codes[np.take_along_axis(amounts, order, axis=0) < 0] = None
    return tuple(codes)
