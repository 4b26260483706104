"""Ratios, medians and tables of the benchmark."""

from __future__ import annotations

from harness.table import (
    Sample,
    Standing,
    cost_table,
    failures,
    rate_table,
    ratios,
    startup_table,
)


def sample(server: str, index: int, rate: float, connections: int = 1, failed: int = 0) -> Sample:
    return Sample("lr", server, index, connections, rate, 1.0, 2.0, 30.0, failed, "")


def test_a_ratio_is_formed_in_each_round_before_the_median_is_taken() -> None:
    ours = [sample("salver", 0, 100), sample("salver", 1, 300), sample("salver", 2, 800)]
    peer = [sample("peer", 0, 50), sample("peer", 1, 100), sample("peer", 2, 100)]
    # Of the medians it would be 300 / 100; by rounds it is the median of 2, 3 and 8.
    assert ratios(ours + peer, "salver") == {("peer", 1): 3.0}
    uneven = [sample("peer", 0, 10), sample("peer", 1, 200), sample("peer", 2, 400)]
    assert ratios(ours + uneven, "salver") == {("peer", 1): 2.0}


def test_connections_are_compared_only_with_the_same_number_of_connections() -> None:
    found = ratios(
        [
            sample("salver", 0, 10, 1),
            sample("salver", 0, 90, 64),
            sample("peer", 0, 5, 1),
            sample("peer", 0, 30, 64),
        ],
        "salver",
    )
    assert found == {("peer", 1): 2.0, ("peer", 64): 3.0}


def test_a_round_without_the_reference_has_no_ratio() -> None:
    samples = [sample("salver", 0, 10), sample("peer", 0, 5), sample("peer", 1, 1)]
    assert ratios(samples, "salver") == {("peer", 1): 2.0}
    assert ratios([sample("peer", 0, 5)], "salver") == {}


def test_a_server_that_answered_nothing_has_no_ratio_and_a_zero() -> None:
    spoiled = Sample.spoiled("lr", "peer", 0, 1, "WrongAnswer: HTTP 500")
    samples = [sample("salver", 0, 10), spoiled]
    assert ratios(samples, "salver") == {}
    assert "| peer | 0 |" in rate_table(samples, "salver")


def test_the_table_of_rates_shows_medians_and_ratios() -> None:
    samples = [sample("salver", i, rate) for i, rate in enumerate((1000, 2000, 90000))]
    samples += [sample("peer", i, 1000) for i in range(3)]
    assert rate_table(samples, "salver").splitlines() == [
        "| requests/s at | 1 conn. |",
        "| --- | ---: |",
        "| salver | 2,000 |",
        "| peer | 1,000 (2.00x) |",
    ]


def test_the_table_of_costs_takes_the_fewest_and_64_connections() -> None:
    samples = [sample("salver", 0, 10, count) for count in (1, 64, 200)]
    table = cost_table(samples, [Standing("lr", "salver", 1.0, 150.4, 24.2)])
    assert table.splitlines()[0] == (
        "|  | p50 / p99 ms at 1 | p50 / p99 ms at 64 | CPU us/request at 64 "
        "| memory MB (of it front) |"
    )
    assert table.splitlines()[2] == "| salver | 1 / 2 | 1 / 2 | 30 | 150 (24) |"


def test_spoiled_latencies_are_dashes_and_do_not_poison_the_median() -> None:
    spoiled = Sample.spoiled("lr", "salver", 0, 1, "why")
    assert "| - / - | - |" in cost_table([spoiled], [])
    assert "| 1 / 2 | 30 |" in cost_table([spoiled, sample("salver", 1, 10)], [])


def test_every_failure_is_named_with_its_round() -> None:
    samples = [
        sample("salver", 0, 10),
        sample("peer", 1, 10, failed=3),
        Sample.spoiled("lr", "other", 2, 64, "WrongAnswer: HTTP 500"),
    ]
    assert failures(samples) == [
        "peer at 1 connections, round 2: 3 requests failed",
        "other at 64 connections, round 3: WrongAnswer: HTTP 500",
    ]


def test_the_start_is_told_as_the_reference_s_share_of_the_peer_s() -> None:
    table = startup_table({"salver": 3.0, "peer": 2.0}, "salver")
    assert table.splitlines()[2:] == ["| salver | 3.00 | 1.00x |", "| peer | 2.00 | 1.50x |"]
    assert startup_table({"peer": 2.0}, "salver").splitlines()[2] == "| peer | 2.00 | - |"
