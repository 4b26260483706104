"""What stands between a steps worker's messages and its functions: what they are given, what they
give. The worker implements `StepInput` over the wire formats, runtimes are called through
`LoadedFunctions`. Imports no framework, not even through another module.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import msgspec

from salver.inference.tensor import Tensor
from salver.runtimes.ports import LoadedModel


class Feedback(msgspec.Struct):
    """The truth about an earlier answer: what was asked, what it earned, what would be right."""

    request: StepInput | None
    reward: float
    truth: StepInput | None


class StepInput(Protocol):
    """A message, as a step may look at it. Reading raises `InvalidInput` for a request that cannot
    be read and `ModelFailed` for an answer that cannot."""

    @property
    def name(self) -> str:
        """The step that it came from."""

    def tensors(self) -> tuple[Tensor, ...]: ...

    def content(self) -> Any:
        """What it carries in place of tensors: text, bytes or JSON values; else `UNSET`."""

    def columns(self) -> Sequence[str]:
        """Seldon's `names`: what the columns of its one tensor are called."""

    def meta(self) -> dict[str, Any]:
        """Seldon's `meta`."""

    def document(self) -> dict[str, Any]:
        """The whole message as the JSON of its protocol."""

    def feedback(self) -> Feedback:
        """The message, if it is a Feedback of Seldon's. Raises `InvalidInput` if not."""

    def feedback_document(self) -> dict[str, Any]:
        """The Feedback as the JSON that REST has for it."""


class StepContext(msgspec.Struct):
    """What else an invocation may want to know. `routing`: see `bundle.StepCall`. `places`: all
    steps that it gets messages from, if none has come from some of them."""

    headers: Mapping[str, str] = {}
    routing: int | None = None
    places: tuple[str, ...] = ()


class StepAnswer(msgspec.Struct):
    """What an invocation gave: one of tensors, content, a whole document, an input as it is, the
    number of a branch; or nothing, as feedback does."""

    tensors: tuple[Tensor, ...] | None = None
    columns: Sequence[str] = ()
    content: Any = msgspec.UNSET
    document: dict[str, Any] | None = None
    passed: StepInput | None = None
    branch: int | None = None
    tags: dict[str, Any] | None = None
    metrics: list[dict[str, Any]] | None = None


class StepFunction(Protocol):
    """One function of a steps worker."""

    @property
    def label(self) -> str:
        """What errors call it."""

    @property
    def is_idempotent(self) -> bool: ...

    @property
    def wants_headers(self) -> bool: ...

    def perform(self, method: str, inputs: Sequence[StepInput], context: StepContext) -> StepAnswer:
        """Calls it. Raises `RequestError`, and whatever the user's code raises."""

    def close(self) -> None:
        """Frees what it holds outside the Python heap."""


class LoadedFunctions(LoadedModel, Protocol):
    """The functions of one worker, whose `metadata.operations` has `step`."""

    @property
    def name(self) -> str: ...

    def invoke(
        self,
        step: str,
        function: str,
        method: str,
        inputs: Sequence[StepInput],
        context: StepContext,
    ) -> StepAnswer:
        """Calls one function. Errors name the step, the function, its input and the cause.

        Raises `InvalidInput` if the function refuses its input, `ModelFailed` for whatever else
        goes wrong in it.
        """
