"""Answers a batch for models that are handed its requests one by one, not stacked into one.

Owns what such a model is told of each request: its tensors, its id, all its parameters. Which
requests go together is `answering.py`'s.
"""

from __future__ import annotations

from collections.abc import Sequence

from salver.errors import RequestError
from salver.inference.tensor import NO_PARAMETERS, InferResponse
from salver.protocol.materialise import assemble
from salver.protocol.wire import EncodedResponse, ModelIdentity, WireCodec, WireRequest
from salver.runtimes.ports import AskedRequest, BatchModel


def answer_each(
    model: BatchModel,
    requests: Sequence[WireRequest],
    codec: WireCodec,
    identity: ModelIdentity,
) -> list[EncodedResponse | RequestError]:
    """An answer or a refusal for each request. Raises what the model raises for all of them."""
    answers: list[InferResponse | RequestError | None] = [None] * len(requests)
    asked: dict[int, AskedRequest] = {}
    for index, request in enumerate(requests):
        try:
            tensors, _ = assemble([request], identity)
        except RequestError as error:
            answers[index] = error
            continue
        asked[index] = AskedRequest(tensors, request.id or "", request.parameters or NO_PARAMETERS)
    found = model.predict_each(list(asked.values())) if asked else ()
    for index, answer in zip(asked, found, strict=True):
        answers[index] = answer
    return [
        _encoded(each, request, codec, identity)
        for each, request in zip(answers, requests, strict=True)
    ]


def _encoded(
    answer: InferResponse | RequestError | None,
    request: WireRequest,
    codec: WireCodec,
    identity: ModelIdentity,
) -> EncodedResponse | RequestError:
    assert answer is not None, "predict_each answers every request"
    if isinstance(answer, RequestError):
        return answer
    try:
        return codec.encode(answer, request, identity)
    except RequestError as error:
        return error
