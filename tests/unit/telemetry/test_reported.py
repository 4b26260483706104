"""What components report of themselves: how it is shown, and what is not."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from salver.telemetry.registry import Registry
from salver.telemetry.reported import Report, ReportedMetrics
from salver.telemetry.snapshot import render

OWN = 'namespace="default",deployment_name="g",predictor_name="main",model_name="m"'
DROPPED = "salver_graph_reported_metrics_dropped_total"


class Reported:
    """What one predictor of one graph reports."""

    def __init__(self, max_series: int = 1000) -> None:
        self.registry = Registry()
        self.all = ReportedMetrics(self.registry, max_series=max_series)
        self.report = self.of("g")

    def of(self, graph: str, predictor: str = "main", *others: str) -> Report:
        return self.all.report("default", graph, predictor, [predictor, *others])

    def lines(self) -> list[str]:
        text = render(self.registry.snapshot()).decode().splitlines()
        return [each for each in text if not each.startswith("#")]

    def dropped(self) -> list[str]:
        return [each.removeprefix(DROPPED) for each in self.lines() if each.startswith(DROPPED)]


def metric(key: Any = "seen", value: Any = 1, type: Any = "COUNTER", **tags: Any) -> dict[str, Any]:
    return {"key": key, "type": type, "value": value, "tags": tags}


def test_counters_add_up_and_gauges_are_the_last_value() -> None:
    reported = Reported()
    reported.report("m", [metric("seen", 1), metric("level", 7, "GAUGE")])
    reported.report("m", [metric("seen", 2.5), metric("level", -2, "GAUGE")])
    assert reported.lines() == [f"level{{{OWN}}} -2", f"seen_total{{{OWN}}} 3.5"]


def test_a_timer_is_a_histogram_in_seconds() -> None:
    reported = Reported()
    reported.report("m", [metric("took", 2, "TIMER"), metric("took", 700, "TIMER")])
    lines = reported.lines()
    assert f'took_bucket{{{OWN},le="0.0025"}} 1' in lines
    assert f'took_bucket{{{OWN},le="+Inf"}} 2' in lines
    assert f"took_sum{{{OWN}}} 0.702" in lines


def test_tags_are_labels_in_whatever_order_they_come() -> None:
    reported = Reported()
    reported.report("m", [metric(kind="a", zone="1"), metric(zone="1", kind="a"), metric()])
    assert reported.lines() == [
        f'seen_total{{{OWN},kind="a",zone="1"}} 2',
        f"seen_total{{{OWN}}} 1",
    ]


def test_names_and_tags_are_made_ones_that_prometheus_reads() -> None:
    reported = Reported()
    tags = {"a-b": True, "1": "x", "__name__": "y", "model_name": "forged"}
    reported.report("m", [{"key": "5 things.total", "value": 1, "tags": tags}])
    reported.report("m", [metric("t", 1, "TIMER", le="9")])
    assert f'_5_things_total{{{OWN},_1="x",_name__="y",a_b="True"}} 1' in reported.lines()
    assert f"t_count{{{OWN}}} 1" in reported.lines()


@pytest.mark.parametrize(
    ("odd", "reason"),
    [
        ("text", "no_metric"),
        (metric(value="many"), "no_metric"),
        (metric(value=float("nan")), "no_metric"),
        (metric(value=-1), "no_metric"),
        (metric(type="SUMMARY"), "no_metric"),
        (metric(type=[]), "no_metric"),
        (metric(key=None), "name"),
        (metric(key=["a"]), "name"),
        (metric(key=""), "name"),
        (metric(key="salver_requests"), "name"),
        ({**metric(), "tags": ["a"]}, "tags"),
        ({**metric(), "tags": {str(each): each for each in range(17)}}, "tags"),
    ],
)
def test_what_is_no_metric_is_dropped_counted_and_told_once(
    odd: Any, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    reported = Reported()
    with caplog.at_level(logging.WARNING):
        reported.report("m", [odd, metric()])
        reported.report("m", [odd])
    assert reported.dropped() == [f'{{graph="default/g",reason="{reason}"}} 2']
    assert f"seen_total{{{OWN}}} 1" in reported.lines()
    assert len(caplog.records) == 1
    assert (
        f"graph 'default/g': a metric of a component is not on /metrics ({reason})" in caplog.text
    )


def test_a_name_means_one_thing_on_a_server() -> None:
    reported = Reported()
    reported.report("m", [metric("level_total", 1, "GAUGE"), metric("level", 1)])
    assert reported.dropped() == ['{graph="default/g",reason="type"} 1']
    reported.all.forget("default", "g")
    reported.of("other")("m", [metric("level", 1)])
    assert [each for each in reported.lines() if each.startswith("level_total")]


def test_a_graph_has_no_more_series_than_it_may() -> None:
    reported = Reported(max_series=3)
    other = reported.of("other")
    reported.report("m", [metric(user=str(each)) for each in range(9)])
    reported.report("m", [metric(user="0")])
    other("m", [metric(user="0")])
    assert reported.dropped() == ['{graph="default/g",reason="too_many"} 6']
    assert f'seen_total{{{OWN},user="0"}} 2' in reported.lines()
    assert sum(each.startswith("seen_total") for each in reported.lines()) == 4


def test_numbers_go_on_when_a_graph_is_wired_anew_and_end_with_their_predictor() -> None:
    reported = Reported()
    old = reported.of("g", "main", "old")
    reported.of("g", "old", "main")("m", [metric()])
    old("m", [metric()])
    reported.of("g", "main", "old")("m", [metric()])
    assert len(reported.lines()) == 2
    reported.of("g", "main")
    assert reported.lines() == [f"seen_total{{{OWN}}} 2"]
    reported.all.forget("default", "g")
    assert reported.lines() == []
    old("m", [metric()])
    assert reported.lines() == []


ANYTHING = st.recursive(
    st.none() | st.text() | st.floats() | st.booleans(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(ANYTHING)
def test_nothing_that_comes_raises(value: Any) -> None:
    reported = Reported(max_series=2)
    for each in (
        value,
        [value],
        [metric(value)],
        [metric("k", value)],
        [{**metric(), "tags": value}],
    ):
        reported.report("m", each)
    render(reported.registry.snapshot())
