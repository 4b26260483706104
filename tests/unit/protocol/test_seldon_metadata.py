"""What Seldon's metadata routes tell, where a component declares it itself."""

from __future__ import annotations

from typing import Any

import pytest

from salver.errors import ModelFailed
from salver.inference.metadata import ModelMetadata
from salver.protocol.seldon_metadata import model_document, model_message, with_own
from salver.protocol.seldon_pb2 import SeldonModelMetadata

KNOWN = model_document("node", ["1"], ModelMetadata(platform="python", inputs=(), outputs=()))


def test_what_the_component_declares_is_told_in_place_of_what_is_known() -> None:
    tensor = {"name": "x", "datatype": "FP64", "shape": [-1, 2]}
    own = {"name": "mine", "inputs": [tensor], "custom": {"by": "us"}, "unknown": 1}
    told = with_own(KNOWN, own)
    assert told == {**KNOWN, "name": "mine", "inputs": [tensor], "custom": {"by": "us"}}
    assert with_own(KNOWN, {}) == KNOWN


def test_kinds_of_messages_are_told_over_grpc_too() -> None:
    inputs = [{"messagetype": "tensor", "schema": {"names": ["a"]}}, {"messagetype": "strData"}]
    message = SeldonModelMetadata.FromString(model_message(with_own(KNOWN, {"inputs": inputs})))
    assert [each.messagetype for each in message.inputs] == ["tensor", "strData"]
    assert message.inputs[0].schema.struct_value["names"][0] == "a"
    assert message.name == "node"


@pytest.mark.parametrize("own", [{"name": 1}, {"inputs": "x"}, {"inputs": [{"shape": ["a"]}]}])
def test_what_cannot_be_told_names_the_component(own: Any) -> None:
    with pytest.raises(ModelFailed, match="component 'node': its init_metadata cannot be told"):
        with_own(KNOWN, own)
