"""How far the pool may be filled, and what a model takes before it was measured. Pure.

Measuring is `memory.py`'s, who goes for whom `control/placement.py`'s.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from pathlib import Path

from salver.backends.local.pooled import PooledModel, Source

_FIRST_ESTIMATE_BYTES = 24 << 20
"""What a worker is taken to add until one has been measured."""
_FILE_FACTOR = 1.5
"""A model takes at least so many times its file, by experience."""
_FILL_SHARE = 0.95
"""The pool is filled so far: workers grow a little between two measurements."""


def limit_bytes(budget_bytes: int, needed_bytes: int) -> int:
    """How far the pool may be filled: some of the budget is for growth, if it can be."""
    return min(budget_bytes, max(needed_bytes, int(budget_bytes * _FILL_SHARE)))


def room_bytes(budget_bytes: int, pinned_bytes: int) -> int:
    """The most that one model can have beside those that stay for good."""
    if not pinned_bytes:
        return budget_bytes
    return max(1, limit_bytes(budget_bytes, 0) - pinned_bytes)


def estimate_bytes(record: PooledModel, others: Iterable[PooledModel], room: int) -> int:
    """What a worker will add: as measured before, else as others do, the file considered.

    A mere guess never exceeds the room there is: the model gets its chance to be measured.
    """
    if record.size_bytes:
        return record.size_bytes
    known = [each.size_bytes for each in others if each.known_metadata]
    typical = int(statistics.median(known)) if known else _FIRST_ESTIMATE_BYTES
    guess = max(typical, int(_file_bytes(record.source) * _FILE_FACTOR))
    return min(guess, room // max(1, record.limits.min_copies))


def _file_bytes(source: Source) -> int:
    path = source if isinstance(source, str) else getattr(source, "path", "")
    try:
        return Path(path).stat().st_size if path else 0
    except OSError:
        return 0
