"""The judge of every runtime: one question asked over all protocols, each answer the framework's.

Owns how a question is put in V1, V2 (REST as JSON and binary, gRPC), TensorFlow Serving's REST and
gRPC, and MLflow's scoring in each of its forms, and how an answer is read back. Knows no framework:
what a model is to answer comes with the question. A form that cannot carry a question is named by
who asks, with the reason; none is left out silently.
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable, Mapping
from typing import Any

import grpc
import httpx
import numpy as np
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http
from tritonclient.utils import np_to_triton_dtype

from salver.protocol import tfs_pb2
from tests.e2e.question import Arrays, Question, compare

TABLES = ("split", "records", "csv", "parquet")
JSON_FORMS = ("V1", "TFS REST", "V2 JSON", "instances", "inputs", "split", "records")
DT = {
    "float32": 1,
    "float64": 2,
    "int32": 3,
    "uint8": 4,
    "int16": 5,
    "int8": 6,
    "object": 7,
    "int64": 9,
    "bool": 10,
    "uint16": 17,
    "float16": 19,
    "uint32": 22,
    "uint64": 23,
}
"""TensorFlow's numbers of datatypes."""
VALUES = {1: "float_val", 2: "double_val", 7: "string_val", 9: "int64_val", 10: "bool_val"}
VALUES |= {22: "uint32_val", 23: "uint64_val"}


def judge(url: str, grpc_address: str, question: Question) -> list[str]:
    """Asks over every protocol and compares; gives the names of the forms that were asked."""
    unknown = set(question.without) - set(FORMS)
    assert not unknown, f"no such forms: {sorted(unknown)}"
    assert all(question.without.values()), "say why a form cannot carry the question"
    asked = [name for name in FORMS if name not in question.without]
    for name in asked:
        try:
            found = FORMS[name](grpc_address if "gRPC" in name else url, question)
        except Exception as error:
            raise AssertionError(f"{question.model} over {name}: {error}") from error
        compare(f"{question.model} over {name}", found, question)
    return asked


# --- V1, and TensorFlow Serving's REST ----------------------------------------------------------


def _v1(url: str, question: Question) -> Arrays:
    body = {"instances": _instances(question), **_chosen(question)}
    answer = _post(f"{url}/v1/models/{question.model}:predict", body)
    return _named(answer["predictions"], question)


def _tfs_rest(url: str, question: Question) -> Arrays:
    body = {"inputs": _columnar(question), **_chosen(question)}
    answer = _post(f"{url}/v1/models/{question.model}:predict", body)
    return _named(answer["outputs"], question)


def _chosen(question: Question) -> dict[str, Any]:
    return {"outputs": list(question.outputs)} if question.outputs else {}


def _instances(question: Question) -> list[Any]:
    """One value, list or object a row."""
    columns = {name: _json(array) for name, array in question.inputs.items()}
    if len(columns) == 1:
        (values,) = columns.values()
        return values
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _columnar(question: Question) -> Any:
    columns = {name: _json(array) for name, array in question.inputs.items()}
    return columns if len(columns) > 1 else next(iter(columns.values()))


def _json(array: Any) -> Any:
    """As JSON has it: no number is null, bytes that are no text are in base64."""
    if isinstance(array, list):
        return [_json(each) for each in array]
    if isinstance(array, np.ndarray):
        return _json(array.tolist())
    if isinstance(array, bytes):
        return {"b64": base64.b64encode(array).decode()}
    return None if isinstance(array, float) and array != array else array


def _post(url: str, body: Any, content_type: str = "application/json") -> Any:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {"content-type": content_type}
    answer = httpx.post(url, content=content, headers=headers, timeout=60)
    assert answer.status_code == 200, answer.text
    return answer.json()


def _named(values: Any, question: Question) -> Arrays:
    """The outputs of an answer that is the only one's values, an object, or one object a row."""
    names = list(question.expected)
    if isinstance(values, dict) and set(values) == set(names):
        return {name: _array(values[name]) for name in names}
    if len(names) == 1 and not (isinstance(values[0], dict) and names[0] in values[0]):
        return {names[0]: _array(values)}
    assert all(set(row) == set(names) for row in values), values
    return {name: _array([row[name] for row in values]) for name in names}


def _array(values: Any) -> Any:
    """Missing numbers are NaN again."""
    array = np.asarray(values)
    return array if array.dtype.kind != "O" else np.where(array == None, np.nan, array)  # noqa: E711


# --- V2 -----------------------------------------------------------------------------------------


def _v2_json(url: str, question: Question) -> Arrays:
    return _v2_rest(url, question, is_binary=False)


def _v2_binary(url: str, question: Question) -> Arrays:
    return _v2_rest(url, question, is_binary=True)


def _v2_rest(url: str, question: Question, *, is_binary: bool) -> Arrays:
    given = _triton_inputs(triton_http, question, binary_data=is_binary)
    asked = [
        triton_http.InferRequestedOutput(name, binary_data=is_binary) for name in question.expected
    ]
    with triton_http.InferenceServerClient(url.removeprefix("http://")) as client:
        answer = client.infer(question.model, given, outputs=asked)
        names = [each["name"] for each in answer.get_response()["outputs"]]
        return {name: answer.as_numpy(name) for name in names}


def _v2_grpc(address: str, question: Question) -> Arrays:
    given = _triton_inputs(triton_grpc, question)
    asked = [triton_grpc.InferRequestedOutput(name) for name in question.outputs]
    with triton_grpc.InferenceServerClient(address) as client:
        answer = client.infer(question.model, given, outputs=asked or None, client_timeout=60)
        names = [each.name for each in answer.get_response().outputs]
        return {name: answer.as_numpy(name) for name in names}


def _triton_inputs(client: Any, question: Question, **how: bool) -> list[Any]:
    given = []
    for name, array in question.inputs.items():
        tensor = client.InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype))
        tensor.set_data_from_numpy(np.ascontiguousarray(array), **how)
        given.append(tensor)
    return given


# --- TensorFlow Serving's gRPC ------------------------------------------------------------------


def _tfs_grpc(address: str, question: Question) -> Arrays:
    request = tfs_pb2.PredictRequest(model_spec={"name": question.model})
    request.output_filter.extend(question.outputs)
    for name, array in question.inputs.items():
        _fill(request.inputs[name], array)
    with grpc.insecure_channel(address) as channel:
        call = channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
        text = call(request.SerializeToString(), timeout=60)
    answer = tfs_pb2.PredictResponse.FromString(text)
    return {name: _tensor(proto) for name, proto in answer.outputs.items()}


def _fill(proto: Any, array: Any) -> None:
    proto.dtype = DT[array.dtype.name]
    for size in array.shape:
        proto.tensor_shape.dim.add(size=size)
    if proto.dtype == DT["object"]:
        proto.string_val.extend(_bytes(each) for each in array.ravel())
    else:
        proto.tensor_content = np.ascontiguousarray(array).tobytes()


def _bytes(value: Any) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()


def _tensor(proto: Any) -> Any:
    dtype = np.dtype(next(name for name, number in DT.items() if number == proto.dtype))
    shape = [each.size for each in proto.tensor_shape.dim]
    if proto.tensor_content:
        return np.frombuffer(proto.tensor_content, dtype).reshape(shape)
    return np.array(list(getattr(proto, VALUES.get(proto.dtype, "int_val"))), dtype).reshape(shape)


# --- MLflow's scoring ---------------------------------------------------------------------------


def _scored(form: str) -> Callable[[str, Question], Arrays]:
    def ask(url: str, question: Question) -> Arrays:
        body, content_type = BODIES[form](question)
        path = f"{url}/models/{question.model}/invocations"
        predictions = _post(path, body, content_type)["predictions"]
        if question.column:
            predictions = [row[question.column] for row in predictions]
        return _named(predictions, question)

    return ask


def _table(question: Question) -> dict[str, list[Any]]:
    """The inputs as columns: those of the only matrix, else one for each input."""
    arrays = list(question.inputs.values())
    if len(arrays) == 1 and arrays[0].ndim == 2:
        names = question.columns or [f"c{place}" for place in range(arrays[0].shape[1])]
        columns = [arrays[0][:, place] for place in range(arrays[0].shape[1])]
        return dict(zip(names, map(_json, columns), strict=True))
    return {name: _json(array) for name, array in question.inputs.items()}


def _split(question: Question) -> tuple[Any, str]:
    table = _table(question)
    rows = [list(row) for row in zip(*table.values(), strict=True)]
    return {"dataframe_split": {"columns": list(table), "data": rows}}, "application/json"


def _records(question: Question) -> tuple[Any, str]:
    table = _table(question)
    rows = [dict(zip(table, row, strict=True)) for row in zip(*table.values(), strict=True)]
    return {"dataframe_records": rows}, "application/json"


def _csv(question: Question) -> tuple[Any, str]:
    import pandas as pd

    return pd.DataFrame(_table(question)).to_csv(index=False).encode(), "text/csv"


def _parquet(question: Question) -> tuple[Any, str]:
    import pandas as pd

    file = io.BytesIO()
    pd.DataFrame(_table(question)).to_parquet(file)
    return file.getvalue(), "application/vnd.apache.parquet"


BODIES: Mapping[str, Callable[[Question], tuple[Any, str]]] = {
    "instances": lambda question: ({"instances": _instances(question)}, "application/json"),
    "inputs": lambda question: ({"inputs": _columnar(question)}, "application/json"),
    "split": _split,
    "records": _records,
    "csv": _csv,
    "parquet": _parquet,
}
FORMS: Mapping[str, Callable[[str, Question], Arrays]] = {
    "V1": _v1,
    "TFS REST": _tfs_rest,
    "TFS gRPC": _tfs_grpc,
    "V2 JSON": _v2_json,
    "V2 binary": _v2_binary,
    "V2 gRPC": _v2_grpc,
    **{form: _scored(form) for form in BODIES},
}
"""Every protocol in every form that it has."""
