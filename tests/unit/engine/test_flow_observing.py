"""What observers of a flow count, and how several of them share what is told."""

from __future__ import annotations

from collections.abc import Sequence

from salver.engine.call import Call
from salver.engine.flow_observing import CountingObserver, ObserverFan, observing, step_names
from salver.engine.flow_ports import Failure, FlowObserver, Message
from salver.errors import ErrorKind
from salver.graphs.flow import (
    ALL_BRANCHES,
    NO_BRANCH,
    OTHERWISE,
    Answered,
    Conditions,
    Edge,
    Flow,
    Learned,
    Step,
    Unit,
    Weights,
)
from salver.protocol.wire_codes import Codec
from salver.telemetry.graphs import FlowMetrics
from salver.telemetry.registry import Registry
from salver.telemetry.trace import TraceContext

FLOW = Flow(
    "g",
    (
        Step("w", Weights((1, 2))),
        Step("c", Conditions(("a",))),
        Step("a", Answered(2)),
        Step("l", Learned("ucb1", ("x", "y"))),
        Step("m", Unit("m")),
    ),
    (Edge("m"),),
)
REQUEST = Message(Codec.V1_JSON, 0, b"12345", is_request=True)
CALL = Call(int(Codec.V1_JSON), 0, b"12345", arrived_s=0.0, deadline_s=1.0)
ANSWER = Message(Codec.V1_JSON, 0, b"123", is_request=False)


def test_steps_that_choose_have_their_branches_counted() -> None:
    assert {each.name: tuple(each.branches) for each in step_names(FLOW)} == {
        "w": (0, 1),
        "c": (0, OTHERWISE),
        "a": (0, 1, ALL_BRANCHES, NO_BRANCH),
        "l": (0, 1),
        "m": (),
    }


def test_all_that_is_told_is_counted() -> None:
    metrics = FlowMetrics(Registry(), "default/g", "main", step_names(FLOW))
    observer = CountingObserver(metrics)
    run = observer.begin("id", REQUEST, CALL)
    assert run is not None
    run.on_choice(0, 1)
    run.on_answer(4, (REQUEST, REQUEST), ANSWER, 0.002)
    run.on_answer(4, (), None, 0.002)
    run.on_failure(4, Failure(ErrorKind.QUEUE_FULL, "full"), 0.1)
    run.on_skipped(1)
    assert metrics.in_flight.value == 1
    run.on_end(ANSWER, 0.25)
    run.on_end(Failure(ErrorKind.UNAVAILABLE, "down"), 0.25)
    assert metrics.in_flight.value == -1
    run.on_end(None, 0.25)
    assert (metrics.latency.total, sum(metrics.latency.counts)) == (0.5, 2)
    figures = metrics.figures()
    assert (metrics.requests.value, metrics.failed) == (1, 1)
    assert figures["w"].choices == {0: 0, 1: 1}
    assert figures["c"].skipped == 1
    model = figures["m"]
    assert (model.answers, model.errors) == (2, {"queue_full": 1})
    assert (model.bytes_in, model.bytes_out) == (10, 3)


class Recording:
    """Implements `FlowObserver`: notes what it is told; has one of its own for each run."""

    def __init__(self, name: str, said: list[str]) -> None:
        self.name, self.said = name, said

    def begin(self, run_id: str, request: Message, call: Call) -> FlowObserver:
        return Recording(f"{self.name}/{run_id}", self.said)

    def span(self, step: int) -> TraceContext | None:
        return None

    def on_end(self, answer: Message | Failure | None, seconds: float) -> None:
        self.said.append(f"{self.name} end")

    def on_answer(
        self, step: int, given: Sequence[Message], answer: Message | None, seconds: float
    ) -> None:
        self.said.append(f"{self.name} answer {step}")

    def on_failure(self, step: int, failure: Failure, seconds: float) -> None:
        self.said.append(f"{self.name} failure {step}")

    def on_choice(self, step: int, branch: int) -> None:
        self.said.append(f"{self.name} choice {step} {branch}")

    def on_skipped(self, step: int) -> None:
        self.said.append(f"{self.name} skipped {step}")


def test_several_observers_are_told_everything_in_order() -> None:
    said: list[str] = []
    fan = observing([Recording("a", said), Recording("b", said)])
    assert fan is not None
    run = fan.begin("7", REQUEST, CALL)
    assert run is not None
    run.on_answer(0, (), ANSWER, 0.0)
    run.on_failure(1, Failure(ErrorKind.QUEUE_FULL, "full"), 0.0)
    run.on_choice(2, 1)
    run.on_skipped(3)
    run.on_end(ANSWER, 0.25)
    assert said == [
        f"{name}/7 {what}"
        for what in ("answer 0", "failure 1", "choice 2 1", "skipped 3", "end")
        for name in "ab"
    ]


def test_observers_without_one_for_each_run_share_theirs() -> None:
    metrics = [FlowMetrics(Registry(), "default/g", "main", step_names(FLOW)) for _ in range(2)]
    fan = ObserverFan([CountingObserver(each) for each in metrics])
    assert fan.begin("7", REQUEST, CALL) is fan


def test_nobody_who_watches_is_nobody() -> None:
    assert observing([]) is None
    one = Recording("a", [])
    assert observing([one]) is one
