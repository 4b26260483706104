"""What is known of arms without a context: weights and sums of rewards, faded by time.

Sums do not depend on the order in which rewards come, so that several gateways that see the same
rewards know the same. Fading keeps that: a reward counts for 2 ** -(age / half_life), where its
age is how much older it is than the newest reward. Time that passes without rewards fades
nothing: a night without feedback is no reason to forget. With one reward for each unit of time
this is discounting by gamma = 2 ** -(1 / half_life) (Garivier and Moulines 2011; Raj and Kalyani
2017).
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from salver.errors import InvalidInput

VERSION = 1
_FADED_S = -1e300


class ArmTotals(msgspec.Struct, frozen=True, array_like=True):
    """One arm: the weight of its rewards, their sum and that of their squares; how many."""

    weight: float = 0.0
    total: float = 0.0
    squares: float = 0.0
    rewards: int = 0

    @property
    def mean(self) -> float:
        """0 while nothing is known."""
        return self.total / self.weight if self.weight > 0.0 else 0.0

    @property
    def spread(self) -> float:
        """The weighted sum of squared differences from the mean."""
        if self.weight <= 0.0:
            return 0.0
        return max(0.0, self.squares - self.total * self.total / self.weight)

    def faded(self, factor: float) -> ArmTotals:
        """The same, counting for `factor` of it."""
        return ArmTotals(
            self.weight * factor, self.total * factor, self.squares * factor, self.rewards
        )


class Totals(msgspec.Struct, frozen=True):
    """All arms, in the policy's order, as seen from `at_s`, the time of the newest reward."""

    arms: tuple[ArmTotals, ...]
    at_s: float = _FADED_S


class _Json(msgspec.Struct):
    version: int
    kind: str
    at_s: float
    arms: dict[str, ArmTotals]


_decode = msgspec.json.Decoder(_Json).decode


def no_totals(count: int) -> Totals:
    """Nothing is known."""
    return Totals((ArmTotals(),) * count)


def added(totals: Totals, arm: int, reward: float, at_s: float, half_life_s: float) -> Totals:
    """With one more reward; a `half_life_s` of 0 fades nothing."""
    arms, newest_s, counts = list(totals.arms), totals.at_s, 1.0
    if half_life_s:
        if at_s > newest_s:
            factor = 2.0 ** ((newest_s - at_s) / half_life_s) if newest_s > _FADED_S else 0.0
            arms = [each.faded(factor) for each in arms]
        else:
            counts = 2.0 ** ((at_s - newest_s) / half_life_s)
    known = arms[arm]
    arms[arm] = ArmTotals(
        known.weight + counts,
        known.total + counts * reward,
        known.squares + counts * reward * reward,
        known.rewards + 1,
    )
    return Totals(tuple(arms), max(newest_s, at_s))


def to_json(totals: Totals, names: Sequence[str]) -> bytes:
    """See `Policy.to_json`."""
    arms = dict(zip(names, totals.arms, strict=True))
    return msgspec.json.encode(_Json(VERSION, "totals", totals.at_s, arms))


def from_json(text: bytes, names: Sequence[str]) -> Totals:
    """See `Policy.from_json`."""
    try:
        found = _decode(text)
    except msgspec.MsgspecError as error:
        raise InvalidInput(f"the state cannot be read ({error}): reset the router") from error
    if found.version != VERSION or found.kind != "totals":
        raise InvalidInput(
            f"the state is '{found.kind}' of version {found.version}, not 'totals' of version "
            f"{VERSION}: reset the router"
        )
    return Totals(tuple([found.arms.get(name, ArmTotals()) for name in names]), found.at_s)
