"""TreeModel: rows go down together, those that take the same way as one array of row numbers."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from salver.inference.tensor import Array
from salver.runtimes.pmml_reader.document import BadDocument, Element, Unsupported
from salver.runtimes.pmml_reader.predicates import TRUE, UNKNOWN, Predicate, predicate_of
from salver.runtimes.pmml_reader.results import Result, Scorer
from salver.runtimes.pmml_reader.values import Table, literal_number

_STRATEGIES = ("none", "lastPrediction", "nullPrediction", "defaultChild")
_NOWHERE = -1


class Node(msgspec.Struct, frozen=True):
    """`number` is its place among all nodes of the tree; `shares` are the classes' parts."""

    number: int
    id: str
    score: str | None
    predicate: Predicate
    children: tuple[Node, ...]
    default: int
    shares: dict[str, float]
    confidences: dict[str, float]


class Way(msgspec.Struct, frozen=True):
    """What to do where no child fits, or a value is missing."""

    missing: str
    returns_last: bool


def tree_model(model: Element, classes: Sequence[str]) -> Scorer:
    """`classes` are the target's values; empty for a regression."""
    strategy = model.get("missingValueStrategy", "none")
    if strategy not in _STRATEGIES:
        raise Unsupported(f"{model.where} has the missingValueStrategy {strategy}")
    way = Way(strategy, model.get("noTrueChildStrategy") == "returnLastPrediction")
    penalty = model.number("missingValuePenalty", 1.0)
    nodes: list[Node] = []
    roots = list(model.all("Node"))
    if len(roots) != 1:
        raise BadDocument(f"{model.where} needs one Node, it has {len(roots)}")
    root = _node(roots[0], nodes)
    is_class = model.need("functionName") == "classification"
    known = list(dict.fromkeys([*classes, *(name for each in nodes for name in each.shares)]))
    leaves = _Leaves(sorted(nodes, key=lambda each: each.number), known, is_class, penalty)

    def score(table: Table) -> Result:
        reached = np.full(table.rows, _NOWHERE, dtype=np.int64)
        defaulted = np.zeros(table.rows, dtype=np.int64)
        everyone = np.arange(table.rows)
        inside = root.predicate(table, everyone) == TRUE
        _descend(root, table, everyone[inside], way, (reached, defaulted))
        return leaves.result(reached, defaulted)

    return score


def _node(element: Element, nodes: list[Node], _counter: list[int] | None = None) -> Node:
    counter = _counter if _counter is not None else [0]
    number = counter[0]
    counter[0] += 1
    children = tuple(_node(each, nodes, counter) for each in element.all("Node"))
    shares, confidences = shares_of(element)
    score = element.attributes.get("score")
    if score is None and shares:
        score = max(shares, key=lambda each: shares[each])
    wanted, default = element.get("defaultChild"), -1
    if wanted:
        ids = [each.id for each in children]
        if wanted not in ids:
            raise BadDocument(f"{element.where} has the defaultChild {wanted}, which is no child")
        default = ids.index(wanted)
    if element.first("Partition", "Regression", "DecisionTree") is not None:
        raise Unsupported(f"{element.where} has another model or a partition within")
    node = Node(
        number,
        element.get("id") or str(number + 1),
        score,
        predicate_of(element),
        children,
        default,
        shares,
        confidences,
    )
    nodes.append(node)
    return node


def shares_of(element: Element) -> tuple[dict[str, float], dict[str, float]]:
    """The parts of the classes among the records of a node, and how sure it is of each."""
    found = list(element.all("ScoreDistribution"))
    counts = {each.need("value"): each.number("recordCount", 0.0) for each in found}
    total = sum(counts.values())
    shares = {
        each.need("value"): each.number(
            "probability", counts[each.need("value")] / total if total else 0.0
        )
        for each in found
    }
    confidences = {
        each.need("value"): each.number("confidence", 0.0)
        for each in found
        if "confidence" in each.attributes
    }
    return shares, confidences


def _descend(node: Node, table: Table, rows: Array, way: Way, found: tuple[Array, Array]) -> None:
    """Writes for each of the rows the node where its way ends, and how often it was guessed."""
    reached, defaulted = found
    if not len(rows):
        return
    if not node.children:
        reached[rows] = node.number
        return
    left = rows
    hidden = np.zeros(0, dtype=rows.dtype)
    for child in node.children:
        if not len(left):
            break
        answer = child.predicate(table, left)
        _descend(child, table, left[answer == TRUE], way, found)
        if way.missing != "none":
            hidden = np.concatenate((hidden, left[answer == UNKNOWN]))
            left = left[(answer != TRUE) & (answer != UNKNOWN)]
        else:
            left = left[answer != TRUE]
    if len(hidden) and way.missing == "defaultChild":
        if node.default < 0:
            left = np.concatenate((left, hidden))
        else:
            defaulted[hidden] += 1
            _descend(node.children[node.default], table, hidden, way, found)
    elif way.missing == "lastPrediction":
        reached[hidden] = node.number
    reached[left] = node.number if way.returns_last and node.score is not None else _NOWHERE


class _Leaves:
    """The answers of all nodes as arrays; the last entry is for rows that end nowhere."""

    def __init__(
        self, nodes: Sequence[Node], classes: Sequence[str], is_class: bool, penalty: float
    ) -> None:
        self._penalty = penalty
        self._classes = tuple(classes) if is_class else ()
        scores = [*(each.score for each in nodes), None]
        self._ids = np.asarray([*(each.id for each in nodes), None], dtype=np.object_)
        self._values: Array
        if is_class:
            self._values = np.asarray(scores, dtype=np.object_)
        else:
            numbers = (np.nan if each is None else literal_number(each) for each in scores)
            self._values = np.fromiter(numbers, np.float64, len(scores))
        self._shares = {name: _column(nodes, name) for name in self._classes}
        self._confidences = {
            name: np.asarray([*(each.confidences.get(name, np.nan) for each in nodes), np.nan])
            for name in self._classes
            if any(name in each.confidences for each in nodes)
        }

    def result(self, reached: Array, defaulted: Array) -> Result:
        value = self._values[reached]
        if not self._classes:
            return Result(value, entity=self._ids[reached])
        factor = self._penalty**defaulted
        shares = {name: column[reached] for name, column in self._shares.items()}
        sure = {name: column[reached] * factor for name, column in self._confidences.items()}
        return Result(value, shares, sure, entity=self._ids[reached])


def _column(nodes: Sequence[Node], name: str) -> Array:
    """A node without a distribution is sure of its score."""
    found = [
        each.shares.get(name, 0.0) if each.shares else float(each.score == name) for each in nodes
    ]
    return np.asarray([*found, np.nan])
