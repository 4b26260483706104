"""A flow as boxes and arrows, with what people want to read on them. Pure; nothing is laid out.

How the same picture is drawn in a terminal, as Mermaid and as SVG is `drawing.py`'s and
`svg.py`'s.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

from salver.graphs.flow import (
    ALL_BRANCHES,
    NO_BRANCH,
    OTHERWISE,
    REQUEST,
    Address,
    Answered,
    Conditions,
    Edge,
    Flow,
    Function,
    Gather,
    Learned,
    Service,
    Step,
    Succeeded,
    Unit,
    Weights,
)
from salver.telemetry.graphs import StepFigures

ANSWER = ":answer"
"""The box that stands for the answer of the whole flow."""
Shape = Literal["end", "model", "function", "choice", "pass"]
_OWN = "salver."
"""Begins the names of functions of Salver's own."""
_WORDS = {"outer": "whichever come", "any": "whichever is first"}


class Box(msgspec.Struct, frozen=True):
    """A step, the request, or the answer. `what` says what it does, `facts` its figures."""

    key: str
    title: str
    shape: Shape
    what: str = ""
    facts: str = ""
    is_failing: bool = False


class Arrow(msgspec.Struct, frozen=True):
    """An edge. `label`: which branch or tensor; `facts` its traffic; `heat` 0 to 1 its share of
    the busiest one's. `is_back`: it closes a cycle."""

    source: str
    target: str
    label: str = ""
    facts: str = ""
    heat: float = 0.0
    is_trigger: bool = False
    is_back: bool = False

    @property
    def key(self) -> str:
        """The same for the same arrow in every picture of the flow."""
        return f"{self.source}>{self.target}>{self.label}"


class Picture(msgspec.Struct, frozen=True):
    """All boxes, sources first but for cycles, and all arrows."""

    title: str
    boxes: tuple[Box, ...]
    arrows: tuple[Arrow, ...]


class Sample(msgspec.Struct, frozen=True):
    """The figures of a flow's steps, as counted since the start or over the last seconds."""

    steps: Mapping[str, StepFigures] = {}
    requests: int = 0
    failed: int = 0
    seconds: float = 0.0
    """How long it took to count them; 0: since the start."""

    def since(self, before: Sample, seconds: float) -> Sample:
        """What has come since an earlier sample."""
        steps = {
            name: _difference(now, before.steps.get(name, StepFigures()))
            for name, now in self.steps.items()
        }
        requests, failed = self.requests - before.requests, self.failed - before.failed
        return Sample(steps, max(0, requests), max(0, failed), seconds)


def picture_of(flow: Flow, sample: Sample | None = None) -> Picture:
    """The picture, with figures if there are any."""
    index = {step.name: number for number, step in enumerate(flow.steps)}
    arrows: dict[tuple[str, str, str, bool], Arrow] = {}
    for number, step in enumerate(flow.steps):
        for is_trigger, edges in ((False, step.inputs), (True, step.triggers)):
            for edge in edges:
                is_back = index.get(edge.source, -1) >= number
                _add(arrows, flow, edge, step.name, sample, is_trigger, is_back)
    for edge in flow.output:
        _add(arrows, flow, edge, ANSWER, sample)
    boxes = [Box(REQUEST, "request", "end", facts=_request_facts(sample))]
    boxes += [_box(step, sample) for step in flow.steps]
    boxes.append(Box(ANSWER, "answer", "end", _join(flow.output_join, len(flow.output))))
    counts = [edge_count(flow, each, sample) for each in _edges(flow)]
    return Picture(flow.name, tuple(boxes), _heated(tuple(arrows.values()), max(counts, default=0)))


def edge_count(flow: Flow, edge: Edge, sample: Sample | None) -> int:
    """How many messages went out on the edge; for one of a tensor, at most so many."""
    if sample is None:
        return 0
    if edge.source == REQUEST:
        return sample.requests
    figures = sample.steps.get(edge.source, StepFigures())
    if edge.branch is not None:
        more = figures.choices.get(ALL_BRANCHES, 0) if edge.branch >= 0 else 0
        return figures.choices.get(edge.branch, 0) + more
    return figures.runs if edge.end == "inputs" else figures.answers


def _add(
    arrows: dict[tuple[str, str, str, bool], Arrow],
    flow: Flow,
    edge: Edge,
    target: str,
    sample: Sample | None,
    is_trigger: bool = False,
    is_back: bool = False,
) -> None:
    label = branch_text(flow, edge)
    key = (edge.source, target, label, is_trigger)
    tensor = _tensor_text(edge)
    count = edge_count(flow, edge, sample)
    known = arrows.get(key)
    if known is not None:
        # Several tensors of one message go along one arrow.
        words = ", ".join(dict.fromkeys(filter(None, [known.label, tensor])))
        arrows[key] = msgspec.structs.replace(known, label=words, heat=max(known.heat, count))
        return
    text = ", ".join(filter(None, [label, tensor]))
    facts = rate_text(count, sample) if sample is not None else ""
    arrows[key] = Arrow(edge.source, target, text, facts, count, is_trigger, is_back)


def branch_text(flow: Flow, edge: Edge) -> str:
    """What people call the branch that an edge belongs to."""
    if edge.branch is None:
        return "its input" if edge.end == "inputs" and edge.source != REQUEST else ""
    named = {OTHERWISE: "otherwise", NO_BRANCH: "none", ALL_BRANCHES: "all"}
    if edge.branch in named:
        return named[edge.branch]
    step = next((each for each in flow.steps if each.name == edge.source), None)
    action = step.action if step is not None else None
    if isinstance(action, Conditions) and edge.branch < len(action.paths):
        return action.paths[edge.branch]
    if isinstance(action, Weights) and edge.branch < len(action.weights):
        return f"{action.weights[edge.branch] * 100 / sum(action.weights):.3g}%"
    if isinstance(action, Learned) and edge.branch < len(action.arms):
        return action.arms[edge.branch]
    return f"branch {edge.branch}"


def _tensor_text(edge: Edge) -> str:
    renamed = f" as {edge.rename}" if edge.rename and edge.rename != edge.tensor else ""
    return edge.tensor + renamed


def _box(step: Step, sample: Sample | None) -> Box:
    shape, what = _what(step)
    words = [what, _join(step.join, len(step.inputs), step.quorum)]
    facts, is_failing = "", False
    if sample is not None:
        figures = sample.steps.get(step.name, StepFigures())
        facts, is_failing = step_facts(figures, sample), figures.failures > 0
    title = step.title or step.name
    return Box(step.name, title, shape, ", ".join(filter(None, words)), facts, is_failing)


def _what(step: Step) -> tuple[Shape, str]:
    action = step.action
    if isinstance(action, Service):
        return "model", "service" + _unless(action.name, step.title or step.name)
    if isinstance(action, Unit):
        return "model", "" if action.unit == step.name else f"unit {action.unit}"
    if isinstance(action, Address):
        return "model", action.url
    if isinstance(action, Function):
        return "function", _function_text(action, step.title or step.name)
    if isinstance(action, Conditions):
        return "choice", "first condition that holds"
    if isinstance(action, Weights):
        return "choice", "by weight" + (", sticky" if action.sticky is not None else "")
    if isinstance(action, Learned):
        return "choice", action.algorithm
    if isinstance(action, Answered):
        return "choice", "as it is told"
    if isinstance(action, Succeeded):
        return "choice", "whether it has failed"
    if isinstance(action, Gather):
        return "pass", "one object of all"
    return "pass", "all tensors" if action.merges else ""


def _function_text(action: Function, title: str) -> str:
    """What is called, if the step's title does not say so already."""
    name, method = action.function, action.method
    if name.startswith(_OWN):
        own = name.removeprefix(_OWN).partition(".")[0]
        return "" if own == title else own
    if method == "call":
        return "function" + _unless(name, title)
    return method if name == title else f"function {name} ({method})"


def _unless(name: str, title: str) -> str:
    return "" if name == title else f" {name}"


def _join(join: str, count: int, quorum: int = 0) -> str:
    if count < 2:
        return ""
    return f"{quorum} of {count}" if quorum else _WORDS.get(join, "")


def _edges(flow: Flow) -> list[Edge]:
    found = [edge for step in flow.steps for edge in (*step.inputs, *step.triggers)]
    return [*found, *flow.output]


def _heated(arrows: tuple[Arrow, ...], busiest: int) -> tuple[Arrow, ...]:
    return tuple(
        msgspec.structs.replace(each, heat=each.heat / busiest if busiest else 0.0)
        for each in arrows
    )


# Figures as texts.


def step_facts(figures: StepFigures, sample: Sample) -> str:
    """What is said of a step: its calls, its median and slowest latencies, its failures."""
    if not figures.runs and not figures.failures:
        if figures.skipped:
            return f"skipped {rate_text(figures.skipped, sample)}"
        return "no calls" if sample.seconds else "no calls yet"
    parts = [rate_text(figures.runs, sample)]
    if figures.seconds > 0:
        parts.append(seconds_text(figures.quantile_s(0.5)))
        parts.append(f"p99 {seconds_text(figures.quantile_s(0.99))}")
    if figures.failures:
        parts.append(f"{figures.failures:,} failed")
    return ", ".join(parts)


def _request_facts(sample: Sample | None) -> str:
    if sample is None:
        return ""
    failed = f", {sample.failed:,} failed" if sample.failed else ""
    return rate_text(sample.requests, sample) + failed


def rate_text(count: float, sample: Sample) -> str:
    """A count, or where the sample is of some seconds, how many a second."""
    if not sample.seconds:
        return f"{count:,.0f}"
    rate = count / sample.seconds
    return f"{rate:,.0f}/s" if rate >= 10 or not rate else f"{rate:.1f}/s"


def seconds_text(seconds: float) -> str:
    """A short time in the unit that suits it."""
    if seconds < 0.001:
        return f"{seconds * 1e6:.0f} us"
    return f"{seconds * 1e3:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"


def _difference(now: StepFigures, before: StepFigures) -> StepFigures:
    buckets = before.latency_buckets or [0] * len(now.latency_buckets)
    return StepFigures(
        answers=max(0, now.answers - before.answers),
        errors={
            reason: count - before.errors.get(reason, 0)
            for reason, count in now.errors.items()
            if count > before.errors.get(reason, 0)
        },
        skipped=max(0, now.skipped - before.skipped),
        seconds=max(0.0, now.seconds - before.seconds),
        latency_buckets=tuple(
            max(0, a - b) for a, b in zip(now.latency_buckets, buckets, strict=False)
        ),
        bytes_in=max(0, now.bytes_in - before.bytes_in),
        bytes_out=max(0, now.bytes_out - before.bytes_out),
        choices={
            branch: max(0, count - before.choices.get(branch, 0))
            for branch, count in now.choices.items()
        },
    )
