"""Averages of a revision's load over the last seconds, in a fixed amount of memory.

One bucket for each second, in a ring, as Knative keeps them. Reads no clock and no queue:
times and values are handed in.
"""

from __future__ import annotations

import math

from salver.graphs.plan import ScalingPolicy

GRANULARITY_S = 1.0
_PRECISION = 6
"""Averages are rounded, so that 70.00000000000001 over a target of 70 is one replica, not two."""


class TimedBuckets:
    """The mean of each second of a window, and the mean of those means.

    Seconds before the first value do not count, so a young window is not diluted; nor do the
    seconds since the last value, which is how a source that is late does no harm. A second
    between, in which nothing was recorded, counts as zero.
    """

    def __init__(self, window_s: float, granularity_s: float = GRANULARITY_S) -> None:
        self._granularity_s = granularity_s
        self._size = max(1, math.ceil(window_s / granularity_s))
        self._sums = [0.0] * self._size
        self._counts = [0] * self._size
        self._first = 0
        self._last = -1
        """Numbers of the first and last second with a value; last < first: there is none."""

    def record(self, now_s: float, value: float) -> None:
        """Adds a value to its second. One older than the window is ignored."""
        at = self._number(now_s)
        if self._last < self._first:
            self._first = self._last = at
            self._clear(at)
        elif at > self._last:
            for number in range(max(self._last + 1, at - self._size + 1), at + 1):
                self._clear(number)
            self._last = at
        elif at <= self._last - self._size:
            return
        elif at < self._first:
            for number in range(at, self._first):
                self._clear(number)
            self._first = at
        self._sums[at % self._size] += value
        self._counts[at % self._size] += 1

    def average(self, now_s: float, window_s: float) -> float | None:
        """The mean over the last `window_s` seconds; None if they hold no value."""
        numbers = self._numbers(now_s, window_s)
        if not numbers:
            return None
        total = sum(self._value(number) for number in numbers)
        return round(total / len(numbers), _PRECISION)

    def _numbers(self, now_s: float, window_s: float) -> range:
        span = min(self._size, max(1, math.ceil(window_s / self._granularity_s)))
        now = self._number(now_s)
        start = max(self._first, now - span + 1, self._last - self._size + 1)
        return range(start, min(self._last, now) + 1)

    def _value(self, number: int) -> float:
        count = self._counts[number % self._size]
        return self._sums[number % self._size] / count if count else 0.0

    def _clear(self, number: int) -> None:
        self._sums[number % self._size] = 0.0
        self._counts[number % self._size] = 0

    def _number(self, now_s: float) -> int:
        return math.floor(now_s / self._granularity_s)


class MetricsWindow:
    """One metric of one revision over the policy's stable and panic windows."""

    def __init__(self, policy: ScalingPolicy) -> None:
        self._stable_s = policy.stable_window_s
        self._panic_s = panic_window_s(policy)
        self._buckets = TimedBuckets(self._stable_s)

    def record(self, now_s: float, value: float) -> None:
        """The metric's value now: requests in the service at once, or requests a second."""
        self._buckets.record(now_s, value)

    def averages(self, now_s: float) -> tuple[float | None, float | None]:
        """Over the stable and the panic window; None where nothing has been recorded."""
        return (
            self._buckets.average(now_s, self._stable_s),
            self._buckets.average(now_s, self._panic_s),
        )


class RateMeter:
    """Growth per second of a number that only ever grows, such as requests."""

    def __init__(self, now_s: float, total: float = 0.0) -> None:
        self._then_s = now_s
        self._total = total

    def rate(self, now_s: float, total: float) -> float:
        """Since the last call; a total that fell has not grown: its source began anew."""
        passed_s = now_s - self._then_s
        if passed_s <= 0.0:
            return 0.0
        grown = max(0.0, total - self._total)
        self._then_s, self._total = now_s, total
        return grown / passed_s


def panic_window_s(policy: ScalingPolicy) -> float:
    """The panic window in seconds, at least one bucket long."""
    return max(GRANULARITY_S, policy.stable_window_s * policy.panic_window_percent / 100.0)
