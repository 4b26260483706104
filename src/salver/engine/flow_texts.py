"""What callers are told of a graph's failures: which step, what it was given, why."""

from __future__ import annotations

import msgspec

from salver.engine.flow_ports import Failure, Message
from salver.engine.flow_program import Node
from salver.errors import ErrorKind
from salver.protocol.messages import describe
from salver.protocol.wire_codes import Codec

NOT_MATCHED = (
    404,
    b'{"error":"Failed to process request",'
    b'"cause":"None of the routes matched with the switch condition"}',
)
"""Status and body of KServe's router when no condition of a Switch holds."""
_STATUS = {
    ErrorKind.INVALID_INPUT: 400,
    ErrorKind.PAYLOAD_TOO_LARGE: 413,
    ErrorKind.MODEL_NOT_FOUND: 404,
    ErrorKind.MODEL_NOT_READY: 503,
    ErrorKind.UNSUPPORTED: 501,
    ErrorKind.QUEUE_FULL: 429,
    ErrorKind.UNAVAILABLE: 503,
    ErrorKind.DEADLINE_EXCEEDED: 504,
    ErrorKind.MODEL_FAILED: 500,
}
_SHOWS_INPUT = (ErrorKind.MODEL_FAILED, ErrorKind.INVALID_INPUT, ErrorKind.DEADLINE_EXCEEDED)


def named(node: Node, failure: Failure, given: Message | None) -> Failure:
    """The failure with the step and what it was given in its message."""
    step = node.step
    name = step.title or step.name
    shown = ""
    if given is not None and failure.kind in _SHOWS_INPUT:
        shown = f" (given {describe([given])})"
    return Failure(
        failure.kind, f"step '{name}'{shown}: {failure.message}", failure.status, failure.body
    )


def no_output(missing: str) -> Failure:
    """No step that leads to the output was run."""
    why = missing or "every branch that leads to the output was left out"
    return Failure(ErrorKind.INVALID_INPUT, f"the graph has no answer to this request: {why}")


def tolerated(failure: Failure, codec: int) -> Message:
    """A failure as a step's answer, as the service gave it or in the protocol's own form."""
    status = failure.status or _STATUS[failure.kind]
    body = failure.body or msgspec.json.encode({"error": failure.message})
    json_codec = Codec.SELDON_JSON if codec == Codec.SELDON_JSON else Codec.V1_JSON
    return Message(int(json_codec), 0, body, is_request=False, status=status)
