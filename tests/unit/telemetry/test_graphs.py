"""The metrics of a graph's steps."""

from __future__ import annotations

from salver.errors import ErrorKind
from salver.telemetry.graphs import FlowMetrics, StepFigures, StepNames, quantile_s
from salver.telemetry.registry import Registry
from salver.telemetry.snapshot import render

STEPS = [StepNames("pick", (0, 1)), StepNames("model")]


def test_every_step_is_counted_under_its_own_name() -> None:
    registry = Registry()
    metrics = FlowMetrics(registry, "default/g", "main", STEPS)
    metrics.count_choice(0, 1)
    metrics.count_answer(1, 0.003, 100, 50)
    metrics.count_failure(1, ErrorKind.DEADLINE_EXCEEDED, 1.0)
    metrics.count_skip(0)
    figures = metrics.figures()
    assert figures["pick"].choices == {0: 0, 1: 1}
    assert (figures["pick"].runs, figures["pick"].skipped) == (1, 1)
    model = figures["model"]
    assert (model.answers, model.failures, model.runs) == (1, 1, 2)
    assert model.errors == {"deadline_exceeded": 1}
    assert (model.bytes_in, model.bytes_out) == (100, 50)
    text = render(registry.snapshot()).decode()
    labels = 'graph="default/g",variant="main",step="model"'
    assert f"salver_graph_step_answers_total{{{labels}}} 1" in text
    assert f'salver_graph_step_errors_total{{{labels},reason="deadline_exceeded"}} 1' in text
    assert f"salver_graph_step_duration_seconds_count{{{labels}}} 2" in text


def test_a_branch_that_is_not_known_is_not_counted() -> None:
    metrics = FlowMetrics(Registry(), "default/g", "main", STEPS)
    metrics.count_choice(0, 7)
    metrics.count_choice(1, 0)
    assert metrics.figures()["pick"].choices == {0: 0, 1: 0}


def test_numbers_go_on_when_the_flow_is_exposed_again() -> None:
    registry = Registry()
    FlowMetrics(registry, "default/g", "main", STEPS).count_answer(1, 0.001, 1, 1)
    again = FlowMetrics(registry, "default/g", "main", STEPS)
    again.count_answer(1, 0.001, 1, 1)
    assert again.figures()["model"].answers == 2


def test_quantiles_lie_within_their_bucket() -> None:
    metrics = FlowMetrics(Registry(), "default/g", "main", STEPS)
    for _ in range(99):
        metrics.count_answer(1, 0.003, 1, 1)
    metrics.count_answer(1, 0.7, 1, 1)
    figures = metrics.figures()["model"]
    assert 0.0025 <= figures.quantile_s(0.5) <= 0.005
    assert figures.quantile_s(0.99) <= 0.005
    assert 0.5 <= figures.quantile_s(1.0) <= 1.0


def test_nothing_has_no_quantiles() -> None:
    assert StepFigures().quantile_s(0.5) == 0.0
    assert quantile_s([0] * 18, 0.5) == 0.0
