"""Random graphs, walked by the executor and worked out on paper: the same comes of both.

`drawn_flows.py` draws the graphs and runs them; `flow_paper.py` says what must become of them.
"""

from __future__ import annotations

import gc
import random
import weakref
from collections import Counter

import pytest
from tests.unit.engine.drawn_flows import Drawn, Timing, draw, texts_of
from tests.unit.engine.flow_paper import Ambiguous, Paper

from salver.graphs.flow import Service


@pytest.mark.parametrize("part", range(8))
def test_what_comes_of_a_graph_is_what_the_paper_says(part: int) -> None:
    compared: Counter[str] = Counter()
    for seed in range(part, 4000, 8):
        drawn = draw(seed)
        try:
            paper = Paper(drawn)
        except Ambiguous:
            compared["ambiguous"] += 1
            continue
        compare(seed, drawn, paper, compared)
    assert compared["ambiguous"] < 150, compared
    assert min(compared["answers"], compared["failures"], compared["asked"]) > 60, compared


def compare(seed: int, drawn: Drawn, paper: Paper, compared: Counter[str]) -> None:
    timing = Timing(drawn)
    call = timing.ask(drawn.deadline_s)
    timing.loop.run_until(2000.0)
    outcomes = paper.outcomes
    assert len(call.answers) + len(call.failures) == 1, (seed, call.failures)
    assert call.told_s == [pytest.approx(paper.ends_s, abs=1e-6)], seed
    if call.answers:
        assert tuple(texts_of(call.answers[0][0])) in outcomes, seed
        compared["answers"] += 1
    else:
        assert call.failures[0].kind in outcomes, (seed, call.failures, outcomes)
        compared["failures"] += 1
    names = Counter(name for name, _ in timing.asked)
    assert set(names.values()) <= {1}, (seed, names)
    for step in drawn.flow.steps:
        if isinstance(step.action, Service):
            if paper.must_be_asked(step, surely=True):
                assert step.name in names, (seed, step.name)
                compared["asked"] += 1
            if not paper.must_be_asked(step, surely=False):
                assert step.name not in names, (seed, step.name)
    assert timing.graph.in_flight == 0 and timing.loop.due == 0, seed


@pytest.mark.parametrize("part", range(4))
def test_when_the_client_leaves_nothing_more_is_asked_and_nothing_is_left(part: int) -> None:
    left_amid = 0
    gc.disable()
    try:
        for seed in range(part, 1600, 4):
            drawn = draw(seed)
            timing = Timing(drawn)
            call = timing.ask(drawn.deadline_s)
            leaves_s = random.Random(seed).uniform(0.0, 5.0)
            timing.loop.run_until(leaves_s)
            was_told = len(call.told_s)
            call.is_abandoned = True
            left_amid += not was_told
            timing.loop.run_until(2000.0)
            assert all(time <= leaves_s for _, time in timing.asked), seed
            assert len(call.told_s) == was_told, seed
            assert timing.graph.in_flight == 0, seed
            # Nothing refers to the run any more, not even itself.
            kept = weakref.ref(call)
            del call
            assert kept() is None, seed
    finally:
        gc.enable()
    assert left_amid > 50
