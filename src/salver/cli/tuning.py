"""Which settings `salver tune` tries next, and which it recommends. Pure.

First workers and threads, then the batch limit of the best of those. What counts is how many
requests a second are answered within the goal.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

CONNECTIONS = (1, 2, 4, 8, 16, 32, 64)
"""Clients that ask at once, each as soon as it is answered."""
BATCH_LIMITS = (1, 8, 32)
_ALIKE = 0.97
"""A simpler setting is as good if it reaches this share of the best one's rate."""
_RISES = 1.05
"""More clients that do not bring this much more are not followed by more still."""


class Settings(msgspec.Struct, frozen=True):
    """What one server is started with; a `batch` of 0 is what suits the model."""

    workers: int
    threads: int
    batch: int = 0

    @property
    def flags(self) -> list[str]:
        """As `salver serve` takes them."""
        found = ["--workers", str(self.workers), "--threads", str(self.threads)]
        return [*found, "--max-batch-size", str(self.batch)] if self.batch else found


class Point(msgspec.Struct, frozen=True):
    """What so many clients got from a server with these settings."""

    settings: Settings
    connections: int
    requests_per_s: float
    p50_s: float
    p99_s: float
    errors: int = 0

    def meets(self, goal_s: float) -> bool:
        """Whether it is within the goal; 0 is none."""
        return not self.errors and (goal_s <= 0 or self.p99_s <= goal_s)


def first_settings(cores: int, most_workers: int) -> list[Settings]:
    """Workers and threads that share the cores, the plainest first."""
    found = []
    workers = 1
    while workers <= most_workers:
        share = max(1, (cores - 1) // workers)
        found += [Settings(workers, threads) for threads in sorted({1, share})]
        workers *= 2
    return found


def further_settings(points: Sequence[Point], goal_s: float) -> list[Settings]:
    """The best so far with other batch limits."""
    found = best(points, goal_s) or nearest(points)
    if found is None:
        return []
    base = found.settings
    return [Settings(base.workers, base.threads, limit) for limit in BATCH_LIMITS]


def next_connections(points: Sequence[Point], goal_s: float) -> int | None:
    """How many clients to try next with the settings that these points are of; None: enough."""
    if not points:
        return CONNECTIONS[0]
    last = points[-1]
    more = [each for each in CONNECTIONS if each > last.connections]
    if not more or not last.meets(goal_s):
        return None
    if len(points) > 2 and last.requests_per_s < points[-2].requests_per_s * _RISES:
        return None
    return more[0]


def best(points: Sequence[Point], goal_s: float) -> Point | None:
    """The highest rate within the goal, by the plainest settings that nearly reach it."""
    fit = [each for each in points if each.meets(goal_s)]
    if not fit:
        return None
    top = max(each.requests_per_s for each in fit)
    near = [each for each in fit if each.requests_per_s >= top * _ALIKE]
    return min(near, key=lambda each: (_cost(each.settings), each.connections))


def _cost(settings: Settings) -> tuple[int, int, bool]:
    return settings.workers, settings.threads, bool(settings.batch)


def nearest(points: Sequence[Point]) -> Point | None:
    """The quickest, where none is within the goal."""
    answered = [each for each in points if not each.errors]
    return min(answered, key=lambda each: each.p99_s, default=None)


def quantile(values: Sequence[float], share: float) -> float:
    """The value that this share of them do not exceed; 0 of none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


def table(points: Sequence[Point], goal_s: float) -> Iterator[list[str]]:
    """A row for each point, headed."""
    yield ["WORKERS", "THREADS", "BATCH", "CLIENTS", "REQ/S", "P50", "P99", ""]
    winner = best(points, goal_s)
    for each in points:
        mark = "best" if each == winner else "" if each.meets(goal_s) else "over"
        mark = f"{each.errors} errors" if each.errors else mark
        settings = each.settings
        yield [
            str(settings.workers),
            str(settings.threads),
            str(settings.batch or "auto"),
            str(each.connections),
            f"{each.requests_per_s:.0f}",
            f"{each.p50_s * 1e3:.2f}ms",
            f"{each.p99_s * 1e3:.2f}ms",
            mark,
        ]
