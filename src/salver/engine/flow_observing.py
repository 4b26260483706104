"""What is seen of runs through a flow: counted in metrics, handed to others, traced.

Owns how what the executor tells becomes numbers and spans. On the path of every request, so each
call is a few additions; a flow that nobody watches has no observer at all.
"""

from __future__ import annotations

from collections.abc import Sequence

from salver.engine.call import Call
from salver.engine.flow_ports import Failure, FlowObserver, Message
from salver.graphs.flow import (
    ALL_BRANCHES,
    NO_BRANCH,
    OTHERWISE,
    Answered,
    Conditions,
    Flow,
    Function,
    Learned,
    Step,
    Succeeded,
    Weights,
)
from salver.telemetry.graphs import FlowMetrics, StepNames
from salver.telemetry.trace import TraceContext


def step_names(flow: Flow) -> list[StepNames]:
    """What the metrics of a flow need to know of its steps."""
    return [StepNames(step.name, branches_of(step)) for step in flow.steps]


def branches_of(step: Step) -> tuple[int, ...]:
    """The branches that a step may choose; none if it chooses nothing."""
    action = step.action
    if isinstance(action, Conditions):
        return (*range(len(action.paths)), OTHERWISE)
    if isinstance(action, Weights):
        return tuple(range(len(action.weights)))
    if isinstance(action, Learned):
        return tuple(range(len(action.arms)))
    if isinstance(action, Answered):
        return (*range(action.branches), ALL_BRANCHES, NO_BRANCH)
    if isinstance(action, Succeeded):
        return (0, 1)
    if isinstance(action, Function) and action.method in ("branch", "route"):
        return ()
    return ()


class CountingObserver:
    """Implements `FlowObserver`: counts."""

    __slots__ = ("_count_answer", "_in_flight", "_metrics", "_observe_latency")

    def __init__(self, metrics: FlowMetrics) -> None:
        self._metrics = metrics
        self._in_flight = metrics.in_flight
        self._observe_latency = metrics.latency.observe
        self._count_answer = metrics.count_answer

    def begin(self, run_id: str, request: Message, call: Call) -> FlowObserver:
        """See `FlowObserver`."""
        self._metrics.requests.value += 1
        self._in_flight.value += 1
        return self

    def span(self, step: int) -> TraceContext | None:
        """See `FlowObserver`: it makes none."""
        return None

    def on_end(self, answer: Message | Failure | None, seconds: float) -> None:
        """See `FlowObserver`."""
        self._in_flight.value -= 1
        if answer is not None:
            self._observe_latency(seconds)
        if isinstance(answer, Failure):
            self._metrics.count_request_failure(answer.kind)

    def on_answer(
        self, step: int, given: Sequence[Message], answer: Message | None, seconds: float
    ) -> None:
        """See `FlowObserver`."""
        size = 0
        for message in given:
            size += len(message.body)
        self._count_answer(step, seconds, size, 0 if answer is None else len(answer.body))

    def on_failure(self, step: int, failure: Failure, seconds: float) -> None:
        """See `FlowObserver`."""
        self._metrics.count_failure(step, failure.kind, seconds)

    def on_choice(self, step: int, branch: int) -> None:
        """See `FlowObserver`."""
        self._metrics.count_choice(step, branch)

    def on_skipped(self, step: int) -> None:
        """See `FlowObserver`."""
        self._metrics.count_skip(step)


class ObserverFan:
    """Implements `FlowObserver`: hands everything on to several, in order."""

    __slots__ = ("_observers",)

    def __init__(self, observers: Sequence[FlowObserver]) -> None:
        self._observers = tuple(observers)

    def begin(self, run_id: str, request: Message, call: Call) -> FlowObserver | None:
        """See `FlowObserver`: one of those who are for this run."""
        all_begun = [each.begin(run_id, request, call) for each in self._observers]
        begun = tuple(each for each in all_begun if each is not None)
        return self if begun == self._observers else observing(begun)

    def span(self, step: int) -> TraceContext | None:
        """See `FlowObserver`: the first one's who has one."""
        for each in self._observers:
            found = each.span(step)
            if found is not None:
                return found
        return None

    def on_end(self, answer: Message | Failure | None, seconds: float) -> None:
        """See `FlowObserver`."""
        for each in self._observers:
            each.on_end(answer, seconds)

    def on_answer(
        self, step: int, given: Sequence[Message], answer: Message | None, seconds: float
    ) -> None:
        """See `FlowObserver`."""
        for each in self._observers:
            each.on_answer(step, given, answer, seconds)

    def on_failure(self, step: int, failure: Failure, seconds: float) -> None:
        """See `FlowObserver`."""
        for each in self._observers:
            each.on_failure(step, failure, seconds)

    def on_choice(self, step: int, branch: int) -> None:
        """See `FlowObserver`."""
        for each in self._observers:
            each.on_choice(step, branch)

    def on_skipped(self, step: int) -> None:
        """See `FlowObserver`."""
        for each in self._observers:
            each.on_skipped(step)


def observing(observers: Sequence[FlowObserver]) -> FlowObserver | None:
    """One observer for all of them; none if there are none."""
    if len(observers) < 2:
        return observers[0] if observers else None
    return ObserverFan(observers)
