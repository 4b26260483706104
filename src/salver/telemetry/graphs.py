"""The metrics of one flow of a graph: what each of its steps did, and how long it took.

One `FlowMetrics` per variant of a graph, made when it is exposed: everything that the request
path touches is bound to its labels by then. Steps are known by their index in the flow. Names,
numbers and times are handed in; nothing here knows what a step does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from salver.errors import ErrorKind
from salver.telemetry.metrics import DURATION_BOUNDS_S
from salver.telemetry.registry import Counter, Gauge, Histogram, Registry

_FAILURES = tuple(kind for kind in ErrorKind if kind is not ErrorKind.OK)


class StepNames(msgspec.Struct, frozen=True):
    """What a step is called in metrics; `branches` are those that it can choose."""

    name: str
    branches: Sequence[int] = ()


class StepFigures(msgspec.Struct, frozen=True):
    """What a step has done so far, for people: numbers since it was exposed.

    `latency_buckets` are counts by the bounds of `DURATION_BOUNDS_S`, and one for beyond.
    """

    answers: int = 0
    errors: Mapping[str, int] = {}
    skipped: int = 0
    seconds: float = 0.0
    latency_buckets: tuple[int, ...] = ()
    bytes_in: int = 0
    bytes_out: int = 0
    choices: Mapping[int, int] = {}

    @property
    def failures(self) -> int:
        return sum(self.errors.values())

    @property
    def runs(self) -> int:
        """How often it acted, whatever came of it."""
        return max(self.answers, sum(self.choices.values())) + self.failures

    def quantile_s(self, share: float) -> float:
        """The seconds within which that share of its calls ended, within its bucket's bounds."""
        return quantile_s(self.latency_buckets, share)


def quantile_s(counts: Sequence[int], share: float) -> float:
    """The quantile of a histogram over `DURATION_BOUNDS_S`: linear within a bucket."""
    wanted = share * sum(counts)
    below = 0.0
    for number, count in enumerate(counts):
        if count and below + count >= wanted:
            low = DURATION_BOUNDS_S[number - 1] if number else 0.0
            high = DURATION_BOUNDS_S[min(number, len(DURATION_BOUNDS_S) - 1)]
            return low + (high - low) * max(0.0, wanted - below) / count
        below += count
    return 0.0


class _StepMetrics:
    """The children of one step."""

    __slots__ = ("answers", "bytes_in", "bytes_out", "choices", "errors", "latency", "skipped")

    def __init__(self, registry: Registry, step: StepNames, of: dict[str, str]) -> None:
        counter = registry.counter
        self.answers: Counter = counter(
            "salver_graph_step_answers_total", "Answers of a graph's step.", **of
        )
        self.errors: tuple[Counter, ...] = tuple(
            counter(
                "salver_graph_step_errors_total",
                "Failures of a graph's step, by reason.",
                **of,
                reason=kind.reason,
            )
            for kind in _FAILURES
        )
        self.skipped: Counter = counter(
            "salver_graph_step_skipped_total",
            "Requests in which a graph's step was not run: an input or trigger was absent.",
            **of,
        )
        self.latency: Histogram = registry.histogram(
            "salver_graph_step_duration_seconds",
            "Seconds from the start of a graph's step to its answer or failure.",
            DURATION_BOUNDS_S,
            **of,
        )
        self.bytes_in: Counter = counter(
            "salver_graph_step_input_bytes_total", "Bytes of a graph's step's inputs.", **of
        )
        self.bytes_out: Counter = counter(
            "salver_graph_step_output_bytes_total", "Bytes of a graph's step's answers.", **of
        )
        self.choices: dict[int, Counter] = {
            branch: counter(
                "salver_graph_step_choices_total",
                "Choices of a graph's router, by branch: -1 all, -2 none, -3 otherwise.",
                **of,
                branch=str(branch),
            )
            for branch in step.branches
        }


class FlowMetrics:
    """The numbers of one flow. `graph` is its `namespace/name`, `variant` the variant's name."""

    def __init__(
        self, registry: Registry, graph: str, variant: str, steps: Sequence[StepNames]
    ) -> None:
        of = {"graph": graph, "variant": variant}
        self.names = tuple(step.name for step in steps)
        self._steps = tuple(
            _StepMetrics(registry, each, {**of, "step": each.name}) for each in steps
        )
        self.requests: Counter = registry.counter(
            "salver_graph_requests_total", "Requests that came to a graph.", **of
        )
        self._failed: tuple[Counter, ...] = tuple(
            registry.counter(
                "salver_graph_request_errors_total",
                "Requests to which a graph had no answer, by reason.",
                **of,
                reason=kind.reason,
            )
            for kind in _FAILURES
        )
        self.latency: Histogram = registry.histogram(
            "salver_graph_request_duration_seconds",
            "Seconds from a request's arrival at a graph to its answer.",
            DURATION_BOUNDS_S,
            **of,
        )
        self.in_flight: Gauge = registry.gauge(
            "salver_graph_requests_in_flight",
            "Requests whose callers wait for a graph now.",
            merge="sum",
            **of,
        )
        self._answers = tuple(each.answers for each in self._steps)
        self._latencies = tuple(each.latency.observe for each in self._steps)
        self._bytes_in = tuple(each.bytes_in for each in self._steps)
        self._bytes_out = tuple(each.bytes_out for each in self._steps)

    @property
    def failed(self) -> int:
        """Requests to which there was no answer, for whatever reason."""
        return int(sum(each.value for each in self._failed))

    def count_request_failure(self, kind: ErrorKind) -> None:
        """A request had no answer."""
        if kind:
            self._failed[kind - 1].value += 1

    def count_answer(self, step: int, seconds: float, bytes_in: int, bytes_out: int) -> None:
        """The step has answered. On the path of every request: about a microsecond."""
        self._answers[step].value += 1
        self._bytes_in[step].value += bytes_in
        self._bytes_out[step].value += bytes_out
        self._latencies[step](seconds)

    def count_failure(self, step: int, kind: ErrorKind, seconds: float) -> None:
        """The step has failed."""
        if kind:
            self._steps[step].errors[kind - 1].value += 1
        self._latencies[step](seconds)

    def count_choice(self, step: int, branch: int) -> None:
        """The step has chosen a branch; one that it was not made for is not counted."""
        counter = self._steps[step].choices.get(branch)
        if counter is not None:
            counter.value += 1

    def count_skip(self, step: int) -> None:
        """The step was not run."""
        self._steps[step].skipped.value += 1

    def figures(self) -> dict[str, StepFigures]:
        """The numbers now, by step."""
        return {name: _figures(each) for name, each in zip(self.names, self._steps, strict=True)}


def _figures(step: _StepMetrics) -> StepFigures:
    errors = {
        kind.reason: int(counter.value)
        for kind, counter in zip(_FAILURES, step.errors, strict=True)
        if counter.value
    }
    return StepFigures(
        answers=int(step.answers.value),
        errors=errors,
        skipped=int(step.skipped.value),
        seconds=step.latency.total,
        latency_buckets=tuple(step.latency.counts),
        bytes_in=int(step.bytes_in.value),
        bytes_out=int(step.bytes_out.value),
        choices={branch: int(each.value) for branch, each in step.choices.items()},
    )


def figures_json(figures: Mapping[str, StepFigures]) -> dict[str, Any]:
    """The figures for programs."""
    return {name: msgspec.to_builtins(each, str_keys=True) for name, each in figures.items()}
