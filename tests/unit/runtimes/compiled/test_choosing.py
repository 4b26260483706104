"""The choice of an engine by batch size, and the timing it rests on."""

from __future__ import annotations

import numpy as np
from tests.unit.runtimes.requests import matrix

from salver.inference.compilation import NATIVE
from salver.inference.tensor import InferRequest
from salver.runtimes.compiled.choosing import ChoiceTable, choice_table, time_at
from salver.runtimes.compiled.measuring import measured


def _linear(fixed: float, each: float) -> dict[int, float]:
    return {rows: fixed + each * rows for rows in (1, 32, 256, 1000)}


def test_the_quickest_engine_answers_each_size() -> None:
    times = {NATIVE: _linear(3000, 5), "small": _linear(10, 40), "large": _linear(500, 1)}
    table = choice_table(times, ["small", "large"])
    assert table.engine_for(1) == "small"
    assert table.engine_for(1000) == table.engine_for(50_000) == "large"
    # They cross at about 12.6 rows: the table may be off by its grid, no more.
    assert table.engine_for(8) == "small"
    assert table.engine_for(25) == "large"


def test_the_framework_keeps_what_is_not_clearly_quicker() -> None:
    times = {NATIVE: _linear(100, 1), "even": _linear(95, 0.95)}
    assert choice_table(times, ["even"]).engines == (NATIVE,)


def test_an_engine_that_was_not_allowed_is_not_chosen() -> None:
    times = {NATIVE: _linear(100, 1), "wrong": _linear(1, 0)}
    assert choice_table(times, []).engines == (NATIVE,)


def test_large_batches_are_the_frameworks_where_only_small_ones_were_measured() -> None:
    table = choice_table({NATIVE: {1: 100.0}, "quick": {1: 1.0}}, ["quick"])
    assert table == ChoiceTable((1, 1000), ("quick", NATIVE))
    assert table.engine_for(2) == NATIVE


def test_nothing_measured_is_the_frameworks() -> None:
    assert choice_table({}, ["quick"]).engine_for(1) == NATIVE


def test_times_between_sizes_are_on_a_line_and_none_beyond() -> None:
    assert time_at({1: 10.0, 11: 20.0}, 6) == 15.0
    assert time_at({1: 10.0, 11: 20.0}, 12) is None
    assert time_at({}, 1) is None


class _Clock:
    """Stands still but for what the calls under test take."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s

    def taking(self, *seconds: float) -> object:
        turns = list(seconds)

        def ask(request: InferRequest) -> None:
            self.now_s += turns[0] if len(turns) == 1 else turns.pop(0)

        return ask


def test_the_best_turn_counts() -> None:
    clock = _Clock()
    askers = {"a": clock.taking(0.5, 0.4, 0.3, 0.01, 0.9), "b": clock.taking(0.2)}
    requests = {1: matrix(np.zeros((1, 1)))}
    found = measured(askers, requests, clock=clock, deadline_s=100.0)  # type: ignore[arg-type]
    assert round(found["a"][1], 6) == 0.01
    assert round(found["b"][1], 6) == 0.2


def test_sizes_after_the_deadline_are_left_out_for_all() -> None:
    clock = _Clock()
    askers = {"a": clock.taking(1.0), "b": clock.taking(1.0)}
    requests = {rows: matrix(np.zeros((rows, 1))) for rows in (1, 1000)}
    found = measured(askers, requests, clock=clock, deadline_s=5.0)  # type: ignore[arg-type]
    assert list(found["a"]) == list(found["b"]) == [1]
    assert clock.now_s <= 7.0
