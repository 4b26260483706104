"""MLflow's answers: `{"predictions": ...}` of whatever a model gave.

    one output                      its values, nested as its shape is
    a table (content_type `pd`)     one object a row, by column
    several outputs (or `dict`)     an object of them, by name

A table's column may have another name there than as a tensor: the tensor's parameter `column`.
"""

from __future__ import annotations

from typing import Any

import orjson

from salver.inference.tensor import InferResponse, Tensor
from salver.protocol.json_text import check_rows, nested_rows, nested_values
from salver.protocol.rows import row_slices
from salver.protocol.wire import EncodedResponse, ModelIdentity, WireRequest

TABLE, DICT = "pd", "dict"
"""What a response's parameter `content_type` says of its outputs."""
COLUMN = "column"


class BareRequest(WireRequest):
    """A request of MLflow's language models, whose answers have no `predictions` around them."""


class MlflowAnswers:
    """The half of `wire.WireCodec` that MLflow's codecs have in common."""

    def encode(
        self, response: InferResponse, request: WireRequest, model: ModelIdentity
    ) -> EncodedResponse:
        text = orjson.dumps(_predictions(response))
        return EncodedResponse(text if isinstance(request, BareRequest) else _body(text))

    def encode_rows(
        self,
        response: InferResponse,
        requests: list[WireRequest],
        rows: list[int],
        model: ModelIdentity,
    ) -> list[EncodedResponse]:
        if len(requests) == 1:
            return [self.encode(response, requests[0], model)]
        for tensor in response.outputs:
            check_rows(tensor, sum(rows), model.name)
        is_bare = any(isinstance(request, BareRequest) for request in requests)
        if _is_plain(response) and not is_bare:
            texts = nested_rows(response.outputs[0], rows)
            return [EncodedResponse(_body(text)) for text in texts]
        return [
            self.encode(part, request, model)
            for part, request in zip(row_slices(response, rows), requests, strict=True)
        ]


def _body(predictions: bytes) -> bytes:
    return b'{"predictions":' + predictions + b"}"


def _is_plain(response: InferResponse) -> bool:
    form = response.parameters.get("content_type")
    return len(response.outputs) == 1 and form not in (TABLE, DICT)


def _predictions(response: InferResponse) -> Any:
    if _is_plain(response):
        return nested_values(response.outputs[0])
    names = [_name(tensor) for tensor in response.outputs]
    values = [nested_values(tensor) for tensor in response.outputs]
    if response.parameters.get("content_type") == TABLE:
        return [dict(zip(names, row, strict=True)) for row in zip(*values, strict=True)]
    return dict(zip(names, values, strict=True))


def _name(tensor: Tensor) -> str:
    return str(tensor.parameters.get(COLUMN, tensor.name))
