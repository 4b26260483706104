"""What every algorithm is: shares of chance for the arms, and an update.

An arm is not drawn by what an algorithm happens to sample: it is drawn from the shares, which are
what is logged. So the propensity of a choice is exact for every algorithm. For Thompson sampling
that is the same policy, since it chooses each arm with the probability that it is the best one
(Russo et al., "A Tutorial on Thompson Sampling", 2018, section 3; Chapelle and Li, 2011): the
probabilities are integrated (`quadrature.py`) instead of sampled.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol, TypeAlias

import msgspec

from salver.bandits.totals import Totals
from salver.errors import InvalidInput

if TYPE_CHECKING:
    from salver.bandits.linear import LinearState

Context: TypeAlias = "array[float]"
"""The numbers that a contextual algorithm sees, as doubles; empty for the others."""
NO_CONTEXT: Context = array("d")
Shares = tuple[float, ...]
Random = Callable[[], float]
"""Gives numbers from 0 up to but not including 1."""


class Choice(msgspec.Struct, frozen=True):
    """An arm by its index, and with which probability it was chosen."""

    arm: int
    propensity: float


class Belief(msgspec.Struct, frozen=True):
    """What is thought of an arm's mean reward, with a 95% interval where there is one.

    `rewards` is how many have been learned from, `parameters` the posterior's own.
    """

    mean: float
    low: float | None
    high: float | None
    rewards: int
    parameters: dict[str, float] = {}


class Policy(Protocol):
    """One algorithm with its parameters, for a number of arms."""

    @property
    def algorithm(self) -> str: ...

    @property
    def arms(self) -> tuple[str, ...]: ...

    @property
    def is_contextual(self) -> bool: ...

    def empty(self) -> Totals | LinearState:
        """What is known before the first reward."""

    def shares(self, state: Totals | LinearState, context: Context = NO_CONTEXT) -> Shares:
        """With which probability each arm is to be chosen; they add up to 1."""

    def choose(self, state: Totals | LinearState, context: Context, random: Random) -> Choice:
        """An arm, drawn from the shares."""

    def update(
        self,
        state: Totals | LinearState,
        arm: int,
        reward: float,
        context: Context = NO_CONTEXT,
        at_s: float = 0.0,
    ) -> Totals | LinearState:
        """What is known after one more reward, of the time `at_s`. Rewards may come in any order:
        what is known after all of them is the same, but for rounding."""

    def check_reward(self, reward: float) -> None:
        """Raises `InvalidInput` for a reward that the algorithm has no use for."""

    def means(self, state: Totals | LinearState, context: Context = NO_CONTEXT) -> Shares:
        """The reward that is expected of each arm."""

    def beliefs(self, state: Totals | LinearState) -> tuple[Belief, ...]:
        """What is known of each arm, for people."""

    def to_json(self, state: Totals | LinearState) -> bytes:
        """The state as JSON, with its version and the arms' names."""

    def from_json(self, text: bytes) -> Totals | LinearState:
        """The state of this policy's arms: those that are new know nothing, others are dropped.

        Raises `InvalidInput` for a state of another kind or version.
        """


def drawn(shares: Shares, random: Random) -> Choice:
    """An arm, drawn with these probabilities."""
    point = random()
    for arm, share in enumerate(shares):
        point -= share
        if point < 0.0:
            return Choice(arm, share)
    # Rounding has left a crumb: it belongs to the last arm that can be chosen at all.
    arm = max(index for index, share in enumerate(shares) if share > 0.0)
    return Choice(arm, shares[arm])


def with_floor(shares: Shares, min_share: float) -> Shares:
    """The shares with `min_share` of all choices given to each arm first."""
    if not min_share:
        return shares
    rest = 1.0 - min_share * len(shares)
    return tuple([min_share + rest * share for share in shares])


def shared_by_best(scores: Sequence[float]) -> Shares:
    """All to the highest score; those that are equal share it."""
    highest = max(scores)
    share = 1.0 / list(scores).count(highest)
    return tuple([share if score == highest else 0.0 for score in scores])


def one_hot(arm: int, count: int) -> Shares:
    """All to one arm."""
    return tuple([1.0 if index == arm else 0.0 for index in range(count)])


def check_number(reward: float) -> None:
    """Raises `InvalidInput` for what is no finite number."""
    if isinstance(reward, bool) or not isinstance(reward, int | float):
        raise InvalidInput(f"the reward {reward!r} is no number: send such as 1.0")
    if not math.isfinite(reward):
        raise InvalidInput(f"the reward {reward!r} is not finite: send such as 1.0")
