"""Cuts a stacked answer into those of its requests, for codecs that write each by itself."""

from __future__ import annotations

from collections.abc import Sequence

from salver.inference.tensor import InferResponse, Tensor
from salver.protocol.json_text import check_rows
from salver.protocol.wire import EncodedResponse, ModelIdentity, WireRequest


def row_slices(response: InferResponse, rows: Sequence[int]) -> list[InferResponse]:
    """The stacked response cut on axis 0."""
    parts, start = [], 0
    for count in rows:
        outputs = tuple(
            [
                Tensor(t.name, t.datatype, t.data[start : start + count], t.parameters)
                for t in response.outputs
            ]
        )
        parts.append(InferResponse(outputs, response.parameters))
        start += count
    return parts


class ApartCodec:
    """The half of a `WireCodec` that writes a stacked answer request by request."""

    def encode(
        self, response: InferResponse, request: WireRequest, model: ModelIdentity
    ) -> EncodedResponse:
        """See `WireCodec`."""
        raise NotImplementedError

    def encode_rows(
        self,
        response: InferResponse,
        requests: list[WireRequest],
        rows: list[int],
        model: ModelIdentity,
    ) -> list[EncodedResponse]:
        """See `WireCodec`."""
        if len(requests) == 1:
            return [self.encode(response, requests[0], model)]
        for tensor in response.outputs:
            check_rows(tensor, sum(rows), model.name)
        return [
            self.encode(part, request, model)
            for part, request in zip(row_slices(response, rows), requests, strict=True)
        ]
