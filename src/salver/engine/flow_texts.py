"""What callers are told of a graph's failures: which step, what it was given, why."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from salver.engine.flow_ports import Failure, Message
from salver.engine.flow_program import Node
from salver.errors import ErrorKind
from salver.graphs.flow import Function
from salver.protocol.described import describe
from salver.protocol.http_statuses import HTTP_STATUS
from salver.protocol.wire_codes import Codec

_SHOWS_INPUT = (ErrorKind.MODEL_FAILED, ErrorKind.INVALID_INPUT, ErrorKind.DEADLINE_EXCEEDED)


_JSON = (Codec.V1_JSON, Codec.V2_JSON, Codec.SELDON_JSON)


class Tolerated(Message, kw_only=True):
    """A failure that is its step's answer: as a message it is JSON, whatever the run's format."""

    failure: Failure


def step_that_failed(node: Node, failure: Failure) -> Node:
    """Of functions asked as one the one that the worker names, else the one that was asked."""
    chain = node.chain if isinstance(node.step.action, Function) else ()
    return next((each for each in chain if _is_named(each, failure)), node)


def _is_named(node: Node, failure: Failure) -> bool:
    return failure.message.startswith(f"step '{node.step.title or node.step.name}'")


def named(node: Node, failure: Failure, given: Sequence[Message]) -> Failure:
    """The failure with the step and what it was given in its message, unless a worker has said
    so."""
    step = node.step
    if isinstance(step.action, Function) and _is_named(node, failure):
        return failure
    name = step.title or step.name
    shown = ""
    if given and failure.kind in _SHOWS_INPUT:
        shown = f" (given {describe(given)})"
    return Failure(
        failure.kind, f"step '{name}'{shown}: {failure.message}", failure.status, failure.body
    )


def no_output(missing: str) -> Failure:
    """No step that leads to the output was run."""
    why = missing or "every branch that leads to the output was left out"
    return Failure(ErrorKind.INVALID_INPUT, f"the graph has no answer to this request: {why}")


def tolerated(failure: Failure, codec: int) -> Tolerated:
    """A failure as a step's answer, as the service gave it or in our own words. gRPC has no form
    for it: there it stays JSON."""
    status = failure.status or HTTP_STATUS[failure.kind]
    body = failure.body or msgspec.json.encode({"error": failure.message})
    codec = codec if codec in _JSON else int(Codec.V1_JSON)
    return Tolerated(codec, 0, body, is_request=False, status=status, failure=failure)
