"""MLflow's tables as tensors, by what a model says of itself, and answers in MLflow's forms."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from salver.errors import InvalidInput
from salver.inference.metadata import ModelMetadata, TensorMetadata
from salver.inference.tensor import InferResponse, Tensor, tensor_from_array
from salver.protocol.materialise import assemble
from salver.protocol.mlflow_csv import MlflowCsvCodec
from salver.protocol.mlflow_json import MlflowJsonCodec
from salver.protocol.wire import ModelIdentity, WireRequest
from salver.runtimes.tabular import NUMERIC, matrix_input

CODEC, CSV = MlflowJsonCodec(), MlflowCsvCodec()


def model(**fields: Any) -> ModelIdentity:
    given = {"platform": "x", "inputs": (), "outputs": (), **fields}
    return ModelIdentity("m", "1", ModelMetadata(**given))


def column(name: str, datatype: Any, **more: Any) -> TensorMetadata:
    return TensorMetadata(name, datatype, (), any_shape=True, **more)


MATRIX = model(inputs=(matrix_input(2),), positional_input=True)
NAMED = model(inputs=(matrix_input(2),), column_names=("a", "b"), positional_input=True)
MIXED = model(
    inputs=(TensorMetadata("age", "FP64", (-1,)), TensorMetadata("city", "BYTES", (-1,))),
    column_names=("age", "city"),
    column_datatypes=("FP64", "BYTES"),
)
COLUMNS = model(
    inputs=(
        column("n", "INT64", accepts=NUMERIC),
        column("text", "BYTES"),
        column("blob", "BYTES", optional=True, content_type="base64"),
        column("any", "BYTES", optional=True, accepts=NUMERIC),
    ),
    batchable=False,
)
TENSORS = model(
    inputs=(TensorMetadata("left", "FP32", (-1, 2)), TensorMetadata("right", "FP32", (-1,)))
)
FREE = model(batchable=False)


def decoded(body: Any, which: ModelIdentity) -> dict[str, Any]:
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    return arrays(CODEC.decode(text, 0, which), which)


def arrays(request: WireRequest, which: ModelIdentity) -> dict[str, Any]:
    tensors = assemble([request], which)[0].inputs
    return {tensor.name: tensor.data.tolist() for tensor in tensors}


ROWS = [[1, 2.5], [3, 4]]
FORMS: list[dict[str, Any]] = [
    {"dataframe_split": {"columns": ["a", "b"], "index": [5, 6], "data": ROWS}},
    {"dataframe_split": {"data": ROWS}},
    {"dataframe_records": [{"a": 1, "b": 2.5}, {"b": 4, "a": 3}]},
    {"instances": ROWS},
    {"inputs": ROWS},
]


@pytest.mark.parametrize("body", FORMS)
def test_every_form_is_the_matrix_of_a_model_without_names(body: Any) -> None:
    assert decoded(body, MATRIX) == {"input-0": [[1.0, 2.5], [3.0, 4.0]]}


def test_columns_go_by_name_and_unknown_ones_are_left_out() -> None:
    split = {"columns": ["b", "x", "a"], "data": [[2.5, "?", 1]]}
    assert decoded({"dataframe_split": split}, NAMED) == {"a": [1], "b": [2.5]}
    body = {"instances": [{"b": 2.5, "x": "?", "a": 1}]}
    assert decoded(body, NAMED) == {"a": [1], "b": [2.5]}
    assert decoded({"inputs": {"b": [2.5], "a": [1], "x": [0]}}, NAMED) == {"a": [1], "b": [2.5]}


def test_what_a_record_lacks_is_missing() -> None:
    body = {"dataframe_records": [{"age": 1, "city": "x"}, {"city": "y"}]}
    found = decoded(body, MIXED)
    assert np.isnan(found["age"][1])
    assert found["city"] == [b"x", b"y"]


def test_columns_of_any_kind_take_nulls_and_nested_values_as_json() -> None:
    rows = [{"n": 1, "text": "a", "any": [1]}, {"n": None, "text": None, "any": {"x": 2}}]
    request = CODEC.decode(json.dumps({"dataframe_records": rows}).encode(), 0, COLUMNS)
    found = {tensor.name: tensor for tensor in request.inputs}
    assert found["text"].data == [b'"a"', b"null"]
    assert found["text"].parameters == found["any"].parameters == {"content_type": "json"}
    assert arrays(request, COLUMNS)["any"] == [b"[1]", b'{"x":2}']


def test_binary_columns_are_base64() -> None:
    rows = [{"n": 1, "text": "a", "blob": "AP8="}]
    assert decoded({"dataframe_records": rows}, COLUMNS)["blob"] == [b"\x00\xff"]
    assert decoded({"inputs": {"n": [1], "text": ["a"], "blob": ["AP8="]}}, COLUMNS)["blob"] == [
        b"\x00\xff"
    ]
    bare = [{"n": 1, "text": "a", "blob": {"b64": "AP8="}}]
    assert decoded({"dataframe_records": bare}, COLUMNS)["blob"] == [b"\x00\xff"]


def test_several_tensors_are_found_by_name() -> None:
    rows = [{"left": [1, 2], "right": 3, "more": 0}]
    for body in ({"dataframe_records": rows}, {"instances": rows}):
        assert decoded(body, TENSORS) == {"left": [[1.0, 2.0]], "right": [3.0]}


def test_a_model_that_takes_anything_is_told_that_it_is_a_table() -> None:
    split = {"columns": ["x", "y"], "data": [[1, "a"]]}
    request = CODEC.decode(json.dumps({"dataframe_split": split}).encode(), 0, FREE)
    assert request.parameters == {"content_type": "pd"}
    assert arrays(request, FREE) == {"x": [1], "y": [b"a"]}


def test_params_are_the_request_s_parameters() -> None:
    body = json.dumps({"inputs": ROWS, "params": {"k": [1]}}).encode()
    assert CODEC.decode(body, 0, MATRIX).parameters == {"k": [1]}
    assert CODEC.decode(b'{"inputs": [[1, 2]], "params": null}', 0, MATRIX).parameters is None


def test_nan_as_python_writes_it_is_missing() -> None:
    for body in (
        b'{"inputs": [[NaN, 1]]}',
        b'{"dataframe_split": {"columns": ["a", "b"], "data": [[NaN, 1]]}}',
    ):
        assert np.isnan(decoded(body, MATRIX)["input-0"][0][0])


@pytest.mark.parametrize(
    ("body", "which", "fact"),
    [
        ({"dataframe_records": [{"x": 1}]}, NAMED, "'a', 'b'; it does not know 'x'"),
        ({"dataframe_records": [{"right": 1}]}, TENSORS, "missing the inputs 'left'"),
        ({"dataframe_split": {"data": [[1, 2, 3]]}}, NAMED, "3 columns without names"),
        ({"dataframe_split": {"data": [[1, 2], [3]]}}, MATRIX, "1 values in row 1"),
        ({"dataframe_split": {"data": [[1, 2], 3]}}, MATRIX, "row 1"),
        ({"dataframe_split": {"data": 3}}, MATRIX, "no list"),
        ({"messages": [1]}, MATRIX, "takes no messages"),
        (b'{"inputs": [1', MATRIX, "no valid JSON"),
        (b"[NaN]", MATRIX, "a list"),
    ],
)
def test_what_does_not_fit_is_named(body: Any, which: ModelIdentity, fact: str) -> None:
    with pytest.raises(InvalidInput, match=fact):
        decoded(body, which)


def test_a_chat_s_fields_are_inputs_and_its_answer_has_nothing_around_it() -> None:
    chat = model(inputs=(column("messages", "BYTES", accepts=NUMERIC),), batchable=False)
    body = json.dumps({"messages": [{"role": "user"}], "temperature": 0.5}).encode()
    request = CODEC.decode(body, 0, chat)
    assert request.inputs[0].data == [b'[{"role": "user"}]']
    assert request.parameters == {"temperature": 0.5}
    answer = InferResponse((tensor_from_array("a", np.array([1])),))
    assert CODEC.encode(answer, request, chat).body == b"[1]"


CSV_CASES: list[tuple[bytes, dict[str, Any]]] = [
    (b"a,b\n1,2.5\n", {"a": [1], "b": [2.5]}),
    (b'\xef\xbb\xbf"b","a","x"\r\n2.5,1,"q, ""r"""\r\n\r\n', {"a": [1], "b": [2.5]}),
    (b"a,b\n1,\n2,3\n", {"a": [1, 2], "b": [None, 3.0]}),
    (b"a,b\nTrue,1e3\nfalse,-inf\n", {"a": [True, False], "b": [1000.0, -np.inf]}),
    (b"a,b\n99999999999999999999,1\n", {"a": [1e20], "b": [1]}),
]


@pytest.mark.parametrize(("text", "wanted"), CSV_CASES)
def test_csv_is_read_as_pandas_reads_it(text: bytes, wanted: dict[str, Any]) -> None:
    request = CSV.decode(text, 0, NAMED)
    found = {tensor.name: tensor.data for tensor in request.inputs}
    assert found == wanted


def test_a_column_of_text_stays_text_in_csv() -> None:
    found = arrays(CSV.decode(b"city,age\n0123,1\n", 0, MIXED), MIXED)
    assert found == {"age": [1], "city": [b"0123"]}


@pytest.mark.parametrize("text", [b"", b"\n", b"a,b\n", b"a,b\n1,2,3\n", b'a,b\n"1', b"\xff"])
def test_what_is_no_csv_is_refused(text: bytes) -> None:
    with pytest.raises(InvalidInput):
        CSV.decode(text, 0, NAMED)


@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_but_invalid_input(body: bytes) -> None:
    for codec in (CODEC, CSV):
        for which in (MATRIX, NAMED, COLUMNS, TENSORS, FREE):
            try:
                codec.decode(body, 0, which)
            except InvalidInput:
                continue


def answered(tensors: tuple[Tensor, ...], form: str = "") -> Any:
    response = InferResponse(tensors, {"content_type": form} if form else {})
    request = WireRequest([])
    return json.loads(CODEC.encode(response, request, MATRIX).body)["predictions"]


def test_answers_have_the_form_that_mlflow_gives_them() -> None:
    one = tensor_from_array("y", np.array([1.5, np.nan]))
    two = tensor_from_array("z", np.array(["a", "b"], dtype=object))
    assert answered((one,)) == [1.5, None]
    assert answered((one, two)) == {"y": [1.5, None], "z": ["a", "b"]}
    assert answered((one, two), "pd") == [{"y": 1.5, "z": "a"}, {"y": None, "z": "b"}]
    assert answered((one,), "dict") == {"y": [1.5, None]}
    renamed = Tensor("y", "FP64", one.data, {"column": "0"})
    assert answered((renamed,), "pd") == [{"0": 1.5}, {"0": None}]
    texts = np.array([b"[1]", b"null"], dtype=object)
    assert answered((Tensor("y", "BYTES", texts, {"content_type": "json"}),)) == [[1], None]


def test_each_of_stacked_requests_gets_its_rows() -> None:
    one = tensor_from_array("y", np.array([[1], [2], [3]]))
    two = tensor_from_array("z", np.array(["a", "b", "c"], dtype=object))
    requests = [WireRequest([]), WireRequest([])]
    for tensors, form, wanted in (
        ((one,), "", [[[1]], [[2], [3]]]),
        ((two,), "pd", [[{"z": "a"}], [{"z": "b"}, {"z": "c"}]]),
    ):
        response = InferResponse(tensors, {"content_type": form} if form else {})
        parts = CODEC.encode_rows(response, requests, [1, 2], MATRIX)
        assert [json.loads(part.body)["predictions"] for part in parts] == wanted
