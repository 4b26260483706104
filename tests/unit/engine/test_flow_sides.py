"""Steps beside the way to the answer: some lend what they are given, some only watch."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.engine.flows import Bench, plus, service

from salver.engine.flow_ports import Failure
from salver.errors import ErrorKind
from salver.graphs.flow import Edge

BUSY = Failure(ErrorKind.QUEUE_FULL, "the queue is full")
OUT = Failure(ErrorKind.UNAVAILABLE, "it is out")


def test_a_step_that_only_lends_its_input_neither_delays_nor_fails_the_answer() -> None:
    bench = Bench()
    bench.add("a", plus(1))
    lender = bench.add("log", failure=OUT, seconds=5.0)
    bench.add("b", plus(10))
    steps = [service("a"), service("log", Edge("a")), service("b", Edge("log", "inputs"))]
    call = bench.ask(bench.graph(steps, [Edge("b")]), {"instances": [1]})
    assert call.json == {"predictions": [12]}
    assert len(lender.calls) == 1


def test_its_failure_is_not_told_if_the_answer_is_missing_for_another_reason() -> None:
    bench = Bench()
    bench.add("log", failure=BUSY)
    bench.add("b", failure=OUT, seconds=1.0)
    steps = [service("log"), service("b", Edge("log", "inputs"))]
    call = bench.ask(bench.graph(steps, [Edge("b")]), {"instances": [1]})
    assert call.failure.kind == ErrorKind.UNAVAILABLE
    assert "step 'b'" in call.failure.message


@pytest.mark.parametrize("options", [{}, {"tolerates": True}])
def test_it_is_told_if_it_failed_before_it_was_given_what_it_lends(options: dict[str, Any]) -> None:
    bench = Bench()
    bench.add("log", plus(1))
    bench.add("b", plus(10))
    steps = [service("log", delay_s=60.0, **options), service("b", Edge("log", "inputs"))]
    call = bench.ask(bench.graph(steps, [Edge("b")]), {"instances": [1]})
    assert call.failure.kind == ErrorKind.DEADLINE_EXCEEDED
    assert call.failure.message.startswith("step 'log': the request's time limit of")


def test_after_the_answer_what_a_side_branch_can_do_without_is_not_begun() -> None:
    bench = Bench()
    bench.add("quick", plus(1))
    bench.add("soon", plus(2), seconds=1.0)
    late = bench.add("late", plus(3))
    end = bench.add("end", plus(4))
    side = bench.add("side", plus(5))
    steps = [
        service("quick"),
        service("soon"),
        service("late", delay_s=2.0),
        service("end", Edge("late")),
        service("side", Edge("soon"), Edge("late"), join="any"),
    ]
    graph = bench.graph(steps, [Edge("quick"), Edge("end")])
    assert bench.ask(graph, {"instances": [1]}).json == {"predictions": [2]}
    assert (len(side.calls), len(late.calls), len(end.calls)) == (1, 0, 0)
    assert bench.loop.due == 0
