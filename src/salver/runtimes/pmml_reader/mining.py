"""MiningModel: models that vote, are summed, chosen among, or follow one another."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import msgspec
import numpy as np

from salver.inference.tensor import Array
from salver.runtimes.pmml_reader.document import BadDocument, Element, Unsupported
from salver.runtimes.pmml_reader.forests import Forest, NotPlain
from salver.runtimes.pmml_reader.predicates import TRUE, Predicate, predicate_of
from salver.runtimes.pmml_reader.results import Result, Scorer, result_of_classes, scattered
from salver.runtimes.pmml_reader.values import Table, constant

Scored = Callable[[Table], tuple[Result, Mapping[str, Array]]]
"""A whole model: its result and its output fields."""
_WEIGHTED = ("weightedAverage", "weightedMajorityVote", "weightedSum", "x-weightedSum")
_NUMBERS = ("average", "weightedAverage", "sum", "weightedSum", "x-weightedSum", "max", "median")
_VOTES = ("majorityVote", "weightedMajorityVote", "average", "weightedAverage")
_TREATMENTS = ("continue", "skipSegment", "returnMissing")


class Segment(msgspec.Struct, frozen=True):
    id: str
    weight: float
    predicate: Predicate
    is_always: bool
    model: Scored

    def places(self, table: Table, rows: Array) -> Array:
        return rows if self.is_always else rows[self.predicate(table, rows) == TRUE]

    def scored(self, table: Table, places: Array) -> tuple[Result, Mapping[str, Array]]:
        whole = len(places) == table.rows
        return self.model(table if whole else table.picked(places))


def mining_model(
    model: Element, classes: Sequence[str], build: Callable[[Element], Scored]
) -> Scorer:
    """`build` makes the model within a segment."""
    parent = model.first("Segmentation")
    if parent is None:
        raise Unsupported(f"{model.where} has no Segmentation")
    method = parent.need("multipleModelMethod")
    is_class = model.get("functionName") == "classification"
    segments = [_segment(each, place, build) for place, each in enumerate(parent.all("Segment"))]
    if not segments:
        raise BadDocument(f"{parent.where} has no Segment")
    if method == "modelChain":
        return lambda table: _chained(segments, table)
    if method == "selectFirst":
        return lambda table: _first(segments, table)
    treatment = parent.get("missingPredictionTreatment", "continue")
    if treatment not in _TREATMENTS or method not in (_VOTES if is_class else _NUMBERS):
        raise Unsupported(f"{parent.where} has the multipleModelMethod {method}, {treatment}")
    forest = _forest(parent, segments, classes if is_class else None)
    if is_class:
        return lambda table: _voted(segments, method, classes, table, forest)
    return lambda table: _joined(segments, method, treatment, table, forest)


def _forest(
    parent: Element, segments: Sequence[Segment], classes: Sequence[str] | None
) -> Forest | None:
    """The segments as one, if all are plain trees and always asked."""
    if not all(each.is_always for each in segments) or classes == ():
        return None
    try:
        trees = [each.first("TreeModel") for each in parent.all("Segment")]
        forest = Forest([each for each in trees if each is not None], classes or ())
    except NotPlain:
        return None
    has_others = classes is not None and not set(forest.labels) <= {*classes, ""}
    return None if has_others or None in trees else forest


def _segment(element: Element, place: int, build: Callable[[Element], Scored]) -> Segment:
    models = [each for each in element.children if each.tag.endswith(("Model", "Scorecard"))]
    if len(models) != 1:
        names = ", ".join(each.tag for each in element.children)
        raise Unsupported(f"{element.where} has {len(models)} models ({names})")
    return Segment(
        element.get("id") or str(place + 1),
        element.number("weight", 1.0),
        predicate_of(element),
        element.first("True") is not None,
        build(models[0]),
    )


def _chained(segments: Sequence[Segment], table: Table) -> Result:
    """The last model that a row reaches; what each puts out, the next may take in."""
    everyone = np.arange(table.rows)
    inner = table.inner({})
    last: list[tuple[Array, Result]] = []
    for segment in segments:
        places = segment.places(inner, everyone)
        if not len(places):
            continue
        result, outputs = segment.scored(inner, places)
        inner.add(outputs if len(places) == table.rows else _widened(outputs, places, table.rows))
        last = [(places, result)] if len(places) == table.rows else [*last, (places, result)]
    if len(last) == 1 and len(last[0][0]) == table.rows:
        return last[0][1]
    return scattered(last, table.rows)


def _widened(outputs: Mapping[str, Array], places: Array, rows: int) -> dict[str, Array]:
    found = {}
    for name, column in outputs.items():
        whole = constant(rows, None, "string" if column.dtype == np.object_ else "double")
        whole[places] = column
        found[name] = whole
    return found


def _first(segments: Sequence[Segment], table: Table) -> Result:
    left = np.arange(table.rows)
    found: list[tuple[Array, Result]] = []
    for segment in segments:
        if not len(left):
            break
        places = segment.places(table, left)
        if len(places):
            result, _ = segment.scored(table, places)
            ids = np.full(len(places), segment.id, dtype=np.object_)
            found.append((places, msgspec.structs.replace(result, entity=ids)))
            left = np.setdiff1d(left, places, assume_unique=True)
    return scattered(found, table.rows)


def _answers(segments: Sequence[Segment], table: Table) -> list[tuple[Segment, Array, Result]]:
    everyone = np.arange(table.rows)
    found = []
    for segment in segments:
        places = segment.places(table, everyone)
        if len(places):
            found.append((segment, places, segment.scored(table, places)[0]))
    return found


def _joined(
    segments: Sequence[Segment], method: str, treatment: str, table: Table, forest: Forest | None
) -> Result:
    leaves = forest.leaves(table) if forest is not None else None
    if forest is not None and leaves is not None:
        weights = np.ones((len(segments), 1))
        if method in _WEIGHTED:
            weights[:, 0] = [each.weight for each in segments]
        values, missing = forest.values[leaves], np.zeros_like(leaves, dtype=np.bool_)
        return Result(np.asarray(_number(method, values, weights, weights.sum(axis=0), missing)))
    answers = _answers(segments, table)
    if not answers:
        return Result(np.full(table.rows, np.nan))
    values = np.full((len(answers), table.rows), np.nan)
    weights = np.zeros((len(answers), table.rows))
    for row, (segment, places, result) in enumerate(answers):
        values[row, places] = result.value
        weights[row, places] = segment.weight if method in _WEIGHTED else 1.0
    missing = np.isnan(values)
    lacks = ((weights != 0) & missing).any(axis=0)
    weights[missing] = 0.0
    values[missing] = 0.0
    total = weights.sum(axis=0)
    with np.errstate(all="ignore"):
        answer = _number(method, values, weights, total, missing)
    nothing = missing.all(axis=0)
    return Result(np.where(nothing | (lacks & (treatment != "skipSegment")), np.nan, answer))


def _summed(values: Array) -> Array:
    """One after the other, as segments are written: sums of floats depend on their order."""
    return np.asarray(np.add.accumulate(values, axis=0)[-1])


def _number(method: str, values: Array, weights: Array, total: Array, missing: Array) -> Array:
    if method in ("average", "weightedAverage"):
        answer = _summed(values * weights) / total
    elif method in ("sum", "weightedSum", "x-weightedSum"):
        answer = _summed(values * weights)
    elif method == "max":
        answer = np.where(missing, -np.inf, values).max(axis=0)
    else:
        known = np.where(missing, np.nan, values)
        known[:, missing.all(axis=0)] = 0.0
        answer = np.nanmedian(known, axis=0)
    return np.asarray(answer)


def _voted(
    segments: Sequence[Segment],
    method: str,
    classes: Sequence[str],
    table: Table,
    forest: Forest | None,
) -> Result:
    leaves = forest.leaves(table) if forest is not None else None
    if forest is not None and leaves is not None:
        return _voted_at_once(segments, method, forest, leaves)
    answers = _answers(segments, table)
    names = dict.fromkeys([*classes, *(name for _, _, each in answers for name in _names(each))])
    shares = {name: np.zeros(table.rows) for name in names}
    total = np.zeros(table.rows)
    for segment, places, result in answers:
        weight = segment.weight if method in _WEIGHTED else 1.0
        known = np.asarray([each is not None for each in result.value.tolist()], dtype=np.bool_)
        total[places[known]] += weight
        for name in names:
            if method.endswith("Vote"):
                part = (result.value == name).astype(np.float64)
            else:
                part = result.probabilities.get(name, np.zeros(len(places)))
            shares[name][places[known]] += weight * part[known]
    with np.errstate(all="ignore"):
        parts = {
            name: column / np.where(total > 0, total, np.nan) for name, column in shares.items()
        }
    return result_of_classes(parts, table.rows)


def _voted_at_once(
    segments: Sequence[Segment], method: str, forest: Forest, leaves: Array
) -> Result:
    weights = np.ones((len(segments), 1))
    if method in _WEIGHTED:
        weights[:, 0] = [each.weight for each in segments]
    total = weights.sum()
    labels = forest.labels[leaves] if method.endswith("Vote") else None
    parts = {}
    for name, shares in forest.shares.items():
        found = shares[leaves] if labels is None else (labels == name).astype(np.float64)
        parts[name] = _summed(found * weights) / total
    return result_of_classes(parts, leaves.shape[1])


def _names(result: Result) -> list[str]:
    return list(result.probabilities) or [each for each in set(result.value.tolist()) if each]
