"""The steps that come with Salver, by name, with the parameters that each may have.

average                 the mean of the inputs' tensors, element by element
weighted  {weights}     the same, by weights: a list in the order of the inputs, or by step
vote      {soft}        the class that most inputs name in each row; soft: of the highest mean
stack                   the inputs' columns side by side
first, identity         the first input as it is
confident {threshold, tensor}   branch 0 if every row's highest value reaches it, else 1
is_true                 branch 1 if the input is true, else 0
simple_model            Seldon's SIMPLE_MODEL: 0.1, 0.9, 0.5 for every row
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from salver.errors import LoadFailed, ModelFailed
from salver.runtimes.combining import (
    Weights,
    average,
    first,
    hard_vote,
    simple_model,
    soft_vote,
    stack,
    weighted,
)
from salver.runtimes.deciding import confident, is_true
from salver.runtimes.step_ports import StepAnswer, StepContext, StepInput
from salver.runtimes.step_values import BRANCH_METHODS, DATA_METHODS

_Act = Callable[[Sequence[StepInput]], StepAnswer]


class Builtin:
    """Implements `StepFunction` for one of ours."""

    is_idempotent = True
    wants_headers = False

    def __init__(self, name: str, act: _Act, *, decides: bool) -> None:
        self.label = name
        self._act = act
        self._methods = BRANCH_METHODS if decides else DATA_METHODS

    def perform(self, method: str, inputs: Sequence[StepInput], context: StepContext) -> StepAnswer:
        if method not in self._methods:
            if method == "send_feedback":
                return StepAnswer()
            raise ModelFailed(
                f"it cannot be asked for {method}, only for {', '.join(sorted(self._methods))}"
            )
        if not inputs:
            raise ModelFailed("it was given nothing")
        return self._act(inputs)

    def close(self) -> None: ...


def builtin(name: str, parameters: Mapping[str, Any]) -> Builtin:
    """The one of that name. Raises `LoadFailed` for an unknown name or parameters it lacks."""
    known = _PARAMETERS.get(name)
    if known is None:
        raise LoadFailed(
            f"there is no builtin '{name}'; there are {', '.join(sorted(_PARAMETERS))}"
        )
    unknown = sorted(set(parameters) - set(known))
    if unknown:
        raise LoadFailed(
            f"builtin '{name}' has no parameter '{unknown[0]}'; it has "
            + (", ".join(known) or "none")
        )
    if name == "weighted":
        return Builtin(name, weighted(_weights(parameters.get("weights"))), decides=False)
    if name == "vote":
        is_soft = parameters.get("soft", False)
        if not isinstance(is_soft, bool):
            raise LoadFailed(f"builtin 'vote': soft is {is_soft!r}; use true or false")
        return Builtin(name, soft_vote if is_soft else hard_vote, decides=False)
    if name == "confident":
        threshold = _number(parameters.get("threshold"), "builtin 'confident': threshold")
        tensor = str(parameters.get("tensor") or "")
        return Builtin(name, lambda inputs: confident(inputs, threshold, tensor), decides=True)
    return Builtin(name, _PLAIN[name], decides=name == "is_true")


# Parameters.


def _number(value: Any, subject: str) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if isinstance(value, bool) or not math.isfinite(number):
        raise LoadFailed(f"{subject} is {value!r}; give a number")
    return number


def _weights(value: Any) -> Weights:
    subject = "builtin 'weighted': a weight"
    weights: Weights
    if isinstance(value, Mapping) and value:
        weights = {str(name): _number(each, subject) for name, each in value.items()}
    elif isinstance(value, list | tuple) and value:
        weights = [_number(each, subject) for each in value]
    else:
        raise LoadFailed(
            f"builtin 'weighted': weights is {value!r}; give a list with one for each input, or "
            "an object by the steps' names"
        )
    numbers = list(weights.values()) if isinstance(weights, dict) else weights
    if min(numbers) < 0 or not sum(numbers):
        raise LoadFailed(
            f"builtin 'weighted': weights {numbers} are no shares; give numbers of at least 0 "
            "with one above"
        )
    return weights


_PLAIN: Mapping[str, Callable[[Sequence[StepInput]], StepAnswer]] = {
    "average": average,
    "stack": stack,
    "first": first,
    "identity": first,
    "simple_model": simple_model,
    "is_true": is_true,
}
_PARAMETERS: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(_PLAIN, ()),
    "weighted": ("weights",),
    "vote": ("soft",),
    "confident": ("threshold", "tensor"),
}
