"""Triton's generate requests and answers."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from salver.errors import InvalidInput
from salver.inference.metadata import ModelMetadata, TensorMetadata
from salver.inference.tensor import InferRequest, InferResponse, Tensor
from salver.protocol.codecs import codec_for
from salver.protocol.materialise import assemble, group_key
from salver.protocol.wire import Codec, ModelIdentity, WireRequest

CODEC = codec_for(Codec.GENERATE_JSON)
LANGUAGE = ModelIdentity(
    "m",
    "3",
    ModelMetadata(
        "test",
        (
            TensorMetadata("text_input", "BYTES", (1,)),
            TensorMetadata("top", "INT32", (-1, 2), optional=True),
            TensorMetadata("heat", "FP32", (1,), optional=True),
        ),
        (TensorMetadata("text_output", "BYTES", (-1,)),),
        batchable=False,
    ),
)
FREE = ModelIdentity("free", "1", ModelMetadata("test", (), (), batchable=False))
POSITIONAL = ModelIdentity(
    "p",
    "1",
    ModelMetadata(
        "test",
        (TensorMetadata("input-0", "BYTES", (), any_shape=True),),
        (),
        positional_input=True,
        batchable=False,
    ),
)


def read(document: Any, model: ModelIdentity = LANGUAGE) -> tuple[WireRequest, InferRequest]:
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    request = CODEC.decode(body, 0, model)
    group_key(request, model)
    return request, assemble([request], model)[0]


def inputs(document: Any, model: ModelIdentity = LANGUAGE) -> dict[str, Any]:
    return {each.name: each.data.tolist() for each in read(document, model)[1].inputs}


def test_inputs_are_members_and_the_rest_are_parameters() -> None:
    request, infer = read(
        {"text_input": "hi", "id": "7", "stream": True, "parameters": {"heat": 0.5, "k": "v"}}
    )
    assert request.id == "7"
    assert [(each.name, each.datatype) for each in infer.inputs] == [
        ("text_input", "BYTES"),
        ("heat", "FP32"),
    ]
    assert infer.inputs[0].data.tolist() == [b"hi"]
    assert infer.inputs[1].data.tolist() == [0.5]
    assert dict(infer.parameters) == {"stream": True, "k": "v"}


def test_a_list_gets_the_dimensions_in_front_that_the_model_has() -> None:
    assert inputs({"text_input": "hi", "top": [1, 2]})["top"] == [[1, 2]]
    assert inputs({"text_input": "hi", "top": [[1, 2], [3, 4]]})["top"] == [[1, 2], [3, 4]]


def test_a_model_without_known_inputs_takes_every_member_for_one() -> None:
    request, infer = read({"a": 1, "b": ["x", "y"], "parameters": {"k": 2}}, FREE)
    assert {each.name: each.data.tolist() for each in infer.inputs} == {"a": [1], "b": [b"x", b"y"]}
    assert request.parameters == {"k": 2}


@pytest.mark.parametrize(
    "document", [{"anything": "hi"}, {"text_input": "hi", "stream": True}, {"input-0": "hi"}]
)
def test_an_input_whose_name_is_made_up_is_called_as_one_likes(document: Any) -> None:
    assert inputs(document, POSITIONAL) == {"input-0": [b"hi"]}


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (b"[1]", "is not a generate request"),
        (b'{"text_input"', "is not a generate request"),
        ({"text_input": "a", "parameters": 3}, "'parameters' is no object"),
        ({"text_input": "a", "parameters": {"text_input": "b"}}, "has 'text_input' twice"),
        ({"text_input": "a", "other": {"x": 1}}, "'other' is no input of the model"),
        ({"parameters": {}}, "lacks the input 'text_input'"),
        ({"text_input": 3}, "text_input"),
        ({"text_input": "a", "top": [1, 2, 3]}, "shape"),
    ],
)
def test_what_is_wrong_is_named(document: Any, message: str) -> None:
    with pytest.raises(InvalidInput, match=message) as caught:
        read(document)
    assert "\n" not in str(caught.value)


def encoded(*outputs: Tensor, request: WireRequest | None = None, **parameters: Any) -> Any:
    response = InferResponse(outputs, parameters)
    return json.loads(CODEC.encode(response, request or WireRequest([]), LANGUAGE).body)


def texts(*values: bytes) -> np.ndarray[Any, Any]:
    array = np.empty(len(values), dtype=np.object_)
    array[:] = values
    return array


def test_one_element_is_a_value_and_more_are_a_flat_list() -> None:
    answer = encoded(
        Tensor("text_output", "BYTES", texts(b"hello")),
        Tensor("scores", "FP64", np.array([[1.0, 2.0], [3.0, np.nan]])),
        Tensor("none", "INT64", np.array([], dtype=np.int64)),
        request=WireRequest([], id="7"),
        finish="length",
    )
    assert list(answer.items()) == [
        ("id", "7"),
        ("model_name", "m"),
        ("model_version", "3"),
        ("finish", "length"),
        ("text_output", "hello"),
        ("scores", [1.0, 2.0, 3.0, None]),
        ("none", []),
    ]


def test_bytes_that_are_no_text_are_base64() -> None:
    assert encoded(Tensor("o", "BYTES", texts(b"\xff")))["o"] == {"b64": "/w=="}


def test_stacked_answers_are_cut_for_each_request() -> None:
    response = InferResponse((Tensor("y", "FP64", np.array([1.0, 2.0, 3.0])),))
    requests = [WireRequest([], id="a"), WireRequest([])]
    bodies = [
        json.loads(each.body) for each in CODEC.encode_rows(response, requests, [1, 2], LANGUAGE)
    ]
    assert [each["y"] for each in bodies] == [1.0, [2.0, 3.0]]
    assert [each.get("id") for each in bodies] == ["a", None]
