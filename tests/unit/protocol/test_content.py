"""Content types: what MLServer's clients write, and what it means."""

from __future__ import annotations

from typing import Any

import pytest

from salver.protocol.content import settle_texts
from salver.protocol.wire import WireTensor

AS_STR = {"content_type": "str"}


@pytest.mark.parametrize(
    ("data", "shape", "parameters", "expected"),
    [
        ("hello", (1,), None, (["hello"], (1,))),
        ("hello", (5,), None, (["hello"], (1,))),
        (["hello"], (5,), None, (["hello"], (1,))),
        (["héé"], (5,), None, (["héé"], (1,))),
        (["a", "bc"], (2, 11), AS_STR, (["a", "bc"], (2,))),
    ],
)
def test_texts_with_their_length_in_the_shape_get_the_shape_they_mean(
    data: Any, shape: tuple[int, ...], parameters: Any, expected: Any
) -> None:
    tensor = WireTensor("x", shape, "BYTES", data, parameters)
    settle_texts(tensor)
    assert (tensor.data, tensor.shape) == expected


@pytest.mark.parametrize(
    ("data", "shape", "parameters"),
    [
        (["hello"], (4,), None),
        (["a", "bc"], (3,), None),
        (["a", "bc"], (2, 11), None),
        (["a", "bc"], (2, 1), AS_STR),
        ([["a"], ["b"]], (2, 1), AS_STR),
        ([], (0,), None),
        (None, (1,), None),
    ],
)
def test_any_other_shape_is_left_as_it_is(
    data: Any, shape: tuple[int, ...], parameters: Any
) -> None:
    tensor = WireTensor("x", shape, "BYTES", data, parameters)
    settle_texts(tensor)
    assert (tensor.data, tensor.shape) == (data, shape)
