"""TensorFlow Serving's requests and answers: Predict, Classify, Regress, MultiInference."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from salver.errors import InvalidInput
from salver.inference.metadata import ModelMetadata, SignatureMetadata, TensorMetadata
from salver.inference.tensor import InferRequest, InferResponse, Tensor
from salver.protocol import tfs_pb2 as pb
from salver.protocol.codecs import codec_for
from salver.protocol.materialise import assemble, group_key
from salver.protocol.tfs_signatures import CLASSIFY, PREDICT, version_number
from salver.protocol.wire import Codec, ModelIdentity, WireRequest
from salver.protocol.wire_codes import FIRST_TASK_AUX, REGRESS_AUX

X = TensorMetadata("input-0", "FP64", (-1, 2), accepts=("FP32", "INT64"))
PROBA = TensorMetadata("predict_proba", "FP64", (-1, 2), labels=("no", "yes"))
LABEL = TensorMetadata("predict", "INT64", (-1,))
CLASSIFIER = ModelMetadata(
    "sklearn", (X,), (LABEL, PROBA), default_outputs=("predict",), positional_input=True
)
VALUE = TensorMetadata("predict", "FP64", (-1,))


def model(metadata: ModelMetadata, version: str = "3") -> ModelIdentity:
    return ModelIdentity("m", version, metadata)


def taken(
    codec: Codec, body: bytes, of: ModelIdentity, aux: int = 0
) -> tuple[WireRequest, InferRequest]:
    request = codec_for(codec).decode(body, aux, of)
    group_key(request, of)
    return request, assemble([request], of)[0]


def answer(*outputs: tuple[str, Any]) -> InferResponse:
    kinds = {"i": "INT64", "f": "FP64", "O": "BYTES"}
    return InferResponse(
        tuple(
            Tensor(name, kinds[np.asarray(data).dtype.kind], np.asarray(data))  # type: ignore[arg-type]
            for name, data in outputs
        )
    )


def predict_request(signature: str = "", wanted: tuple[str, ...] = ()) -> bytes:
    message = pb.PredictRequest(
        model_spec={"name": "m", "signature_name": signature}, output_filter=wanted
    )
    tensor = pb.TensorProto(
        dtype="DT_FLOAT",
        tensor_shape={"dim": [{"size": 1}, {"size": 2}]},
        float_val=[1.0, 2.0],
    )
    message.inputs["x"].CopyFrom(tensor)
    return message.SerializeToString()


def test_a_predict_request_is_answered_with_what_answered_it() -> None:
    request, asked = taken(Codec.TFS_GRPC, predict_request(), model(CLASSIFIER))
    assert asked.inputs[0].data.tolist() == [[1.0, 2.0]]
    assert asked.outputs == ()
    encoded = codec_for(Codec.TFS_GRPC).encode(
        answer(("predict", np.array([1]))), request, model(CLASSIFIER)
    )
    found = pb.PredictResponse.FromString(encoded.body)
    assert list(found.outputs["predict"].int64_val) == [1]
    spec = found.model_spec
    assert (spec.name, spec.version.value, spec.signature_name) == ("m", 3, "serving_default")


def test_a_captured_request_is_understood() -> None:
    captured = bytes.fromhex(
        "0a180a016d120208031a0f73657276696e675f64656661756c74"
        "121b0a0178121608011208120208011202080222080000803f00000040"
    )
    _, asked = taken(Codec.TFS_GRPC, captured, model(CLASSIFIER))
    assert asked.inputs[0].data.tolist() == [[1.0, 2.0]]


@pytest.mark.parametrize(
    "body", [predict_request("predict_proba"), predict_request("", ("predict_proba",))]
)
def test_an_output_is_chosen_by_filter_or_by_signature(body: bytes) -> None:
    assert taken(Codec.TFS_GRPC, body, model(CLASSIFIER))[1].outputs == ("predict_proba",)


def test_an_unknown_signature_is_refused_with_those_there_are() -> None:
    with pytest.raises(InvalidInput, match=r"no signature 'nope'.*predict, predict_proba"):
        taken(Codec.TFS_GRPC, predict_request("nope"), model(CLASSIFIER))


def test_what_is_no_message_is_refused() -> None:
    for codec in (Codec.TFS_GRPC, Codec.TFS_EXAMPLES_GRPC):
        with pytest.raises(InvalidInput, match="not a"):
            codec_for(codec).decode(b"\xff\xff", 0, model(CLASSIFIER))


SIGNED = ModelMetadata(
    "tensorflow",
    (TensorMetadata("a", "FP32", (-1,)),),
    (TensorMetadata("b", "FP32", (-1,)),),
    signatures=(
        SignatureMetadata(
            "serving_default",
            PREDICT,
            (TensorMetadata("a", "FP32", (-1,)),),
            (TensorMetadata("b", "FP32", (-1,)),),
        ),
        SignatureMetadata(
            "other",
            CLASSIFY,
            (TensorMetadata("x", "FP32", (-1, 2)),),
            (
                TensorMetadata("classes", "BYTES", (-1, 2)),
                TensorMetadata("scores", "FP32", (-1, 2)),
            ),
        ),
    ),
)


def test_a_signature_of_the_models_own_has_inputs_of_its_own() -> None:
    _, asked = taken(Codec.TFS_GRPC, predict_request("other"), model(SIGNED))
    assert asked.parameters == {"signature_name": "other"}
    with pytest.raises(InvalidInput, match="unknown input 'x'"):
        taken(Codec.TFS_GRPC, predict_request(), model(SIGNED))
    with pytest.raises(InvalidInput, match="name one of serving_default, other"):
        taken(Codec.TFS_GRPC, predict_request("nope"), model(SIGNED))


def test_v1_and_v2_choose_signatures_too() -> None:
    body = {"signature_name": "other", "instances": [{"x": [1, 2]}]}
    _, asked = taken(Codec.V1_JSON, json.dumps(body).encode(), model(SIGNED))
    assert asked.parameters == {"signature_name": "other"}
    tensor = {"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}
    v2 = {"parameters": {"signature_name": "other"}, "inputs": [tensor]}
    assert taken(Codec.V2_JSON, json.dumps(v2).encode(), model(SIGNED))[1].inputs[0].name == "x"
    with pytest.raises(InvalidInput, match="no signature 'nope'"):
        body["signature_name"] = "nope"
        taken(Codec.V1_JSON, json.dumps(body).encode(), model(SIGNED))


def test_classify_means_the_signature_that_classifies() -> None:
    body = json.dumps({"examples": [{"x": [1, 2]}]}).encode()
    request, asked = taken(Codec.TFS_EXAMPLES_JSON, body, model(SIGNED))
    assert asked.parameters == {"signature_name": "other"}
    assert asked.outputs == ("scores", "classes") or asked.outputs == ("classes", "scores")
    classes = np.array([[b"p", b"q"]], dtype=np.object_)
    encoded = codec_for(Codec.TFS_EXAMPLES_JSON).encode(
        answer(("classes", classes), ("scores", np.array([[0.25, 0.75]]))), request, model(SIGNED)
    )
    assert json.loads(encoded.body) == {"results": [[["p", 0.25], ["q", 0.75]]]}


def results(metadata: ModelMetadata, response: InferResponse, aux: int = 0, **fields: Any) -> Any:
    body = json.dumps(fields).encode()
    request, _ = taken(Codec.TFS_EXAMPLES_JSON, body, model(metadata), aux)
    encoded = codec_for(Codec.TFS_EXAMPLES_JSON).encode(response, request, model(metadata))
    return json.loads(encoded.body)["results"]


def test_a_classifier_gives_its_labels_with_their_probabilities() -> None:
    found = answer(("predict_proba", np.array([[0.25, 0.75]])))
    wanted = [[["no", 0.25], ["yes", 0.75]]]
    assert results(CLASSIFIER, found, examples=[{"anything": [1, 2]}]) == wanted


@pytest.mark.parametrize(
    ("output", "response", "wanted"),
    [
        (
            TensorMetadata("y", "FP32", (-1, 2)),
            ("y", np.array([[0.5, 0.5]])),
            [["0", 0.5], ["1", 0.5]],
        ),
        (LABEL, ("predict", np.array([4])), [["4", 0.0]]),
        (
            TensorMetadata("predict", "BYTES", (-1,)),
            ("predict", np.array([b"a"], dtype=np.object_)),
            [["a", 0.0]],
        ),
        (
            TensorMetadata("p", "FP64", (-1,), labels=("n", "y")),
            ("p", np.array([0.25])),
            [["n", 0.75], ["y", 0.25]],
        ),
    ],
)
def test_classes_are_found_in_other_outputs(
    output: TensorMetadata, response: tuple[str, Any], wanted: Any
) -> None:
    metadata = ModelMetadata("x", (X,), (output,), positional_input=True)
    assert results(metadata, answer(response), examples=[{"f": [1, 2]}]) == [wanted]


def test_a_regressor_has_no_classes_and_a_model_of_texts_no_values() -> None:
    body = json.dumps({"examples": [{"f": [1, 2]}]}).encode()
    line = model(ModelMetadata("x", (X,), (VALUE,), positional_input=True))
    with pytest.raises(InvalidInput, match="ask :regress"):
        taken(Codec.TFS_EXAMPLES_JSON, body, line)
    texts = TensorMetadata("predict", "BYTES", (-1,))
    words = model(ModelMetadata("x", (X,), (texts,), positional_input=True))
    with pytest.raises(InvalidInput, match="ask :classify"):
        taken(Codec.TFS_EXAMPLES_JSON, body, words, REGRESS_AUX)


def test_a_regression_is_one_value_for_each_example() -> None:
    metadata = ModelMetadata("x", (X,), (VALUE,), positional_input=True)
    examples = [{"f": [1, 2]}, {"f": [3, 4]}]
    for data in (np.array([1.5, 2.5]), np.array([[1.5], [2.5]])):
        found = results(metadata, answer(("predict", data)), REGRESS_AUX, examples=examples)
        assert found == [1.5, 2.5]
    with pytest.raises(InvalidInput, match="2 values for each example"):
        several = answer(("predict", np.zeros((2, 2))))
        results(metadata, several, REGRESS_AUX, examples=examples)


COLUMNS = ModelMetadata(
    "sklearn",
    (X,),
    (VALUE,),
    column_names=("age", "city"),
    column_datatypes=("FP64", "BYTES"),
    positional_input=True,
)


def test_features_are_columns_and_the_context_is_in_every_example() -> None:
    body = json.dumps(
        {
            "context": {"city": "Rome"},
            "examples": [{"age": 1, "more": 3}, {"age": [2.5], "city": {"b64": "UGFyaXM="}}],
        }
    ).encode()
    _, asked = taken(Codec.TFS_EXAMPLES_JSON, body, model(COLUMNS), REGRESS_AUX)
    found = {each.name: each.data.tolist() for each in asked.inputs}
    assert found == {"age": [1.0, 2.5], "city": [b"Rome", b"Paris"]}


def test_a_feature_missing_in_some_examples_is_a_missing_value() -> None:
    body = json.dumps({"context": {"city": "Rome"}, "examples": [{"age": 1.0}, {}]}).encode()
    _, asked = taken(Codec.TFS_EXAMPLES_JSON, body, model(COLUMNS), REGRESS_AUX)
    age = next(each.data for each in asked.inputs if each.name == "age")
    assert age[0] == 1.0
    assert np.isnan(age[1])


TWO = ModelMetadata(
    "onnx",
    (TensorMetadata("a", "FP32", (-1,)), TensorMetadata("b", "FP32", (-1, 2, 2))),
    (VALUE,),
)


def test_features_are_inputs_by_name_in_their_shapes() -> None:
    body = json.dumps({"examples": [{"a": 1, "b": [1, 2, 3, 4]}]}).encode()
    _, asked = taken(Codec.TFS_EXAMPLES_JSON, body, model(TWO), REGRESS_AUX)
    assert [each.data.tolist() for each in asked.inputs] == [[1.0], [[[1.0, 2.0], [3.0, 4.0]]]]


@pytest.mark.parametrize(
    ("metadata", "fields", "words"),
    [
        (CLASSIFIER, {"examples": []}, "no examples"),
        (CLASSIFIER, {"examples": [{}]}, "no features"),
        (CLASSIFIER, {"examples": [{"x": [1, 2]}, {"x": [1]}]}, "send equally many"),
        (CLASSIFIER, {"examples": [{"x": [1, 2]}, {}]}, "lacks the feature 'x'"),
        (CLASSIFIER, {"examples": [{"x": [1, 2, 3]}]}, "takes [-1,2]"),
        (CLASSIFIER, {"examples": [{"x": 1, "y": 2}]}, "knows none of the features"),
        (CLASSIFIER, {"examples": [{"x": [[1, 2]]}]}, "neither a value nor a list"),
        (CLASSIFIER, {"examples": [{"x": {"b64": "!"}}]}, "not base64"),
        (CLASSIFIER, {"examples": [{"x": ["a", "b"]}]}, "send numbers"),
        (CLASSIFIER, {"examples": [3]}, "no"),
        (CLASSIFIER, {"instances": [[1, 2]]}, "examples"),
        (CLASSIFIER, {"examples": [{"x": [1, 2]}], "signature_name": 3}, "signature_name"),
        (TWO, {"examples": [{"a": 1}]}, "lacks the input 'b'"),
        (COLUMNS, {"examples": [{"age": [1, 2], "city": "x"}]}, "send one, it is a column"),
        (COLUMNS, {"examples": [{"age": 1}]}, "lacks the column 'city'"),
    ],
)
def test_examples_that_do_not_fit_are_refused_with_the_reason(
    metadata: ModelMetadata, fields: dict[str, Any], words: str
) -> None:
    aux = 0 if metadata is CLASSIFIER else REGRESS_AUX
    with pytest.raises(InvalidInput) as raised:
        taken(Codec.TFS_EXAMPLES_JSON, json.dumps(fields).encode(), model(metadata), aux)
    assert words in str(raised.value)
    assert "'m'" in str(raised.value)


def multi_request(*methods: str) -> bytes:
    message = pb.MultiInferenceRequest()
    for method in methods:
        message.tasks.add(model_spec={"name": "m"}, method_name=method)
    feature = message.input.example_list.examples.add().features.feature["x"]
    feature.float_list.value.extend([1.0, 2.0])
    return message.SerializeToString()


def test_the_answers_of_all_tasks_joined_are_the_whole_answer() -> None:
    body = multi_request(CLASSIFY, "tensorflow/serving/regress")
    codec, found = codec_for(Codec.TFS_EXAMPLES_GRPC), b""
    responses = [answer(("predict_proba", np.array([[0.25, 0.75]]))), answer(("predict", [1]))]
    for index, response in enumerate(responses):
        request, _ = taken(Codec.TFS_EXAMPLES_GRPC, body, model(CLASSIFIER), FIRST_TASK_AUX - index)
        found += codec.encode(response, request, model(CLASSIFIER)).body
    results = pb.MultiInferenceResponse.FromString(found).results
    classes = results[0].classification_result.classifications[0].classes
    assert [(each.label, each.score) for each in classes] == [("no", 0.25), ("yes", 0.75)]
    assert results[1].regression_result.regressions[0].value == 1.0
    assert [each.model_spec.version.value for each in results] == [3, 3]


def test_a_task_of_another_kind_or_none_is_refused() -> None:
    for body, words in (
        (multi_request(PREDICT), "method_name"),
        (multi_request(), "no task 0"),
    ):
        with pytest.raises(InvalidInput, match=words):
            taken(Codec.TFS_EXAMPLES_GRPC, body, model(CLASSIFIER), FIRST_TASK_AUX)


def test_stacked_examples_are_answered_as_alone() -> None:
    codec, identity = codec_for(Codec.TFS_EXAMPLES_JSON), model(CLASSIFIER)
    bodies = [{"examples": [{"x": [1, 2]}] * count} for count in (1, 2)]
    requests = [codec.decode(json.dumps(each).encode(), 0, identity) for each in bodies]
    assert group_key(requests[0], identity) == group_key(requests[1], identity)
    response = answer(("predict_proba", np.array([[1.0, 0.0], [0.5, 0.5], [0.0, 1.0]])))
    found = [each.body for each in codec.encode_rows(response, requests, [1, 2], identity)]
    assert [len(json.loads(each)["results"]) for each in found] == [1, 2]
    assert json.loads(found[1])["results"][1] == [["no", 0.0], ["yes", 1.0]]


@pytest.mark.parametrize(
    ("version", "number"),
    [("3", 3), ("iris-00002", 2), ("007", 7), ("blue", None), ("", None), ("v1.2", 2)],
)
def test_versions_are_numbers_where_they_have_one(version: str, number: int | None) -> None:
    assert version_number(version) == number
