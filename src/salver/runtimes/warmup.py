"""The request that a model answers before it is called ready.

Pure: metadata in, request out. Zeros and empty strings, one row, since nothing is known of
the values; a model may refuse them with `InvalidInput`, and is warm all the same.
"""

from __future__ import annotations

import math

import numpy as np

from salver.inference.metadata import ModelMetadata, TensorMetadata
from salver.inference.tensor import NUMPY_TYPES, InferRequest, Tensor

_MAX_ELEMENTS = 64 << 20


def warmup_request(metadata: ModelMetadata) -> InferRequest | None:
    """One row for every required input; None if the model does not say what it takes."""
    required = [each for each in metadata.inputs if not each.optional]
    if not required or any(each.any_shape for each in required):
        return None
    shapes = [_shape(each) for each in required]
    if sum(math.prod(shape) for shape in shapes) > _MAX_ELEMENTS:
        return None
    return InferRequest(
        tuple(_blank(each, shape) for each, shape in zip(required, shapes, strict=True))
    )


def _shape(tensor: TensorMetadata) -> tuple[int, ...]:
    return tuple(max(size, 1) if size < 0 else size for size in tensor.shape)


def _blank(tensor: TensorMetadata, shape: tuple[int, ...]) -> Tensor:
    fill: object = b"" if tensor.datatype == "BYTES" else 0
    return Tensor(
        tensor.name, tensor.datatype, np.full(shape, fill, dtype=NUMPY_TYPES[tensor.datatype])
    )
