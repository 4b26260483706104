"""From a router's words to a policy. What the words may be is in `spec/learning.py`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import msgspec

from salver.bandits.linear import LinTs, LinUcb
from salver.bandits.plain import BetaThompson, EpsilonGreedy, GaussianThompson, Ucb1
from salver.bandits.policy import Policy
from salver.errors import InvalidInput
from salver.spec.learning import TRUE, canonical, numbers_of, problems_of

MAKERS: Mapping[str, Callable[..., Policy]] = {
    "epsilon_greedy": EpsilonGreedy,
    "ucb1": Ucb1,
    "thompson": BetaThompson,
    "thompson_gaussian": GaussianThompson,
    "linucb": LinUcb,
    "lints": LinTs,
}


class ContextSpec(msgspec.Struct, frozen=True):
    """What a contextual algorithm sees: fields or tensors by name (none: the first tensor's first
    row), a constant 1 if `bias`, and how many numbers that makes (0: as many as come first)."""

    names: tuple[str, ...] = ()
    bias: bool = True
    dimension: int = 0


def make_policy(
    algorithm: str, arms: Sequence[str], parameters: Sequence[tuple[str, str]] = ()
) -> Policy:
    """The policy as written. Raises `InvalidInput` with all that is wrong."""
    problems = problems_of(algorithm, arms, parameters)
    if problems:
        raise InvalidInput("; ".join(problems))
    name = canonical(algorithm)
    values = numbers_of(name, parameters)
    if "half_life" in values:
        values["half_life_s"] = values.pop("half_life")
    return MAKERS[name](tuple(arms), **values)


def context_of(parameters: Sequence[tuple[str, str]]) -> ContextSpec:
    """Which numbers to see. Call it for what `faults_of` finds nothing wrong with."""
    given = dict(parameters)
    names = tuple(part.strip() for part in given.get("context", "").split(",") if part.strip())
    bias = given.get("bias", "true").strip().lower() in TRUE
    return ContextSpec(names, bias, int(given.get("dimension", "0")))
