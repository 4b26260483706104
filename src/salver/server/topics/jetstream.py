"""Requests that a JetStream stream keeps: each is acknowledged once its reply is out.

A message that was not acknowledged is given again, to this server or another one: at least once.
Replies carry an id made of the message's own, by which a stream (`Nats-Msg-Id`) and readers can
tell a reply that came twice.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
from typing import TYPE_CHECKING, Any

from salver.errors import ErrorKind, Unavailable
from salver.server.topics.addresses import NATS_NAME, any_model, filled
from salver.server.topics.messages import (
    TopicMessage,
    TopicReply,
    dead_letter_headers,
    refusal_of,
)
from salver.server.topics.nats_messages import message_of, named, reply_headers
from salver.server.topics.outcome import RetryPolicy, Step, next_step
from salver.server.topics.pulling import PullWindow

if TYPE_CHECKING:
    from salver.server.topics.nats import NatsFront

logger = logging.getLogger("salver.topics")

REPLY_TO = "salver-reply-to"
_PULL_S = 5.0
_ASK_S = 2.0
_PUBLISH_S = 10.0
"""How long a reply may be tried to be sent."""
_PUBLISHING = RetryPolicy(first_delay_s=0.1, max_delay_s=1.0)
_MOST_KEPT = 1000
_MADE_STREAM_AGE_S = 24 * 3600.0
_UNFIT = re.compile(r"[^A-Za-z0-9-]")


class StreamInput:
    """One durable consumer: of one model's subject, or of the one for all."""

    def __init__(self, front: NatsFront, topic: str, model: str) -> None:
        self._front = front
        self._topic = topic
        self._model = model
        self._stream = front.place.stream
        self._durable = durable_name(front.options.group, model)
        self._window = PullWindow(front.options.in_flight, _PULL_S)
        self._in_flight = 0
        self._is_closed = False
        self._wake = asyncio.Event()
        self._js = front.nc.jetstream(timeout=_ASK_S)
        self._kept: dict[str, bool] = {}
        self._subscription: Any = None
        self._puller: asyncio.Task[None] | None = None

    @classmethod
    async def open(cls, front: NatsFront, topic: str, model: str) -> StreamInput:
        """Makes the consumer, and the stream if it is not there, and takes messages from now on."""
        made = cls(front, topic, model)
        await made._make_stream()
        await made._make_consumer()
        inbox = front.nc.new_inbox()
        made._subscription = await front.nc.subscribe(inbox, cb=made._on_message)
        made._puller = asyncio.get_running_loop().create_task(made._pull(inbox))
        return made

    async def close(self) -> None:
        """See `NatsInput`."""
        self._is_closed = True
        if self._puller is not None:
            self._puller.cancel()
        await self._subscription.drain()

    def reconnected(self) -> None:
        """See `NatsInput`: what was asked of the former connection does not come any more."""
        self._window.ended()
        self._wake.set()

    async def _make_stream(self) -> None:
        from nats.js.errors import NotFoundError

        names = self._front.options.names
        try:
            await self._js.stream_info(self._stream)
        except NotFoundError:
            subjects = [any_model(each) for each in (names.input, names.output, names.dead_letters)]
            await self._js.add_stream(
                name=self._stream,
                subjects=[each for each in subjects if each],
                max_age=_MADE_STREAM_AGE_S,
            )
            logger.info("NATS: stream %s was not there and has been made", self._stream)

    async def _make_consumer(self) -> None:
        from nats.js.api import AckPolicy, ConsumerConfig

        await self._js.add_consumer(
            self._stream,
            ConsumerConfig(
                name=self._durable,
                durable_name=self._durable,
                filter_subject=self._topic,
                ack_policy=AckPolicy.EXPLICIT,
                ack_wait=self._front.options.timeout_s + _PUBLISH_S,
                max_ack_pending=max(1000, 4 * self._front.options.in_flight),
            ),
        )

    # Messages in.

    async def _pull(self, inbox: str) -> None:
        front = self._front
        subject = f"$JS.API.CONSUMER.MSG.NEXT.{self._stream}.{self._durable}"
        while not self._is_closed:
            count = self._window.next_request(self._in_flight, front.clock())
            if count:
                request = {"batch": count, "expires": int(self._window.expires_s * 1e9)}
                try:
                    await front.nc.publish(subject, json.dumps(request).encode(), reply=inbox)
                except Exception as error:
                    logger.debug("NATS: nothing asked of %s: %s", self._durable, error)
            self._wake.clear()
            try:
                async with asyncio.timeout(1.0):
                    await self._wake.wait()
            except TimeoutError:
                continue

    async def _on_message(self, raw: Any) -> None:
        if raw.headers and "Status" in raw.headers:
            # The request's end: nothing more is there, or its time is over.
            self._window.ended()
            self._wake.set()
            return
        self._window.took_message()
        self._in_flight += 1
        self._front.handlers.start(self._handle(raw), self._ended)

    def _ended(self) -> None:
        self._in_flight -= 1
        self._wake.set()

    # One message.

    async def _handle(self, raw: Any) -> None:
        front = self._front
        came = raw.metadata
        message = message_of(raw, self._model, f"{came.stream}:{came.sequence.stream}")
        attempts = came.num_delivered
        reply = await self._reply_to(message, attempts)
        step = next_step(reply.kind, attempts, front.options.policy, is_draining=front.is_draining)
        if step is Step.RETRY:
            delay_s = 0.0 if front.is_draining else front.options.policy.delay_s(attempts)
            await raw.nak(delay=delay_s)
        else:
            try:
                await self._settle(message, reply, step, attempts)
            except Unavailable as error:
                front.metrics.unanswered.value += 1
                logger.warning("message %s comes again: %s", message.id, error)
                return
            await raw.ack()
        front.metrics.count(step, is_error=bool(reply.error))

    async def _settle(
        self, message: TopicMessage, reply: TopicReply, step: Step, attempts: int
    ) -> None:
        """Sends what is to be sent before the message counts as handled. Raises `Unavailable`."""
        ends_s = self._front.clock() + _PUBLISH_S
        if step is Step.BURY:
            await self._bury(message, reply, attempts, ends_s)
        await self._send(message, reply, ends_s)

    async def _reply_to(self, message: TopicMessage, attempts: int) -> TopicReply:
        asked_for = message.headers.get(REPLY_TO, "")
        if asked_for != reply_subject(message):
            said = f"'{asked_for[:100]}' is no subject to reply to: leave {REPLY_TO} out"
            return refusal_of(message, None, ErrorKind.INVALID_INPUT, said)
        if attempts > self._front.options.policy.max_attempts:
            # Whoever had it never came to an end with it.
            said = f"the message was given {attempts - 1} times and never answered"
            return refusal_of(message, None, ErrorKind.MODEL_FAILED, said)
        return self._front.fitted(message, await self._front.answers.reply_to(message))

    async def _send(self, message: TopicMessage, reply: TopicReply, ends_s: float) -> None:
        reply_to = reply_subject(message)
        names = self._front.options.names
        headers = {**reply_headers(reply), "Nats-Msg-Id": f"reply:{message.id}"}
        if reply_to:
            await self._publish(reply_to, headers, reply.body, ends_s, is_kept=False)
        elif names.output:
            await self._publish(
                filled(names.output, named(self._model, reply)), headers, reply.body, ends_s
            )
        else:
            self._front.metrics.unanswered.value += 1

    async def _bury(
        self, message: TopicMessage, reply: TopicReply, attempts: int, ends_s: float
    ) -> None:
        names = self._front.options.names
        logger.error("NATS: message %s is given up: %s", message.id, reply.error)
        if not names.dead_letters:
            return
        headers = dead_letter_headers(message, reply, attempts)
        headers["Nats-Msg-Id"] = f"dead:{message.id}"
        await self._publish(
            filled(names.dead_letters, named(self._model, reply)), headers, message.body, ends_s
        )

    async def _publish(
        self,
        subject: str,
        headers: dict[str, str],
        body: bytes,
        ends_s: float,
        *,
        is_kept: bool = True,
    ) -> None:
        """Returns once the broker has it. Raises if that takes too long: the message then is not
        acknowledged, and comes again."""
        failures = 0
        while True:
            try:
                if is_kept and await self._is_kept(subject):
                    await self._js.publish(subject, body, timeout=_ASK_S, headers=headers)
                else:
                    await self._front.nc.publish(subject, body, headers=headers)
                    await self._front.nc.flush(timeout=_ASK_S)
                return
            except Exception as error:
                failures += 1
                delay_s = _PUBLISHING.delay_s(failures)
                if self._front.clock() + delay_s > ends_s:
                    raise Unavailable(f"NATS took no message for {subject}: {error}") from error
                await asyncio.sleep(delay_s)

    async def _is_kept(self, subject: str) -> bool:
        """Whether a stream takes what is sent there, and says so."""
        from nats.js.errors import NotFoundError

        if subject not in self._kept:
            if len(self._kept) >= _MOST_KEPT:
                self._kept.clear()
            try:
                await self._js.find_stream_name_by_subject(subject)
                self._kept[subject] = True
            except NotFoundError:
                self._kept[subject] = False
        return self._kept[subject]


def reply_subject(message: TopicMessage) -> str:
    """Where the sender wants its reply, if that is a place to send one to: this server's rights on
    NATS are not the sender's, so that subjects of NATS itself (`$JS...`) are out."""
    subject = message.headers.get(REPLY_TO, "")
    return subject if NATS_NAME.fullmatch(subject) and not subject.startswith("$") else ""


def durable_name(group: str, model: str) -> str:
    """The consumer's name: no two models have the same."""
    name = f"{group}-{model}" if model else group
    return _UNFIT.sub(lambda found: f"_{ord(found[0]):02x}", name)
