"""What batches of each size cost: how many there were, how long they waited and were computed.

Bounded: sizes up to 32 rows stand for themselves; beyond, a size stands for those from the next
smaller one on, four to each doubling. One entry is touched for a batch, none for a request.
"""

from __future__ import annotations

import msgspec

_EXACT = 32


class BatchStatistics(msgspec.Struct, frozen=True):
    """All batches of up to `rows` rows, more than the next smaller size has. Sums of seconds.

    `waited_s` is how long the oldest request of each batch waited; `compute_s` the prediction;
    `worker_s` all from sending the batch to its answer.
    """

    rows: int
    batches: int
    requests: int
    waited_s: float
    compute_s: float
    worker_s: float


def size_class(rows: int) -> int:
    """The size that this many rows are counted as."""
    if rows <= _EXACT:
        return rows
    step = 1 << ((rows - 1).bit_length() - 3)
    return -(-rows // step) * step


class BatchTable:
    """The statistics of one model by batch size."""

    __slots__ = ("_entries",)

    def __init__(self) -> None:
        self._entries: dict[int, list[float]] = {}

    def observe(
        self, rows: int, requests: int, waited_s: float, compute_s: float, worker_s: float
    ) -> None:
        """A batch has been answered."""
        size = rows if rows <= _EXACT else size_class(rows)
        entry = self._entries.get(size)
        if entry is None:
            entry = self._entries[size] = [0, 0, 0.0, 0.0, 0.0]
        entry[0] += 1
        entry[1] += requests
        entry[2] += waited_s
        entry[3] += compute_s
        entry[4] += worker_s

    def statistics(self) -> tuple[BatchStatistics, ...]:
        """By size, the smallest first."""
        return tuple(
            BatchStatistics(size, int(entry[0]), int(entry[1]), *entry[2:])
            for size, entry in sorted(self._entries.items())
        )
