"""V2 JSON and the binary tensor extension: golden bytes, and tritonclient's own codec."""

from __future__ import annotations

import json
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import tritonclient.http as triton
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from salver.errors import InvalidInput, ModelFailed
from salver.inference.metadata import ModelMetadata, TensorMetadata
from salver.inference.tensor import NUMPY_TYPES, InferResponse, Tensor
from salver.protocol.codecs import codec_for
from salver.protocol.wire import RAW_BODY_AUX, Codec, ModelIdentity, WireRequest

V2 = Codec.V2_JSON
IRIS_ROW = (
    b'{"inputs":[{"name":"input-0","shape":[1,4],"datatype":"FP64","data":[5.1,3.5,1.4,0.2]}]}'
)
TWO_ROWS = (
    b'{"id":"a\\"b","inputs":[{"name":"input-0","shape":[2,4],"datatype":"FP64",'
    b'"data":[[6.8,2.8,4.8,1.4],[6.0,3.4,4.5,1.6]]}]}'
)


def test_one_row_is_answered_with_the_keys_in_tritons_order(answer: Any, iris: Any) -> None:
    [response] = answer(V2, [IRIS_ROW], iris)
    assert response.body == (
        b'{"model_name":"iris","model_version":"1","outputs":'
        b'[{"name":"predict","datatype":"INT64","shape":[1],"data":[10]}]}'
    )
    assert response.json_length == 0


def test_stacked_requests_each_get_their_rows_and_their_id(answer: Any, iris: Any) -> None:
    one, two, three = answer(V2, [IRIS_ROW, TWO_ROWS, IRIS_ROW], iris)
    assert one.body == three.body == answer(V2, [IRIS_ROW], iris)[0].body
    assert two.body == (
        b'{"id":"a\\"b","model_name":"iris","model_version":"1","outputs":'
        b'[{"name":"predict","datatype":"INT64","shape":[2],"data":[15,15]}]}'
    )


def test_tritons_captured_exchange_is_answered_as_captured(answer: Any) -> None:
    model = ModelIdentity(
        "sum",
        "1",
        ModelMetadata(
            "python",
            (TensorMetadata("INPUT0", "FP32", (-1, 4)),),
            (TensorMetadata("OUTPUT0", "FP32", (-1, 1)),),
        ),
    )
    body = (
        b'{"id":"7","inputs":[{"name":"INPUT0","shape":[1,4],"datatype":"FP32","data":[1,2,3,4]}]}'
    )
    [response] = answer(
        V2,
        [body],
        model,
        lambda request: InferResponse(
            (Tensor("OUTPUT0", "FP32", request.inputs[0].data.sum(axis=1, keepdims=True)),)
        ),
    )
    assert response.body == (
        b'{"id":"7","model_name":"sum","model_version":"1","outputs":'
        b'[{"name":"OUTPUT0","datatype":"FP32","shape":[1,1],"data":[10.0]}]}'
    )


def test_mlservers_documented_example_is_taken_by_any_input_name(answer: Any, iris: Any) -> None:
    body = json.dumps(
        {
            "inputs": [
                {
                    "name": "predict",
                    "shape": [1, 4],
                    "datatype": "FP32",
                    "data": [[0.0, 0.0, 1.0, 11.0]],
                }
            ]
        }
    ).encode()
    assert json.loads(answer(V2, [body], iris)[0].body)["outputs"][0]["data"] == [12]


def test_named_outputs_come_in_the_order_asked_for(answer: Any, iris: Any) -> None:
    body = IRIS_ROW[:-1] + b',"outputs":[{"name":"predict_proba"},{"name":"predict"}]}'
    first, second = answer(V2, [body, body], iris)
    assert first == second
    outputs = json.loads(first.body)["outputs"]
    assert [(o["name"], o["shape"], o["data"]) for o in outputs] == [
        ("predict_proba", [1, 3], [0.25, 0.5, 0.25]),
        ("predict", [1], [10]),
    ]


@pytest.mark.parametrize("requests", [1, 2])
def test_nan_in_an_output_is_null(answer: Any, iris: Any, requests: int) -> None:
    nan = np.full((requests, 2), np.nan, np.float32)
    responses = answer(
        V2, [IRIS_ROW] * requests, iris, lambda _: InferResponse((Tensor("p", "FP32", nan),))
    )
    assert b'"data":[null,null]' in responses[0].body


@pytest.mark.parametrize("requests", [1, 3])
def test_float32_is_written_in_its_shortest_form(answer: Any, iris: Any, requests: int) -> None:
    data = np.full((requests,), 0.1, np.float32)
    responses = answer(
        V2, [IRIS_ROW] * requests, iris, lambda _: InferResponse((Tensor("p", "FP32", data),))
    )
    assert all(b'"data":[0.1]' in response.body for response in responses)


def test_response_and_output_parameters_are_written(answer: Any, iris: Any) -> None:
    response = InferResponse(
        (Tensor("p", "INT64", np.zeros(2, np.int64), {"content_type": "np"}),), {"k": 1}
    )
    for encoded in answer(V2, [IRIS_ROW, IRIS_ROW], iris, lambda _: response):
        assert encoded.body == (
            b'{"model_name":"iris","model_version":"1","parameters":{"k":1},"outputs":[{"name":"p",'
            b'"datatype":"INT64","shape":[1],"parameters":{"content_type":"np"},"data":[0]}]}'
        )


@pytest.mark.parametrize("requests", [1, 2])
def test_a_response_without_outputs_is_an_empty_list(answer: Any, iris: Any, requests: int) -> None:
    for encoded in answer(V2, [IRIS_ROW] * requests, iris, lambda _: InferResponse(())):
        assert json.loads(encoded.body)["outputs"] == []


def test_several_outputs_of_uneven_requests_are_split(answer: Any, iris: Any) -> None:
    response = InferResponse(
        (
            Tensor("p", "FP64", np.arange(12.0).reshape(3, 2, 2)),
            Tensor("s", "BYTES", np.array([[b"a"], [b"\xc3\xa9"], [b'"']], object)),
        )
    )
    two, one = answer(V2, [TWO_ROWS, IRIS_ROW], iris, lambda _: response)
    outputs = json.loads(two.body)["outputs"]
    assert [(o["shape"], o["data"]) for o in outputs] == [
        ([2, 2, 2], [0, 1, 2, 3, 4, 5, 6, 7]),
        ([2, 1], ["a", "é"]),
    ]
    assert [o["data"] for o in json.loads(one.body)["outputs"]] == [[8, 9, 10, 11], ['"']]


def test_an_output_with_empty_rows_is_split(answer: Any, iris: Any) -> None:
    response = InferResponse((Tensor("p", "FP64", np.zeros((2, 0))),))
    for encoded in answer(V2, [IRIS_ROW, IRIS_ROW], iris, lambda _: response):
        assert json.loads(encoded.body)["outputs"][0]["shape"] == [1, 0]


def test_an_output_with_too_few_rows_is_the_models_fault(answer: Any, iris: Any) -> None:
    response = InferResponse((Tensor("p", "INT64", np.zeros(1, np.int64)),))
    with pytest.raises(ModelFailed, match=r"output 'p' of model 'iris' has shape \[1\] for 2 rows"):
        answer(V2, [IRIS_ROW, IRIS_ROW], iris, lambda _: response)


def test_bytes_that_are_not_utf8_are_refused_in_json_and_sent_as_binary(
    answer: Any, iris: Any
) -> None:
    response = InferResponse((Tensor("p", "BYTES", np.array([b"\xff"], object)),))
    with pytest.raises(InvalidInput, match="not UTF-8"):
        answer(V2, [IRIS_ROW], iris, lambda _: response)
    body = IRIS_ROW[:-1] + b',"parameters":{"binary_data_output":true}}'
    [encoded] = answer(V2, [body], iris, lambda _: response)
    assert encoded.body[encoded.json_length :] == b"\x01\0\0\0\xff"


@pytest.mark.parametrize(
    ("body", "fact"),
    [
        (b"", "truncated"),
        (b"{", "truncated"),
        (b"[]", "Expected `object`"),
        (b"{}", "missing required field `inputs`"),
        (b'{"inputs":[{"name":"x"}]}', "missing required field `shape`"),
        (b'{"inputs":[{"name":1,"shape":[],"datatype":"FP32"}]}', "Expected `str`"),
        (b'{"inputs":[{"name":"x","shape":[1.5],"datatype":"FP32"}]}', "Expected `int`"),
        (b'{"inputs":[{"name":"\xff"}]}', "utf-8"),
        (
            b'{"inputs":[{"name":"x","shape":[1],"datatype":"FP32","data":' + b"[" * 100_000,
            "nested too deeply",
        ),
        (b'{"inputs":NaN}', "not a V2 inference request"),
        (b'{"inputs":[{"name":"x","shape":[1],"datatype":"FP32","data":[1e400]}]}', "range"),
    ],
)
def test_what_is_no_request_is_refused_with_the_reason(iris: Any, body: bytes, fact: str) -> None:
    with pytest.raises(InvalidInput, match=fact) as caught:
        codec_for(V2).decode(body, 0, iris)
    assert "iris" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_nan_literals_of_pythons_json_module_are_read(one_request: Any, pair: Any) -> None:
    body = json.dumps(
        {
            "inputs": [
                {"name": "a", "shape": [1, 2], "datatype": "FP32", "data": [float("nan"), 1]},
                {"name": "b", "shape": [1], "datatype": "INT64", "data": [1]},
            ]
        }
    ).encode()
    data = one_request(V2, body, pair).inputs[0].data
    assert np.isnan(data[0, 0]) and data[0, 1] == 1


def test_a_binary_tensor_is_read_and_answered_in_binary(answer: Any, iris: Any) -> None:
    raw = np.array([[1, 2, 3, 4]], "<f4").tobytes()
    head = (
        b'{"inputs":[{"name":"x","shape":[1,4],"datatype":"FP32","parameters":'
        b'{"binary_data_size":16}}],"outputs":[{"name":"predict","parameters":'
        b'{"binary_data":true}},{"name":"predict_proba"}]}'
    )
    for encoded in answer(V2, [(head + raw, len(head))] * 2, iris):
        outputs = json.loads(encoded.body[: encoded.json_length])["outputs"]
        assert outputs[0]["parameters"] == {"binary_data_size": 8} and "data" not in outputs[0]
        assert outputs[1]["data"] == [0.25, 0.5, 0.25]
        assert encoded.body[encoded.json_length :] == (10).to_bytes(8, "little")


def _binary(size: object, raw: bytes, **fields: Any) -> tuple[bytes, int]:
    tensor = {"name": "x", "shape": [1, 4], "datatype": "FP32"}
    tensor |= {"parameters": {"binary_data_size": size}, **fields}
    head = json.dumps({"inputs": [tensor]}).encode()
    return head + raw, len(head)


@pytest.mark.parametrize(
    ("body", "aux", "fact"),
    [
        (*_binary(16, b"\0" * 15), "binary_data_size 16, 15 bytes are left"),
        (*_binary(16, b"\0" * 17), "1 bytes after its last"),
        (*_binary(-1, b""), "binary_data_size -1"),
        (*_binary("16", b"\0" * 16), "binary_data_size 16"),
        (*_binary(True, b"\0"), "binary_data_size True"),
        (*_binary(1 << 70, b""), "too much"),
        (*_binary(16, b"\0" * 16, data=[1]), "both data and"),
        (_binary(16, b"\0" * 16)[0], 1000, "Inference-Header-Content-Length says 1000"),
        (_binary(16, b"\0" * 16)[0], -2, "says -2"),
        (_binary(16, b"\0" * 16)[0], 5, "truncated"),
    ],
)
def test_a_wrong_binary_length_is_refused_with_the_numbers(
    iris: Any, body: bytes, aux: int, fact: str
) -> None:
    with pytest.raises(InvalidInput, match=fact):
        codec_for(V2).decode(body, aux, iris)


def test_binary_data_size_without_the_header_is_refused(one_request: Any, iris: Any) -> None:
    body, aux = _binary(16, b"\0" * 16)
    with pytest.raises(InvalidInput, match="Inference-Header-Content-Length"):
        one_request(V2, body[:aux], iris)


def test_a_raw_body_is_the_one_inputs_bytes(answer: Any, iris: Any) -> None:
    raw = np.arange(8, dtype="<f8").tobytes()
    [encoded] = answer(V2, [(raw, RAW_BODY_AUX)], iris)
    assert json.loads(encoded.body[: encoded.json_length])["outputs"][0]["shape"] == [2]
    assert np.frombuffer(encoded.body[encoded.json_length :], "<i8").tolist() == [6, 22]


def _raw_model(*inputs: TensorMetadata) -> ModelIdentity:
    return ModelIdentity("raw", "1", ModelMetadata("x", inputs, (), batchable=False))


def test_a_raw_body_for_a_string_input_is_one_string(one_request: Any) -> None:
    model = _raw_model(TensorMetadata("x", "BYTES", (1,)))
    assert one_request(V2, b"whole", model, RAW_BODY_AUX).inputs[0].data.tolist() == [b"whole"]


@pytest.mark.parametrize(
    ("model", "fact"),
    [
        (_raw_model(), "has 0 inputs"),
        (_raw_model(TensorMetadata("x", "FP32", (-1, -1))), r"shape \[-1,-1\]"),
        (_raw_model(TensorMetadata("x", "FP32", (), any_shape=True)), r"shape \[\]"),
        (_raw_model(TensorMetadata("x", "FP32", (-1, 3))), "5 bytes of binary data"),
        (_raw_model(TensorMetadata("x", "FP32", (3,))), "5 bytes of binary data"),
        (_raw_model(TensorMetadata("x", "FP32", (-1, 0))), "5 bytes|-1"),
    ],
)
def test_a_raw_body_that_does_not_settle_the_input_is_refused(
    one_request: Any, model: ModelIdentity, fact: str
) -> None:
    with pytest.raises(InvalidInput, match=fact):
        one_request(V2, b"12345", model, RAW_BODY_AUX)


TRITON_TYPES = [
    *("BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64"),
    *("FP16", "FP32", "FP64", "BF16"),
]


@given(st.data(), st.sampled_from(TRITON_TYPES), st.booleans(), st.booleans())
def test_what_tritonclient_writes_comes_back_to_it_unchanged(
    answer: Any, echo: Any, data: Any, datatype: str, binary_in: bool, binary_out: bool
) -> None:
    shape = data.draw(arrays.array_shapes(max_dims=3, max_side=4))
    array = data.draw(arrays.arrays(NUMPY_TYPES[datatype], shape))
    binary_in = binary_in or datatype in ("FP16", "BF16")
    if array.dtype.kind == "f":
        limit = 100.0 if datatype == "FP16" else 1e30
        array = np.clip(np.nan_to_num(array), -limit, limit).astype(array.dtype)
    if datatype == "BF16":
        array = array.astype(ml_dtypes.bfloat16)
    tensor = triton.InferInput("x", list(shape), datatype)
    tensor.set_data_from_numpy(array, binary_data=binary_in)
    outputs = [triton.InferRequestedOutput("x", binary_data=binary_out or datatype == "BF16")]
    body, length = triton.InferenceServerClient.generate_request_body([tensor], outputs=outputs)
    [encoded] = answer(
        V2, [(body, length or 0)], echo, lambda request: InferResponse(request.inputs)
    )
    result = triton.InferenceServerClient.parse_response_body(
        encoded.body, header_length=encoded.json_length or None
    )
    np.testing.assert_array_equal(result.as_numpy("x"), array)


@given(st.lists(st.text() | st.binary(), min_size=1, max_size=5), st.booleans())
def test_strings_of_tritonclient_come_back_unchanged(
    answer: Any, echo: Any, values: list[str | bytes], binary_in: bool
) -> None:
    encoded_values = [v.encode("utf-8", "replace") if isinstance(v, str) else v for v in values]
    array = np.array(encoded_values, dtype=object)
    tensor = triton.InferInput("x", [len(values)], "BYTES")
    is_text = all(_is_text(value) for value in encoded_values)
    tensor.set_data_from_numpy(array, binary_data=binary_in or not is_text)
    body, length = triton.InferenceServerClient.generate_request_body([tensor])
    [encoded] = answer(
        V2, [(body, length or 0)], echo, lambda request: InferResponse(request.inputs)
    )
    if not encoded.json_length:
        data = json.loads(encoded.body)["outputs"][0]["data"]
        assert [text.encode() for text in data] == encoded_values
        return
    result = triton.InferenceServerClient.parse_response_body(
        encoded.body, header_length=encoded.json_length
    )
    assert result.as_numpy("x").tolist() == encoded_values


def _is_text(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True


@given(st.lists(st.integers(1, 4), min_size=1, max_size=8))
def test_a_stack_is_answered_as_each_request_alone_is(
    answer: Any, iris: Any, counts: list[int]
) -> None:
    bodies = []
    for index, count in enumerate(counts):
        data = [float(index + i) for i in range(4 * count)]
        tensor = {"name": "x", "shape": [count, 4], "datatype": "FP64", "data": data}
        request: dict[str, Any] = {"inputs": [tensor], "outputs": [{"name": "predict"}]}
        bodies.append(json.dumps(request | ({"id": str(index)} if index % 2 else {})).encode())
    assert answer(V2, bodies, iris) == [answer(V2, [body], iris)[0] for body in bodies]


def test_half_a_surrogate_pair_beside_nan_is_no_text(iris: Any) -> None:
    body = IRIS_ROW.replace(b"5.1", b"NaN")
    assert codec_for(V2).decode(body, 0, iris).inputs[0].name == "input-0"
    with pytest.raises(InvalidInput, match="not a V2 inference request"):
        codec_for(V2).decode(body[:-1] + b',"id":"\\ud800"}', 0, iris)


def test_a_memoryview_is_decoded_like_bytes(iris: Any) -> None:
    decoded = codec_for(V2).decode(memoryview(IRIS_ROW), 0, iris)
    assert decoded == codec_for(V2).decode(IRIS_ROW, 0, iris)
    assert isinstance(decoded, WireRequest)
