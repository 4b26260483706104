"""The warm-up request fits the metadata, or is not made at all."""

from __future__ import annotations

import pytest

from salver.inference.metadata import DATATYPES, ModelMetadata, TensorMetadata
from salver.inference.tensor import NUMPY_TYPES
from salver.runtimes.warmup import warmup_request


def metadata(*inputs: TensorMetadata) -> ModelMetadata:
    return ModelMetadata("test", inputs, ())


@pytest.mark.parametrize("datatype", sorted(DATATYPES))
def test_unknown_dimensions_are_one(datatype: str) -> None:
    tensor = TensorMetadata("x", datatype, (-1, 3, -1))  # type: ignore[arg-type]
    request = warmup_request(metadata(tensor))
    assert request is not None
    (blank,) = request.inputs
    assert (blank.name, blank.datatype, blank.data.shape) == ("x", datatype, (1, 3, 1))
    assert blank.data.dtype == NUMPY_TYPES[datatype]
    assert blank.data.ravel()[0] == (b"" if datatype == "BYTES" else 0)


def test_optional_inputs_are_left_out() -> None:
    request = warmup_request(
        metadata(
            TensorMetadata("x", "FP32", (1,)), TensorMetadata("y", "FP32", (1,), optional=True)
        )
    )
    assert request is not None
    assert [each.name for each in request.inputs] == ["x"]


def test_there_is_none_for_a_model_that_does_not_say_what_it_takes() -> None:
    assert warmup_request(metadata()) is None
    assert warmup_request(metadata(TensorMetadata("x", "FP32", (), any_shape=True))) is None


def test_there_is_none_for_an_input_too_large_to_make_up() -> None:
    assert warmup_request(metadata(TensorMetadata("x", "FP32", (-1, 1 << 40)))) is None
