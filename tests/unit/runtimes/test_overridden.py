"""A model that its settings file describes differently."""

from __future__ import annotations

from pathlib import Path

import msgspec

from salver.inference.metadata import ModelMetadata, TensorMetadata
from salver.inference.tensor import InferRequest, InferResponse
from salver.runtimes.overridden import overridden
from salver.runtimes.ports import ModelSource

OWN = ModelMetadata(
    "sklearn",
    (TensorMetadata("input-0", "FP64", (-1, 4), accepts=("FP32", "INT64")),),
    (TensorMetadata("predict", "INT64", (-1,)), TensorMetadata("predict_proba", "FP64", (-1, 3))),
    default_outputs=("predict",),
    positional_input=True,
)
SOURCE = ModelSource("iris", Path("iris.joblib"), "sklearn")


class Echo:
    """Remembers what it was asked."""

    def __init__(self, metadata: ModelMetadata = OWN) -> None:
        self.metadata = metadata
        self.asked: list[InferRequest] = []

    def predict(self, request: InferRequest) -> InferResponse:
        self.asked.append(request)
        return InferResponse(())

    def unload(self) -> None:
        return None


def told(**said: tuple[TensorMetadata, ...]) -> ModelSource:
    return msgspec.structs.replace(SOURCE, **said)


def test_a_model_of_which_nothing_is_said_is_itself() -> None:
    model = Echo()
    assert overridden(model, SOURCE, "") is model


def test_the_one_input_without_a_name_takes_the_declared_name_and_datatype() -> None:
    given = TensorMetadata("rows", "FP32", (-1, 4))
    (found,) = overridden(Echo(), told(inputs=(given,)), "mine").metadata.inputs
    assert (found.name, found.datatype, found.accepts) == ("rows", "FP32", ("FP64", "INT64"))


def test_declared_outputs_are_those_given_unless_a_request_names_others() -> None:
    model = Echo()
    changed = overridden(model, told(outputs=(OWN.outputs[1],)), "")
    changed.predict(InferRequest(()))
    changed.predict(InferRequest((), ("predict",)))
    assert changed.metadata.default_outputs == ("predict_proba",)
    assert [request.outputs for request in model.asked] == [("predict_proba",), ("predict",)]


def test_what_does_not_fit_the_model_has_no_effect() -> None:
    model = Echo()
    strange = (TensorMetadata("y", "BYTES", ()), TensorMetadata("z", "BYTES", ()))
    assert overridden(model, told(inputs=strange, outputs=strange), "") is model


def test_another_platform_is_what_clients_are_told() -> None:
    assert overridden(Echo(), SOURCE, "mine").metadata.platform == "mine"
