"""Which settings the tuner tries and recommends."""

from __future__ import annotations

import asyncio

from salver.cli.closed_loop import http_request, measure
from salver.cli.tuning import (
    Point,
    Settings,
    best,
    first_settings,
    further_settings,
    nearest,
    next_connections,
    quantile,
    table,
)

ONE, TWO = Settings(1, 1), Settings(2, 1)


def test_workers_and_threads_share_the_cores() -> None:
    assert first_settings(2, 2) == [Settings(1, 1), Settings(2, 1)]
    assert first_settings(9, 4) == [
        *(Settings(1, 1), Settings(1, 8), Settings(2, 1), Settings(2, 4)),
        *(Settings(4, 1), Settings(4, 2)),
    ]


def test_more_clients_are_tried_while_that_brings_more_within_the_goal() -> None:
    points = [Point(ONE, 1, 100, 0.001, 0.002)]
    assert next_connections([], 0.02) == 1
    assert next_connections(points, 0.02) == 2
    assert next_connections([*points, Point(ONE, 2, 190, 0.001, 0.03)], 0.02) is None
    flat = [*points, Point(ONE, 2, 190, 0.01, 0.01), Point(ONE, 4, 191, 0.01, 0.01)]
    assert next_connections(flat, 0.02) is None
    assert next_connections([Point(ONE, 64, 1, 0.1, 0.1)], 0.0) is None


def test_the_highest_rate_within_the_goal_wins_by_the_plainest_settings() -> None:
    over = Point(TWO, 64, 900, 0.01, 0.05)
    two, one = Point(TWO, 16, 500, 0.01, 0.02), Point(ONE, 8, 490, 0.01, 0.02)
    failing = Point(TWO, 32, 2000, 0.01, 0.01, errors=1)
    assert best([over, two, one, failing], 0.02) == one
    assert best([over, two, one, failing], 0.0) == over
    assert best([over], 0.02) is None
    assert nearest([over, failing]) == over
    assert nearest([]) is None


def test_batch_limits_are_tried_on_the_best_workers() -> None:
    points = [Point(ONE, 1, 100, 0.1, 0.1), Point(TWO, 1, 200, 0.1, 0.1)]
    assert {each.workers for each in further_settings(points, 0.0)} == {2}
    assert {each.batch for each in further_settings(points, 0.01)} == {1, 8, 32}
    assert further_settings([], 0.01) == []


def test_flags_are_what_serve_takes() -> None:
    assert Settings(2, 4).flags == ["--workers", "2", "--threads", "4"]
    assert Settings(1, 1, 8).flags[-2:] == ["--max-batch-size", "8"]


def test_the_table_marks_what_is_best_over_and_broken() -> None:
    points = [
        Point(ONE, 1, 100, 0.001, 0.002),
        Point(ONE, 2, 100, 0.001, 0.2),
        Point(ONE, 4, 0, 0.0, 0.0, errors=3),
    ]
    _, *rows = table(points, 0.1)
    assert [row[-1] for row in rows] == ["best", "over", "3 errors"]
    assert rows[0][:7] == ["1", "1", "auto", "1", "100", "1.00ms", "2.00ms"]


def test_a_quantile_is_a_value_that_was_seen() -> None:
    assert quantile([3.0, 1.0, 2.0], 0.5) == 2.0
    assert quantile([], 0.5) == 0.0


def test_clients_count_answers_errors_and_broken_connections() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in (b"200 OK", b"200 OK", b"500 No"):
            await reader.readuntil(b"\r\n\r\nhello")
            writer.write(b"HTTP/1.1 " + answer + b"\r\ncontent-length: 2\r\n\r\nok")
        writer.close()

    async def run() -> None:
        server = await asyncio.start_server(talk, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        request = http_request("/v2", b"hello")
        found = await asyncio.to_thread(measure, "127.0.0.1", port, request, 1, 0.2)
        assert found.errors == 2  # The 500, and then the end of the connection.
        server.close()
        refused = await asyncio.to_thread(measure, "127.0.0.1", port, request, 2, 0.1)
        assert (refused.errors, refused.latencies_s) == (2, [])

    asyncio.run(run())
