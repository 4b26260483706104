"""From a message to its reply: reads it, asks the model, counts and logs. Knows no broker."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

import msgspec

from salver.engine.ports import ModelCatalog, ServedModel
from salver.errors import ErrorKind, ModelNotFound, RequestError
from salver.protocol.http_statuses import HTTP_STATUS
from salver.server.observe import Answered, Observation, RequestObserver
from salver.server.topics.call import TopicCall
from salver.server.topics.messages import (
    Asked,
    TopicMessage,
    TopicReply,
    answer_to,
    asked_by,
    refusal_of,
)

logger = logging.getLogger("salver.topics")

_GRACE_S = 5.0
"""Beyond its deadline the engine has answered every call; this is for a bug."""


class AnsweringLimits(msgspec.Struct, frozen=True):
    """What a request may take."""

    timeout_s: float
    max_body_bytes: int


class TopicAnswers:
    """Answers messages from one catalog, for all brokers."""

    def __init__(
        self,
        broker: str,
        catalog: ModelCatalog,
        limits: AnsweringLimits,
        *,
        clock: Callable[[], float],
        observer: RequestObserver | None = None,
    ) -> None:
        self._protocol = f"{broker}-topic"
        self._catalog = catalog
        self._limits = limits
        self._clock = clock
        self._observer = observer

    async def reply_to(self, message: TopicMessage) -> TopicReply:
        """The reply, an error's too. Never raises, but for being cancelled."""
        observation = None
        if self._observer is not None:
            traceparent = message.headers.get("traceparent", "").encode("latin-1", "replace")
            request_id = message.headers.get("x-request-id", "").encode("latin-1", "replace")
            observation = self._observer.begin(traceparent, request_id)
        try:
            reply = await self._reply(message, observation)
        except Exception as error:
            logger.exception("a message on %s could not be answered", message.topic)
            said = f"the server failed on this message ({type(error).__name__}): see its log"
            reply = refusal_of(message, None, ErrorKind.MODEL_FAILED, said)
        if observation is not None and self._observer is not None:
            self._observer.end(observation, self._answered(message, observation, reply))
        return reply

    async def _reply(self, message: TopicMessage, observation: Observation | None) -> TopicReply:
        asked: Asked | None = None
        if len(message.body) > self._limits.max_body_bytes:
            said = (
                f"the message has {len(message.body)} bytes, over the limit of "
                f"{self._limits.max_body_bytes}: send fewer rows, or raise --max-body-size"
            )
            return refusal_of(message, None, ErrorKind.PAYLOAD_TOO_LARGE, said)
        try:
            asked = asked_by(message)
            model = self._find(asked)
        except RequestError as error:
            return refusal_of(message, asked, error.kind, str(error))
        if observation is not None:
            observation.model = model.name
        now_s = self._clock()
        deadline_s = now_s + self._limits.timeout_s
        call = TopicCall(asked, message.headers, observation, now_s=now_s, deadline_s=deadline_s)
        model.submit(call)
        try:
            # Its own deadline moves while it comes to models that have more time.
            while not call.answer.done():
                left_s = call.deadline_s - self._clock() + _GRACE_S
                if left_s <= 0:
                    call.fail(ErrorKind.DEADLINE_EXCEEDED, "the time limit has passed")
                    break
                await asyncio.wait((call.answer,), timeout=left_s)
        finally:
            call.is_abandoned = not call.answer.done()
        kind, body, aux, said = call.answer.result()
        if kind is ErrorKind.OK:
            return answer_to(asked, body, aux, call.coding)
        return refusal_of(message, asked, kind, said)

    def _find(self, asked: Asked) -> ServedModel:
        if asked.model:
            return self._catalog.find(asked.model, asked.version)
        names = {status.name for status in self._catalog.statuses()}
        if len(names) != 1:
            raise ModelNotFound(
                f"the message names no model, and this server has {len(names)}: "
                "put its name into the header salver-model"
            )
        return self._catalog.find(names.pop(), asked.version)

    def _answered(
        self, message: TopicMessage, observation: Observation, reply: TopicReply
    ) -> Answered:
        status = HTTP_STATUS[reply.kind]
        return Answered(
            protocol=self._protocol,
            target=message.topic,
            status=status,
            model=observation.model or message.model,
            bytes_in=len(message.body),
            error=reply.error,
            is_fault=status >= 500,
            attributes={"messaging.destination.name": message.topic},
        )
