"""Algorithms that see a context: LinUCB and LinTS, with one linear model for each arm.

    linucb  the best of x.theta + alpha * sqrt(x' A^-1 x), disjoint models: Li, Chu, Langford and
            Schapire, 2010, algorithm 1
    lints   the probability of being best, theta being normal around its estimate with covariance
            alpha^2 A^-1: Agrawal and Goyal, "Thompson Sampling for Contextual Bandits with Linear
            Payoffs", 2013

A is `ridge` * I plus the sum of x x', so rewards may come in any order. Its inverse is kept by the
Sherman-Morrison formula, and made anew from A every `REFACTOR_EVERY` rewards, before rounding adds
up. An arm's score under LinTS is one normal number, x.theta, so nothing of the dimension of theta
needs to be drawn. NumPy is imported when the empty state is made.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import msgspec

from salver.bandits.policy import (
    NO_CONTEXT,
    Belief,
    Choice,
    Context,
    Random,
    Shares,
    check_number,
    drawn,
    shared_by_best,
    with_floor,
)
from salver.errors import InvalidInput
from salver.spec.learning import MOST_DIMENSIONS

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from salver.bandits.totals import Totals

    Doubles = NDArray[np.float64]

VERSION = 1
REFACTOR_EVERY = 256


class LinearArm(msgspec.Struct, frozen=True):
    """One arm's model. The arrays are never written to once they are here."""

    gram: Any
    """A: ridge * I plus the sum of x x'."""
    moment: Any
    """b: the sum of reward * x."""
    inverse: Any
    theta: Any
    rewards: int = 0


class LinearState(msgspec.Struct, frozen=True):
    """All arms, in the policy's order; none while no context has been seen."""

    arms: tuple[LinearArm, ...] = ()


class _JsonArm(msgspec.Struct):
    gram: list[list[float]]
    """The rows of A, up to the diagonal: it is symmetric."""
    moment: list[float]
    rewards: int


class _Json(msgspec.Struct):
    version: int
    kind: str
    ridge: float
    arms: dict[str, _JsonArm]


_decode = msgspec.json.Decoder(_Json).decode


class LinearPolicy:
    """What the two have in common."""

    algorithm = ""
    is_contextual = True

    def __init__(
        self,
        arms: tuple[str, ...],
        *,
        alpha: float = 1.0,
        ridge: float = 1.0,
        min_share: float = 0.0,
    ) -> None:
        self.arms = arms
        self.alpha, self.ridge, self.min_share = alpha, ridge, min_share

    def empty(self) -> LinearState:
        # Here, so that no request waits for it.
        import numpy as np

        assert np is not None
        return LinearState()

    def shares(self, state: Totals | LinearState, context: Context = NO_CONTEXT) -> Shares:
        assert isinstance(state, LinearState)
        self._check_context(state, context)
        if not state.arms:
            return (1.0 / len(self.arms),) * len(self.arms)
        return with_floor(self.pure_shares(*self._scores(state, context)), self.min_share)

    def pure_shares(self, means: list[float], spreads: list[float]) -> Shares:
        """The algorithm's own, without the floor, for the means and widths of this context."""
        raise NotImplementedError

    def choose(self, state: Totals | LinearState, context: Context, random: Random) -> Choice:
        return drawn(self.shares(state, context), random)

    def update(
        self,
        state: Totals | LinearState,
        arm: int,
        reward: float,
        context: Context = NO_CONTEXT,
        at_s: float = 0.0,
    ) -> LinearState:
        assert isinstance(state, LinearState)
        self._check_context(state, context)
        arms = list(state.arms or self._unlearned(len(context)))
        arms[arm] = _updated(arms[arm], context, reward)
        return LinearState(tuple(arms))

    def check_reward(self, reward: float) -> None:
        check_number(reward)

    def means(self, state: Totals | LinearState, context: Context = NO_CONTEXT) -> Shares:
        assert isinstance(state, LinearState)
        if not state.arms or not context:
            return (0.0,) * len(self.arms)
        return tuple(self._scores(state, context)[0])

    def beliefs(self, state: Totals | LinearState) -> tuple[Belief, ...]:
        assert isinstance(state, LinearState)
        if not state.arms:
            return (Belief(0.0, None, None, 0),) * len(self.arms)
        return tuple([_belief(arm) for arm in state.arms])

    def to_json(self, state: Totals | LinearState) -> bytes:
        assert isinstance(state, LinearState)
        arms = {
            name: _JsonArm(
                [row[: index + 1] for index, row in enumerate(arm.gram.tolist())],
                arm.moment.tolist(),
                arm.rewards,
            )
            for name, arm in zip(self.arms, state.arms, strict=bool(state.arms))
        }
        return msgspec.json.encode(_Json(VERSION, "linear", self.ridge, arms))

    def from_json(self, text: bytes) -> LinearState:
        try:
            found = _decode(text)
        except msgspec.MsgspecError as error:
            raise InvalidInput(f"the state cannot be read ({error}): reset the router") from error
        if found.version != VERSION or found.kind != "linear" or found.ridge != self.ridge:
            raise InvalidInput(
                f"the state is '{found.kind}' of version {found.version} with ridge "
                f"{found.ridge:g}, not 'linear' of version {VERSION} with ridge {self.ridge:g}: "
                "reset the router"
            )
        known = [arm for name, arm in found.arms.items() if name in self.arms]
        if not known:
            return LinearState()
        new = self._unlearned(len(known[0].moment))
        return LinearState(
            tuple(
                [
                    _restored(found.arms[name]) if name in found.arms else arm
                    for name, arm in zip(self.arms, new, strict=True)
                ]
            )
        )

    def _scores(self, state: LinearState, context: Context) -> tuple[list[float], list[float]]:
        """For each arm x.theta, and the width alpha * sqrt(x' A^-1 x)."""
        import numpy as np

        x = np.frombuffer(context)
        means, widths = [], []
        for arm in state.arms:
            means.append(float(x.dot(arm.theta)))
            widths.append(self.alpha * math.sqrt(max(0.0, float(x.dot(arm.inverse.dot(x))))))
        return means, widths

    def _unlearned(self, dimensions: int) -> tuple[LinearArm, ...]:
        import numpy as np

        gram = np.eye(dimensions) * self.ridge
        zeros = np.zeros(dimensions)
        return (LinearArm(gram, zeros, np.eye(dimensions) / self.ridge, zeros),) * len(self.arms)

    def _check_context(self, state: LinearState, context: Context) -> None:
        count = len(context)
        if state.arms and count != len(state.arms[0].theta):
            raise InvalidInput(
                f"the context has {count} numbers, and what was learned has "
                f"{len(state.arms[0].theta)}: send as many, or reset the router"
            )
        if not 0 < count <= MOST_DIMENSIONS:
            raise InvalidInput(
                f"the context has {count} numbers: name 1 to {MOST_DIMENSIONS} of the request's "
                "in the parameter 'context'"
            )


class LinUcb(LinearPolicy):
    """Without a floor its propensities are 0 and 1, and no other policy can be judged by them."""

    algorithm = "linucb"

    def pure_shares(self, means: list[float], spreads: list[float]) -> Shares:
        return shared_by_best([mean + width for mean, width in zip(means, spreads, strict=True)])


class LinTs(LinearPolicy):
    algorithm = "lints"

    def pure_shares(self, means: list[float], spreads: list[float]) -> Shares:
        return _shares_of_best_normal(means, spreads)


def _updated(arm: LinearArm, context: Context, reward: float) -> LinearArm:
    import numpy as np

    x = np.frombuffer(context)
    gram = arm.gram + np.outer(x, x)
    moment = arm.moment + reward * x
    if (arm.rewards + 1) % REFACTOR_EVERY == 0:
        inverse = np.linalg.inv(gram)
    else:
        along = arm.inverse.dot(x)
        inverse = arm.inverse - np.outer(along, along) / (1.0 + float(x.dot(along)))
    return LinearArm(gram, moment, inverse, inverse.dot(moment), arm.rewards + 1)


def _restored(arm: _JsonArm) -> LinearArm:
    import numpy as np

    size = len(arm.moment)
    gram = np.zeros((size, size))
    for index, row in enumerate(arm.gram):
        gram[index, : index + 1] = row
        gram[: index + 1, index] = row
    moment = np.array(arm.moment, dtype=np.float64)
    inverse = np.linalg.inv(gram)
    return LinearArm(gram, moment, inverse, inverse.dot(moment), arm.rewards)


def _belief(arm: LinearArm) -> Belief:
    """Its weights; there is no mean reward that does not depend on the context."""
    weights = {f"theta[{index}]": value for index, value in enumerate(arm.theta.tolist())}
    return Belief(math.nan, None, None, arm.rewards, weights)


@lru_cache(maxsize=1)
def _normal_below() -> tuple[Doubles, Doubles]:
    """The standard normal distribution function on a fine grid: NumPy has none."""
    import numpy as np

    points = np.linspace(-8.0, 8.0, 16001)
    scale = math.sqrt(0.5)
    return points, np.array([0.5 * math.erfc(-z * scale) for z in points.tolist()])


def _shares_of_best_normal(means: list[float], spreads: list[float]) -> Shares:
    """For independent normal numbers, the probability that each is the largest.

    As `quadrature.shares_of_best`, in NumPy, since it is done for each request: on a grid with
    every number's own nodes, the part of a number in each cell times what the others have below.
    """
    import numpy as np

    centers = np.array(means)[:, None]
    widths = np.maximum(np.array(spreads), 1e-12 * (1.0 + np.abs(np.array(means))))[:, None]
    grid = np.sort((centers + widths * np.linspace(-6.0, 6.0, 41)).ravel())
    below = np.interp((grid - centers) / widths, *_normal_below())
    others = below.prod(0) / np.maximum(below, 1e-12)
    parts = np.diff(below) * (others[:, 1:] + others[:, :-1])
    found = parts.sum(1)
    return tuple((found / found.sum()).tolist())
