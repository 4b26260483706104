"""An example request for a model, made from its metadata alone.

Used by the start-up banner and the API page. The values are made up; names, shapes and
datatypes are right, so the model answers. Imports no NumPy: the gateway uses it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from salver.inference.metadata import ANY_DIMENSION, Datatype, ModelMetadata, TensorMetadata

_UNKNOWN_SHAPE = (1, 1)
"""For a model that does not say: one row of one value."""


def example_body(metadata: ModelMetadata) -> dict[str, Any]:
    """A V2 request body that fits the model: its required inputs, one row each."""
    inputs = [tensor for tensor in metadata.inputs if not tensor.optional]
    return {"inputs": [_tensor(tensor) for tensor in inputs or metadata.inputs]}


def example_shape(tensor: TensorMetadata) -> tuple[int, ...]:
    """The tensor's shape with 1 wherever any size will do."""
    if tensor.any_shape and not tensor.shape:
        return _UNKNOWN_SHAPE
    return tuple(1 if size == ANY_DIMENSION else size for size in tensor.shape)


def _tensor(tensor: TensorMetadata) -> dict[str, Any]:
    shape = example_shape(tensor)
    return {
        "name": tensor.name,
        "shape": list(shape),
        "datatype": tensor.datatype,
        "data": list(_values(tensor.datatype, math.prod(shape))),
    }


def _values(datatype: Datatype, count: int) -> Iterator[Any]:
    for index in range(count):
        if datatype == "BYTES":
            yield "text"
        elif datatype == "BOOL":
            yield index % 2 == 0
        elif datatype in ("FP16", "BF16", "FP32", "FP64"):
            yield round(0.5 * (index % 8 + 1), 1)
        else:
            yield 1
