"""TensorFlow Serving's Classify, Regress and MultiInference messages.

`aux` says which is asked. Of a MultiInferenceRequest one task at a time: its answer is a
MultiInferenceResponse with that one result, and the answers of all tasks, one behind the other,
are the whole one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from google.protobuf.message import DecodeError

from salver.errors import InvalidInput
from salver.inference.tensor import InferResponse
from salver.protocol.rows import ApartCodec
from salver.protocol.tfs_examples import ExamplesRequest, examples_request
from salver.protocol.tfs_grpc import model_spec
from salver.protocol.tfs_pb2 import (
    Class,
    ClassificationResponse,
    ClassificationResult,
    Classifications,
    Example,
    InferenceResult,
    Input,
    MultiInferenceRequest,
    MultiInferenceResponse,
    Regression,
    RegressionResponse,
    RegressionResult,
)
from salver.protocol.tfs_pb2 import (
    ExamplesRequest as ExamplesMessage,
)
from salver.protocol.tfs_results import classifications, regressions
from salver.protocol.tfs_signatures import CLASSIFY, REGRESS
from salver.protocol.wire import EncodedResponse, ModelIdentity, WireRequest
from salver.protocol.wire_codes import FIRST_TASK_AUX, REGRESS_AUX


class TfsExamplesGrpcCodec(ApartCodec):
    """See `wire.WireCodec`."""

    def decode(self, body: bytes | memoryview, aux: int, model: ModelIdentity) -> WireRequest:
        if aux <= FIRST_TASK_AUX:
            return _task_request(bytes(body), FIRST_TASK_AUX - aux, model)
        message = _parsed(ExamplesMessage, bytes(body), "request with examples", model)
        return examples_request(
            message.model_spec.signature_name,
            _examples(message.input),
            model,
            is_regression=aux == REGRESS_AUX,
        )

    def encode(
        self, response: InferResponse, request: WireRequest, model: ModelIdentity
    ) -> EncodedResponse:
        assert isinstance(request, ExamplesRequest)
        spec = model_spec(request, model)
        if request.is_regression:
            values = _regression(response, model)
            if not request.is_task:
                answer = RegressionResponse(result=values, model_spec=spec)
                return EncodedResponse(answer.SerializeToString())
            result = InferenceResult(model_spec=spec, regression_result=values)
        else:
            classes = _classification(response, request, model)
            if not request.is_task:
                told = ClassificationResponse(result=classes, model_spec=spec)
                return EncodedResponse(told.SerializeToString())
            result = InferenceResult(model_spec=spec, classification_result=classes)
        return EncodedResponse(MultiInferenceResponse(results=[result]).SerializeToString())


def _task_request(body: bytes, index: int, model: ModelIdentity) -> ExamplesRequest:
    message = _parsed(MultiInferenceRequest, body, "MultiInferenceRequest", model)
    if index >= len(message.tasks):
        raise InvalidInput(f"the request to model {model.name!r} has no task {index}: send it")
    task = message.tasks[index]
    if task.method_name not in (CLASSIFY, REGRESS):
        raise InvalidInput(
            f"task {index} of the request to model {model.name!r} has the method_name "
            f"{task.method_name[:64]!r}: send {CLASSIFY} or {REGRESS}"
        )
    return examples_request(
        task.model_spec.signature_name,
        _examples(message.input),
        model,
        is_regression=task.method_name == REGRESS,
        is_task=True,
    )


def _parsed(kind: Any, body: bytes, name: str, model: ModelIdentity) -> Any:
    try:
        return kind.FromString(body)
    except (DecodeError, ValueError, RecursionError) as error:
        raise InvalidInput(
            f"the message for model {model.name!r} is not a {name}: "
            f"encode it with TensorFlow Serving's .proto files"
        ) from error


def _examples(message: Input) -> list[dict[str, list[Any]]]:
    if message.WhichOneof("kind") == "example_list_with_context":
        listed = message.example_list_with_context
        context = _features(listed.context)
        return [{**context, **_features(each)} for each in listed.examples]
    return [_features(each) for each in message.example_list.examples]


def _features(example: Example) -> dict[str, list[Any]]:
    found = {}
    for name, feature in example.features.feature.items():
        kind = feature.WhichOneof("kind")
        found[name] = [] if kind is None else list(getattr(feature, kind).value)
    return found


def _classification(
    response: InferResponse, request: ExamplesRequest, model: ModelIdentity
) -> ClassificationResult:
    found = classifications(response, request.view or model, model)
    return ClassificationResult(classifications=[_classes(each) for each in found])


def _classes(found: Sequence[tuple[str, float]]) -> Classifications:
    return Classifications(classes=[Class(label=label, score=score) for label, score in found])


def _regression(response: InferResponse, model: ModelIdentity) -> RegressionResult:
    values = regressions(response, model)
    return RegressionResult(regressions=[Regression(value=value) for value in values])
