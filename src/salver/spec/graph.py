"""Salver's own kind `Graph`, `salver.dev/v1`: a list of steps, each with what it works on.

It is what `@salver.graph` in a Python file renders to, and can be written by hand. What
contradicts what is in `graph_native_checks.py`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Any, Literal

import msgspec

from salver.spec.fields import Fields, about
from salver.spec.metadata import ObjectMeta

REQUEST = "request"
"""As an input: the request itself."""
STEP_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
_INPUT = re.compile(r"(?P<step>[^\s.]+)(?:\.(?P<tensor>\S+))?(?:\s+as\s+(?P<rename>\S+))?")

Combination = Literal["average", "weighted", "vote", "stack", "first", "fastest", "merge"]
Decision = Literal["confident", "true"]
DECISION_BRANCHES: dict[str, tuple[str, ...]] = {
    "confident": ("sure", "unsure"),
    "true": ("false", "true"),
}
"""What the branches of a decision are called, by their numbers."""


class Source(msgspec.Struct, frozen=True):
    """An input as it was written: `STEP`, `STEP.TENSOR`, `STEP.TENSOR as NAME`."""

    step: str
    tensor: str = ""
    rename: str = ""


def source_of(text: str) -> Source | None:
    """The parts of an input; None if it is none."""
    found = _INPUT.fullmatch(text.strip())
    if found is None:
        return None
    return Source(found["step"], found["tensor"] or "", found["rename"] or "")


class When(Fields, frozen=True):
    """The branch that a step belongs to: it runs only if that branch was chosen."""

    step: Annotated[str, about("the step that decides: one with `choose`, `decide` or `python`")]
    branch: Annotated[
        Any, about("the branch: its name or its number; true or false for what a function answers")
    ]


class LearnedChoice(Fields, frozen=True):
    """A choice that feedback teaches: a bandit."""

    algorithm: Annotated[str, about("how it learns, e.g. epsilon_greedy, ucb1, thompson, linucb")]
    parameters: Annotated[dict[str, Any], about("arguments of the algorithm")] = {}


class Choose(Fields, frozen=True):
    """Chooses one of several branches, by one of `weights`, `conditions` and `learned`."""

    branches: Annotated[tuple[str, ...], about("names of the branches, in order")]
    weights: Annotated[
        tuple[Annotated[float, about("the share of a branch", least=0)], ...],
        about("chooses by chance: the share of each branch; they need not add up to 100"),
    ] = ()
    conditions: Annotated[
        tuple[str, ...],
        about(
            "chooses the first branch whose condition holds: GJSON paths in the message; a branch "
            "more than there are conditions is taken when none holds"
        ),
    ] = ()
    learned: Annotated[LearnedChoice | None, about("chooses by what feedback has taught")] = None
    sticky_header: Annotated[
        str, about("with weights: callers with the same value of this header get the same branch")
    ] = ""


class GraphStep(Fields, frozen=True):
    """One step: exactly one of `model`, `modelUri`, `python`, `url`, `combine`, `decide` and
    `choose`, and what it works on."""

    name: Annotated[str, about("what others call it: letters, digits, '-' and '_'")]
    inputs: Annotated[
        tuple[str, ...],
        about(
            "what it is given: names of steps, or `request`; `STEP.TENSOR` for one tensor, "
            "`STEP.TENSOR as NAME` under another name; without any, the request"
        ),
    ] = ()
    when: Annotated[When | None, about("runs only if that branch was chosen")] = None
    model: Annotated[str, about("asks a model or service of this server, by its name")] = ""
    model_uri: Annotated[str, about("runs this model for the graph alone: its path or URI")] = ""
    runtime: Annotated[str, about("with modelUri: its runtime, if not by its content")] = ""
    runtime_version: Annotated[str, about("with modelUri: the version of its framework")] = ""
    min_replicas: Annotated[int | None, about("with modelUri: workers at least", least=0)] = None
    max_replicas: Annotated[int, about("with modelUri: workers at most; 0: no limit", least=0)] = 0
    python: Annotated[str, about("calls a Python function, `FILE.py:FUNCTION`")] = ""
    url: Annotated[str, about("posts the message there; what comes back is the answer")] = ""
    combine: Annotated[
        Combination | None,
        about(
            "makes one answer of several: their average, weighted by `weights`, by vote, stacked; "
            "or hands on the first of its inputs that there is, the fastest, or all their tensors"
        ),
    ] = None
    weights: Annotated[tuple[float, ...], about("with combine weighted: one for each input")] = ()
    soft: Annotated[bool, about("with combine vote: of probabilities, not of classes")] = False
    decide: Annotated[
        Decision | None,
        about(
            "decides by its input: `confident` has the branches sure and unsure, `true` has true "
            "and false"
        ),
    ] = None
    threshold: Annotated[float, about("with decide confident: sure from this on")] = 0.0
    tensor: Annotated[str, about("with decide: the tensor to look at, if there are several")] = ""
    choose: Annotated[Choose | None, about("chooses one of several branches")] = None
    join: Annotated[
        Literal["inner", "outer", "any"] | None,
        about(
            "when it runs: inner with all inputs; outer with those that there are, once that is "
            "known of all; any with the first; what it combines decides if absent"
        ),
    ] = None
    window_seconds: Annotated[
        float, about("with an outer join: waits no longer than this after the first", least=0)
    ] = 0.0
    quorum: Annotated[int, about("so many inputs are enough; others may fail", least=0)] = 0
    delay_seconds: Annotated[
        float,
        about("starts so much later, and not at all if its answer is no longer needed", least=0),
    ] = 0.0
    timeout_seconds: Annotated[
        float, about("fails after this; 0: what is left of the request's time", least=0)
    ] = 0.0
    tolerate: Annotated[bool, about("its failure is its answer, and not the request's failure")] = (
        False
    )


class GraphSpec(Fields, frozen=True):
    """The steps, and which of them answer."""

    steps: Annotated[tuple[GraphStep, ...], about("the steps, in any order")]
    output: Annotated[
        tuple[str, ...],
        about(
            "the steps whose answer is the graph's: of several, the one that comes; the last step "
            "of the list if absent"
        ),
    ] = ()
    timeout_seconds: Annotated[float, about("time for the whole graph; 0: no limit", least=0)] = 0.0


class Graph(Fields, frozen=True):
    """Models, functions and choices as one model."""

    metadata: Annotated[ObjectMeta, about("name, namespace, labels, annotations")]
    spec: Annotated[GraphSpec, about("the steps")]
    api_version: Annotated[str, about("group and version of the type")] = "salver.dev/v1"
    kind: Annotated[str, about("name of the type")] = "Graph"
    status: Annotated[Any, about("set by the server")] = None


def outputs_of(spec: GraphSpec) -> tuple[str, ...]:
    """The steps that answer: those named, or else the last one."""
    return spec.output or tuple(each.name for each in spec.steps[-1:])


def sources_of(step: GraphStep) -> Iterator[Source]:
    """The inputs of a step that can be read; the request if it names none."""
    if not step.inputs:
        yield Source(REQUEST)
    for text in step.inputs:
        source = source_of(text)
        if source is not None:
            yield source


def branches_of(step: GraphStep) -> tuple[str, ...]:
    """What the branches of a deciding step are called; none for a function or a model."""
    if step.choose is not None:
        return step.choose.branches
    return DECISION_BRANCHES[step.decide] if step.decide is not None else ()


def branch_number(step: GraphStep, branch: object) -> int | None:
    """The number of a branch of a step, as `when.branch` names it; None if it has none such."""
    names = branches_of(step)
    if isinstance(branch, bool):
        if names and names != DECISION_BRANCHES["true"]:
            return None
        return int(branch)
    if isinstance(branch, int):
        return branch if branch >= 0 and (not names or branch < len(names)) else None
    if isinstance(branch, str) and branch in names:
        return names.index(branch)
    return None
