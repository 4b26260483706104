"""When two answers agree."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from salver.inference.tensor import InferResponse, tensor_from_array
from salver.runtimes.compiled.agreement import Disagreement, difference_of, typical_sizes


def _response(values: Any) -> InferResponse:
    return InferResponse((tensor_from_array("predict", np.asarray(values)),))


def _difference(expected: Any, given: Any) -> float | Disagreement:
    response = _response(expected)
    return difference_of(response, _response(given), typical_sizes(response))


def test_equal_answers_differ_by_nothing() -> None:
    assert _difference([1.5, np.nan, np.inf], [1.5, np.nan, np.inf]) == 0.0
    assert _difference(["a", "b"], ["a", "b"]) == 0.0


def test_a_difference_is_relative_to_the_answer() -> None:
    assert _difference([1e6, 1e6], [1e6, 1e6 + 1]) == pytest.approx(1e-6)
    assert _difference([1e-6, 1e-6], [1e-6, 1.1e-6]) == pytest.approx(0.1)


def test_a_rounding_near_zero_is_measured_by_the_outputs_typical_size() -> None:
    assert _difference([100.0, 120.0, 1e-9], [100.0, 120.0, 2e-9]) == pytest.approx(1e-11)


@pytest.mark.parametrize(
    ("expected", "given", "reason"),
    [
        ([1, 2, 3], [1, 2, 4], "1 of 3 labels differ"),
        (["a", "b"], ["a", "c"], "1 of 2 labels differ"),
        ([1.0], [np.float32(1.0)], "datatype float32 for float64"),
        ([1.0, 2.0], [[1.0], [2.0]], "shape"),
        ([1.0, np.nan], [1.0, 2.0], "infinite or missing values differ"),
        ([1.0, np.inf], [1.0, -np.inf], "infinite or missing values differ"),
        ([1.0, 2.0], [1.0, np.nan], "became infinite or missing"),
    ],
)
def test_answers_that_differ_in_more_than_size(expected: Any, given: Any, reason: str) -> None:
    found = _difference(expected, np.asarray(given))
    assert isinstance(found, Disagreement)
    assert reason in found.reason
    assert found.difference is None
