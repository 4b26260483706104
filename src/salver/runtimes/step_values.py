"""What a function of a graph is given and what it gives: the values between the steps of a chain.

Owns how a value becomes a tensor, or the number of a branch. Refuses to know wire formats: who
reads messages implements `StepInput`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import msgspec
import numpy as np

from salver.errors import InvalidInput, ModelFailed
from salver.inference.metadata import Datatype
from salver.inference.tensor import NUMPY_TYPES, Array, InferResponse, Tensor
from salver.runtimes.answers import response_of
from salver.runtimes.arguments import text_or_numbers

DATA_METHODS = frozenset({"call", "predict", "transform_input", "transform_output", "aggregate"})
"""Methods that are given messages and answer with one."""
BRANCH_METHODS = frozenset({"branch", "route"})
"""Methods that answer with the number of a branch."""

_NUMERIC: Mapping[np.dtype[Any], Datatype] = {
    dtype: name  # type: ignore[misc]
    for name, dtype in NUMPY_TYPES.items()
    if name not in ("BF16", "BYTES")
}


class Feedback(msgspec.Struct):
    """The truth about an earlier answer: what was asked, what it earned, what would be right.

    `features` and `truth` are arrays, text, bytes or JSON values; empty arrays if left out.
    """

    features: Any
    names: Sequence[str]
    reward: float
    truth: Any


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
    """What else an invocation may want to know. `routing`: see `bundle.StepCall`."""

    headers: Mapping[str, str] = {}
    routing: int | None = None


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


def value_of(given: StepInput) -> Any:
    """The message as a plain function gets it: the array, a dict of arrays, or its content."""
    content = given.content()
    if content is not msgspec.UNSET:
        return content
    tensors = given.tensors()
    if len(tensors) == 1:
        data = tensors[0].data
        return data if data.dtype.kind != "O" else text_or_numbers(data)
    return {tensor.name: text_or_numbers(tensor.data) for tensor in tensors}


def tensors_of(answer: Any, name: str) -> tuple[Tensor, ...]:
    """The tensors in what a function returned; a lone one is called `name`.

    Raises `ModelFailed` for what no tensor can carry.
    """
    if type(answer) is np.ndarray and answer.ndim:
        datatype = _NUMERIC.get(answer.dtype)
        if datatype is not None:
            return (Tensor(name, datatype, answer),)
    if answer is None:
        raise ModelFailed("it returned nothing; check it for a return")
    if isinstance(answer, Tensor):
        return (answer,)
    if (
        isinstance(answer, tuple)
        and answer
        and any(isinstance(each, np.ndarray) for each in answer)
    ):
        answer = {f"{name}_{index}": each for index, each in enumerate(answer)}
    if not (isinstance(answer, Mapping | InferResponse) or _is_table(answer)):
        answer = {name: answer}
    return response_of(answer, (), (), None).outputs


def _is_table(answer: Any) -> bool:
    """A frame, or a list of dicts: what has a tensor for each of its columns."""
    if isinstance(answer, list):
        return bool(answer) and all(isinstance(each, dict) for each in answer)
    return hasattr(answer, "columns") and hasattr(answer, "to_numpy")


def branch_of(answer: Any) -> int:
    """The number of a branch in what a function returned: true is 1, false is 0.

    Raises `ModelFailed` for what is no one branch.
    """
    if type(answer) is bool or type(answer) is int:
        return int(answer)
    if isinstance(answer, Mapping) and len(answer) == 1:
        answer = next(iter(answer.values()))
    if answer is None:
        raise ModelFailed("it returned nothing; return a truth value or the number of a branch")
    try:
        array = np.asarray(answer)
    except (ValueError, TypeError):
        array = np.empty(0, dtype=np.object_)
    flat = array.reshape(-1)
    if not flat.size or flat.dtype.kind not in "biuf" or (flat != np.floor(flat)).any():
        raise ModelFailed(
            f"it returned {_shown(answer)}, which is no branch: return a truth value or a whole "
            "number"
        )
    if (flat != flat[0]).any():
        raise ModelFailed(
            f"its {flat.size} rows disagree about the branch ({_shown(flat.tolist())}): a request "
            "goes one way as a whole; return one value, as .all() or .any() give, or send rows one "
            "by one"
        )
    return int(flat[0])


def described(inputs: Sequence[StepInput]) -> str:
    """The inputs for an error: their shapes and datatypes, by name if there are several."""
    shown = []
    for given in inputs[:4]:
        try:
            text = _described_one(given)
        except (InvalidInput, ModelFailed):
            text = "that cannot be read"
        shown.append(f"{given.name} {text}" if len(inputs) > 1 and given.name else text)
    more = ", ..." if len(inputs) > len(shown) else ""
    return ("input " if len(inputs) == 1 else "inputs ") + (", ".join(shown) or "none") + more


def _described_one(given: StepInput) -> str:
    content = given.content()
    if content is not msgspec.UNSET:
        return "text" if isinstance(content, str) else _kind_of(content)
    tensors = given.tensors()
    shapes = [f"{list(tensor.data.shape)} {tensor.datatype}" for tensor in tensors[:4]]
    if len(tensors) == 1:
        return shapes[0]
    named = [f"'{each.name}' {text}" for each, text in zip(tensors, shapes, strict=False)]
    return "{" + ", ".join(named) + (", ..." if len(tensors) > 4 else "") + "}"


def _kind_of(content: Any) -> str:
    return "bytes" if isinstance(content, bytes) else "JSON"


def _shown(value: Any) -> str:
    text = " ".join(repr(value).split())
    return text if len(text) <= 80 else text[:77] + "..."


def numbers_of(array: Array) -> Array:
    """The array as float64. Raises `ModelFailed` if it holds no numbers."""
    if array.dtype.kind not in "biuf":
        raise ModelFailed("it needs numbers and was given strings (BYTES)")
    return array.astype(np.float64, copy=False)
