"""From a manifest's words to a policy: the algorithms there are, and their parameters.

All that is wrong is told at once. `context`, `bias` and `dimension` say which of a request's
numbers a contextual algorithm sees; they are read here and used in `engine/router_features.py`.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Mapping, Sequence

import msgspec

from salver.bandits.linear import MOST_DIMENSIONS, LinTs, LinUcb
from salver.bandits.plain import BetaThompson, EpsilonGreedy, GaussianThompson, Ucb1
from salver.bandits.policy import Policy
from salver.errors import InvalidInput

MOST_ARMS = 64
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d|)")
_SECONDS = {"ms": 0.001, "s": 1.0, "": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_ALIASES = {
    "egreedy": "epsilon_greedy",
    "ucb": "ucb1",
    "thompson_beta": "thompson",
    "thompson_sampling": "thompson",
    "lin_ucb": "linucb",
    "lin_ts": "lints",
}


class Parameter(msgspec.Struct, frozen=True):
    """A number, where it may lie, and what it means. `is_duration`: written as 30m or 1h."""

    default: float
    low: float
    high: float
    help: str
    is_duration: bool = False
    is_open: bool = False
    """`low` itself is not allowed."""


_MIN_SHARE = Parameter(0.0, 0.0, 1.0, "the least share of the requests that each arm gets")
_HALF_LIFE = Parameter(
    0.0, 0.0, math.inf, "after so much time a reward counts half; 0: for ever", is_duration=True
)
_PLAIN = {"min_share": _MIN_SHARE, "half_life": _HALF_LIFE}
_LINEAR = {
    "alpha": Parameter(1.0, 0.0, math.inf, "how wide the bounds, or the sampling, are"),
    "ridge": Parameter(1.0, 0.0, math.inf, "the regularisation", is_open=True),
    "min_share": _MIN_SHARE,
}
PARAMETERS: Mapping[str, Mapping[str, Parameter]] = {
    "epsilon_greedy": {
        "epsilon": Parameter(0.1, 0.0, 1.0, "the share of requests for which chance decides"),
        "initial": Parameter(0.0, -math.inf, math.inf, "what an arm without rewards counts as"),
        **_PLAIN,
    },
    "ucb1": {
        "alpha": Parameter(1.0, 0.0, math.inf, "how wide the bounds are; 1 is UCB1"),
        **_PLAIN,
    },
    "thompson": {
        "prior_alpha": Parameter(1.0, 1.0, math.inf, "successes known before, plus 1"),
        "prior_beta": Parameter(1.0, 1.0, math.inf, "failures known before, plus 1"),
        **_PLAIN,
    },
    "thompson_gaussian": {
        "prior_mean": Parameter(0.0, -math.inf, math.inf, "the mean expected before"),
        "prior_weight": Parameter(
            0.01, 0.0, math.inf, "how many rewards that mean is worth", is_open=True
        ),
        "prior_shape": Parameter(
            1.0, 0.5, math.inf, "half as many rewards as the variance expected before is worth"
        ),
        "prior_scale": Parameter(
            1.0, 0.0, math.inf, "that variance times prior_shape", is_open=True
        ),
        **_PLAIN,
    },
    "linucb": _LINEAR,
    "lints": _LINEAR,
}
CONTEXTUAL = frozenset({"linucb", "lints"})
CONTEXT_PARAMETERS = ("context", "bias", "dimension")
"""Of contextual algorithms: names of what to see, with commas between; whether to add a 1; how
many numbers there are."""


class ContextSpec(msgspec.Struct, frozen=True):
    """What a contextual algorithm sees: fields or tensors by name (none: the first tensor's first
    row), a constant 1 if `bias`, and how many numbers that makes (0: as many as come first)."""

    names: tuple[str, ...] = ()
    bias: bool = True
    dimension: int = 0


def canonical(algorithm: str) -> str:
    """The algorithm's name as this module writes it."""
    name = algorithm.strip().lower().replace("-", "_")
    return _ALIASES.get(name, name)


def problems_of(
    algorithm: str, arms: Sequence[str], parameters: Sequence[tuple[str, str]]
) -> list[str]:
    """All that is wrong with a router as written; none if `make_policy` takes it."""
    name = canonical(algorithm)
    if name not in PARAMETERS:
        return [
            f"there is no algorithm '{algorithm}'{_near(name, list(PARAMETERS))}; "
            f"use one of {', '.join(PARAMETERS)}"
        ]
    found = _arm_problems(arms)
    values, wrong = _numbers(name, parameters)
    found += wrong
    share = values.get("min_share", 0.0)
    if arms and share * len(arms) > 1.0 + 1e-12:
        found.append(
            f"min_share {share:g} for each of {len(arms)} arms is more than there is: give at "
            f"most {1 / len(arms):.3g}"
        )
    if name in CONTEXTUAL:
        found += _context_problems(parameters)
    return found


def make_policy(
    algorithm: str, arms: Sequence[str], parameters: Sequence[tuple[str, str]] = ()
) -> Policy:
    """The policy as written. Raises `InvalidInput` with all that is wrong."""
    problems = problems_of(algorithm, arms, parameters)
    if problems:
        raise InvalidInput("; ".join(problems))
    name = canonical(algorithm)
    values, _ = _numbers(name, parameters)
    if "half_life" in values:
        values["half_life_s"] = values.pop("half_life")
    return _MAKERS[name](tuple(arms), **values)


def context_of(parameters: Sequence[tuple[str, str]]) -> ContextSpec:
    """Which numbers to see. Call it for what `problems_of` finds nothing wrong with."""
    given = dict(parameters)
    names = tuple(part.strip() for part in given.get("context", "").split(",") if part.strip())
    bias = given.get("bias", "true").strip().lower() in _TRUE
    return ContextSpec(names, bias, int(given.get("dimension", "0")))


_TRUE, _FALSE = ("true", "yes", "1"), ("false", "no", "0")
_MAKERS: Mapping[str, Callable[..., Policy]] = {
    "epsilon_greedy": EpsilonGreedy,
    "ucb1": Ucb1,
    "thompson": BetaThompson,
    "thompson_gaussian": GaussianThompson,
    "linucb": LinUcb,
    "lints": LinTs,
}


def _arm_problems(arms: Sequence[str]) -> list[str]:
    if not 2 <= len(arms) <= MOST_ARMS:
        return [f"there are {len(arms)} arms to choose from: give 2 to {MOST_ARMS}"]
    twice = sorted({arm for arm in arms if list(arms).count(arm) > 1})
    return [f"there are two arms '{arm}': give each a name of its own" for arm in twice]


def _numbers(
    name: str, parameters: Sequence[tuple[str, str]]
) -> tuple[dict[str, float], list[str]]:
    known = PARAMETERS[name]
    values: dict[str, float] = {}
    problems = []
    for key, text in parameters:
        if key in CONTEXT_PARAMETERS and name in CONTEXTUAL:
            continue
        if key not in known:
            others = [*known, *(CONTEXT_PARAMETERS if name in CONTEXTUAL else ())]
            problems.append(
                f"'{name}' has no parameter '{key}'{_near(key, others)}; it has {', '.join(others)}"
            )
            continue
        value = _read(text, known[key])
        if value is None:
            problems.append(f"parameter '{key}' is '{text}': {_wanted(known[key])}")
        else:
            values[key] = value
    return values, problems


def _read(text: str, parameter: Parameter) -> float | None:
    """The number, or None for what is none or lies where it may not."""
    try:
        if parameter.is_duration:
            match = _DURATION.fullmatch(text.strip())
            value = float(match[1]) * _SECONDS[match[2]] if match else math.nan
        else:
            value = float(text)
    except ValueError:
        return None
    if not math.isfinite(value) or not parameter.low <= value <= parameter.high:
        return None
    return None if parameter.is_open and value == parameter.low else value


def _wanted(parameter: Parameter) -> str:
    if parameter.is_duration:
        return "give a duration such as 30m or 24h"
    low, high = parameter.low, parameter.high
    if math.isinf(low):
        return "give a number"
    if math.isinf(high):
        return f"give a number {'above' if parameter.is_open else 'of at least'} {low:g}"
    return f"give a number from {low:g} to {high:g}"


def _context_problems(parameters: Sequence[tuple[str, str]]) -> list[str]:
    given = dict(parameters)
    problems = []
    bias = given.get("bias", "true")
    if bias.strip().lower() not in (*_TRUE, *_FALSE):
        problems.append(f"parameter 'bias' is '{bias}': give true or false")
    dimension = given.get("dimension", "0").strip()
    if not dimension.isdecimal() or int(dimension) > MOST_DIMENSIONS:
        problems.append(
            f"parameter 'dimension' is '{dimension}': give how many numbers the context has, at "
            f"most {MOST_DIMENSIONS}"
        )
    return problems


def _near(word: str, words: Sequence[str]) -> str:
    found = difflib.get_close_matches(word, words, n=1)
    return f", did you mean '{found[0]}'?" if found else ""
