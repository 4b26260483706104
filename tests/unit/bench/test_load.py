"""Reading the reports of wrk and h2load."""

from __future__ import annotations

import math

import pytest
from harness.load import LoadFailed, percentile, read_h2load, read_wrk

WRK = """Running 1s test @ http://127.0.0.1:1/v2/models/lr/infer
REPORT {"requests":5000,"duration_us":1000000,"p50_us":250,"p99_us":4100,"failed":100}
"""

H2LOAD = """
finished in 2.00s, 50.00 req/s, 5.6KB/s
requests: 101 total, 101 started, 100 done, 98 succeeded, 2 failed, 1 errored, 0 timeout
status codes: 98 2xx, 0 3xx, 0 4xx, 2 5xx
"""


def test_wrk_s_failed_requests_do_not_count_into_the_rate() -> None:
    report = read_wrk(WRK)
    assert (report.rate, report.p50_ms, report.p99_ms) == (4900.0, 0.25, 4.1)


def test_wrk_without_a_report_is_an_error_that_shows_its_words() -> None:
    with pytest.raises(LoadFailed, match="unable to connect"):
        read_wrk("unable to connect to 127.0.0.1:1 Connection refused")


def test_h2load_s_rate_is_of_its_successes_and_its_percentiles_of_its_log() -> None:
    log = [f"{index}\t200\t{index * 1000}" for index in range(100, 0, -1)]
    report = read_h2load(H2LOAD, log)
    assert (report.rate, report.failed) == (49.0, 3)
    assert (report.p50_ms, report.p99_ms) == (50.0, 99.0)


def test_h2load_s_time_may_be_in_milliseconds() -> None:
    report = read_h2load(H2LOAD.replace("2.00s", "500.00ms"), [])
    assert report.rate == 196.0
    assert math.isnan(report.p50_ms)


def test_h2load_without_a_summary_is_an_error() -> None:
    with pytest.raises(LoadFailed, match="no report"):
        read_h2load("could not connect", [])


@pytest.mark.parametrize(("percent", "value"), [(50, 2.0), (99, 4.0), (0, 1.0), (25, 1.0)])
def test_percentiles_are_of_the_nearest_rank(percent: float, value: float) -> None:
    assert percentile([1.0, 2.0, 3.0, 4.0], percent) == value
