"""The tensors of a Triton configuration: with the batch dimension, as callers and models have them.

In a configuration `dims` leave out the batch dimension wherever `max_batch_size` is not 0, and
`reshape` is what the model itself gets or gives. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict, cast

import msgspec

from salver.errors import InvalidInput
from salver.inference.metadata import Datatype, TensorMetadata
from salver.inference.tensor import Array, InferRequest
from salver.spec.triton_backends import Backend
from salver.spec.triton_config import DataType, ModelInput, ModelOutput, TritonConfig, wire_name

_BY_POSITION = re.compile(r".*__(\d{1,4})\Z")
_MOST_LABELS_BYTES = 4 << 20


class InnerTensors(TypedDict):
    """Arguments of a `ModelSource`."""

    inputs: tuple[TensorMetadata, ...]
    outputs: tuple[TensorMetadata, ...]


def datatype_of(data_type: DataType) -> Datatype:
    """V2's name of a configuration's datatype."""
    return cast(Datatype, wire_name(data_type))


def seen_tensors(
    config: TritonConfig, tensors: Sequence[ModelInput | ModelOutput], folder: Path | None = None
) -> tuple[TensorMetadata, ...]:
    """The tensors as callers see them; class labels are read from `folder`."""
    return tuple(
        TensorMetadata(
            each.name,
            datatype_of(each.data_type),
            _batched(config, each.dims),
            optional=isinstance(each, ModelInput) and each.optional,
            labels=_labels(each, folder),
        )
        for each in tensors
    )


def inner_tensors(config: TritonConfig, backend: Backend) -> InnerTensors:
    """The tensors as the framework is told of them; PyTorch's in the order of their numbers."""
    inputs: Sequence[ModelInput | ModelOutput] = config.input
    outputs: Sequence[ModelInput | ModelOutput] = config.output
    if backend.name == "pytorch":
        inputs, outputs = _by_position(inputs), _by_position(outputs)
    return {"inputs": _inner(config, inputs), "outputs": _inner(config, outputs)}


def _inner(
    config: TritonConfig, tensors: Sequence[ModelInput | ModelOutput]
) -> tuple[TensorMetadata, ...]:
    return tuple(
        msgspec.structs.replace(seen, shape=inner_shape(config, each))
        for each, seen in zip(tensors, seen_tensors(config, tensors), strict=True)
    )


def inner_shape(config: TritonConfig, tensor: ModelInput | ModelOutput) -> tuple[int, ...]:
    """The shape that the model itself has for a tensor."""
    dims = tensor.dims if tensor.reshape is None else tensor.reshape.shape
    return _batched(config, dims)


def _batched(config: TritonConfig, dims: tuple[int, ...]) -> tuple[int, ...]:
    return (-1, *dims) if config.max_batch_size > 0 else dims


def _by_position(
    tensors: Sequence[ModelInput | ModelOutput],
) -> Sequence[ModelInput | ModelOutput]:
    """Ordered by the number at the end of each name (`INPUT__0`), if all have one."""
    found = [_BY_POSITION.match(each.name) for each in tensors]
    numbers = [int(each[1]) for each in found if each is not None]
    if len(numbers) != len(tensors):
        return tensors
    return [
        each for _, each in sorted(zip(numbers, tensors, strict=True), key=lambda pair: pair[0])
    ]


def _labels(tensor: ModelInput | ModelOutput, folder: Path | None) -> tuple[str, ...]:
    """The names of an output's classes, one a line; none if there is no such file."""
    if folder is None or not isinstance(tensor, ModelOutput) or not tensor.label_filename:
        return ()
    try:
        with (folder / tensor.label_filename).open("rb") as file:
            text = file.read(_MOST_LABELS_BYTES).decode(errors="replace")
    except OSError:
        return ()
    return tuple(line.strip() for line in text.splitlines())


def rows_of(request: InferRequest, config: TritonConfig) -> int:
    """How many rows a request has. Raises `InvalidInput` if those are more than the model takes."""
    if config.max_batch_size == 0 or not request.inputs:
        return 1
    shape = request.inputs[0].data.shape
    rows = shape[0] if shape else 1
    if rows == 0:
        raise InvalidInput(
            f"input '{request.inputs[0].name}' for '{config.name}' has no rows: send at least one"
        )
    if rows > config.max_batch_size:
        raise InvalidInput(
            f"inference request batch-size must be <= {config.max_batch_size} for "
            f"'{config.name}': it is {rows}, send fewer rows at a time"
        )
    for tensor in request.inputs:
        if tensor.data.ndim == 0 or tensor.data.shape[0] != rows:
            raise InvalidInput(
                f"input '{tensor.name}' batch size does not match other inputs for "
                f"'{config.name}': send equally many rows in all inputs"
            )
    return rows


def reshaped(array: Array, wanted: tuple[int, ...], *, has_batch: bool) -> Array:
    """The array with the dimensions of `wanted`, its sizes of -1 filled in their order."""
    shape = array.shape[1:] if has_batch else array.shape
    known = [size for size in wanted if size != -1]
    free = [size for size in shape if size not in known] if wanted.count(-1) > 1 else []
    sizes = [free.pop(0) if size == -1 and free else size for size in wanted]
    try:
        return array.reshape(*array.shape[:1], *sizes) if has_batch else array.reshape(sizes)
    except ValueError as error:
        raise InvalidInput(f"shape {list(array.shape)} cannot be reshaped: {error}") from error
