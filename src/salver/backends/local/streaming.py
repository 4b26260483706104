"""What a worker does with a stream: one request in, any number of responses out, one by one.

Owns the order of things between two responses: is somebody still there, is there room. What a
response looks like is the codec's, how it travels the sink's.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from typing import Protocol, cast

from salver.errors import Unsupported
from salver.inference.tensor import InferRequest, InferResponse
from salver.protocol.materialise import assemble, group_key
from salver.protocol.wire import Codec, EncodedResponse, ModelIdentity, WireCodec, WireRequest
from salver.runtimes.ports import LoadedModel, StreamingModel

logger = logging.getLogger("salver.worker")

EMPTY_FINAL_RESPONSE = "triton_enable_empty_final_response"
"""The request's parameter that asks for a last response without outputs, in V2 over gRPC."""
_ENDED = EncodedResponse(b"")


class PartSink(Protocol):
    """Where the parts of a stream go; `item` is the request's number in its batch."""

    def wait_room(self, item: int) -> bool:
        """Waits until another part may be sent; False: nobody waits for it any more."""

    def send_part(self, item: int, response: EncodedResponse) -> None: ...


class NoParts:
    """The `PartSink` of those who answer once."""

    def wait_room(self, item: int) -> bool:
        raise Unsupported("responses cannot be sent one by one here")

    def send_part(self, item: int, response: EncodedResponse) -> None:
        raise Unsupported("responses cannot be sent one by one here")


class Streamer:
    """Streams for one loaded model."""

    def __init__(self, model: LoadedModel, identity: ModelIdentity) -> None:
        self._model = model
        self._identity = identity
        self.waited_ns = 0
        """How long the last stream waited for its reader."""

    def run(
        self, codec: WireCodec, number: Codec, request: WireRequest, item: int, sink: PartSink
    ) -> EncodedResponse:
        """Sends all responses but the last, which is returned; empty if all have been sent.

        A model that gives one response for each request gives the last one only. Raises
        `RequestError`, and whatever the model's code raises.
        """
        self.waited_ns = 0
        identity = self._identity
        group_key(request, identity)
        tensors, _ = assemble([request], identity)
        if not identity.metadata.decoupled:
            return codec.encode(self._model.predict(tensors), request, identity)
        responses = cast(StreamingModel, self._model).stream(tensors)
        try:
            while self._has_room(item, sink):
                response = next(responses, None)
                if response is None:
                    return self._last(codec, number, request)
                sink.send_part(item, codec.encode(response, request, identity))
        finally:
            _close(responses, identity.name)
        return _ENDED

    def _has_room(self, item: int, sink: PartSink) -> bool:
        started_ns = time.perf_counter_ns()
        has_room = sink.wait_room(item)
        self.waited_ns += time.perf_counter_ns() - started_ns
        return has_room

    def _last(self, codec: WireCodec, number: Codec, request: WireRequest) -> EncodedResponse:
        if number != Codec.V2_GRPC or not (request.parameters or {}).get(EMPTY_FINAL_RESPONSE):
            return _ENDED
        return codec.encode(InferResponse(()), request, self._identity)


def first_response(model: StreamingModel, request: InferRequest) -> InferResponse | None:
    """The first response of a stream that is then left, for trying a model out."""
    responses = model.stream(request)
    try:
        return next(responses, None)
    finally:
        _close(responses, "")


def _close(responses: Iterator[InferResponse], name: str) -> None:
    close = getattr(responses, "close", None)
    if close is None:
        return
    try:
        close()
    except Exception:
        # It has been left: what it does at its end is nobody's answer.
        logger.exception("model '%s': its stream did not end well", name)
