"""The deciders that come with Salver: they say which branch of a graph a request takes."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from salver.errors import ModelFailed
from salver.inference.tensor import Tensor
from salver.runtimes.arguments import text_or_numbers
from salver.runtimes.step_ports import StepAnswer, StepInput
from salver.runtimes.step_values import branch_of, numbers_of


def confident(inputs: Sequence[StepInput], threshold: float, tensor: str) -> StepAnswer:
    data = numbers_of(_scores(inputs[0].tensors(), tensor).data)
    if not data.size:
        raise ModelFailed("it was given no rows to be confident of")
    rows = data.reshape(1, -1) if data.ndim == 0 else data.reshape(data.shape[0], -1)
    # A NaN is no confidence: comparing with it is false.
    is_sure = bool((rows.max(axis=1) >= threshold).all())
    return StepAnswer(branch=0 if is_sure else 1)


def _scores(tensors: Sequence[Tensor], name: str) -> Tensor:
    """The tensor that is named, or the only one that could be probabilities."""
    if name:
        found = [each for each in tensors if each.name == name]
    else:
        found = [each for each in tensors if each.data.dtype.kind == "f"]
        found = list(tensors) if len(tensors) == 1 else found
    if len(found) == 1:
        return found[0]
    names = ", ".join(f"'{each.name}'" for each in tensors[:8])
    if name:
        raise ModelFailed(f"its input has no tensor '{name}', only {names}")
    raise ModelFailed(f"it does not know which of {names} to go by: name it as its tensor")


def is_true(inputs: Sequence[StepInput]) -> StepAnswer:
    content = inputs[0].content()
    if content is not msgspec.UNSET:
        return StepAnswer(branch=int(bool(content)))
    tensors = inputs[0].tensors()
    if len(tensors) != 1:
        names = ", ".join(f"'{each.name}'" for each in tensors[:8])
        raise ModelFailed(f"it goes by one tensor and was given {names}: pick one")
    data = tensors[0].data
    values = text_or_numbers(data) if data.dtype.kind == "O" else data
    return StepAnswer(branch=branch_of(values.astype(np.bool_)))
