"""Plain subjects: requests that nobody keeps, each answered once or not at all.

What is over the bound is refused at once, as there is nobody to hold it back.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from salver.errors import ErrorKind
from salver.server.topics.addresses import filled
from salver.server.topics.messages import TopicMessage, TopicReply, refusal_of
from salver.server.topics.nats_messages import message_of, named
from salver.server.topics.outcome import Step

if TYPE_CHECKING:
    from salver.server.topics.nats import NatsFront

logger = logging.getLogger("salver.topics")


class PlainInput:
    """One plain subject; the servers of one group share its messages."""

    def __init__(self, front: NatsFront, model: str) -> None:
        self._front = front
        self._model = model
        self._in_flight = 0
        self._subscription: Any = None

    @classmethod
    async def open(cls, front: NatsFront, topic: str, model: str) -> PlainInput:
        """Listens from now on."""
        made = cls(front, model)
        made._subscription = await front.nc.subscribe(
            topic, queue=front.options.group, cb=made._on_message
        )
        return made

    async def close(self) -> None:
        """See `NatsInput`."""
        await self._subscription.drain()

    def reconnected(self) -> None:
        """See `NatsInput`: the library has subscribed again."""

    async def _on_message(self, raw: Any) -> None:
        message = message_of(raw, self._model, "")
        if self._in_flight >= self._front.options.in_flight:
            said = f"{self._in_flight} messages on {message.topic} are under way: try again later"
            reply = refusal_of(message, None, ErrorKind.QUEUE_FULL, said)
            await self._send(raw, message, reply)
            return
        self._in_flight += 1
        self._front.handlers.start(self._handle(raw, message), self._ended)

    def _ended(self) -> None:
        self._in_flight -= 1

    async def _handle(self, raw: Any, message: TopicMessage) -> None:
        await self._send(raw, message, await self._front.answers.reply_to(message))

    async def _send(self, raw: Any, message: TopicMessage, reply: TopicReply) -> None:
        front = self._front
        pattern = front.options.names.output
        subject = raw.reply or (filled(pattern, named(self._model, reply)) if pattern else "")
        try:
            if not subject:
                raise LookupError(
                    "the message has no reply subject, and there is no --topic-output"
                )
            reply = front.fitted(message, reply)
            await front.publish(subject, reply)
        except Exception as error:
            front.metrics.unanswered.value += 1
            logger.warning("NATS: no reply to a message on %s: %s", message.topic, error)
        else:
            front.metrics.count(Step.REPLY, is_error=bool(reply.error))
