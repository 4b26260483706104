"""What a worker does with a step around a model: read the message, let the class, write it.

Each call by itself: a step may do anything with its message, so two cannot be stacked.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from salver.errors import ModelFailed, RequestError, Unsupported
from salver.inference.tensor import tensor_from_array
from salver.protocol.frame import Data
from salver.protocol.operations import Operation
from salver.protocol.step_messages import Document, StepMessage, json_text
from salver.protocol.wire import EncodedResponse
from salver.protocol.wire_codes import Codec
from salver.runtimes.ports import LoadedSteps, StepResult

EXPLANATION = "explanation"
"""The output that carries an explanation which is no V2 response, as one JSON text."""


class StepCall(NamedTuple):
    """A step asked for: of which service, what, on which wire format, for which caller."""

    name: str
    operation: Operation
    codec: Codec
    headers: Mapping[str, str]


def perform(model: LoadedSteps, step: StepCall, aux: int, body: Data) -> EncodedResponse:
    """Does the operation; `body` has its content coding undone.

    Raises `RequestError`, and whatever the user's code raises.
    """
    operation = step.operation
    if operation is Operation.EXPLAIN and operation.method not in model.metadata.operations:
        raise Unsupported(f"model '{step.name}' has no method explain: ask :predict instead")
    is_request = operation is not Operation.POSTPROCESS
    message = StepMessage(step.codec, aux, body, step.name, is_request=is_request)
    result = model.perform(operation.method, message, step.headers)
    try:
        return _written(operation, message, result)
    except RequestError as error:
        raise ModelFailed(f"{operation.method}: {error}") from error


def _written(operation: Operation, message: StepMessage, result: StepResult) -> EncodedResponse:
    if result is None:
        return message.unchanged()
    if operation is Operation.EXPLAIN:
        return _explanation(message, result)
    if operation is Operation.PREPROCESS:
        if isinstance(result, dict):
            return message.request_of_document(result)
        return message.request_of_tensors(result)
    if isinstance(result, dict):
        return message.response_of_document(result)
    return message.response_of_tensors(result)


def _explanation(message: StepMessage, result: StepResult) -> EncodedResponse:
    if not isinstance(result, dict):
        assert result is not None
        response = message.response_of_tensors(result)
        if not message.is_v1:
            return response
        values: Document = msgspec.json.decode(response.body)
        return EncodedResponse(json_text({"explanations": values["predictions"]}))
    if message.is_v1 or isinstance(result.get("outputs"), list):
        return message.response_of_document(result)
    text = json_text(result)
    import numpy as np

    element = np.empty(1, dtype=np.object_)
    element[0] = text
    return message.response_of_tensors((tensor_from_array(EXPLANATION, element),))
