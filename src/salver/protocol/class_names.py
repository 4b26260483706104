"""Triton's classification extension, as far as it needs no arrays: what may be asked and is told.

The gateway imports this, for the outputs of graphs; workers rank with NumPy (`classification.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from salver.errors import InvalidInput

PARAMETER = "classification"
"""Of an output asked for: how many classes are wanted."""
_REGION = "shared_memory_region"
_UNRANKED = frozenset({"BYTES", "BOOL"})
"""Datatypes that Triton does not rank either."""


def class_count(parameters: Mapping[str, Any] | None, datatype: str | None, subject: str) -> int:
    """How many classes an output is to have; 0: it is wanted as it is.

    `datatype` is the output's, if it is known. Raises `InvalidInput`.
    """
    if not parameters or PARAMETER not in parameters:
        return 0
    count = parameters[PARAMETER]
    if type(count) is not int or count < 0:
        raise InvalidInput(
            f"{subject} is asked for with 'classification' {str(count)[:40]!r}: give the number "
            "of classes that you want"
        )
    if count and _REGION in parameters:
        raise InvalidInput(
            f"{subject} can't set both 'shared_memory_region' and 'classification': leave one out"
        )
    if count and datatype is not None:
        check_datatype(datatype, subject)
    return count


def check_datatype(datatype: str, subject: str) -> None:
    """Raises `InvalidInput` for an output whose values have no order."""
    if datatype in _UNRANKED:
        raise InvalidInput(
            f"{subject}: class result not available for output due to unsupported type "
            f"'{datatype}'; ask for its values"
        )


def class_text(value: float, index: int, labels: Sequence[str]) -> str:
    """One class: `VALUE:INDEX`, with `:LABEL` if it has one; values as C writes them."""
    shown = f"{value:f}:{index}" if isinstance(value, float) else f"{value}:{index}"
    label = labels[index] if index < len(labels) else ""
    return f"{shown}:{label}" if label else shown
