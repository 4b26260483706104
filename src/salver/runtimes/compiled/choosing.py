"""Which engine answers a batch, from what was measured. Pure.

Between two measured sizes, times are taken as linear in the rows, which engines are: a call's
fixed cost and a cost for each row. An engine is chosen only where it is clearly quicker than the
framework, so that noise never makes a model slower.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from itertools import groupby, pairwise

import msgspec

from salver.inference.compilation import NATIVE

CLEARLY = 0.88
"""An engine must take less than this share of the framework's time."""
SIZES = (1, 32, 256, 1000)
Times = Mapping[str, Mapping[int, float]]
"""By engine and rows: seconds for a call."""


class ChoiceTable(msgspec.Struct, frozen=True):
    """`engines[i]` answers batches of up to `bounds[i]` rows, the last one all larger ones."""

    bounds: tuple[int, ...]
    engines: tuple[str, ...]

    def engine_for(self, rows: int) -> str:
        index = bisect_left(self.bounds, rows)
        return self.engines[min(index, len(self.engines) - 1)]


def choice_table(times: Times, allowed: Sequence[str]) -> ChoiceTable:
    """`times` holds the framework's as `NATIVE`; sizes not measured for it are its own."""
    measured = sorted(times.get(NATIVE, {}))
    if not measured:
        return ChoiceTable((1,), (NATIVE,))
    picked = [(rows, _quickest(times, allowed, rows)) for rows in _grid(measured)]
    if measured[-1] < SIZES[-1]:
        # Beyond what the budget let be measured, nothing is known.
        picked.append((SIZES[-1], NATIVE))
    runs = [(list(run), engine) for engine, run in groupby(picked, key=lambda each: each[1])]
    return ChoiceTable(tuple(run[-1][0] for run, _ in runs), tuple(engine for _, engine in runs))


def _grid(measured: Sequence[int]) -> list[int]:
    """The measured sizes, and six between each two."""
    found = set(measured)
    for low, high in pairwise(measured):
        ratio = (high / low) ** (1 / 7)
        found.update(min(high, max(low, round(low * ratio**step))) for step in range(1, 7))
    return sorted(found)


def _quickest(times: Times, allowed: Sequence[str], rows: int) -> str:
    native_s = time_at(times[NATIVE], rows)
    best, best_s = NATIVE, (native_s or 0.0) * CLEARLY
    for engine in allowed:
        engine_s = time_at(times.get(engine, {}), rows)
        if engine_s is not None and engine_s < best_s:
            best, best_s = engine, engine_s
    return best


def time_at(times: Mapping[int, float], rows: int) -> float | None:
    """The time for `rows` rows; None outside of what was measured."""
    sizes = sorted(times)
    if not sizes or not sizes[0] <= rows <= sizes[-1]:
        return None
    index = bisect_left(sizes, rows)
    high = sizes[index]
    if high == rows:
        return times[high]
    low = sizes[index - 1]
    share = (rows - low) / (high - low)
    return times[low] + share * (times[high] - times[low])
