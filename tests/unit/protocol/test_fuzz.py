"""Whatever the bytes, the way to an `InferRequest` raises nothing but `InvalidInput`."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from google.protobuf.json_format import ParseDict, ParseError
from hypothesis import given, settings
from hypothesis import strategies as st

from salver.errors import InvalidInput
from salver.inference.metadata import DATATYPES
from salver.inference.tensor import NUMPY_TYPES
from salver.protocol.codecs import codec_for
from salver.protocol.inference_pb2 import ModelInferRequest
from salver.protocol.materialise import assemble, group_key
from salver.protocol.seldon_pb2 import DefaultData, SeldonMessage
from salver.protocol.seldon_pb2 import Tensor as SeldonTensor
from salver.protocol.tfs_pb2 import ExamplesRequest, PredictRequest, TensorProto
from salver.protocol.wire import RAW_BODY_AUX, Codec, ModelIdentity

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8)
    | st.sampled_from([1 << 63, 1 << 64, 1 << 200, -1, 1e308, "NaN", "\x00"])
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=12,
)
NAMES = st.sampled_from(["input-0", "x", "a", "b", "note", "rooms", "town", "predict"]) | st.text(
    max_size=3
)
SIZES = st.integers(0, 5) | st.sampled_from([-1, 1 << 31, 1 << 62, 1 << 64])
PARAMETERS = st.dictionaries(
    st.sampled_from(["content_type", "binary_data_size", "binary_data", "k"]),
    st.sampled_from(["pd", "np", "str", "base64", "datetime", "pd_json", "json"]) | VALUES,
    max_size=2,
)
TENSORS = st.fixed_dictionaries(
    {
        "name": NAMES,
        "shape": st.lists(SIZES, max_size=4),
        "datatype": st.sampled_from(sorted(DATATYPES)) | st.text(max_size=4),
        "data": st.lists(SCALARS, max_size=8) | VALUES,
    },
    optional={"parameters": PARAMETERS},
)
REQUESTS = st.fixed_dictionaries(
    {"inputs": st.lists(TENSORS, max_size=3)},
    optional={
        "id": st.text(max_size=4),
        "parameters": PARAMETERS,
        "outputs": st.lists(st.fixed_dictionaries({"name": NAMES}), max_size=2),
    },
)


@pytest.fixture(scope="session", params=["iris", "housing", "echo", "pair"])
def model(request: pytest.FixtureRequest) -> ModelIdentity:
    identity: ModelIdentity = request.getfixturevalue(request.param)
    return identity


def accepted(codec: Codec, body: bytes, aux: int, model: ModelIdentity) -> bool:
    """Whether the body makes a request; its tensors are then as the domain says."""
    try:
        request = codec_for(codec).decode(body, aux, model)
        group_key(request, model)
        infer, rows = assemble([request], model)
    except InvalidInput as error:
        assert "\n" not in str(error) and len(str(error)) < 2000
        return False
    for tensor in infer.inputs:
        assert tensor.data.dtype == NUMPY_TYPES[tensor.datatype]
    if model.metadata.batchable:
        assert all(len(tensor.data) == rows[0] for tensor in infer.inputs)
    return True


@settings(max_examples=300)
@given(st.binary(max_size=200), st.sampled_from(list(Codec)), st.integers(-2, 60))
def test_arbitrary_bytes_are_refused_or_read(
    model: ModelIdentity, body: bytes, codec: Codec, aux: int
) -> None:
    accepted(codec, body, aux, model)


@settings(max_examples=300)
@given(REQUESTS)
def test_arbitrary_v2_requests_are_refused_or_read(
    model: ModelIdentity, request_: dict[str, Any]
) -> None:
    accepted(Codec.V2_JSON, json.dumps(request_).encode("utf-8", "surrogatepass"), 0, model)


@settings(max_examples=200)
@given(REQUESTS, st.binary(max_size=40), st.integers(-3, 3))
def test_arbitrary_binary_requests_are_refused_or_read(
    model: ModelIdentity, request_: dict[str, Any], blob: bytes, shift: int
) -> None:
    for tensor in request_["inputs"]:
        tensor.pop("data")
        tensor["parameters"] = {"binary_data_size": len(blob)}
    head = json.dumps(request_).encode()
    accepted(Codec.V2_JSON, head + blob, len(head) + shift, model)
    accepted(Codec.V2_JSON, blob, RAW_BODY_AUX, model)


@settings(max_examples=300)
@given(
    st.dictionaries(
        st.sampled_from(["instances", "inputs", "signature_name", "outputs", "parameters"]),
        VALUES
        | st.lists(VALUES, max_size=4)
        | st.dictionaries(NAMES, st.lists(SCALARS, max_size=3), max_size=3)
        | st.lists(st.dictionaries(NAMES, SCALARS, max_size=3), max_size=3),
        max_size=3,
    )
)
def test_arbitrary_v1_requests_are_refused_or_read(
    model: ModelIdentity, request_: dict[str, Any]
) -> None:
    accepted(Codec.V1_JSON, json.dumps(request_).encode(), 0, model)


@settings(max_examples=200)
@given(REQUESTS, st.lists(st.binary(max_size=40), max_size=3))
def test_arbitrary_grpc_requests_are_refused_or_read(
    model: ModelIdentity, request_: dict[str, Any], raws: list[bytes]
) -> None:
    message = ModelInferRequest(raw_input_contents=raws)
    for tensor in request_["inputs"]:
        shape = [size for size in tensor["shape"] if size < 1 << 63]
        message.inputs.add(name=tensor["name"], datatype=tensor["datatype"], shape=shape)
    accepted(Codec.V2_GRPC, message.SerializeToString(), 0, model)


TF_TENSORS = st.dictionaries(
    st.sampled_from(["dtype", "tensorShape", "tensor_content", "floatVal", "intVal", "halfVal"]),
    st.sampled_from(["DT_FLOAT", "DT_INT32", "DT_HALF", 1, {"dim": [{"size": "2"}]}, [1, 2]])
    | VALUES,
    max_size=4,
)


@settings(max_examples=300)
@given(
    st.dictionaries(
        st.sampled_from(["data", "strData", "binData", "jsonData", "customData", "meta"]),
        VALUES
        | st.fixed_dictionaries(
            {},
            optional={
                "names": st.lists(NAMES, max_size=4),
                "ndarray": st.lists(VALUES | st.lists(SCALARS, max_size=4), max_size=3),
                "tensor": st.fixed_dictionaries(
                    {"shape": st.lists(SIZES, max_size=3), "values": st.lists(SCALARS, max_size=8)}
                ),
                "tftensor": TF_TENSORS,
            },
        ),
        max_size=2,
    )
)
def test_arbitrary_seldon_messages_are_refused_or_read(
    model: ModelIdentity, message: dict[str, Any]
) -> None:
    text = json.dumps(message)
    accepted(Codec.SELDON_JSON, text.encode(), 0, model)
    try:
        encoded = ParseDict(json.loads(text), SeldonMessage()).SerializeToString()
    except (ParseError, TypeError, ValueError, OverflowError):
        return
    accepted(Codec.SELDON_GRPC, encoded, 0, model)


MARKS = st.sampled_from([b"[", b'"', b"-", b"9"])


def parquet_of() -> bytes:
    """A table of four columns."""
    import pyarrow
    import pyarrow.parquet

    file = io.BytesIO()
    columns: dict[str, list[float]] = {"a": [6.8], "b": [2.8], "c": [4.8], "d": [1.4]}
    pyarrow.parquet.write_table(pyarrow.table(columns), file)
    return file.getvalue()


VALID = {
    Codec.V2_JSON: (
        b'{"inputs":[{"name":"input-0","shape":[2,4],"datatype":"FP64",'
        b'"data":[[5.1,3.5,1.4,0.2],[1,2,3,4]]}],"outputs":[{"name":"predict"}]}'
    ),
    Codec.V1_JSON: b'{"instances":[[6.8,2.8,4.8,1.4],[6.0,3.4,4.5,1.6]]}',
    Codec.V2_GRPC: ModelInferRequest(
        model_name="iris",
        inputs=[ModelInferRequest.InferInputTensor(name="input-0", datatype="FP64", shape=[1, 4])],
        raw_input_contents=[bytes(32)],
    ).SerializeToString(),
    Codec.SELDON_JSON: b'{"data":{"names":["a"],"tensor":{"shape":[1,4],"values":[1,2,3,4]}}}',
    Codec.SELDON_GRPC: SeldonMessage(
        data=DefaultData(tensor=SeldonTensor(shape=[1, 4], values=[1, 2, 3, 4]))
    ).SerializeToString(),
    Codec.TFS_GRPC: PredictRequest(
        model_spec={"name": "iris"},
        inputs={
            "input-0": TensorProto(
                dtype="DT_DOUBLE",
                tensor_shape={"dim": [{"size": 1}, {"size": 4}]},
                double_val=[1, 2, 3, 4],
            )
        },
    ).SerializeToString(),
    Codec.TFS_EXAMPLES_JSON: b'{"examples":[{"x":[6.8,2.8,4.8,1.4]},{"x":[6.0,3.4,4.5,1.6]}]}',
    Codec.TFS_EXAMPLES_GRPC: ExamplesRequest(
        model_spec={"name": "iris"},
        input={
            "example_list": {
                "examples": [
                    {"features": {"feature": {"x": {"float_list": {"value": [1, 2, 3, 4]}}}}}
                ]
            }
        },
    ).SerializeToString(),
    Codec.MLFLOW_JSON: b'{"dataframe_split":{"columns":["a","b","c","d"],"data":[[1,2,3,4.5]]}}',
    Codec.MLFLOW_CSV: b"a,b,c,d\n6.8,2.8,4.8,1.4\n",
    Codec.MLFLOW_PARQUET: parquet_of(),
    Codec.GENERATE_JSON: b'{"input-0":[6.8,2.8,4.8,1.4],"parameters":{"k":1}}',
    Codec.V2_FORM: (
        b'--xy\r\nContent-Disposition: form-data; name="input-0"\r\n\r\n[[6.8,2.8,4.8,1.4]]'
        b"\r\n--xy--"
    ),
}


@settings(max_examples=300)
@given(st.sampled_from(list(Codec)), st.data())
def test_mutations_of_valid_requests_are_refused_or_read(
    iris: ModelIdentity, codec: Codec, data: Any
) -> None:
    body = bytearray(VALID[codec])
    assert accepted(codec, bytes(body), 0, iris)
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(body)))
        end = data.draw(st.integers(start, min(len(body), start + 4)))
        body[start:end] = data.draw(
            st.binary(max_size=4) | st.sampled_from([b"[", b'"', b"-", b"9"])
        )
    accepted(codec, bytes(body), 0, iris)


@pytest.mark.parametrize("codec", [each for each in Codec if each is not Codec.MLFLOW_CSV])
def test_every_truncation_is_refused(iris: ModelIdentity, codec: Codec) -> None:
    body = VALID[codec]
    if codec is Codec.SELDON_GRPC:
        body = body + b"\x12\x03\n\x01p"  # a message cut between two fields is a message, too
        assert not any(accepted(codec, body[:size], 0, iris) for size in range(len(body) - 5))
        return
    taken = [size for size in range(len(body)) if accepted(codec, body[:size], 0, iris)]
    assert taken == []
