"""One component of a graph, asked by itself as Seldon's components are: `/transform-input`, ...

A function in a steps worker is asked with a bundle and answers with one; the caller sends and gets
a Seldon message. Owns that translation; what the function does is the worker's affair.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from salver.engine.call import Call
from salver.engine.chain import SubCall
from salver.engine.ports import ModelStatus, ServedModel
from salver.errors import InvalidInput, RequestError, Unsupported
from salver.inference.metadata import ModelMetadata
from salver.protocol.bundle import Invocation, MessageHead, StepCall, StepReply, pack, unpack_reply
from salver.protocol.operations import Operation, marked
from salver.protocol.seldon_meta import (
    SeldonFacts,
    branch_message,
    empty_message,
    finish,
    messages_of_list,
    read_feedback,
)
from salver.protocol.wire_codes import Codec

METHODS = ("predict", "transform_input", "transform_output", "route", "aggregate", "send_feedback")
_SELDON = (Codec.SELDON_JSON, Codec.SELDON_GRPC)
_OF_ITSELF = ("health_status", "metadata")
"""What needs no message."""
_CODEC_BITS = 0xFF


class SeldonPart(msgspec.Struct, frozen=True):
    """A node of a graph: a model, or with a `function` one in a steps worker."""

    model: ServedModel
    function: str = ""
    reported: Callable[[str, Sequence[Any]], object] | None = None
    """See `Bindings`."""


def component(name: str, part: SeldonPart, method: str) -> ServedModel:
    """The node as what answers that method. Raises `Unsupported`."""
    if part.function:
        return ComponentModel(name, part, method)
    if method in ("predict", "send_feedback"):
        return part.model
    raise Unsupported(f"'{name}' is a model and has no method {method}: ask it to predict")


class ComponentModel:
    """Implements `ServedModel`: one method of a function in a steps worker."""

    def __init__(self, name: str, part: SeldonPart, method: str) -> None:
        self.name = name
        self.version = part.model.version
        self._part = part
        self._method = method

    @property
    def status(self) -> ModelStatus:
        return self._part.model.status

    @property
    def is_ready(self) -> bool:
        return self._part.model.is_ready

    @property
    def metadata(self) -> ModelMetadata:
        return self._part.model.metadata

    def submit(self, call: Call) -> None:
        """See `ServedModel`."""
        try:
            step = self._step(call)
        except RequestError as error:
            call.fail(error.kind, str(error))
            return
        self._part.model.submit(step)

    def _step(self, call: Call) -> Call:
        codec = call.codec & _CODEC_BITS
        if codec not in _SELDON:
            raise Unsupported(f"component '{self.name}' is asked in Seldon's protocol only")
        routing = None
        messages: Sequence[bytes | bytearray] = (call.body,)
        if self._method == "aggregate":
            messages = messages_of_list(codec, call.body)
            if not messages:
                raise InvalidInput("the list to aggregate is empty: send seldonMessages")
        elif self._method in _OF_ITSELF:
            messages = ()
        elif self._method == "send_feedback":
            routing = read_feedback(codec, call.body).facts.routing.get(self.name)
        coding = call.codec >> 8 & 0xFF if len(messages) == 1 else 0
        heads = [MessageHead("", codec, 0, coding, len(each), True) for each in messages]
        asked = [Invocation(self.name, self._part.function, self._method)]
        body = pack(StepCall(asked, heads, codec=0 if heads else codec, routing=routing), messages)
        sub = SubCall(call, marked(codec, Operation.STEP), 0, body, call.arrived_s)

        def deliver(answer: bytes, aux: int, coding: int) -> None:
            self._answer(call, codec, answer)

        return sub.then("", deliver)

    def _answer(self, call: Call, codec: int, answer: bytes) -> None:
        try:
            reply, bodies = unpack_reply(answer)
            body = finish(codec, _message(codec, reply, bodies), _facts(reply))
        except RequestError as error:
            call.fail(error.kind, f"component '{self.name}': {error}")
            return
        if self._part.reported is not None:
            for name, meta in reply.meta.items():
                self._part.reported(name, meta.get("metrics") or ())
        call.deliver(body, 0)


def _message(codec: int, reply: StepReply, bodies: Sequence[memoryview]) -> bytes:
    if reply.branch is not None:
        return branch_message(codec, reply.branch)
    return bytes(bodies[0]) if bodies else empty_message(codec)


def _facts(reply: StepReply) -> SeldonFacts:
    facts = SeldonFacts()
    for meta in reply.meta.values():
        facts.tags |= meta.get("tags") or {}
        facts.metrics += meta.get("metrics") or []
    return facts
