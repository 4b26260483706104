"""Inputs for a step's function without any wire format, and the functions of a unit in a line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from salver.inference.tensor import Tensor, tensor_from_array
from salver.runtimes.ports import ModelSource
from salver.runtimes.step_ports import Feedback, StepAnswer, StepContext
from salver.runtimes.steps import StepsModel, StepsRuntime


class Given:
    """Implements `StepInput` over values."""

    def __init__(
        self,
        name: str = "request",
        *,
        content: Any = msgspec.UNSET,
        columns: Sequence[str] = (),
        meta: dict[str, Any] | None = None,
        document: dict[str, Any] | None = None,
        feedback: Feedback | None = None,
        **tensors: Any,
    ) -> None:
        self.name = name
        self._tensors = tuple(
            each if isinstance(each, Tensor) else tensor_from_array(key, np.asarray(each))
            for key, each in tensors.items()
        )
        self._content, self._columns, self._meta = content, columns, meta or {}
        self._document, self._feedback = document or {}, feedback

    def tensors(self) -> tuple[Tensor, ...]:
        return self._tensors

    def content(self) -> Any:
        return self._content

    def columns(self) -> Sequence[str]:
        return self._columns

    def meta(self) -> dict[str, Any]:
        return self._meta

    def document(self) -> dict[str, Any]:
        return self._document

    def feedback(self) -> Feedback:
        assert self._feedback is not None
        return self._feedback

    def feedback_document(self) -> dict[str, Any]:
        return self._document


def unit(path: Path, **functions: Any) -> StepsModel:
    """The functions, loaded; `path` is the artifact."""
    parameters = {"functions": functions}
    return StepsRuntime().load(ModelSource("unit", path, "steps", parameters=parameters))


def call(
    model: StepsModel,
    *inputs: Given,
    function: str = "f",
    method: str = "call",
    headers: dict[str, str] | None = None,
    routing: int | None = None,
) -> StepAnswer:
    context = StepContext(headers or {}, routing)
    return model.invoke("s", function, method, inputs, context)


def arrays(answer: StepAnswer) -> dict[str, Any]:
    """The answer's tensors by name, as lists."""
    assert answer.tensors is not None
    return {each.name: each.data.tolist() for each in answer.tensors}


def only(answer: StepAnswer) -> Tensor:
    assert answer.tensors is not None
    (tensor,) = answer.tensors
    return tensor
