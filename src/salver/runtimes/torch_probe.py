"""What a PyTorch model answers to rows made up at load: its outputs, and whether rows stand alone.

A model of unknown shapes is not tried. Trying it also warms it up. The rows are `row_probe.py`'s.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence

from salver.errors import SalverError
from salver.inference.metadata import TensorMetadata
from salver.inference.tensor import InferRequest, InferResponse, Tensor
from salver.runtimes.ports import LoadedModel
from salver.runtimes.row_probe import ROWS, SIZES, made_up, stand_alone

logger = logging.getLogger("salver.worker")


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
    for size in SIZES:
        arrays = made_up(inputs, size)
        if arrays is None:
            break
        request = InferRequest(
            tuple(
                Tensor(each.name, each.datatype, array)
                for each, array in zip(inputs, arrays, strict=True)
            )
        )
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


def _rows(request: InferRequest) -> Iterator[InferRequest]:
    for row in range(ROWS):
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
    return stand_alone(
        [each.data for each in together.outputs],
        [[each.data for each in answer.outputs] for answer in alone],
        [each.datatype for each in together.outputs],
    )
