"""V1 JSON: KServe's and TensorFlow Serving's documented requests."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from salver.errors import InvalidInput
from salver.inference.metadata import ModelMetadata, TensorMetadata
from salver.inference.tensor import InferResponse, Tensor
from salver.protocol.codecs import codec_for
from salver.protocol.wire import Codec, ModelIdentity

V1 = Codec.V1_JSON
KSERVE_IRIS = b'{"instances": [[6.8, 2.8, 4.8, 1.4], [6.0, 3.4, 4.5, 1.6]]}'


def body(**fields: Any) -> bytes:
    return json.dumps(fields).encode()


def inputs_of(one_request: Any, model: Any, **fields: Any) -> list[tuple[str, str, Any]]:
    request = one_request(V1, body(**fields), model)
    return [(t.name, t.datatype, t.data.tolist()) for t in request.inputs]


def test_kserves_documented_request_is_answered_with_predictions(answer: Any, iris: Any) -> None:
    assert answer(V1, [KSERVE_IRIS], iris)[0].body == b'{"predictions":[15,15]}'


def test_stacked_requests_are_answered_as_alone(answer: Any, iris: Any) -> None:
    bodies = [KSERVE_IRIS, body(instances=[[1, 2, 3, 4]]), KSERVE_IRIS]
    assert answer(V1, bodies, iris) == [answer(V1, [one], iris)[0] for one in bodies]


@pytest.mark.parametrize(
    "how", [{"signature_name": "predict_proba"}, {"outputs": ["predict_proba"]}]
)
def test_an_output_is_picked_by_signature_or_name(
    answer: Any, iris: Any, how: dict[str, Any]
) -> None:
    one = body(instances=[[1, 2, 3, 4]], **how)
    for encoded in (*answer(V1, [one, one], iris), *answer(V1, [one], iris)):
        assert encoded.body == b'{"predictions":[[0.25,0.5,0.25]]}'


def test_the_default_signature_gives_the_default_outputs(answer: Any, iris: Any) -> None:
    one = body(instances=[[1, 2, 3, 4]], signature_name="serving_default")
    assert answer(V1, [one], iris)[0].body == b'{"predictions":[10]}'


def test_several_outputs_make_each_prediction_an_object(answer: Any, iris: Any) -> None:
    one = body(instances=[[1, 2, 3, 4]], outputs=["predict", "predict_proba"])
    for encoded in (*answer(V1, [one, one], iris), *answer(V1, [one], iris)):
        assert json.loads(encoded.body) == {
            "predictions": [{"predict": 10, "predict_proba": [0.25, 0.5, 0.25]}]
        }


def test_outputs_that_disagree_on_rows_make_one_object(answer: Any, echo: Any) -> None:
    response = InferResponse((Tensor("a", "FP64", np.zeros(2)), Tensor("b", "FP64", np.array(1.0))))
    [encoded] = answer(V1, [body(instances=[1])], echo, lambda _: response)
    assert json.loads(encoded.body) == {"predictions": {"a": [0, 0], "b": 1}}


@pytest.mark.parametrize("requests", [1, 2])
def test_nan_strings_bytes_and_deep_outputs_are_written(
    answer: Any, iris: Any, requests: int
) -> None:
    one = body(instances=[[1, 2, 3, 4]])
    outputs = {
        "[[[null,1.5]]]": Tensor("p", "FP64", np.array([[[np.nan, 1.5]]] * requests)),
        '["\u00e9"]': Tensor("p", "BYTES", np.array(["\u00e9".encode()] * requests, object)),
        '[{"b64":"/w=="}]': Tensor("p", "BYTES", np.array([b"\xff"] * requests, object)),
        '[{"a":[1]}]': Tensor(
            "p", "BYTES", np.array([b'{"a":[1]}'] * requests, object), {"content_type": "json"}
        ),
        "[[]]": Tensor("p", "FP32", np.zeros((requests, 0), np.float32)),
    }
    for text, tensor in outputs.items():
        response = InferResponse((tensor,))
        for encoded in answer(V1, [one] * requests, iris, lambda _, r=response: r):
            assert encoded.body == f'{{"predictions":{text}}}'.encode()


def test_the_columnar_form_is_answered_in_it(answer: Any, iris: Any) -> None:
    one = body(inputs=[[1, 2, 3, 4]])
    assert {r.body for r in answer(V1, [one, one], iris)} == {b'{"outputs":[10]}'}
    both = body(inputs={"input-0": [[1, 2, 3, 4]]}, outputs=["predict", "predict_proba"])
    assert json.loads(answer(V1, [both], iris)[0].body) == {
        "outputs": {"predict": [10], "predict_proba": [[0.25, 0.5, 0.25]]}
    }


def test_records_become_columns(one_request: Any, housing: Any) -> None:
    wanted = [("rooms", "FP64", [3.0, 4.5]), ("town", "BYTES", [b"A", b"B"])]
    records = [{"town": "A", "rooms": 3}, {"rooms": 4.5, "town": "B"}]
    assert inputs_of(one_request, housing, instances=records) == wanted
    columns = {"town": ["A", "B"], "rooms": [[3], [4.5]]}
    assert inputs_of(one_request, housing, inputs=columns) == wanted


def test_objects_of_inputs_become_the_inputs(one_request: Any, pair: Any) -> None:
    wanted = [("a", "FP32", [[1, 2], [3, 4]]), ("b", "INT64", [5, 6])]
    records = [{"a": [1, 2], "b": 5}, {"a": [3, 4], "b": 6}]
    assert inputs_of(one_request, pair, instances=records) == wanted
    assert inputs_of(one_request, pair, inputs={"a": [[1, 2], [3, 4]], "b": [5, 6]}) == wanted


def _strings() -> ModelIdentity:
    metadata = ModelMetadata("x", (TensorMetadata("text", "BYTES", (-1,)),), ())
    return ModelIdentity("strings", "1", metadata)


def test_strings_and_base64_reach_a_string_input(one_request: Any) -> None:
    values = ["a", "\u00e9"]
    expected = [("text", "BYTES", [b"a", b"\xc3\xa9"])]
    assert inputs_of(one_request, _strings(), instances=values) == expected
    encoded = [{"b64": "/w=="}, {"b64": "YQ=="}]
    assert inputs_of(one_request, _strings(), instances=encoded) == [
        ("text", "BYTES", [b"\xff", b"a"])
    ]
    nested = codec_for(V1).decode(body(instances=[[{"b64": "YQ=="}]]), 0, _strings())
    assert nested.inputs[0].data == [[b"a"]] and nested.inputs[0].shape == (1, 1)
    with pytest.raises(InvalidInput, match="nested too deeply"):
        codec_for(V1).decode(b'{"instances":' + b"[" * 50 + b"]" * 50 + b"}", 0, _strings())
    with pytest.raises(InvalidInput, match="'b64' that is not base64"):
        inputs_of(one_request, _strings(), instances=[{"b64": 5}])


@pytest.mark.parametrize(
    ("instances", "datatype", "data"),
    [
        ([1, 2], "INT64", [1, 2]),
        ([[1, 2.5]], "FP64", [[1, 2.5]]),
        ([True], "BOOL", [True]),
        (["a"], "BYTES", [b"a"]),
        ([{"k": [1]}, {"z": None}], "BYTES", [b'{"k":[1]}', b'{"z":null}']),
        ([[1], [2, 3]], "BYTES", [b"[1]", b"[2,3]"]),
        ([1, "a"], "BYTES", [b"1", b'"a"']),
        ([{"x": 5}], "INT64", [5]),
        ([[]], "BYTES", [b"[]"]),
    ],
)
def test_a_python_model_gets_what_the_instances_are(
    one_request: Any, echo: Any, instances: list[Any], datatype: str, data: Any
) -> None:
    request = one_request(V1, body(instances=instances), echo)
    [tensor] = request.inputs
    assert (tensor.name, tensor.datatype, tensor.data.tolist()) == ("x", datatype, data)
    is_json = datatype == "BYTES" and instances != ["a"]
    assert tensor.parameters.get("content_type") == ("json" if is_json else None)


def test_a_model_that_says_nothing_gets_the_instances(one_request: Any) -> None:
    model = ModelIdentity("free", "1", ModelMetadata("python", (), ()))
    assert inputs_of(one_request, model, instances=[[1]]) == [("instances", "INT64", [[1]])]
    assert inputs_of(one_request, model, inputs=[[1]]) == [("inputs", "INT64", [[1]])]
    columns = [("a", "INT64", [1, 2]), ("b", "BYTES", [b"x", b"y"])]
    records = [{"a": 1, "b": "x"}, {"b": "y", "a": 2}]
    assert inputs_of(one_request, model, instances=records) == columns
    assert inputs_of(one_request, model, inputs={"a": [1, 2], "b": ["x", "y"]}) == columns
    mixed = [{"a": 1}, {"b": 2}]
    texts = [b'{"a":1}', b'{"b":2}']
    assert inputs_of(one_request, model, instances=mixed) == [("instances", "BYTES", texts)]


@pytest.mark.parametrize(
    ("datatypes", "instances", "expected"),
    [
        (("FP32",), [1, 2], "FP32"),
        (("FP64", "FP32"), [1], "FP64"),
        (("INT64",), [1], "INT64"),
        (("UINT8",), [True], "UINT8"),
    ],
)
def test_an_input_of_any_shape_gets_a_datatype_that_it_takes(
    datatypes: tuple[Any, ...], instances: list[Any], expected: str
) -> None:
    spec = TensorMetadata("x", datatypes[0], (), any_shape=True, accepts=datatypes[1:])
    model = ModelIdentity("m", "1", ModelMetadata("x", (spec,), ()))
    request = codec_for(V1).decode(body(instances=instances), 0, model)
    assert request.inputs[0].datatype == expected


@pytest.mark.parametrize(
    ("text", "fact"),
    [
        (b"", "not a V1 inference request"),
        (b"[1]", "not a V1 inference request"),
        (b"{}", "'instances' of the request to model 'iris' is missing"),
        (b'{"instances":[]}', "is an empty list"),
        (b'{"instances":{}}', "is no list"),
        (b'{"instances":[[1,2,3]]}', r"shape \[1,3\]"),
        (b'{"instances":[[1,2,3,4],[1]]}', "1 entries on axis 1"),
        (b'{"instances":[1]}', r"put the number of rows first|shape \[1\]"),
        (b'{"instances":[[1,2,3,NaN]]}', "has NaN at"),
        (b'{"instances":[["a","b","c","d"]]}', "the string 'a'"),
        (b'{"instances":[{"nope":1}]}', "takes FP64"),
        (b'{"instances":[[1,2,3,4]],"signature_name":"x"}', "no signature 'x'"),
        (b'{"instances":[[1,2,3,4]],"outputs":["x"]}', "output 'x'"),
        (b'{"inputs":5}', "is no list"),
        (b'{"inputs":{"input-0":5}}', "'input-0' in 'inputs'"),
        (b'{"instances":' + b"[" * 50_000, "nested too deeply"),
    ],
)
def test_what_does_not_fit_is_refused(one_request: Any, iris: Any, text: bytes, fact: str) -> None:
    with pytest.raises(InvalidInput, match=fact):
        one_request(V1, text, iris)


def test_uneven_records_are_refused_by_their_number(one_request: Any, housing: Any) -> None:
    for second in ({"rooms": 1}, 5, {"rooms": 1, "town": "A", "more": 1}):
        records = [{"rooms": 1, "town": "A"}, second]
        with pytest.raises(InvalidInput, match="instance 1 of the request to model 'housing'"):
            inputs_of(one_request, housing, instances=records)
    with pytest.raises(InvalidInput, match=r"'rooms' .* mixes kinds of values"):
        inputs_of(one_request, housing, inputs={"rooms": [1, "a"], "town": ["a", "b"]})


def test_plain_rows_for_several_inputs_are_refused(one_request: Any, pair: Any) -> None:
    with pytest.raises(InvalidInput, match="the model has 3 inputs: send objects with 'a', 'b'"):
        inputs_of(one_request, pair, instances=[[1, 2]])
    with pytest.raises(InvalidInput, match=r"'inputs' .* is no object"):
        inputs_of(one_request, pair, inputs=[[1, 2]])


def test_any_depth_is_passed_on_or_refused(one_request: Any, echo: Any) -> None:
    outcomes = set()
    for depth in range(900, 1010):
        text = b'{"instances":[{"a":' + b"[" * depth + b"]" * depth + b"}]}"
        try:
            [tensor] = one_request(V1, text, echo).inputs
        except InvalidInput:
            outcomes.add("refused")
        else:
            assert tensor.data[0] == text[14:-2]
            outcomes.add("passed")
    assert outcomes == {"refused", "passed"}


def test_half_a_surrogate_pair_is_no_text(one_request: Any, echo: Any) -> None:
    with pytest.raises(InvalidInput, match="not a V1 inference request"):
        one_request(V1, b'{"instances":[NaN,"\\ud800"]}', echo)
    fine = one_request(V1, b'{"instances":[NaN,"\\u00e9"]}', echo)
    assert fine.inputs[0].data.tolist() == [b"null", b'"\xc3\xa9"']
