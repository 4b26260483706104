"""Steps without a server: the same functions as a steps worker's, on values in this process.

Imports NumPy: it is imported when a graph runs, not when one is declared.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from salver.errors import GraphError, InvalidInput
from salver.inference.tensor import Tensor
from salver.runtimes.awaiting import Awaiter
from salver.runtimes.builtin_steps import builtin
from salver.runtimes.step_functions import PythonFunction
from salver.runtimes.step_values import (
    Feedback,
    StepAnswer,
    StepContext,
    StepInput,
    branch_of,
    tensors_of,
    value_of,
)

REQUEST_TENSOR = "input-0"
"""What the request's tensor is called if it has no name."""
ANSWER_TENSOR = "predict"


class Given:
    """A message of this process. Implements `StepInput`; `name` is the step it came from."""

    def __init__(self, name: str, tensors: Sequence[Tensor]) -> None:
        self.name = name
        self._tensors = tuple(tensors)

    def tensors(self) -> tuple[Tensor, ...]:
        return self._tensors

    def content(self) -> Any:
        return msgspec.UNSET

    def columns(self) -> list[str]:
        return []

    def meta(self) -> dict[str, Any]:
        return {}

    def document(self) -> dict[str, Any]:
        raise GraphError("messages of this process have tensors and no document: use its tensors")

    def feedback(self) -> Feedback:
        raise InvalidInput("messages of this process are no feedback: send it to the server")

    def feedback_document(self) -> dict[str, Any]:
        raise InvalidInput("messages of this process are no feedback: send it to the server")

    def picked(self, tensor: str, rename: str = "") -> Given:
        """One tensor of it. Raises `GraphError` if it has none of that name."""
        found = next((each for each in self._tensors if each.name == tensor), None)
        if found is None:
            names = ", ".join(f"'{each.name}'" for each in self._tensors)
            raise GraphError(f"the answer of '{self.name}' has no tensor '{tensor}', only {names}")
        return Given(self.name, (msgspec.structs.replace(found, name=rename or tensor),))


def request_of(value: Any) -> Given:
    """The request: an array, or a dict of arrays by their tensors' names."""
    return Given("", tensors_of(value, REQUEST_TENSOR))


def plain(given: StepInput) -> Any:
    """The array, or a dict of arrays."""
    return value_of(given)


def merged(messages: Sequence[Given]) -> Given:
    """All their tensors as one; of two with one name, the second is called after its step too."""
    if len(messages) == 1:
        return messages[0]
    tensors: dict[str, Tensor] = {}
    for each in messages:
        for tensor in each.tensors():
            name = tensor.name
            if name in tensors:
                name = f"{each.name or 'request'}.{name}"
            tensors[name] = msgspec.structs.replace(tensor, name=name)
    return Given(messages[0].name, tuple(tensors.values()))


def call_function(function: Callable[..., Any], name: str, inputs: Sequence[StepInput]) -> Given:
    """What a function answers, as tensors."""
    return Given(name, _performed(function, name, "call", inputs).tensors or ())


def ask_function(function: Callable[..., Any], name: str, inputs: Sequence[StepInput]) -> int:
    """The number of the branch that a function answers."""
    return int(_performed(function, name, "branch", inputs).branch or 0)


def _performed(
    function: Callable[..., Any], name: str, method: str, inputs: Sequence[StepInput]
) -> StepAnswer:
    awaiter = Awaiter()
    try:
        return PythonFunction(name, function, awaiter).perform(method, inputs, StepContext())
    finally:
        awaiter.close()


def combine(kind: str, parameters: Mapping[str, Any], inputs: Sequence[StepInput]) -> Given:
    """What one of our own combiners answers."""
    answer = builtin(kind, parameters).perform("call", inputs, StepContext())
    return Given(kind, answer.tensors or ())


def decide(kind: str, parameters: Mapping[str, Any], given: StepInput) -> int:
    """The branch that one of our own deciders takes."""
    answer = builtin(kind, parameters).perform("branch", [given], StepContext())
    return int(answer.branch or 0)


def branch_number(given: StepInput) -> int:
    """The number of a branch that a message holds."""
    return branch_of(plain(given))


def ask_model(model: Any, name: str, messages: Sequence[Given]) -> Given:
    """What a function, or an object with `predict`, answers to the messages as one."""
    predict: Callable[[Any], Any] = getattr(model, "predict", model)
    return Given(name, tensors_of(predict(plain(merged(messages))), ANSWER_TENSOR))
