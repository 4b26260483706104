"""When a worker should look for its next batch for a moment before it goes to sleep. Pure.

To wake a sleeping process on another core costs more than a small prediction. A client that
asks again as soon as it is answered will do so within this moment, so looking pays; for
everybody else the worker sleeps. Large batches mean that the cores have better things to do.
"""

from __future__ import annotations

POLL_S = 0.000_200
_START_GAP_S = 0.000_300
"""A gap this short, the waking included, would have been caught awake."""
_MAX_BATCH_LENGTH = 8
_PAUSE_AFTER_MISS = 32


class PollPolicy:
    """Says how long to look, from what the last waits were like."""

    def __init__(self) -> None:
        self._gap_s = 1.0
        self._pause = 0

    def next_s(self, batch_length: int) -> float:
        """Seconds to look for the next batch, after one of this many requests; 0.0 is none."""
        if self._pause:
            self._pause -= 1
            return 0.0
        if batch_length > _MAX_BATCH_LENGTH or self._gap_s > _START_GAP_S:
            return 0.0
        return POLL_S

    def record(self, gap_s: float, *, polled: bool, found: bool) -> None:
        """The next batch came after so long, and whether looking for it had found it."""
        self._gap_s = gap_s
        if polled and not found:
            self._pause = _PAUSE_AFTER_MISS
