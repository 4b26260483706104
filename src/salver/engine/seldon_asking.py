"""What a component of a graph says of itself: its health and its metadata, when somebody asks.

The class's own `health_status` and `init_metadata` answer, in the worker that has the class; a
component that is a program answers on its own routes. The question waits in the component's queue
like any request, with a deadline. Refuses to judge: who is ready is the model's affair.
"""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from salver.engine.call import Call
from salver.engine.queue import Clock
from salver.engine.seldon_component import ComponentModel, SeldonPart
from salver.errors import DeadlineExceeded, ErrorKind, ModelFailed, RequestError
from salver.protocol.wire_codes import Codec

_GRACE_S = 1.0
"""Beyond the deadline, which the queue keeps: its answer says more."""


async def health_of(name: str, part: SeldonPart, timeout_s: float, clock: Clock) -> bytes:
    """The component's answer, as the JSON of a Seldon message. Raises `RequestError`."""
    return await _said(name, part, "health_status", timeout_s, clock)


async def own_metadata(
    name: str, part: SeldonPart, timeout_s: float, clock: Clock
) -> dict[str, Any]:
    """What the component says in `init_metadata`, unchecked. Raises `RequestError`."""
    body = await _said(name, part, "metadata", timeout_s, clock)
    try:
        return msgspec.json.decode(body, type=_Said).jsonData
    except msgspec.MsgspecError as error:
        raise ModelFailed(f"component '{name}': its metadata is no object: {error}") from error


class _Said(msgspec.Struct):
    jsonData: dict[str, Any] = {}  # noqa: N815 - the protocol's name


class _Question(Call):
    """A request of the server's own: somebody awaits its reply."""

    __slots__ = ("reply",)

    def __init__(self, now_s: float, timeout_s: float) -> None:
        codec = int(Codec.SELDON_JSON)
        super().__init__(codec, 0, b"{}", arrived_s=now_s, deadline_s=now_s + timeout_s)
        self.reply: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def deliver(self, body: bytes, aux: int) -> None:
        if not self.reply.done():
            self.reply.set_result(bytes(body))

    def fail(self, kind: ErrorKind, message: str) -> None:
        if not self.reply.done():
            error = RequestError(message)
            error.kind = kind
            self.reply.set_exception(error)


async def _said(name: str, part: SeldonPart, method: str, timeout_s: float, clock: Clock) -> bytes:
    question = _Question(clock(), timeout_s)
    ComponentModel(name, part, method).submit(question)
    try:
        async with asyncio.timeout(timeout_s + _GRACE_S):
            return await question.reply
    except TimeoutError as error:
        raise DeadlineExceeded(f"component '{name}' has not answered in {timeout_s:g} s") from error
    finally:
        question.is_abandoned = True
