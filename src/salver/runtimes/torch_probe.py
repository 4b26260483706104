"""What a PyTorch model answers to rows made up at load: its outputs, and whether rows stand alone.

Owns the made-up rows (seeded, so that each load tries the same) and how equal is equal enough.
A model of unknown shapes is not tried. Trying it also warms it up.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Sequence

import numpy as np

from salver.errors import SalverError
from salver.inference.metadata import TensorMetadata
from salver.inference.tensor import NUMPY_TYPES, Array, InferRequest, InferResponse, Tensor
from salver.runtimes.ports import LoadedModel

logger = logging.getLogger("salver.worker")

_SIZES = (8, 32, 224)
"""What free dimensions beside the rows are tried with: a sentence, a small and a usual image."""
_ROWS = 3
_MOST_ELEMENTS = 16 << 20
_TOLERANCES = {"FP16": 2e-2, "BF16": 5e-2, "FP32": 1e-3, "FP64": 1e-6}


def learnt(
    model: LoadedModel, name: str, *, has_free_rows: bool
) -> tuple[tuple[TensorMetadata, ...], bool]:
    """The model's outputs, and whether each row's answer is the same among others and alone.

    No outputs if its shapes are not known, or it refuses all that is tried.
    """
    inputs = [each for each in model.metadata.inputs if not each.optional]
    if not inputs or any(each.any_shape for each in inputs):
        return (), False
    rows_vary = has_free_rows and all(each.shape[:1] == (-1,) for each in inputs)
    for size in _SIZES:
        request = _made_up(inputs, size)
        if request is None:
            break
        try:
            return _tried(model, request, rows_vary=rows_vary)
        except SalverError as error:
            logger.debug("model '%s' refused made-up rows: %s", name, error)
    logger.info("model '%s' was not tried at load: it refuses made-up rows", name)
    return (), False


def _tried(
    model: LoadedModel, request: InferRequest, *, rows_vary: bool
) -> tuple[tuple[TensorMetadata, ...], bool]:
    together = model.predict(request)
    if not rows_vary:
        # Twice at least: TorchScript profiles the first run and compiles on the second.
        return _outputs(model.predict(request), together), False
    alone = [model.predict(row) for row in _rows(request)]
    outputs = _outputs(together, alone[0])
    return outputs, _is_rowwise(together, alone)


def _made_up(inputs: Sequence[TensorMetadata], size: int) -> InferRequest | None:
    rng = np.random.default_rng(0)
    tensors = []
    for each in inputs:
        first = _ROWS if each.shape[:1] == (-1,) else None
        shape = tuple(size if n < 0 else n for n in each.shape)
        shape = (first, *shape[1:]) if first else shape
        if math.prod(shape) > _MOST_ELEMENTS:
            return None
        dtype = NUMPY_TYPES[each.datatype]
        # Small whole numbers: they may be the entries of an embedding.
        values = rng.standard_normal(shape) if dtype.kind == "f" else rng.integers(0, 2, shape)
        tensors.append(Tensor(each.name, each.datatype, np.asarray(values).astype(dtype)))
    return InferRequest(tuple(tensors))


def _rows(request: InferRequest) -> Iterator[InferRequest]:
    for row in range(_ROWS):
        yield InferRequest(
            tuple(
                Tensor(each.name, each.datatype, each.data[row : row + 1])
                for each in request.inputs
            )
        )


def _outputs(first: InferResponse, second: InferResponse) -> tuple[TensorMetadata, ...]:
    """A dimension is free where two answers differ in it."""
    other = {each.name: each.data.shape for each in second.outputs}
    found = []
    for each in first.outputs:
        shape = each.data.shape
        another = other.get(each.name, shape)
        if len(shape) != len(another):
            found.append(TensorMetadata(each.name, each.datatype, (), any_shape=True))
            continue
        free = tuple(-1 if n != m else n for n, m in zip(shape, another, strict=True))
        found.append(TensorMetadata(each.name, each.datatype, free))
    return tuple(found)


def _is_rowwise(together: InferResponse, alone: Sequence[InferResponse]) -> bool:
    for index, tensor in enumerate(together.outputs):
        parts = [each.outputs[index].data for each in alone]
        if any(part.ndim == 0 or len(part) != 1 for part in parts):
            return False
        if tensor.data.shape != (_ROWS, *parts[0].shape[1:]):
            return False
        if not _is_near(tensor.data, np.concatenate(parts), tensor.datatype):
            return False
    return True


def _is_near(left: Array, right: Array, datatype: str) -> bool:
    tolerance = _TOLERANCES.get(datatype)
    if tolerance is None:
        return bool(np.array_equal(left, right))
    return bool(np.allclose(left, right, rtol=tolerance, atol=tolerance, equal_nan=True))
