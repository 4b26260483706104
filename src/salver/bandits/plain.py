"""Algorithms that see no context: epsilon-greedy, UCB1, Thompson sampling (Beta and Gaussian).

All four learn the same sums (`totals.py`) and differ in the shares that they make of them.

    epsilon_greedy     the best mean so far, but for a share `epsilon` by chance (Sutton and Barto)
    ucb1               the best of mean + alpha * sqrt(2 ln n / n_arm); alpha 1 is UCB1 of Auer,
                       Cesa-Bianchi and Fischer, 2002; an arm without rewards comes first
    thompson           the probability of being best, each mean with a Beta posterior; rewards from
                       0 to 1 (Agrawal and Goyal, 2013); a broken reward counts as that much of one
    thompson_gaussian  the same, mean *and variance* unknown: normal-inverse-gamma posterior, whose
                       mean is Student's t (Honda and Takemura, 2014; Gelman et al., 3.3)
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from salver.bandits import totals
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
from salver.bandits.quadrature import Beta, StudentT, Unknown, shares_of_best
from salver.bandits.totals import ArmTotals, Totals
from salver.errors import InvalidInput

if TYPE_CHECKING:
    from salver.bandits.linear import LinearState

_Z95 = 1.959964


class PlainPolicy:
    """What the four have in common; each adds its scores, and what it believes of an arm."""

    algorithm = ""
    is_contextual = False

    def __init__(
        self, arms: tuple[str, ...], *, min_share: float = 0.0, half_life_s: float = 0.0
    ) -> None:
        self.arms = arms
        self.min_share = min_share
        self.half_life_s = half_life_s
        self._last: tuple[Totals, Shares] | None = None

    def empty(self) -> Totals:
        return totals.no_totals(len(self.arms))

    def shares(self, state: Totals | LinearState, context: Context = NO_CONTEXT) -> Shares:
        assert isinstance(state, Totals)
        # They depend on nothing else, and rewards come more rarely than requests.
        if self._last is not None and self._last[0] is state:
            return self._last[1]
        found = with_floor(self.pure_shares(state), self.min_share)
        self._last = (state, found)
        return found

    def pure_shares(self, state: Totals) -> Shares:
        """The algorithm's own, without the floor."""
        raise NotImplementedError

    def belief(self, arm: ArmTotals) -> Belief:
        """See `Policy.beliefs`."""
        if arm.weight <= 1.0:
            return Belief(arm.mean, None, None, arm.rewards)
        reach = _Z95 * math.sqrt(arm.spread / (arm.weight - 1.0) / arm.weight)
        return Belief(arm.mean, arm.mean - reach, arm.mean + reach, arm.rewards)

    def choose(self, state: Totals | LinearState, context: Context, random: Random) -> Choice:
        return drawn(self.shares(state), random)

    def update(
        self,
        state: Totals | LinearState,
        arm: int,
        reward: float,
        context: Context = NO_CONTEXT,
        at_s: float = 0.0,
    ) -> Totals:
        assert isinstance(state, Totals)
        return totals.added(state, arm, reward, at_s, self.half_life_s)

    def check_reward(self, reward: float) -> None:
        check_number(reward)

    def means(self, state: Totals | LinearState, context: Context = NO_CONTEXT) -> Shares:
        return tuple([belief.mean for belief in self.beliefs(state)])

    def beliefs(self, state: Totals | LinearState) -> tuple[Belief, ...]:
        assert isinstance(state, Totals)
        return tuple([self.belief(arm) for arm in state.arms])

    def to_json(self, state: Totals | LinearState) -> bytes:
        assert isinstance(state, Totals)
        return totals.to_json(state, self.arms)

    def from_json(self, text: bytes) -> Totals:
        return totals.from_json(text, self.arms)


class EpsilonGreedy(PlainPolicy):
    """An arm without rewards counts as `initial`: where only successes are reported, an arm that
    has none must not draw all requests to it."""

    algorithm = "epsilon_greedy"

    def __init__(
        self,
        arms: tuple[str, ...],
        *,
        epsilon: float = 0.1,
        initial: float = 0.0,
        min_share: float = 0.0,
        half_life_s: float = 0.0,
    ) -> None:
        super().__init__(arms, min_share=min_share, half_life_s=half_life_s)
        self.epsilon, self.initial = epsilon, initial

    def pure_shares(self, state: Totals) -> Shares:
        best = shared_by_best([arm.mean if arm.weight else self.initial for arm in state.arms])
        by_chance = self.epsilon / len(best)
        return tuple([by_chance + (1.0 - self.epsilon) * share for share in best])


class Ucb1(PlainPolicy):
    """Without a floor its propensities are 0 and 1, and no other policy can be judged by them."""

    algorithm = "ucb1"

    def __init__(
        self,
        arms: tuple[str, ...],
        *,
        alpha: float = 1.0,
        min_share: float = 0.0,
        half_life_s: float = 0.0,
    ) -> None:
        super().__init__(arms, min_share=min_share, half_life_s=half_life_s)
        self.alpha = alpha

    def pure_shares(self, state: Totals) -> Shares:
        return shared_by_best([self.bound(state, arm) for arm in state.arms])

    def bound(self, state: Totals, arm: ArmTotals) -> float:
        """The upper confidence bound."""
        if arm.weight <= 0.0:
            return math.inf
        # Faded weights may add up to less than 1.
        every = max(1.0, sum([each.weight for each in state.arms]))
        return arm.mean + self.alpha * math.sqrt(2.0 * math.log(every) / arm.weight)


class _Thompson(PlainPolicy):
    def posterior(self, arm: ArmTotals) -> Unknown:
        """Of the arm's mean reward."""
        raise NotImplementedError

    def parameters(self, arm: ArmTotals) -> dict[str, float]:
        """The posterior's, by name."""
        raise NotImplementedError

    def pure_shares(self, state: Totals) -> Shares:
        return shares_of_best([self.posterior(arm) for arm in state.arms])

    def belief(self, arm: ArmTotals) -> Belief:
        posterior = self.posterior(arm)
        low, high = posterior.interval()
        return Belief(posterior.mean, low, high, arm.rewards, self.parameters(arm))


class BetaThompson(_Thompson):
    algorithm = "thompson"

    def __init__(
        self,
        arms: tuple[str, ...],
        *,
        prior_alpha: float = 1.0,
        prior_beta: float = 1.0,
        min_share: float = 0.0,
        half_life_s: float = 0.0,
    ) -> None:
        super().__init__(arms, min_share=min_share, half_life_s=half_life_s)
        self.prior_alpha, self.prior_beta = prior_alpha, prior_beta

    def parameters(self, arm: ArmTotals) -> dict[str, float]:
        # Sums of broken rewards may miss each other by a rounding.
        failures = max(0.0, arm.weight - arm.total)
        return {"alpha": self.prior_alpha + arm.total, "beta": self.prior_beta + failures}

    def posterior(self, arm: ArmTotals) -> Unknown:
        found = self.parameters(arm)
        return Beta(found["alpha"], found["beta"])

    def check_reward(self, reward: float) -> None:
        check_number(reward)
        if not 0.0 <= reward <= 1.0:
            raise InvalidInput(
                f"the reward {reward:g} is not from 0 to 1, which 'thompson' learns from: scale "
                "it, or use thompson_gaussian"
            )


class GaussianThompson(_Thompson):
    """The prior is worth `prior_weight` rewards of `prior_mean`, and twice `prior_shape` rewards
    with a variance about `prior_scale` / `prior_shape`. The default is next to nothing."""

    algorithm = "thompson_gaussian"

    def __init__(
        self,
        arms: tuple[str, ...],
        *,
        prior_mean: float = 0.0,
        prior_weight: float = 0.01,
        prior_shape: float = 1.0,
        prior_scale: float = 1.0,
        min_share: float = 0.0,
        half_life_s: float = 0.0,
    ) -> None:
        super().__init__(arms, min_share=min_share, half_life_s=half_life_s)
        self.prior = (prior_mean, prior_weight, prior_shape, prior_scale)

    def parameters(self, arm: ArmTotals) -> dict[str, float]:
        mean, weight, shape, scale = self.prior
        after = weight + arm.weight
        apart = arm.mean - mean
        return {
            "mean": (weight * mean + arm.total) / after,
            "weight": after,
            "shape": shape + arm.weight / 2.0,
            "scale": scale + 0.5 * arm.spread + 0.5 * weight * arm.weight * apart * apart / after,
        }

    def posterior(self, arm: ArmTotals) -> Unknown:
        found = self.parameters(arm)
        shape = found["shape"]
        width = math.sqrt(found["scale"] / (shape * found["weight"]))
        return StudentT(2.0 * shape, found["mean"], width)
