"""A router that learns as people see it: arms, posteriors, shares, regret."""

from __future__ import annotations

import math

import msgspec

from salver.bandits.policy import Belief
from salver.bandits.regret import Regret, contextual_regret, estimated_regret
from salver.engine.learned_router import LearnedRouter
from salver.engine.learning_ports import unpacked
from salver.engine.learning_values import Outcome

_MOST_CONTEXTS = 1000
_MOST_WEIGHTS = 64


class ArmStatus(msgspec.Struct, frozen=True, omit_defaults=True):
    """One arm. `mean` with its 95% interval; none where it depends on the context."""

    name: str
    choices: int
    rewards: int
    share: float
    mean: float | None = None
    low: float | None = None
    high: float | None = None
    posterior: dict[str, float] = {}


class RouterStatus(msgspec.Struct, frozen=True):
    """One router. `mode` is learning, best, shares or promoted; `regret` is an estimate, of all
    choices, or of the newest `regret.choices` of a contextual router."""

    name: str
    namespace: str
    graph: str
    step: str
    algorithm: str
    parameters: dict[str, str]
    mode: str
    mode_since_s: float
    epoch: int
    waiting: int
    """Choices on record."""
    feedback: dict[str, int]
    """What came to this gateway since it started: accepted, duplicate, unknown."""
    arms: tuple[ArmStatus, ...]
    regret: Regret | None = None


def status_of(router: LearnedRouter) -> RouterStatus:
    """The router now."""
    version = router.version
    shares = router.shares_now()
    beliefs = version.policy.beliefs(version.state)
    counts = [router.memory.counts.get(arm, 0) for arm in version.policy.arms]
    arms = [
        _arm(arm, count, shares[arm], belief)
        for arm, count, belief in zip(version.policy.arms, counts, beliefs, strict=True)
    ]
    return RouterStatus(
        str(router.name),
        router.name.namespace,
        router.name.graph,
        router.name.step,
        version.policy.algorithm,
        dict(router.parameters),
        router.ruling.mode,
        router.ruling.at_s,
        router.epoch,
        len(router.memory),
        {outcome.value: router.feedback[outcome] for outcome in Outcome},
        tuple(arms),
        _regret(router, counts, beliefs),
    )


def _arm(name: str, choices: int, share: float, belief: Belief) -> ArmStatus:
    posterior = dict(list(belief.parameters.items())[:_MOST_WEIGHTS])
    is_known = belief.rewards > 0 and math.isfinite(belief.mean)
    return ArmStatus(
        name,
        choices,
        belief.rewards,
        share,
        belief.mean if is_known else None,
        belief.low if is_known else None,
        belief.high if is_known else None,
        posterior,
    )


def _regret(router: LearnedRouter, counts: list[int], beliefs: tuple[Belief, ...]) -> Regret | None:
    version = router.version
    policy, state = version.policy, version.state
    if not policy.is_contextual:
        return estimated_regret(counts, beliefs)
    if not any(belief.rewards for belief in beliefs):
        return None
    width = len(beliefs[0].parameters) * 8
    return contextual_regret(
        (policy.arms.index(choice.arm), policy.means(state, unpacked(choice.context)))
        for choice in router.memory.newest(_MOST_CONTEXTS)
        if choice.arm in policy.arms and len(choice.context) == width
    )
