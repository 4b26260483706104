"""The algorithms of routers that learn: their names, their parameters, what is wrong with them.

Every dialect of graphs names them, and is checked against this one table; the algorithms themselves
are in `bandits/`. `context`, `bias` and `dimension` say which of a request's numbers a contextual
algorithm sees. Pure: words in, values and faults out.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

import msgspec

from salver.spec.problems import did_you_mean, quoted

MOST_ARMS = 64
MOST_DIMENSIONS = 512
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
TRUE, FALSE = ("true", "yes", "1"), ("false", "no", "0")


class RouterFault(msgspec.Struct, frozen=True):
    """What is wrong with a router as written, and with what of it: the parameter if it is named."""

    message: str
    about: Literal["algorithm", "arms", "parameters"] = "parameters"
    parameter: str = ""


def canonical(algorithm: str) -> str:
    """The algorithm's name as this module writes it."""
    name = algorithm.strip().lower().replace("-", "_")
    return _ALIASES.get(name, name)


def faults_of(
    algorithm: str, arms: Sequence[str], parameters: Sequence[tuple[str, str]]
) -> list[RouterFault]:
    """All that is wrong with a router as written; none if it can learn."""
    name = canonical(algorithm)
    if name not in PARAMETERS:
        advice = did_you_mean(name, PARAMETERS) or f"; use one of {', '.join(PARAMETERS)}"
        return [RouterFault(f"there is no algorithm {quoted(algorithm)}{advice}", "algorithm")]
    found = [RouterFault(message, "arms") for message in _arm_faults(arms)]
    found += _parameter_faults(name, parameters)
    share = numbers_of(name, parameters).get("min_share", 0.0)
    if arms and share * len(arms) > 1.0 + 1e-12:
        message = (
            f"min_share {share:g} for each of {len(arms)} arms is more than there is: give at "
            f"most {1 / len(arms):.3g}"
        )
        found.append(RouterFault(message, parameter="min_share"))
    return found


def problems_of(
    algorithm: str, arms: Sequence[str], parameters: Sequence[tuple[str, str]]
) -> list[str]:
    """The faults as texts."""
    return [each.message for each in faults_of(algorithm, arms, parameters)]


def numbers_of(algorithm: str, parameters: Sequence[tuple[str, str]]) -> dict[str, float]:
    """The parameters that are numbers, by name; those that cannot be read are left out."""
    known = PARAMETERS[canonical(algorithm)]
    read = {key: _read(text, known[key]) for key, text in parameters if key in known}
    return {key: value for key, value in read.items() if value is not None}


def _arm_faults(arms: Sequence[str]) -> list[str]:
    if not 2 <= len(arms) <= MOST_ARMS:
        return [f"needs 2 to {MOST_ARMS} arms to choose from, found {len(arms)}"]
    twice = sorted({arm for arm in arms if list(arms).count(arm) > 1})
    return [f"there are two arms {quoted(arm)}: give each a name of its own" for arm in twice]


def _parameter_faults(name: str, parameters: Sequence[tuple[str, str]]) -> Iterator[RouterFault]:
    known = PARAMETERS[name]
    names = [*known, *(CONTEXT_PARAMETERS if name in CONTEXTUAL else ())]
    for key, text in parameters:
        message = ""
        if key not in names:
            advice = did_you_mean(key, names) or f"; it has {', '.join(names)}"
            message = f"{name} has no parameter {quoted(key)}{advice}"
        elif key not in known:
            message = _context_fault(key, text)
        elif _read(text, known[key]) is None:
            message = f"parameter {quoted(key)} is {quoted(text)}: {_wanted(known[key])}"
        if message:
            yield RouterFault(message, parameter=key)


def _context_fault(key: str, text: str) -> str:
    if key == "bias" and text.strip().lower() not in (*TRUE, *FALSE):
        return f"parameter 'bias' is {quoted(text)}: give true or false"
    number = text.strip()
    is_number = number.isascii() and number.isdecimal() and len(number) < 9
    if key == "dimension" and not (is_number and int(number) <= MOST_DIMENSIONS):
        return (
            f"parameter 'dimension' is {quoted(text)}: give how many numbers the context has, at "
            f"most {MOST_DIMENSIONS}"
        )
    return ""


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
