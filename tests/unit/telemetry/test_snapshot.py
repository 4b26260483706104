"""Rendering against Prometheus's own parser, and merging over processes."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from salver.telemetry.registry import Registry
from salver.telemetry.snapshot import Family, Sample, Snapshot, decode, encode, merge, render

TEXT = st.text(
    st.characters(
        exclude_categories=["Cs"], exclude_characters="\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"
    )
)


def parsed(snapshot: Snapshot) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    text = render(snapshot).decode()
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


@given(TEXT, TEXT)
def test_any_label_value_comes_back_from_the_parser(model: str, reason: str) -> None:
    registry = Registry()
    registry.counter("c_total", "help", model=model, reason=reason).value += 3
    key = ("c_total", frozenset({("model", model), ("reason", reason)}))
    assert parsed(registry.snapshot()) == {key: 3.0}


@given(st.lists(st.floats(0, 1e6), max_size=30))
def test_a_histogram_comes_back_cumulative_with_its_sum_and_count(values: list[float]) -> None:
    registry = Registry()
    histogram = registry.histogram("h", "help", (0.1, 1, 10), model="m")
    for value in values:
        histogram.observe(value)
    samples = parsed(registry.snapshot())
    of = ("model", "m")
    for bound, shown in ((0.1, "0.1"), (1.0, "1"), (10.0, "10"), (math.inf, "+Inf")):
        expected = sum(value <= bound for value in values)
        assert samples["h_bucket", frozenset({of, ("le", shown)})] == expected
    assert samples["h_count", frozenset({of})] == len(values)
    assert samples["h_sum", frozenset({of})] == pytest.approx(sum(values))


@given(st.floats(allow_nan=True))
def test_any_gauge_value_comes_back_from_the_parser(value: float) -> None:
    samples = parsed((Family("g", "help", "gauge", samples=(Sample((), value),)),))
    back = samples["g", frozenset()]
    assert back == value or (math.isnan(back) and math.isnan(value))


def test_help_and_type_precede_the_samples_and_line_breaks_are_escaped() -> None:
    registry = Registry()
    registry.counter("c_total", "two\nlines").value += 1
    assert render(registry.snapshot()).decode().splitlines() == [
        "# HELP c_total two\\nlines",
        "# TYPE c_total counter",
        "c_total 1",
    ]


def test_no_metrics_render_to_nothing() -> None:
    assert render(()) == b""


def gateway(requests: int, ready: float, load_s: float) -> Snapshot:
    registry = Registry()
    registry.counter("requests_total", "help", model="m").value += requests
    registry.gauge("ready", "help", merge="min", model="m").value = ready
    registry.gauge("load_s", "help", merge="max", model="m").value = load_s
    registry.gauge("queued", "help", model="m").value = 2
    histogram = registry.histogram("latency", "help", (1.0,), model="m")
    histogram.observe(0.5)
    histogram.observe(requests)
    return registry.snapshot()


def test_merging_adds_counters_and_histograms_and_treats_gauges_by_their_rule() -> None:
    values = {f.name: f.samples[0] for f in merge([gateway(3, 1, 0.2), gateway(4, 0, 0.7)])}
    assert values["requests_total"].value == 7
    assert values["ready"].value == 0
    assert values["load_s"].value == 0.7
    assert values["queued"].value == 4
    assert values["latency"].counts == (2, 2)
    assert values["latency"].value == 8.0


def test_a_label_that_only_one_process_has_is_kept() -> None:
    left, right = Registry(), Registry()
    left.counter("c_total", "help", model="a").value += 1
    right.counter("c_total", "help", model="b").value += 2
    (family,) = merge([left.snapshot(), right.snapshot()])
    assert {s.labels[0][1]: s.value for s in family.samples} == {"a": 1, "b": 2}


def test_merging_one_snapshot_changes_nothing() -> None:
    snapshot = gateway(3, 1, 0.2)
    assert merge([snapshot]) == snapshot


def test_two_meanings_of_one_name_are_refused() -> None:
    left, right = Registry(), Registry()
    left.histogram("h", "help", (1.0,))
    right.histogram("h", "help", (2.0,))
    with pytest.raises(ValueError, match="metric h is a histogram with bounds"):
        merge([left.snapshot(), right.snapshot()])


def test_a_snapshot_crosses_a_process_boundary_unchanged() -> None:
    snapshot = gateway(3, 1, 0.2)
    assert decode(encode(snapshot)) == snapshot
