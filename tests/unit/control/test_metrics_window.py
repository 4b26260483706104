import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from salver.control.metrics_window import (
    MetricsWindow,
    RateMeter,
    TimedBuckets,
    panic_window_s,
)
from salver.graphs.plan import ScalingPolicy


def test_an_empty_window_has_no_average() -> None:
    assert TimedBuckets(60.0).average(5.0, 60.0) is None


def test_values_of_one_second_are_averaged_within_it() -> None:
    buckets = TimedBuckets(60.0)
    for at_s, value in ((1.0, 2.0), (1.9, 4.0), (2.0, 9.0)):
        buckets.record(at_s, value)
    assert buckets.average(2.5, 60.0) == 6.0


def test_a_young_window_is_not_diluted_by_the_time_before_it() -> None:
    buckets = TimedBuckets(60.0)
    buckets.record(100.0, 30.0)
    buckets.record(101.0, 30.0)
    assert buckets.average(101.0, 60.0) == 30.0


def test_a_second_without_a_value_counts_as_zero_between_others_but_not_at_the_end() -> None:
    buckets = TimedBuckets(60.0)
    buckets.record(0.0, 9.0)
    buckets.record(2.0, 9.0)
    assert buckets.average(2.0, 60.0) == 6.0
    assert buckets.average(4.0, 60.0) == 6.0


def test_the_short_window_sees_the_surge_that_the_long_one_dilutes() -> None:
    window = MetricsWindow(ScalingPolicy())
    for second in range(60):
        window.record(float(second), 0.0 if second < 54 else 100.0)
    assert window.averages(59.5) == (10.0, 100.0)


def test_old_values_leave_the_window() -> None:
    buckets = TimedBuckets(10.0)
    buckets.record(0.0, 100.0)
    for second in range(1, 11):
        buckets.record(float(second), 1.0)
    assert buckets.average(10.0, 10.0) == 1.0
    assert buckets.average(25.0, 10.0) is None


def test_a_value_that_comes_late_joins_its_second_and_one_that_is_too_old_is_ignored() -> None:
    buckets = TimedBuckets(5.0)
    buckets.record(10.0, 4.0)
    buckets.record(9.0, 8.0)
    buckets.record(2.0, 1000.0)
    assert buckets.average(10.0, 5.0) == 6.0


def test_a_long_silence_leaves_nothing_behind() -> None:
    buckets = TimedBuckets(5.0)
    for second in range(5):
        buckets.record(float(second), 7.0)
    buckets.record(1000.0, 1.0)
    assert buckets.average(1000.0, 5.0) == pytest.approx(0.2)


def test_averages_are_rounded_so_that_a_rounding_error_is_no_replica() -> None:
    buckets = TimedBuckets(60.0)
    for second in range(3):
        buckets.record(float(second), 0.1 + 0.2)
    assert buckets.average(2.0, 60.0) == 0.3


def test_the_panic_window_is_at_least_one_second() -> None:
    assert panic_window_s(ScalingPolicy()) == 6.0
    assert panic_window_s(ScalingPolicy(stable_window_s=6.0, panic_window_percent=1.0)) == 1.0


def test_a_rate_is_growth_over_time_and_a_fallen_total_has_not_grown() -> None:
    meter = RateMeter(0.0, 10.0)
    assert meter.rate(2.0, 30.0) == 10.0
    assert meter.rate(2.0, 40.0) == 0.0
    assert meter.rate(4.0, 5.0) == 0.0
    assert meter.rate(5.0, 8.0) == 3.0


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 200), st.floats(0.0, 100.0)), min_size=1, max_size=60),
    st.integers(1, 20),
)
def test_the_ring_says_what_a_plain_list_would(
    records: list[tuple[int, float]], window_s: int
) -> None:
    records = sorted(records, key=lambda record: record[0])
    buckets = TimedBuckets(float(window_s))
    by_second: dict[int, list[float]] = {}
    for second, value in records:
        buckets.record(float(second), value)
        by_second.setdefault(second, []).append(value)
    last = records[-1][0]
    seconds = range(max(records[0][0], last - window_s + 1), last + 1)
    # A gap of a window or more begins a new history only in so far as zeros are left of it.
    means = [sum(by_second[s]) / len(by_second[s]) if s in by_second else 0.0 for s in seconds]
    assert buckets.average(float(last), float(window_s)) == pytest.approx(
        sum(means) / len(means), abs=1e-5
    )
