"""Several messages as one body: what a graph's step is given in a steps worker, and gives back.

An item with `Operation.STEP` has such a body:

    u32 length of the head | head (JSON) | the messages' bodies, one after the other

The head of a call is a `StepCall`, that of a reply a `StepReply`. Imports no NumPy: the gateway
writes calls, the worker replies.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from salver.errors import InvalidInput

Body = bytes | bytearray | memoryview
_LENGTH = struct.Struct("<I")
ABSENT_CODEC = 0
"""As the codec of a message: none has come from that step. The function may do without."""


class MessageHead(msgspec.Struct, array_like=True):
    """How to read one message: its `Codec`, the codec's `aux`, its coding, its size in bytes.

    `name` is what the step knows it by: the step it came from. `is_request`: else a response.
    """

    name: str
    codec: int
    aux: int
    coding: int
    size: int
    is_request: bool


class Invocation(msgspec.Struct, array_like=True):
    """One function to call. `step` is what the graph calls it, for errors and times.

    Methods: `call` (a plain function: tensors in, tensors out), `branch` (a plain function whose
    answer is a truth value or a number of a branch; true is 1, false is 0), and those of Seldon's
    components: `predict`, `transform_input`, `transform_output`, `route`, `aggregate`,
    `send_feedback`, `explain`; `health_status` and `metadata`, which need no message.
    """

    step: str
    function: str
    method: str


class StepCall(msgspec.Struct, omit_defaults=True):
    """What is asked: the first invocation gets all messages, each further one the answer before.

    `wants`: whether the last answer is to be written as a request or as a response, in `codec` or
    else in the wire format of the first message. `names`: what the answer's tensors are to be
    called, in order, if the one who gets it needs that. `headers` are the caller's, if the
    functions want them. For `send_feedback` the message is a Seldon Feedback.
    """

    calls: list[Invocation]
    messages: list[MessageHead]
    wants: Literal["request", "response"] = "response"
    codec: int = 0
    names: list[str] = []
    headers: dict[str, str] = {}
    routing: int | None = None
    """For `send_feedback`: the branch that this router took."""


class StepReply(msgspec.Struct, omit_defaults=True):
    """What came back: at most one message; `branch` for `route` and `branch`.

    `seconds` has the time of each invocation. `meta` is what components add to a Seldon message:
    `tags` (object) and `metrics` (list), by step.
    """

    messages: list[MessageHead] = []
    branch: int | None = None
    seconds: list[float] = []
    meta: dict[str, dict[str, Any]] = {}


_encode = msgspec.json.Encoder().encode
_decode_call = msgspec.json.Decoder(StepCall).decode
_decode_reply = msgspec.json.Decoder(StepReply).decode


def pack(head: StepCall | StepReply, bodies: Sequence[Body]) -> bytes:
    """The body of a call or a reply; the head's messages have the sizes of the bodies."""
    text = _encode(head)
    return b"".join((_LENGTH.pack(len(text)), text, *bodies))


def unpack_call(body: Body) -> tuple[StepCall, list[memoryview]]:
    """Undoes `pack` of a call. Raises `InvalidInput`."""
    head, rest = _split(body, _decode_call)
    return head, _bodies(head.messages, rest)


def unpack_reply(body: Body) -> tuple[StepReply, list[memoryview]]:
    """Undoes `pack` of a reply. Raises `InvalidInput`."""
    head, rest = _split(body, _decode_reply)
    return head, _bodies(head.messages, rest)


def _split(body: Body, decode: Any) -> tuple[Any, memoryview]:
    view = memoryview(body)
    if len(view) < _LENGTH.size:
        raise InvalidInput("the step's body is too short: it begins with the length of its head")
    end = _LENGTH.size + _LENGTH.unpack_from(view)[0]
    if end > len(view):
        raise InvalidInput("the head of the step's body runs past its end: send all of it")
    try:
        return decode(view[_LENGTH.size : end]), view[end:]
    except msgspec.MsgspecError as error:
        raise InvalidInput(f"the head of the step's body cannot be read: {error}") from error


def _bodies(messages: Sequence[MessageHead], rest: memoryview) -> list[memoryview]:
    found: list[memoryview] = []
    at = 0
    for message in messages:
        found.append(rest[at : at + message.size])
        at += message.size
    if at != len(rest):
        raise InvalidInput(f"the step's messages have {len(rest)} bytes, their heads say {at}")
    return found
