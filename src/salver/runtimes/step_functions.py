"""A plain Python function as a step of a graph: `features.py:scale`.

One message with one tensor comes as its array, one with several as a dict of arrays; several
messages come as one argument each, by name if the function's parameters are called as the steps
are that they come from, else in order; of a step from which nothing has come a parameter of its own
gets None. Hints may ask for a list, a DataFrame, a number, a string (see `arguments.py`); a
parameter `headers` gets the caller's. It may return an array, a number, a list, a dict of outputs,
a tuple of arrays, a DataFrame; asked for a branch, a truth value or a whole number. It may be a
coroutine function.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import numpy as np

from salver.errors import ModelFailed
from salver.inference.tensor import InferRequest
from salver.runtimes.arguments import Argument, argument_of, call_arguments
from salver.runtimes.awaiting import Awaiter
from salver.runtimes.step_ports import StepAnswer, StepContext, StepInput
from salver.runtimes.step_values import (
    BRANCH_METHODS,
    DATA_METHODS,
    branch_of,
    tensors_of,
    value_of,
)

_HEADERS = "headers"


class PythonFunction:
    """Implements `StepFunction` over a callable. `output` is what its one tensor is called."""

    def __init__(self, name: str, function: Callable[..., Any], awaiter: Awaiter) -> None:
        self.label = f"function {name}"
        self.is_idempotent = bool(getattr(function, "idempotent", True))
        self._name = name
        self._function = function
        self._awaiter = awaiter
        self._arguments, self._takes_any, self.wants_headers = _parameters(function)
        self._required = [each.name for each in self._arguments if not each.is_optional]
        self._takes_plainly = (
            not self.wants_headers
            and len(self._required) <= 1
            and bool(self._arguments or self._takes_any)
            and all(each.kind == "array" for each in self._arguments[:1])
        )

    def perform(self, method: str, inputs: Sequence[StepInput], context: StepContext) -> StepAnswer:
        # Where each input has a parameter of its own, one that is absent leaves a gap.
        has_gaps = bool(context.places) and len(self._arguments) >= len(context.places)
        if len(inputs) == 1 and self._takes_plainly and not has_gaps:
            answer = self._function(value_of(inputs[0]))
        else:
            if has_gaps:
                positional, named = self._given_some(inputs, context.places)
            else:
                positional, named = self._given(inputs)
            if self.wants_headers:
                named[_HEADERS] = dict(context.headers)
            answer = self._function(*positional, **named)
        if type(answer) is not np.ndarray:
            answer = self._awaiter.finished(answer)
        if method in BRANCH_METHODS:
            return StepAnswer(branch=branch_of(answer))
        if method not in DATA_METHODS:
            raise ModelFailed(f"a plain function has no method {method}: make it a class with one")
        return StepAnswer(tensors_of(answer, self._name))

    def close(self) -> None: ...

    def _given(self, inputs: Sequence[StepInput]) -> tuple[list[Any], dict[str, Any]]:
        """Positional and keyword arguments for these messages."""
        arguments = self._arguments
        if len(inputs) == 1 and len(self._required) > 1:
            return self._by_tensor(inputs[0])
        names = {each.name for each in inputs}
        by_name = {each.name: each for each in arguments}
        if len(inputs) > 1 and names.issuperset(self._required) and names <= by_name.keys():
            return [], {each.name: _converted(by_name[each.name], each) for each in inputs}
        positional = [
            _converted(arguments[index], given) if index < len(arguments) else value_of(given)
            for index, given in enumerate(inputs)
        ]
        return positional, {}

    def _given_some(
        self, inputs: Sequence[StepInput], places: Sequence[str]
    ) -> tuple[list[Any], dict[str, Any]]:
        """The arguments where nothing has come from some of the steps."""
        come = {each.name: each for each in inputs}
        by_name = {each.name: each for each in self._arguments}
        if by_name.keys() >= set(places) >= set(self._required):
            named = {name: _converted(by_name[name], each) for name, each in come.items()}
            return [], {**dict.fromkeys(self._required), **named}
        pairs = zip(self._arguments, places, strict=False)
        return [_converted(each, come[name]) if name in come else None for each, name in pairs], {}

    def _by_tensor(self, given: StepInput) -> tuple[list[Any], dict[str, Any]]:
        """One message for several parameters: each gets the tensor that is called as it is."""
        if given.content() is not msgspec.UNSET:
            return [value_of(given)], {}
        tensors = given.tensors()
        if {tensor.name for tensor in tensors}.issuperset(self._required):
            return call_arguments(self._arguments, InferRequest(tensors))
        return [value_of(given)], {}


def _converted(argument: Argument, given: StepInput) -> Any:
    """The message as the parameter's hint asks for it."""
    if argument.kind == "array" or given.content() is not msgspec.UNSET:
        return value_of(given)
    positional, _ = call_arguments((argument,), InferRequest(given.tensors()))
    return positional[0]


def _parameters(function: Callable[..., Any]) -> tuple[tuple[Argument, ...], bool, bool]:
    """The parameters for messages, whether it takes any number, and whether it wants headers."""
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return (), True, False  # Some functions written in C do not say.
    try:
        hints = typing.get_type_hints(function)
    except (NameError, TypeError, AttributeError):
        hints = {}
    takes_any = any(each.kind is each.VAR_POSITIONAL for each in parameters)
    wants_headers = any(each.name == _HEADERS for each in parameters)
    arguments = tuple(
        _argument(each, hints.get(each.name, each.annotation))
        for each in parameters
        if each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD) and each.name != _HEADERS
    )
    return arguments, takes_any, wants_headers


def _argument(parameter: inspect.Parameter, hint: Any) -> Argument:
    """What the parameter wants; an array for a hint that says nothing here."""
    try:
        return argument_of(parameter, hint)
    except TypeError:
        return argument_of(parameter, Any)
