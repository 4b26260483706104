"""The values that functions of a graph take and return: from tensors and back, and as branches.

Refuses to know wire formats, and who is called.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from salver.errors import InvalidInput, ModelFailed
from salver.inference.metadata import Datatype
from salver.inference.tensor import NUMPY_TYPES, Array, InferResponse, Tensor
from salver.runtimes.answers import response_of
from salver.runtimes.arguments import text_or_numbers
from salver.runtimes.step_ports import Feedback as Feedback
from salver.runtimes.step_ports import StepAnswer as StepAnswer
from salver.runtimes.step_ports import StepContext as StepContext
from salver.runtimes.step_ports import StepInput as StepInput

DATA_METHODS = frozenset({"call", "predict", "transform_input", "transform_output", "aggregate"})
"""Methods that are given messages and answer with one."""
BRANCH_METHODS = frozenset({"branch", "route"})
"""Methods that answer with the number of a branch."""

_NUMERIC: Mapping[np.dtype[Any], Datatype] = {
    dtype: name  # type: ignore[misc]
    for name, dtype in NUMPY_TYPES.items()
    if name not in ("BF16", "BYTES")
}


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
