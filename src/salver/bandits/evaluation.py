"""What another policy would have earned, estimated from the log of one that ran.

For each choice the log has its arm, propensity p, context and reward r; the other policy would
have chosen the arm with probability q, so the reward counts w = q / p times.

    ips    mean of w r                          unbiased; wide where w is
    snips  sum of w r / sum of w                Swaminathan and Joachims, "The Self-Normalized
                                                Estimator for Counterfactual Learning", 2015
    dr     mean of m(q) + w (r - m(arm))        Dudik, Langford and Li, "Doubly Robust Policy
                                                Evaluation and Learning", 2011

m is a model of the reward: each arm's mean, or with contexts a linear model for each arm. It has
seen only rewards before the one it is used on, as the other policy has if it learns, so that each
term is unbiased given what came before it. Standard errors are those of the terms.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

import msgspec

from salver.bandits.linear import LinUcb
from salver.bandits.plain import EpsilonGreedy
from salver.bandits.policy import NO_CONTEXT, Context, Policy, Shares
from salver.errors import InvalidInput

_Z95 = 1.959964
LEAST_EFFECTIVE = 100
REFRESHES = 2000
"""A policy that learns looks at what it has learned so often at most: integrals take time."""

Target = Callable[[Context], Shares]


class Logged(msgspec.Struct, frozen=True):
    """One choice of the log with its reward."""

    arm: int
    propensity: float
    reward: float
    context: Context = NO_CONTEXT
    at_s: float = 0.0


class Estimate(msgspec.Struct, frozen=True):
    """A mean reward for each choice, its standard error and 95% interval."""

    method: str
    value: float
    error: float
    low: float
    high: float


class Evaluation(msgspec.Struct, frozen=True):
    """All estimates of one policy; `logged` is what the policy that ran has earned.

    `effective` is how many choices of the policy itself the log is worth, (sum w)^2 / sum w^2.
    `warnings` say why not to trust it, if there is a reason.
    """

    policy: str
    choices: int
    effective: float
    largest_weight: float
    logged: Estimate
    estimates: tuple[Estimate, ...]
    warnings: tuple[str, ...] = ()


def evaluate(policy: Policy, log: Sequence[Logged], *, learns: bool = True) -> Evaluation:
    """The policy on the log, in the log's order, learning from it as it goes, or knowing nothing
    throughout. Raises `InvalidInput` for a log without choices or with an impossible one."""
    every = max(1, len(log) // REFRESHES)
    state = seen = policy.empty()

    def after(index: int, logged: Logged) -> None:
        nonlocal state, seen
        if learns:
            state = policy.update(state, logged.arm, logged.reward, logged.context, logged.at_s)
            if index % every == 0:
                seen = state

    def target(context: Context) -> Shares:
        return policy.shares(seen, context)

    return _evaluated(policy.algorithm, target, len(policy.arms), log, after)


def evaluate_fixed(name: str, target: Target, arms: int, log: Sequence[Logged]) -> Evaluation:
    """A policy that does not learn, as a function of the context. Raises `InvalidInput`."""
    return _evaluated(name, target, arms, log, lambda index, logged: None)


def _evaluated(
    name: str,
    target: Target,
    arms: int,
    log: Sequence[Logged],
    after: Callable[[int, Logged], None],
) -> Evaluation:
    _check(log, arms)
    model = _RewardModel(arms, bool(log[0].context))
    weights, weighted, robust, reached = [], [], [], 0.0
    for index, logged in enumerate(log):
        shares = target(logged.context)
        weight = shares[logged.arm] / logged.propensity
        means = model.means(logged.context)
        expected = sum([q * m for q, m in zip(shares, means, strict=True)])
        weights.append(weight)
        weighted.append(weight * logged.reward)
        robust.append(expected + weight * (logged.reward - means[logged.arm]))
        reached += weight
        model.learn(logged)
        after(index, logged)
    squares = sum([w * w for w in weights])
    effective = reached * reached / squares if squares else 0.0
    estimates = (
        _mean("ips", weighted),
        _self_normalised(weights, [each.reward for each in log]),
        _mean("dr", robust),
    )
    rewards = _mean("logged", [each.reward for each in log])
    return Evaluation(
        name,
        len(log),
        effective,
        max(weights),
        rewards,
        estimates,
        tuple(_warnings(weights, effective)),
    )


def _check(log: Sequence[Logged], arms: int) -> None:
    if len(log) < 2:
        raise InvalidInput(
            f"the log has {len(log)} choices with a reward: let the router run, and send feedback"
        )
    for index, each in enumerate(log):
        if not 0.0 < each.propensity <= 1.0 or not 0 <= each.arm < arms:
            raise InvalidInput(
                f"choice {index} of the log has arm {each.arm} of {arms} with propensity "
                f"{each.propensity:g}: propensities are above 0 and at most 1"
            )


class _RewardModel:
    """What is expected of each arm by the rewards so far."""

    def __init__(self, arms: int, has_context: bool) -> None:
        names = tuple([str(index) for index in range(arms)])
        self._policy: Policy = LinUcb(names) if has_context else EpsilonGreedy(names)
        self._state = self._policy.empty()
        self._total, self._count = 0.0, 0

    def means(self, context: Context) -> Shares:
        found = self._policy.means(self._state, context)
        if self._policy.is_contextual or not self._count:
            return found
        # An arm without rewards is like the others, as far as anyone knows.
        common = self._total / self._count
        beliefs = self._policy.beliefs(self._state)
        return tuple([b.mean if b.rewards else common for b in beliefs])

    def learn(self, logged: Logged) -> None:
        self._state = self._policy.update(self._state, logged.arm, logged.reward, logged.context)
        self._total += logged.reward
        self._count += 1


def _mean(method: str, terms: Sequence[float]) -> Estimate:
    count = len(terms)
    mean = math.fsum(terms) / count
    variance = math.fsum([(term - mean) ** 2 for term in terms]) / (count - 1)
    return _estimate(method, mean, math.sqrt(variance / count))


def _self_normalised(weights: Sequence[float], rewards: Sequence[float]) -> Estimate:
    total = math.fsum(weights)
    if total <= 0.0:
        return _estimate("snips", math.nan, math.nan)
    pairs = list(zip(weights, rewards, strict=True))
    mean = math.fsum([w * r for w, r in pairs]) / total
    # The delta method: the ratio's error to first order.
    error = math.sqrt(math.fsum([(w * (r - mean)) ** 2 for w, r in pairs])) / total
    return _estimate("snips", mean, error)


def _estimate(method: str, value: float, error: float) -> Estimate:
    return Estimate(method, value, error, value - _Z95 * error, value + _Z95 * error)


def _warnings(weights: Sequence[float], effective: float) -> Iterable[str]:
    count = len(weights)
    if effective < LEAST_EFFECTIVE:
        yield (
            f"the log is worth {effective:.0f} choices of this policy, out of {count}: below "
            f"{LEAST_EFFECTIVE} the intervals are too narrow; log more, or with a larger min_share"
        )
    mean = math.fsum(weights) / count
    error = math.sqrt(math.fsum([(w - mean) ** 2 for w in weights]) / count / count)
    if abs(mean - 1.0) > max(3.0 * error, 1e-9):
        yield (
            f"the weights have the mean {mean:.3g} and should have 1: the policy chooses what the "
            "log hardly or never chose; ips and dr leave that out"
        )
    if max(weights) > 0.1 * math.fsum(weights) > 0.0:
        yield f"one choice has {max(weights) / math.fsum(weights):.0%} of all weight"
