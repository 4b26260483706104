"""Sample requests, and the curl line as a real shell reads it."""

from __future__ import annotations

import json
import subprocess

import pytest
from tests.fakes import IRIS

from salver.inference.metadata import ModelMetadata, TensorMetadata
from salver.server.rest.sample import curl_line, infer_sample, predict_sample


def model(*inputs: TensorMetadata, columns: tuple[str, ...] = (), **more: object) -> ModelMetadata:
    return ModelMetadata("test", inputs, (), column_names=columns, **more)  # type: ignore[arg-type]


TWO = model(TensorMetadata("ids", "INT64", (-1, 3)), TensorMetadata("text", "BYTES", (-1, 1)))
MIXED = model(
    TensorMetadata("input", "BYTES", (-1, 2)),
    columns=("age", "it's $HOME"),
    column_datatypes=("FP64", "BYTES"),
)
IMAGE = model(TensorMetadata('a "b" $c `d` \\e', "FP32", (-1, 28, 28)))


def test_open_dimensions_are_one_and_values_are_zero() -> None:
    assert infer_sample(IRIS) == {
        "inputs": [
            {"name": "input", "shape": [1, 4], "datatype": "FP64", "data": [0.0, 0.0, 0.0, 0.0]}
        ]
    }


def test_an_input_that_may_be_missing_is_left_out() -> None:
    metadata = model(
        TensorMetadata("x", "BOOL", (-1,)), TensorMetadata("y", "FP32", (-1,), optional=True)
    )
    assert [tensor["name"] for tensor in infer_sample(metadata)["inputs"]] == ["x"]


def test_columns_of_different_types_are_sent_one_by_one() -> None:
    assert infer_sample(MIXED) == {
        "inputs": [
            {"name": "age", "shape": [1, 1], "datatype": "FP64", "data": [0.0]},
            {"name": "it's $HOME", "shape": [1, 1], "datatype": "BYTES", "data": [""]},
        ]
    }


def test_a_model_that_does_not_say_its_shape_gets_its_columns_or_a_small_row() -> None:
    open_input = TensorMetadata("x", "FP64", (), any_shape=True)
    assert infer_sample(model(open_input))["inputs"][0]["shape"] == [1, 4]
    open_text = TensorMetadata("x", "BYTES", (), any_shape=True)
    assert infer_sample(model(open_text))["inputs"][0]["shape"] == [1]
    assert infer_sample(model(open_input, columns=("a", "b")))["inputs"][0]["shape"] == [1, 2]


def test_v1_gets_the_same_row_nested() -> None:
    assert predict_sample(IRIS) == {"instances": [[0.0, 0.0, 0.0, 0.0]]}
    assert predict_sample(TWO) == {"instances": [{"ids": [0, 0, 0], "text": ""}]}
    assert predict_sample(MIXED) == {"instances": [{"age": 0.0, "it's $HOME": ""}]}


@pytest.mark.parametrize("metadata", [IRIS, TWO, MIXED, IMAGE])
def test_a_shell_hands_curl_exactly_the_sample_body(metadata: ModelMetadata) -> None:
    line = curl_line("a model", metadata, "http://127.0.0.1:8080")
    script = 'curl() { printf "%s\\n%s" "$1" "$3"; }\n' + line
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True)
    url, body = done.stdout.split("\n", 1)
    assert url == "http://127.0.0.1:8080/v2/models/a%20model/infer"
    assert json.loads(body) == infer_sample(metadata)


def test_a_large_tensor_does_not_make_a_long_line() -> None:
    assert len(curl_line("image", IMAGE, "http://127.0.0.1:8080")) < 250
