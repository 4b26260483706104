"""What is wrong with how a step of a `Graph` chooses: its branches, weights, conditions, algorithm.

Pure: a choice in, findings with their paths out.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from salver.spec.gjson_faults import fault
from salver.spec.graph import Choose
from salver.spec.learning import faults_of
from salver.spec.problems import Finding, Path, quoted


def check_weights(weights: Sequence[float], path: Path) -> Iterator[Finding]:
    """Shares that cannot be."""
    for index, weight in enumerate(weights):
        if not 0 <= weight < float("inf"):
            yield (*path, index), f"must be a number of at least 0, found {weight}"
    if weights and not any(weight > 0 for weight in weights):
        yield path, "are all 0: at least one must be more"


def check_choice(choose: Choose, path: Path) -> Iterator[Finding]:
    """All that is wrong with a choice."""
    count = len(choose.branches)
    given = [name for name in ("weights", "conditions", "learned") if getattr(choose, name)]
    if not given:
        yield path, "has nothing to choose by; give it one of weights, conditions, learned"
    for other in given[1:]:
        yield (*path, other), f"contradicts '{given[0]}'; keep one of the two"
    if count < 2:
        yield (*path, "branches"), f"must name at least 2 branches, found {count}"
    for index, name in enumerate(choose.branches):
        if name in choose.branches[:index]:
            yield (*path, "branches", index), f"two branches are named {quoted(name)}"
    if choose.weights:
        if len(choose.weights) != count:
            found = len(choose.weights)
            yield (*path, "weights"), f"has {found} for {count} branches: give one for each"
        yield from check_weights(choose.weights, (*path, "weights"))
    elif choose.sticky_header:
        yield (*path, "stickyHeader"), "has a meaning only with 'weights'"
    if given == ["conditions"]:
        yield from _check_conditions(choose.conditions, count, (*path, "conditions"))
    if choose.learned is not None and given == ["learned"]:
        yield from _check_learned(choose, (*path, "learned"))


def _check_conditions(conditions: Sequence[str], count: int, path: Path) -> Iterator[Finding]:
    if len(conditions) not in (count, count - 1):
        yield (
            path,
            f"has {len(conditions)} for {count} branches: give one for each, or one less, the last "
            "branch being for when none holds",
        )
    for index, condition in enumerate(conditions):
        if message := fault(condition):
            yield (*path, index), message


def _check_learned(choose: Choose, path: Path) -> Iterator[Finding]:
    learned = choose.learned
    assert learned is not None
    parameters = []
    for name, value in learned.parameters.items():
        if isinstance(value, dict | list) or value is None:
            yield (*path, "parameters", name), "expected a text or a number"
        else:
            parameters.append((name, written(value)))
    arms = tuple(dict.fromkeys(choose.branches))
    for each in faults_of(learned.algorithm, arms, parameters):
        if each.about == "parameters":
            yield (*path, "parameters", each.parameter), each.message
        elif each.about == "algorithm":
            yield (*path, "algorithm"), each.message
        elif len(arms) > 1:
            # That they are too few, or named alike, has been told.
            yield (*path[:-1], "branches"), each.message


def written(value: object) -> str:
    """A parameter of an algorithm as a text."""
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)
