"""How much reward the choices so far have cost against always choosing what now looks best.

An estimate: the true means are not known. It uses what is believed of them now, so it moves as
that does, and it is too low while the best arm has hardly been tried.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import msgspec

from salver.bandits.policy import Belief


class Regret(msgspec.Struct, frozen=True):
    """The estimate in all, for each choice, and of how many choices."""

    total: float
    per_choice: float
    choices: int


def estimated_regret(choices: Sequence[int], beliefs: Sequence[Belief]) -> Regret | None:
    """For arms that were chosen so often. None while fewer than two arms have rewards."""
    known = [
        (count, belief.mean)
        for count, belief in zip(choices, beliefs, strict=True)
        if belief.rewards > 0 and math.isfinite(belief.mean)
    ]
    if len(known) < 2:
        return None
    best = max(mean for _, mean in known)
    return _regret(sum(count * (best - mean) for count, mean in known), sum(n for n, _ in known))


def contextual_regret(chosen: Iterable[tuple[int, Sequence[float]]]) -> Regret | None:
    """For choices with the means expected of all arms in their contexts. None without choices."""
    total, count = 0.0, 0
    for arm, means in chosen:
        total += max(means) - means[arm]
        count += 1
    return _regret(total, count) if count else None


def _regret(total: float, choices: int) -> Regret:
    return Regret(total, total / choices if choices else 0.0, choices)
