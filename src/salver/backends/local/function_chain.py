"""What a steps worker does with a bundle: it calls one function after the other.

What goes from one function to the next stays arrays: messages are read once and the last answer is
written once. Each bundle by itself: a function may do anything, so two cannot be stacked.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import orjson

from salver.backends.local.step_inputs import (
    AnswerInput,
    MessageInput,
    codec_of,
    document_message,
    empty_input,
    message_of,
    next_input,
)
from salver.errors import InvalidInput, ModelFailed, RequestError, Unavailable
from salver.protocol.bundle import ABSENT_CODEC, Body, MessageHead, StepCall, StepReply
from salver.protocol.step_messages import json_text
from salver.protocol.wire import EncodedResponse
from salver.runtimes.step_ports import LoadedFunctions, StepAnswer, StepContext, StepInput

_LOOK_S = 0.001
"""A chain that has taken so long looks whether anybody still waits, before it goes on."""


def run_steps(
    model: LoadedFunctions,
    call: StepCall,
    bodies: Sequence[Body],
    is_cancelled: Callable[[], bool],
) -> tuple[StepReply, list[bytes]]:
    """Calls the functions of the chain; `bodies` have their content coding undone.

    Raises `RequestError`, its message beginning with the step, and `MemoryError`.
    """
    if not call.calls:
        raise InvalidInput("the bundle calls no function: name one or more")
    name = model.name
    messages = [
        MessageInput(head.name, head.codec, head.aux, body, name, is_request=head.is_request)
        for head, body in zip(call.messages, bodies, strict=True)
        if head.codec != ABSENT_CODEC
    ]
    first = messages[0] if messages else empty_input(call.codec, name)
    chain = _Chain(call, first)
    context = StepContext(call.headers, call.routing)
    if len(messages) < len(call.messages):
        context.places = tuple(head.name for head in call.messages)
    inputs: Sequence[StepInput] = messages
    started_s = looked_s = time.perf_counter()
    for each in call.calls:
        if chain.answer is not None:
            if started_s - looked_s > _LOOK_S:
                if is_cancelled():
                    raise Unavailable(f"step '{each.step}': nobody waits for it any more")
                looked_s = time.perf_counter()
            inputs = (chain.next_input(),)
            context.places = ()
        chain.step = each.step
        answer = model.invoke(each.step, each.function, each.method, inputs, context)
        chain.answer = answer
        if answer.tags or answer.metrics:
            chain.note(answer)
        ended_s = time.perf_counter()
        chain.reply.seconds.append(ended_s - started_s)
        started_s = ended_s
    return chain.finished()


class _Chain:
    """One bundle on its way. `step` and `answer` are those of the last function called."""

    __slots__ = ("answer", "call", "first", "reply", "step", "tags")

    def __init__(self, call: StepCall, first: MessageInput) -> None:
        self.call = call
        self.first = first
        self.reply = StepReply()
        self.tags: dict[str, Any] = {}
        self.step = ""
        self.answer: StepAnswer | None = None

    def next_input(self) -> StepInput:
        """The last answer, for the next function."""
        assert self.answer is not None
        try:
            return next_input(self.step, self.answer, self.first, self.tags)
        except RequestError as error:
            raise ModelFailed(f"step '{self.step}': {error}") from error

    def note(self, answer: StepAnswer) -> None:
        """Keeps the tags and metrics of the answer, as JSON has them."""
        noted = {"tags": answer.tags, "metrics": answer.metrics}
        try:
            plain = orjson.loads(json_text({key: each for key, each in noted.items() if each}))
        except ModelFailed as error:
            raise ModelFailed(f"step '{self.step}': its tags or metrics: {error}") from error
        self.reply.meta[self.step] = plain
        self.tags.update(plain.get("tags") or {})

    def finished(self) -> tuple[StepReply, list[bytes]]:
        """The reply with the last answer, in the format that is wanted."""
        answer, reply = self.answer, self.reply
        assert answer is not None
        if answer.branch is not None:
            reply.branch = answer.branch
            return reply, []
        try:
            written = self._written(answer)
        except RequestError as error:
            text = f"step '{self.step}': its answer cannot be written: {error}"
            raise type(error)(text) from error
        if written is None:
            return reply, []
        codec = self.call.codec or int(self.first.codec)
        body = written.body
        is_request = self.call.wants == "request"
        head = MessageHead(self.step, codec, written.json_length, 0, len(body), is_request)
        reply.messages = [head]
        return reply, [body]

    def _written(self, answer: StepAnswer) -> EncodedResponse | None:
        call, first = self.call, self.first
        codec = first.codec if not call.codec else codec_of(call.codec)
        is_request = call.wants == "request"
        passed = answer.passed
        if answer.document is not None:
            if codec is first.codec:
                return document_message(answer.document, first, is_request=is_request)
            passed = self.next_input()
        if isinstance(passed, MessageInput):
            is_alike = passed.codec is codec and (
                passed.is_request is is_request or passed.is_seldon
            )
            if is_alike and not call.names and not (self.tags and passed.is_seldon):
                return passed.unchanged()
            answer = _answer_of(passed)
        elif isinstance(passed, AnswerInput):
            answer = passed.answer
        if answer.tensors is None and answer.content is msgspec.UNSET:
            return None
        return message_of(answer, first, codec, self.tags, is_request=is_request, names=call.names)


def _answer_of(passed: MessageInput) -> StepAnswer:
    """What a message carries, as if a function had answered with it."""
    content = passed.content()
    if content is not msgspec.UNSET:
        return StepAnswer(content=content)
    return StepAnswer(passed.tensors(), passed.columns())
