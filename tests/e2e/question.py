"""A question to a model, and how an answer is held against what the framework itself answers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

Arrays = Mapping[str, Any]
"""Arrays by the name of the input or output; texts and bytes as arrays of objects."""
NUMBERS = {"rtol": 1e-5, "atol": 1e-6}
"""What float32 allows."""
LIKE = {"rel": 1e-5, "abs": 1e-6}
"""The same for objects."""


@dataclass(frozen=True)
class Question:
    """What one model is asked, and what its framework answers.

    `inputs` have the names, datatypes and rows that V2 takes. `expected` holds all the outputs that
    the model gives; where `outputs` names some, those; objects are JSON texts where a protocol has
    tensors. `columns` are the names of a matrix's columns in tables, `column` that of the only
    output where MLflow answers with a table. `without` says which forms cannot carry it, each with
    the reason.
    """

    model: str
    inputs: Arrays
    expected: Arrays
    columns: tuple[str, ...] = ()
    column: str = ""
    outputs: tuple[str, ...] = ()
    tolerance: Mapping[str, float] = field(default_factory=lambda: NUMBERS)
    without: Mapping[str, str] = field(default_factory=dict)


def compare(subject: str, found: Arrays, question: Question) -> None:
    """Fails if an output lacks, is too many or has another shape or other values."""
    assert set(found) == set(question.expected), f"{subject}: has the outputs {sorted(found)}"
    for name, wanted in question.expected.items():
        values, wanted = np.asarray(found[name]), np.asarray(wanted)
        assert values.shape == wanted.shape, f"{subject}: {name} has the shape {values.shape}"
        if wanted.dtype == object and isinstance(wanted.flat[0], dict):
            objects = [each if isinstance(each, dict) else json.loads(each) for each in values.flat]
            assert objects == [pytest.approx(each, **LIKE) for each in wanted.flat], subject
            continue
        if wanted.dtype.kind in "OUS":
            texts = [_text(each) for each in values.ravel()]
            assert texts == [_text(each) for each in wanted.ravel()], f"{subject}: {name}"
            continue
        numbers = np.asarray(values, np.float64)
        np.testing.assert_allclose(
            numbers, wanted, **question.tolerance, err_msg=f"{subject}: {name}"
        )


def _text(value: Any) -> str:
    return (value if isinstance(value, bytes) else str(value).encode()).decode("latin-1")
