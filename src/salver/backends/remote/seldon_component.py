"""A component of Seldon's in a process, container or URL: asked by its methods, over HTTP.

Seldon's wrapper answers `POST /predict`, `/transform-input`, `/transform-output`, `/route`,
`/aggregate` and `/send-feedback`; `GET /health/status` and `/metadata`. Steps of a graph come as
bundles, as to a steps worker; each invocation is one request. Queue, endpoints and readiness are
`RemoteModel`'s.
"""

from __future__ import annotations

from collections.abc import Sequence

from salver.backends.remote.endpoint import Endpoint
from salver.backends.remote.http_client import Answer, Request
from salver.backends.remote.model import RemoteModel
from salver.backends.remote.seldon_bodies import (
    Wants,
    branch_of,
    from_seldon_json,
    list_of,
    seldon_json,
    without_meta,
)
from salver.engine.call import Call
from salver.errors import InvalidInput, ModelFailed, Unsupported
from salver.protocol.bundle import MessageHead, StepCall, StepReply, pack, unpack_call
from salver.protocol.operations import Operation, operation_of
from salver.protocol.wire_codes import Codec

PATHS = {
    "predict": "/predict",
    "transform_input": "/transform-input",
    "transform_output": "/transform-output",
    "route": "/route",
    "aggregate": "/aggregate",
    "send_feedback": "/send-feedback",
}
OF_ITSELF = {"health_status": "/health/status", "metadata": "/metadata"}
_EMPTY = b"{}"
_HAS_NO_ROUTE = (404, 405, 501)


class SeldonComponent(RemoteModel):
    """Implements the engine's `ServedModel`, over the protocol of Seldon's components."""

    def submit(self, call: Call) -> None:
        """See `ServedModel`."""
        self.metrics.requests.value += 1
        self._enqueue(call)

    async def _ask(self, call: Call, endpoint: Endpoint) -> Answer:
        """All requests that a call makes; the first that fails is the answer."""
        try:
            return await self._asked(call, endpoint)
        except _Refused as refused:
            return refused.answer

    async def _asked(self, call: Call, endpoint: Endpoint) -> Answer:
        operation, codec = operation_of(call.codec), call.codec & 0xFF
        if operation is Operation.STEP:
            head, bodies = unpack_call(call.body)
            return Answer(200, [], await self._steps(call, endpoint, head, bodies))
        coding = call.codec >> 8 & 0xFF
        if operation is Operation.FEEDBACK:
            body = _feedback(codec, call.body, coding)
            return Answer(200, [], await self._post(call, endpoint, "send_feedback", body))
        body = seldon_json(codec, call.body, aux=call.aux, coding=coding)
        answer = await self._post(call, endpoint, "predict", body)
        return Answer(200, [], from_seldon_json(codec, answer, "response", self.name))

    async def _steps(
        self, call: Call, endpoint: Endpoint, head: StepCall, bodies: Sequence[memoryview]
    ) -> bytes:
        """The reply to a bundle."""
        if head.calls and head.calls[0].method in OF_ITSELF:
            return await self._of_itself(endpoint, head)
        codec = head.codec or (head.messages[0].codec if head.messages else Codec.SELDON_JSON)
        messages: list[bytes] = []
        reply = StepReply()
        for number, invocation in enumerate(head.calls):
            if not number:
                messages = [
                    _first_message(invocation.method, each, body)
                    for each, body in zip(head.messages, bodies, strict=True)
                ]
            began_s = self._clock()
            sent = list_of(messages) if invocation.method == "aggregate" else _only(messages)
            answer = await self._post(call, endpoint, invocation.method, sent)
            reply.seconds.append(self._clock() - began_s)
            if invocation.method == "route":
                reply.branch = branch_of(answer)
            answer, said = without_meta(answer)
            if said:
                reply.meta[invocation.step] = said
            messages = [answer]
        if reply.branch is not None or head.calls[-1].method == "send_feedback":
            return pack(reply, [])
        body = from_seldon_json(codec, _only(messages), head.wants, self.name)
        reply.messages.append(_described(codec, body, head.wants))
        return pack(reply, [body])

    async def _of_itself(self, endpoint: Endpoint, head: StepCall) -> bytes:
        """What it says of its health, or what it is, as a message; nothing if it has no route."""
        method = head.calls[0].method
        answer = await endpoint.client.ask(Request("GET", OF_ITSELF[method]))
        if answer.status in _HAS_NO_ROUTE:
            body = _EMPTY
        elif not 200 <= answer.status < 300:
            raise _Refused(answer)
        elif method == "metadata":
            body = b'{"jsonData":%b}' % (answer.body or _EMPTY)
        else:
            body = without_meta(answer.body or _EMPTY)[0]
        reply = StepReply([_described(Codec.SELDON_JSON, body, "response")])
        return pack(reply, [body])

    async def _post(self, call: Call, endpoint: Endpoint, method: str, body: bytes) -> bytes:
        """The answer's body. Raises `_Refused` for any answer but a good one."""
        path = PATHS.get(method)
        if path is None:
            raise Unsupported(f"a component of Seldon's has no method {method}")
        headers = [(b"content-type", b"application/json")]
        headers += [
            (name, value) for name in self.options.propagated if (value := call.header(name))
        ]
        answer = await endpoint.client.ask(Request("POST", path, headers, body))
        if not 200 <= answer.status < 300:
            raise _Refused(answer)
        return answer.body or _EMPTY


class _Refused(Exception):
    """The component has answered with an error."""

    def __init__(self, answer: Answer) -> None:
        super().__init__()
        self.answer = answer


def _first_message(method: str, head: MessageHead, body: memoryview) -> bytes:
    if method == "send_feedback":
        return _feedback(head.codec, body, head.coding)
    return seldon_json(head.codec, body, aux=head.aux, coding=head.coding)


def _feedback(codec: int, body: bytes | bytearray | memoryview, coding: int) -> bytes:
    if codec == Codec.SELDON_JSON:
        return seldon_json(codec, body, coding=coding)
    if codec != Codec.SELDON_GRPC:
        raise Unsupported("feedback is taken in Seldon's protocol only")
    from google.protobuf import json_format
    from google.protobuf.message import DecodeError

    from salver.protocol.seldon_pb2 import Feedback

    try:
        return json_format.MessageToJson(Feedback.FromString(bytes(body)), indent=None).encode()
    except (DecodeError, json_format.Error) as error:
        raise InvalidInput(f"the body is no Feedback: {error}") from error


def _only(messages: Sequence[bytes]) -> bytes:
    if len(messages) != 1:
        raise ModelFailed(f"it takes one message, and was given {len(messages)}: use a COMBINER")
    return messages[0]


def _described(codec: int, body: bytes, wants: Wants) -> MessageHead:
    return MessageHead("", codec, 0, 0, len(body), wants == "request")
