"""Whether the rows of a signature stand alone, found out with rows made up at load.

Owns the made-up rows (seeded, so that each load tries the same) and how equal is equal enough.
Trying a signature also warms it up. Of TensorFlow it knows nothing.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence

import numpy as np

from salver.errors import SalverError
from salver.inference.metadata import TensorMetadata
from salver.inference.tensor import NUMPY_TYPES, Array
from salver.runtimes.tensorflow_signatures import EXAMPLE_METHODS, SignedFunction

logger = logging.getLogger("salver.worker")

_SIZES = (8, 32, 224)
"""What free dimensions beside the rows are tried with: a sentence, a small and a usual image."""
_ROWS = 3
_MOST_ELEMENTS = 16 << 20
_TOLERANCES = {"FP16": 2e-2, "BF16": 5e-2, "FP32": 1e-3, "FP64": 1e-6}
_TEXTS = ((b"0", b"1", b"1"), (b"", b"", b""))
"""Numbers, since a model may read them as such; and nothing: an Example without features."""


def is_rowwise(function: SignedFunction, name: str) -> bool | None:
    """Whether a row is answered the same among others and alone; None if all was refused."""
    metadata = function.metadata
    inputs = metadata.inputs
    if not inputs or any(each.optional or each.shape[:1] != (-1,) for each in inputs):
        return False
    has_text = any(each.datatype == "BYTES" for each in inputs)
    for size in _SIZES if any(-1 in each.shape[1:] for each in inputs) else _SIZES[:1]:
        for texts in _TEXTS if has_text else _TEXTS[:1]:
            arrays = _made_up(inputs, size, texts)
            if arrays is None:
                continue
            try:
                return _tried(function, arrays)
            except SalverError as error:
                logger.debug("signature '%s' of '%s': %s", metadata.name, name, error)
    if metadata.method_name in EXAMPLE_METHODS and has_text and len(inputs) == 1:
        # By its nature: a row is an Example, and these could not be made up.
        return True
    logger.info("signature '%s' of '%s' refuses made-up rows", metadata.name, name)
    return None


def _tried(function: SignedFunction, arrays: Sequence[Array]) -> bool:
    outputs = function.metadata.outputs
    names = [each.name for each in outputs]
    together = function.run(arrays, names)
    alone = [
        function.run([array[row : row + 1] for array in arrays], names) for row in range(_ROWS)
    ]
    for index, spec in enumerate(outputs):
        parts = [each[index] for each in alone]
        if any(part.ndim == 0 or len(part) != 1 for part in parts):
            return False
        whole = together[index]
        if any(part.shape[1:] != whole.shape[1:] for part in parts) or len(whole) != _ROWS:
            return False
        if not _is_near(whole, np.concatenate(parts), spec.datatype):
            return False
    return True


def _made_up(
    inputs: Sequence[TensorMetadata], size: int, texts: Sequence[bytes]
) -> list[Array] | None:
    rng = np.random.default_rng(0)
    arrays: list[Array] = []
    for each in inputs:
        shape = (_ROWS, *(size if n < 0 else n for n in each.shape[1:]))
        if math.prod(shape) > _MOST_ELEMENTS:
            return None
        dtype = NUMPY_TYPES[each.datatype]
        if each.datatype == "BYTES":
            rows = np.array(texts, dtype=object).reshape(_ROWS, *(1 for _ in shape[1:]))
            arrays.append(np.ascontiguousarray(np.broadcast_to(rows, shape)))
            continue
        # Small whole numbers: they may be the entries of an embedding.
        values = rng.standard_normal(shape) if dtype.kind == "f" else rng.integers(0, 2, shape)
        arrays.append(np.asarray(values).astype(dtype))
    return arrays


def _is_near(left: Array, right: Array, datatype: str) -> bool:
    tolerance = _TOLERANCES.get(datatype)
    if tolerance is None:
        return bool(np.array_equal(left, right))
    return bool(np.allclose(left, right, rtol=tolerance, atol=tolerance, equal_nan=True))
