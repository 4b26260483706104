"""The compiler's own time, where requests are answered between two pieces of its work."""

from __future__ import annotations

import time
from collections.abc import Callable

Clock = Callable[[], float]


def _nothing() -> None:
    """What there is to do meanwhile where nobody waits."""


class Pace:
    """A clock that stands still during pauses."""

    def __init__(
        self, clock: Clock = time.perf_counter, meanwhile: Callable[[], object] = _nothing
    ) -> None:
        self._clock = clock
        self._meanwhile = meanwhile
        self._away_s = 0.0

    def __call__(self) -> float:
        """Seconds of the compiler's own."""
        return self._clock() - self._away_s

    def pause(self) -> None:
        """Between two pieces of work: others may use the thread now."""
        if self._meanwhile is not _nothing:
            started_s = self._clock()
            self._meanwhile()
            self._away_s += self._clock() - started_s
