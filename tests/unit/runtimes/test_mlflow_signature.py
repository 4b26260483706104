"""Signatures of MLmodel files as metadata, tensors as what the signature says; without MLflow."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest

from salver.errors import InvalidInput, LoadFailed, MissingFramework, ModelFailed
from salver.inference.tensor import InferRequest, Tensor, tensor_from_array
from salver.runtimes.mlflow import MlflowRuntime
from salver.runtimes.mlflow_answers import described, response_of
from salver.runtimes.mlflow_inputs import data_for, params_for
from salver.runtimes.mlflow_signature import NO_SIGNATURE, Signature, parse_signature
from salver.runtimes.ports import ModelSource


def signature(inputs: Any, outputs: Any = None, params: Any = None, **more: Any) -> Signature:
    document = {"inputs": inputs, "outputs": outputs, "params": params}
    texts = {key: json.dumps(value) for key, value in document.items() if value}
    return parse_signature(texts, **more)


def col(kind: str, name: str | None = None, **more: Any) -> dict[str, Any]:
    return {"type": kind, "required": True, **({} if name is None else {"name": name}), **more}


def spec(shape: list[int], name: str | None = None, dtype: str = "float32") -> dict[str, Any]:
    tensor = {"type": "tensor", "tensor-spec": {"dtype": dtype, "shape": shape}}
    return {**tensor, **({} if name is None else {"name": name})}


def test_numbers_that_are_required_are_one_matrix_or_columns() -> None:
    found = signature([col("double", "a"), col("long", "b")], [col("long")])
    assert found.form == "matrix"
    assert found.inputs[0].shape == (-1, 2)
    assert found.column_names == ("a", "b")
    assert found.column_datatypes == ("FP64", "INT64")
    assert [(each.name, each.datatype) for each in found.outputs] == [("predict", "INT64")]


def test_columns_that_may_lack_or_hold_texts_are_inputs() -> None:
    found = signature([col("double", "a", required=False), col("string", "b"), col("binary", "c")])
    assert found.form == "columns"
    assert [each.optional for each in found.inputs] == [True, False, False]
    assert found.inputs[2].content_type == "base64"
    assert found.column_names == ()


def test_tensors_keep_their_names_datatypes_and_shapes() -> None:
    found = signature([spec([-1, 28, 28])], [spec([-1, 10], "p")])
    assert (found.form, found.inputs[0].shape, found.inputs[0].datatype) == (
        "array",
        (-1, 28, 28),
        "FP32",
    )
    assert found.outputs[0].name == "p"
    assert signature([spec([-1], "x", "str"), spec([-1], "y")]).form == "arrays"
    assert signature([spec([-1], "x", "<U5")]).inputs[0].datatype == "BYTES"


def test_forms_without_names_or_signature() -> None:
    assert parse_signature(None) is NO_SIGNATURE
    assert signature([col("string")], is_hinted=True).form == "hints"
    assert signature([col("string")]).form == "unnamed"
    assert signature([col("double"), col("double")]).inputs[0].shape == (-1, 2)
    assert len(signature([col("double"), col("string")]).inputs) == 2
    assert signature([], params=[{"name": "k", "type": "long"}]).params == {"k"}


@pytest.mark.parametrize("text", ["{}", "3", "[1]", "["])
def test_what_is_no_signature_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"no list of objects|Expecting value"):
        parse_signature({"inputs": text})


def request(**columns: Any) -> InferRequest:
    return InferRequest(tuple(tensor_from_array(k, np.asarray(v)) for k, v in columns.items()))


def test_values_become_the_signature_s_types_where_nothing_is_lost() -> None:
    kinds = ["long", "integer", "float", "boolean"]
    wanted = signature([col(kind, kind) for kind in kinds])
    table = data_for(wanted, request(long=[1.0], integer=[2], float=[3], boolean=[1]))
    assert [str(kind) for kind in table.dtypes] == ["int64", "int32", "float32", "bool"]
    table = data_for(wanted, request(long=[1.5], integer=[1 << 40], float=[3.5], boolean=[2]))
    assert [str(kind) for kind in table.dtypes] == ["float64", "int64", "float32", "int64"]


def test_one_matrix_is_as_good_as_its_columns() -> None:
    wanted = signature([col("double", "a"), col("long", "b")])
    rows = np.array([[1.5, 2.0], [3.0, 4.0]])
    table = data_for(wanted, InferRequest((tensor_from_array("x", rows),)))
    columns = data_for(wanted, request(b=[2, 4], a=[[1.5], [3.0]]))
    pd.testing.assert_frame_equal(table, columns)
    assert [str(kind) for kind in table.dtypes] == ["float64", "int64"]


def json_tensor(name: str, *values: Any) -> Tensor:
    texts = np.array([json.dumps(value).encode() for value in values], dtype=object)
    return Tensor(name, "BYTES", texts, {"content_type": "json"})


def test_texts_dates_bytes_and_nested_values_are_what_pandas_has() -> None:
    kinds = {"t": "string", "d": "datetime", "b": "binary", "l": "array"}
    wanted = signature([col(kind, name) for name, kind in kinds.items()])
    tensors = (
        json_tensor("t", "x", None),
        tensor_from_array("d", np.array(["2024-01-02", "1999-12-31T01:02:03"], dtype=object)),
        tensor_from_array("b", np.array([b"\xff", b""], dtype=object)),
        json_tensor("l", [1], [2, 3]),
    )
    table = data_for(wanted, InferRequest(tensors))
    assert table["t"].tolist()[0] == "x"
    assert table["d"].tolist() == [pd.Timestamp("2024-01-02"), pd.Timestamp("1999-12-31T01:02:03")]
    assert table["b"].tolist() == [b"\xff", b""]
    assert table["l"].tolist() == [[1], [2, 3]]


def test_what_is_no_date_and_what_is_no_column_is_refused() -> None:
    wanted = signature([col("datetime", "d")])
    with pytest.raises(InvalidInput, match="column 'd' holds what is no date"):
        data_for(wanted, request(d=np.array(["never"], dtype=object)))
    with pytest.raises(InvalidInput, match="shape"):
        data_for(signature([col("double", "d", required=False)]), request(d=[[1.0, 2.0]]))
    with pytest.raises(InvalidInput, match="equally many"):
        optional = [col("double", name, required=False) for name in "ab"]
        data_for(signature(optional), request(a=[1.0], b=[1.0, 2.0]))


def test_a_model_without_a_signature_gets_what_was_sent() -> None:
    rows = np.array([[1.0, 2.0]])
    array = data_for(NO_SIGNATURE, request(x=rows))
    np.testing.assert_array_equal(array, rows)
    table = data_for(NO_SIGNATURE, request(a=[1], b=["x"]))
    assert table.to_dict(orient="records") == [{"a": 1, "b": "x"}]
    both = data_for(NO_SIGNATURE, request(a=rows, b=rows))
    assert set(both) == {"a", "b"}


def test_only_the_model_s_own_params_reach_it() -> None:
    wanted = signature([col("double", "a")], params=[{"name": "k", "type": "long"}])
    given = InferRequest((), parameters={"k": 1, "content_type": "pd"})
    assert params_for(wanted, given) == {"k": 1}


@pytest.mark.parametrize(
    ("answer", "datatypes", "form"),
    [
        (np.array([1.5]), ["FP64"], ""),
        ([True, False], ["BOOL"], ""),
        (["a", "b"], ["BYTES"], ""),
        (pd.DataFrame({"a": [1], "b": ["x"]}), ["INT64", "BYTES"], "pd"),
        (pd.Series([1.5], name="y"), ["FP64"], "pd"),
        ({"a": [1], "b": {"c": 1}}, ["INT64", "BYTES"], "dict"),
        (3, ["INT64"], ""),
        ("x", ["BYTES"], ""),
    ],
)
def test_answers_of_every_kind_are_tensors(answer: Any, datatypes: list[str], form: str) -> None:
    response = response_of(answer, ())
    assert [tensor.datatype for tensor in response.outputs] == datatypes
    assert response.parameters.get("content_type", "") == form
    assert [each.datatype for each in described(response)] == datatypes


@pytest.mark.parametrize(
    "answer", [[1, "a"], [[1], [2, 3]], [{"a": 1}], [None, "x"], None, {"a": object}]
)
def test_what_is_no_array_is_json(answer: Any) -> None:
    if answer == {"a": object}:
        with pytest.raises(ModelFailed, match="output 'a'"):
            response_of({"a": object()}, ())
        return
    (tensor,) = response_of(answer, ()).outputs
    assert tensor.parameters == {"content_type": "json"}
    found = [json.loads(text) for text in tensor.data.reshape(-1)]
    assert (found if isinstance(answer, list) else found[0]) == answer


def test_outputs_are_chosen_by_name() -> None:
    frame = pd.DataFrame({"a": [1], "b": [2]})
    assert [each.name for each in response_of(frame, (), ("b",)).outputs] == ["b"]
    with pytest.raises(InvalidInput, match="output 'c' is unknown"):
        response_of(frame, (), ("c",))


def test_without_mlflow_the_remedy_is_named(tmp_path: Any) -> None:
    with pytest.raises(LoadFailed, match="has no file MLmodel"):
        MlflowRuntime().load(ModelSource("m", tmp_path, "mlflow"))
    (tmp_path / "MLmodel").write_text("flavors: {}")
    with pytest.raises(MissingFramework, match=r"salver\[mlflow\]"):
        MlflowRuntime().load(ModelSource("m", tmp_path, "mlflow"))
