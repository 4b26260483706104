"""Whether the rows of a signature stand alone, found out with rows made up at load.

Trying a signature also warms it up. Of TensorFlow it knows nothing; the rows are `row_probe.py`'s.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from salver.errors import SalverError
from salver.inference.tensor import Array
from salver.runtimes.row_probe import NUMBERS, ROWS, SIZES, made_up, stand_alone
from salver.runtimes.tensorflow_signatures import EXAMPLE_METHODS, SignedFunction

logger = logging.getLogger("salver.worker")

_TEXTS = (NUMBERS, (b"", b"", b""))
"""The second are Examples without features."""


def is_rowwise(function: SignedFunction, name: str) -> bool | None:
    """Whether a row is answered the same among others and alone; None if all was refused."""
    metadata = function.metadata
    inputs = metadata.inputs
    if not inputs or any(each.optional or each.shape[:1] != (-1,) for each in inputs):
        return False
    has_text = any(each.datatype == "BYTES" for each in inputs)
    for size in SIZES if any(-1 in each.shape[1:] for each in inputs) else SIZES[:1]:
        for texts in _TEXTS if has_text else _TEXTS[:1]:
            arrays = made_up(inputs, size, texts)
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
    alone = [function.run([array[row : row + 1] for array in arrays], names) for row in range(ROWS)]
    return stand_alone(together, alone, [each.datatype for each in outputs])
