"""The combiners that come with Salver: what a graph makes of several answers without any code.

Pure NumPy over the inputs' tensors, which are matched by name where inputs have several.
`builtin_steps.py` says what they are called and which parameters they have.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import numpy as np

from salver.errors import ModelFailed
from salver.inference.tensor import Array, Tensor, datatype_of
from salver.runtimes.step_ports import StepAnswer, StepInput
from salver.runtimes.step_values import numbers_of

Weights = dict[str, float] | list[float]
SIMPLE_VALUES = (0.1, 0.9, 0.5)
SIMPLE_CLASSES = ("class0", "class1", "class2")
Columns = Sequence[tuple[str, Tensor]]
"""One tensor of each input, with the step that it came from."""


# What belongs together.


def _columns_of(inputs: Sequence[StepInput]) -> list[Columns]:
    """The tensors of the inputs that stand for the same thing: by name, or each the only one."""
    tensors = [(given.name, given.tensors()) for given in inputs]
    if all(len(found) == 1 for _, found in tensors):
        return [[(name, found[0]) for name, found in tensors]]
    names = [tensor.name for tensor in tensors[0][1]]
    for name, found in tensors[1:]:
        if {tensor.name for tensor in found} != set(names):
            raise ModelFailed(
                f"its inputs have different tensors: {tensors[0][0]} {names}, {name} "
                f"{[tensor.name for tensor in found]}; name them alike, or send one each"
            )
    by_name = [(name, {tensor.name: tensor for tensor in found}) for name, found in tensors]
    return [[(step, found[each]) for step, found in by_name] for each in names]


def _check_alike(columns: Columns) -> None:
    """Raises `ModelFailed` unless all have the same shape."""
    if len({tensor.data.shape for _, tensor in columns}) > 1:
        shapes = ", ".join(f"{step} {list(each.data.shape)}" for step, each in columns[:8])
        name = columns[0][1].name
        raise ModelFailed(f"the shapes of '{name}' differ: {shapes}; give them all the same shape")


def _numbers(columns: Columns) -> Array:
    """All of them as float64, one behind the other on axis 0."""
    _check_alike(columns)
    for step, tensor in columns:
        if tensor.data.dtype.kind not in "biuf":
            raise ModelFailed(f"'{tensor.name}' of {step} holds strings (BYTES): send numbers")
    return np.stack([numbers_of(tensor.data) for _, tensor in columns])


def _mean(columns: Columns) -> Array:
    with np.errstate(all="ignore"):  # Infinities are values like others.
        mean: Array = _numbers(columns).mean(axis=0)
    return mean


def _floating(columns: Columns, values: Array) -> Tensor:
    """The values under the first one's name, as the widest floating type that came."""
    kinds = [each.data.dtype for _, each in columns if each.data.dtype.kind == "f"]
    dtype = np.result_type(*kinds) if len(kinds) == len(columns) else np.dtype(np.float64)
    with np.errstate(over="ignore"):
        array = values.astype(dtype, copy=False)
    name = columns[0][1].name
    if all(tensor.datatype == "BF16" for _, tensor in columns):
        return Tensor(name, "BF16", array)
    return Tensor(name, datatype_of(dtype), array)


def _answer(inputs: Sequence[StepInput], tensors: Sequence[Tensor]) -> StepAnswer:
    return StepAnswer(tuple(tensors), inputs[0].columns())


# Combiners.


def average(inputs: Sequence[StepInput]) -> StepAnswer:
    found = _columns_of(inputs)
    return _answer(inputs, [_floating(each, _mean(each)) for each in found])


def weighted(weights: Weights) -> Callable[[Sequence[StepInput]], StepAnswer]:
    def act(inputs: Sequence[StepInput]) -> StepAnswer:
        shares = np.array(_weights_for(inputs, weights))
        if not shares.sum():
            raise ModelFailed("all the inputs that came have the weight 0")
        shares /= shares.sum()
        found = []
        for each in _columns_of(inputs):
            with np.errstate(all="ignore"):
                found.append(_floating(each, np.tensordot(shares, _numbers(each), axes=1)))
        return _answer(inputs, found)

    return act


def _weights_for(inputs: Sequence[StepInput], weights: Weights) -> list[float]:
    names = [each.name for each in inputs]
    if isinstance(weights, list):
        if len(weights) != len(names):
            raise ModelFailed(
                f"it has {len(weights)} weights for {len(names)} inputs ({', '.join(names)}); give "
                "one for each, or name them by step where some may be absent"
            )
        return weights
    missing = [name for name in names if name not in weights]
    if missing:
        raise ModelFailed(f"it has no weight for its input {missing[0]}; add one")
    return [weights[name] for name in names]


def hard_vote(inputs: Sequence[StepInput]) -> StepAnswer:
    found = []
    for columns in _columns_of(inputs):
        labels = [_labels(step, tensor) for step, tensor in columns]
        voted = [
            Tensor(tensor.name, datatype_of(each.dtype), each)
            for (_, tensor), each in zip(columns, labels, strict=True)
        ]
        _check_alike([(step, each) for (step, _), each in zip(columns, voted, strict=True)])
        if len({each.dtype == np.object_ for each in labels}) > 1:
            raise ModelFailed(f"'{columns[0][1].name}' holds labels here and numbers there")
        winners = [_most_named(votes) for votes in zip(*(x.tolist() for x in labels), strict=True)]
        # A type that holds the labels of all: an index and a float label are still numbers.
        dtype = np.result_type(*labels) if labels[0].dtype != np.object_ else labels[0].dtype
        array = np.empty(len(winners), dtype=dtype)
        array[:] = winners
        found.append(Tensor(columns[0][1].name, datatype_of(dtype), array))
    return StepAnswer(tuple(found))


def _labels(step: str, tensor: Tensor) -> Array:
    """One label a row: the class that is named, or where the highest of its columns is."""
    data = tensor.data
    if data.ndim == 2 and data.shape[1] == 1:
        data = data[:, 0]
    if data.ndim == 0:
        data = data.reshape(1)
    if data.ndim == 1:
        return data
    if data.ndim == 2 and data.shape[1] and data.dtype.kind in "biuf":
        indices: Array = data.argmax(axis=1)
        return indices
    raise ModelFailed(
        f"'{tensor.name}' of {step} has shape {list(data.shape)}, which names no class for a row: "
        "send [n] labels, or [n, classes] numbers"
    )


def _most_named(votes: Sequence[Any]) -> Any:
    """What has the most votes; of equals, what was named first."""
    counts: dict[Any, int] = {}
    for vote in votes:
        counts[vote] = counts.get(vote, 0) + 1
    return max(counts, key=counts.__getitem__)


def soft_vote(inputs: Sequence[StepInput]) -> StepAnswer:
    found = []
    for columns in _columns_of(inputs):
        means = _mean(columns)
        if means.ndim != 2 or not means.shape[1]:
            raise ModelFailed(
                f"'{columns[0][1].name}' has shape {list(means.shape)}: a soft vote needs "
                "[n, classes] probabilities; for labels leave soft out"
            )
        found.append(Tensor(columns[0][1].name, "INT64", means.argmax(axis=1)))
    return StepAnswer(tuple(found))


def stack(inputs: Sequence[StepInput]) -> StepAnswer:
    parts = [(given.name, tensor) for given in inputs for tensor in given.tensors()]
    arrays = [
        (step, each.data.reshape(-1, 1) if each.data.ndim < 2 else each.data)
        for step, each in parts
    ]
    if len({(array.shape[0], *array.shape[2:]) for _, array in arrays}) > 1:
        shapes = ", ".join(f"{step} {list(array.shape)}" for step, array in arrays[:8])
        raise ModelFailed(
            f"its inputs cannot be put side by side: {shapes}; all but axis 1 must agree"
        )
    if len({each.datatype == "BYTES" for _, each in parts}) > 1:
        raise ModelFailed("it was given strings (BYTES) and numbers: send all of one kind")
    array = np.concatenate([each for _, each in arrays], axis=1)
    datatypes = {each.datatype for _, each in parts}
    datatype = datatypes.pop() if len(datatypes) == 1 else datatype_of(array.dtype)
    return StepAnswer(
        (Tensor(parts[0][1].name, datatype, array),), _stacked_columns(inputs, array.shape[1])
    )


def _stacked_columns(inputs: Sequence[StepInput], width: int) -> list[str]:
    names = [name for given in inputs for name in given.columns()]
    return names if len(names) == width else []


def first(inputs: Sequence[StepInput]) -> StepAnswer:
    return StepAnswer(passed=inputs[0])


def simple_model(inputs: Sequence[StepInput]) -> StepAnswer:
    rows = 1
    if inputs[0].content() is msgspec.UNSET:
        shape = inputs[0].tensors()[0].data.shape
        rows = shape[0] if len(shape) > 1 else 1
    values = np.tile(np.array(SIMPLE_VALUES), (rows, 1))
    return StepAnswer((Tensor("simple_model", "FP64", values),), list(SIMPLE_CLASSES))
