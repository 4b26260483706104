"""Examples for signatures that parse them: serialised as TensorFlow's own messages."""

from __future__ import annotations

import json

import pytest

from salver.errors import InvalidInput
from salver.inference.metadata import ModelMetadata, SignatureMetadata, TensorMetadata
from salver.protocol import tfs_pb2 as pb
from salver.protocol.codecs import codec_for
from salver.protocol.materialise import assemble, group_key
from salver.protocol.tfs_signatures import CLASSIFY, PREDICT, REGRESS
from salver.protocol.wire import Codec, ModelIdentity
from salver.protocol.wire_codes import REGRESS_AUX

TEXTS = TensorMetadata("inputs", "BYTES", (-1,))
SCORES = TensorMetadata("scores", "FP32", (-1, 2))
VALUE = TensorMetadata("outputs", "FP32", (-1, 1))
CENSUS = ModelMetadata(
    "tensorflow_savedmodel",
    (TEXTS,),
    (SCORES,),
    signatures=(
        SignatureMetadata("serving_default", CLASSIFY, (TEXTS,), (SCORES,)),
        SignatureMetadata("value", REGRESS, (TEXTS,), (VALUE,)),
        SignatureMetadata("plain", PREDICT, (TEXTS,), (SCORES,)),
    ),
)


def sent(body: dict[str, object], aux: int = 0) -> tuple[str, list[pb.Example]]:
    """The signature asked for, and the Examples that the model is given."""
    model = ModelIdentity("census", "1", CENSUS)
    content = json.dumps(body).encode()
    request = codec_for(Codec.TFS_EXAMPLES_JSON).decode(content, aux, model)
    group_key(request, model)
    asked, _ = assemble([request], model)
    (tensor,) = asked.inputs
    assert tensor.name == "inputs"
    examples = [pb.Example.FromString(text) for text in tensor.data.tolist()]
    return str(asked.parameters["signature_name"]), examples


def test_features_keep_their_kind() -> None:
    features = {"age": 3.5, "mixed": [1, 2.5], "count": [1, 2], "town": "york", "none": []}
    signature, (example,) = sent({"examples": [features]})
    assert signature == "serving_default"
    found = example.features.feature
    assert list(found["age"].float_list.value) == [3.5]
    assert list(found["mixed"].float_list.value) == [1, 2.5]
    assert list(found["count"].int64_list.value) == [1, 2]
    assert list(found["town"].bytes_list.value) == [b"york"]


def test_a_context_is_in_each_and_regressions_have_their_own_signature() -> None:
    body = {"context": {"a": 1.0}, "examples": [{"b": 2.0}, {"a": 3.0}]}
    signature, (first, second) = sent(body, REGRESS_AUX)
    assert signature == "value"
    assert set(first.features.feature) == {"a", "b"}
    assert list(second.features.feature["a"].float_list.value) == [3.0]


def test_a_signature_for_predictions_takes_its_input_by_name() -> None:
    model = ModelIdentity("census", "1", CENSUS)
    body = json.dumps({"signature_name": "plain", "examples": [{"inputs": "x"}]}).encode()
    request = codec_for(Codec.TFS_EXAMPLES_JSON).decode(body, 0, model)
    assert request.inputs[0].data == ["x"]


@pytest.mark.parametrize("values", [[1, "x"], [2**70]])
def test_values_that_no_feature_can_have_are_refused(values: list[object]) -> None:
    with pytest.raises(InvalidInput, match="feature 'a' of example 0 for model 'census'"):
        sent({"examples": [{"a": values}]})
    with pytest.raises(InvalidInput, match="no examples"):
        sent({"examples": []})
