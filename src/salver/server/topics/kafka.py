"""Requests over Kafka: read by a consumer group, committed once their replies are written.

Offsets are committed up to the first message that is not done (`offsets.py`), so that a message is
handled at least once, whatever ends. A message that fails is tried again here, as Kafka gives none
a second time while its reader lives.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from salver.engine.ports import ModelCatalog
from salver.errors import PayloadTooLarge, StartupError
from salver.server.topics.addresses import KAFKA_NAME, filled
from salver.server.topics.answering import TopicAnswers
from salver.server.topics.kafka_messages import kafka_headers, message_of, named
from salver.server.topics.listening import Handlers, Listened, TopicMetrics, TopicOptions
from salver.server.topics.messages import TopicMessage, TopicReply, dead_letter_headers, refusal_of
from salver.server.topics.offsets import OffsetLedger
from salver.server.topics.outcome import RetryPolicy, Step, next_step
from salver.telemetry.registry import Registry

logger = logging.getLogger("salver.topics")

_POLL_MS = 200
_ASK_S = 10.0
_BACKOFF = RetryPolicy(first_delay_s=0.25, max_delay_s=15.0)


class KafkaFront:
    """Answers what comes over one Kafka cluster, for all models that are ready."""

    def __init__(
        self,
        servers: Sequence[str],
        options: TopicOptions,
        answers: TopicAnswers,
        catalog: ModelCatalog,
        registry: Registry,
        clock: Callable[[], float],
    ) -> None:
        if importlib.util.find_spec("aiokafka") is None:
            raise StartupError("--kafka needs aiokafka: pip install 'salver[kafka]'")
        self._servers = list(servers)
        self._options = options
        self._answers = answers
        self._clock = clock
        self._metrics = TopicMetrics("kafka", registry)
        self._handlers = Handlers(self._metrics)
        self._listened = Listened(catalog, options.names, KAFKA_NAME)
        self._ledger: OffsetLedger[Any] = OffsetLedger()
        self._room = asyncio.Event()
        self._consumer: Any = None
        self._producer: Any = None
        self._task: asyncio.Task[None] | None = None
        self._is_draining = False
        self._looks_s = 0.0
        self._topics: Mapping[str, str] = {}

    def start(self) -> None:
        """Begins to connect, and goes on until it is drained. Needs a running event loop."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def drain(self, timeout_s: float) -> bool:
        """Reads no more, answers what was read, commits; True if all in time."""
        self._is_draining = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        is_clean = await self._handlers.wait_idle(timeout_s)
        await self._close()
        return is_clean

    # The connection.

    async def _run(self) -> None:
        failures = 0
        while True:
            try:
                await self._open()
                failures = 0
                await self._read()
            except Exception as error:
                failures += 1
                wait_s = _BACKOFF.delay_s(failures)
                said = str(error) or type(error).__name__
                logger.warning("Kafka: %s; trying again in %.1f s", said, wait_s)
                await self._handlers.wait_idle(_ASK_S)
                await self._close()
                await asyncio.sleep(wait_s)

    async def _open(self) -> None:
        from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

        self._topics = {}
        self._ledger = OffsetLedger()
        self._producer = AIOKafkaProducer(
            bootstrap_servers=self._servers, client_id="salver", acks="all"
        )
        self._consumer = AIOKafkaConsumer(
            bootstrap_servers=self._servers,
            client_id="salver",
            group_id=self._options.group,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
        )
        async with asyncio.timeout(_ASK_S):
            await self._producer.start()
            await self._consumer.start()
        self._metrics.connected.value = 1
        self._metrics.connections.value += 1
        logger.info("Kafka: connected to %s", ",".join(self._servers))

    async def _close(self) -> None:
        self._metrics.connected.value = 0
        consumer, self._consumer = self._consumer, None
        producer, self._producer = self._producer, None
        if consumer is not None:
            await _quietly(self._commit(consumer))
            await _quietly(consumer.stop())
        if producer is not None:
            await _quietly(producer.stop())

    # Messages in.

    async def _read(self) -> None:
        while True:
            self._listen()
            if not self._topics:
                await asyncio.sleep(_POLL_MS / 1000)
                continue
            free = self._options.in_flight - len(self._handlers)
            if free <= 0:
                self._room.clear()
                await self._room.wait()
                continue
            found = await self._consumer.getmany(timeout_ms=_POLL_MS, max_records=free)
            for partition, records in found.items():
                for record in records:
                    self._ledger.begin(partition, record.offset)
                    self._handlers.start(self._handle(partition, record), self._room.set)
            await self._commit(self._consumer)

    def _listen(self) -> None:
        """Subscribes to the topics of the models that there are now."""
        if self._clock() < self._looks_s:
            return
        self._looks_s = self._clock() + self._listened.look(self._clock)
        wanted = self._listened.topics
        if wanted == self._topics:
            return
        self._topics = wanted
        if not wanted:
            self._consumer.unsubscribe()
            return
        self._consumer.subscribe(topics=list(wanted), listener=_listener(self._on_revoked))
        logger.info("Kafka: listening on %s", ", ".join(sorted(wanted)[:10]))

    async def _on_revoked(self, revoked: Sequence[Any]) -> None:
        """These partitions go to another server, which gives again what is not committed."""
        await _quietly(self._commit(self._consumer))
        for partition in revoked:
            self._ledger.forget(partition)

    async def _commit(self, consumer: Any) -> None:
        mine = consumer.assignment()
        offsets = {
            partition: offset
            for partition, offset in self._ledger.to_commit().items()
            if partition in mine
        }
        if offsets:
            async with asyncio.timeout(_ASK_S):
                await consumer.commit(offsets)
            self._ledger.committed(offsets)

    # One message.

    async def _handle(self, partition: Any, record: Any) -> None:
        ledger = self._ledger
        message = message_of(record, self._topics.get(record.topic, ""))
        attempts = 0
        while True:
            attempts += 1
            reply = await self._answers.reply_to(message)
            policy = self._options.policy
            step = next_step(reply.kind, attempts, policy, is_draining=self._is_draining)
            if step is not Step.RETRY:
                break
            self._metrics.count(step, is_error=True)
            if self._is_draining:
                # It is not committed, and comes again, to whoever reads then.
                return
            await asyncio.sleep(policy.delay_s(attempts))
        if step is Step.BURY:
            await self._bury(message, record.key, reply, attempts)
        try:
            await self._send(message, record.key, reply)
        except PayloadTooLarge as error:
            reply = refusal_of(message, None, error.kind, str(error))
            await self._send(message, record.key, reply)
        ledger.done(partition, record.offset)
        self._metrics.count(step, is_error=bool(reply.error))

    async def _bury(
        self, message: TopicMessage, key: bytes | None, reply: TopicReply, attempts: int
    ) -> None:
        logger.error("Kafka: message %s is given up: %s", message.id, reply.error)
        pattern = self._options.names.dead_letters
        if not pattern:
            return
        headers = dead_letter_headers(message, reply, attempts)
        topic = filled(pattern, named(message.model, reply))
        try:
            await self._publish(topic, key, headers, message.body)
        except PayloadTooLarge as error:
            logger.error("Kafka: no dead letter of message %s: %s", message.id, error)

    async def _send(self, message: TopicMessage, key: bytes | None, reply: TopicReply) -> None:
        pattern = self._options.names.output
        if pattern:
            topic = filled(pattern, named(message.model, reply))
            headers = {**reply.headers, "salver-message-id": message.id}
            await self._publish(topic, key, headers, reply.body)
        else:
            self._metrics.unanswered.value += 1

    async def _publish(
        self, topic: str, key: bytes | None, headers: Mapping[str, str], body: bytes
    ) -> None:
        """Returns once the brokers have it, however long that takes: until then the offset stays
        where it is. Raises `PayloadTooLarge` for what they will never take."""
        from aiokafka.errors import MessageSizeTooLargeError

        failures = 0
        while True:
            try:
                async with asyncio.timeout(_ASK_S):
                    await self._producer.send_and_wait(
                        topic, body, key=key, headers=kafka_headers(headers)
                    )
                return
            except MessageSizeTooLargeError as error:
                raise PayloadTooLarge(
                    f"the answer has {len(body)} bytes, over Kafka's limit: ask for fewer rows, or "
                    "raise max.message.bytes"
                ) from error
            except Exception as error:
                failures += 1
                wait_s = _BACKOFF.delay_s(failures)
                said = str(error) or type(error).__name__
                logger.warning("Kafka: %s takes nothing (%s): again in %.1f s", topic, said, wait_s)
                await asyncio.sleep(wait_s)


def _listener(on_revoked: Callable[[Sequence[Any]], Awaitable[None]]) -> Any:
    from aiokafka import ConsumerRebalanceListener

    async def revoked(_: Any, partitions: Sequence[Any]) -> None:
        await on_revoked(partitions)

    async def assigned(_: Any, partitions: Sequence[Any]) -> None:
        return

    members = {"on_partitions_revoked": revoked, "on_partitions_assigned": assigned}
    # Made by `type`, as the base class is imported only now.
    return type("Listener", (ConsumerRebalanceListener,), members)()


async def _quietly(closing: Any) -> None:
    with contextlib.suppress(Exception):
        async with asyncio.timeout(_ASK_S):
            await closing
