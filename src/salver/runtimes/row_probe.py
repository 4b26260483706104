"""Rows made up at load, for models whose rows may or may not stand alone; and the comparison.

Owns what is made up (seeded, so that each load tries the same) and how equal is equal enough. Knows
no framework.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from salver.inference.metadata import TensorMetadata
from salver.inference.tensor import NUMPY_TYPES, Array

SIZES = (8, 32, 224)
"""What free dimensions beside the rows are tried with: a sentence, a small and a usual image."""
ROWS = 3
NUMBERS = (b"0", b"1", b"1")
"""Texts, since a model may read them as numbers."""
_MOST_ELEMENTS = 16 << 20
_TOLERANCES = {"FP16": 2e-2, "BF16": 5e-2, "FP32": 1e-3, "FP64": 1e-6}


def made_up(
    inputs: Sequence[TensorMetadata], size: int, texts: Sequence[bytes] = NUMBERS
) -> list[Array] | None:
    """`ROWS` rows for each input whose first dimension is free; None if they would be huge."""
    rng = np.random.default_rng(0)
    arrays: list[Array] = []
    for each in inputs:
        shape = tuple(size if n < 0 else n for n in each.shape)
        if each.shape[:1] == (-1,):
            shape = (ROWS, *shape[1:])
        if math.prod(shape) > _MOST_ELEMENTS:
            return None
        dtype = NUMPY_TYPES[each.datatype]
        if each.datatype == "BYTES":
            rows = np.array(texts, dtype=object).reshape(ROWS, *(1 for _ in shape[1:]))
            arrays.append(np.ascontiguousarray(np.broadcast_to(rows, shape)))
            continue
        # Small whole numbers: they may be the entries of an embedding.
        values = rng.standard_normal(shape) if dtype.kind == "f" else rng.integers(0, 2, shape)
        arrays.append(np.asarray(values).astype(dtype))
    return arrays


def stand_alone(
    together: Sequence[Array], alone: Sequence[Sequence[Array]], datatypes: Sequence[str]
) -> bool:
    """Whether the outputs of `ROWS` rows are, row by row, those of each row by itself."""
    for index, (whole, datatype) in enumerate(zip(together, datatypes, strict=True)):
        parts = [each[index] for each in alone]
        if any(part.ndim == 0 or len(part) != 1 for part in parts):
            return False
        if any(whole.shape != (ROWS, *part.shape[1:]) for part in parts):
            return False
        if not _is_near(whole, np.concatenate(parts), datatype):
            return False
    return True


def _is_near(left: Array, right: Array, datatype: str) -> bool:
    tolerance = _TOLERANCES.get(datatype)
    if tolerance is None:
        return bool(np.array_equal(left, right))
    return bool(np.allclose(left, right, rtol=tolerance, atol=tolerance, equal_nan=True))
