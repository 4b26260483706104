"""Requests over NATS: a connection that is made again whenever it is lost, and what listens on it.

Listening itself is `nats_plain.py`'s, or `jetstream.py`'s where a stream keeps the requests.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import logging
from collections.abc import Callable
from typing import Any, Protocol

import msgspec

from salver.engine.ports import ModelCatalog
from salver.errors import ErrorKind, StartupError, Unavailable
from salver.server.topics.addresses import NATS_NAME
from salver.server.topics.answering import TopicAnswers
from salver.server.topics.listening import Handlers, Listened, TopicMetrics, TopicOptions
from salver.server.topics.messages import TopicMessage, TopicReply, refusal_of
from salver.server.topics.nats_messages import reply_headers
from salver.server.topics.outcome import RetryPolicy
from salver.telemetry.registry import Registry

logger = logging.getLogger("salver.topics")

_CONNECT_S = 5.0
_RECONNECT_EVERY_S = 0.5
_BACKOFF = RetryPolicy(first_delay_s=0.25, max_delay_s=15.0)
_UNSUBSCRIBE_S = 2.0
_HEADER_BYTES = 16
"""What a header takes besides its name and value, at most; the first line included."""


class NatsPlace(msgspec.Struct, frozen=True):
    """Where the broker is. `stream` is empty where requests are not kept."""

    servers: tuple[str, ...]
    credentials: str = ""
    stream: str = ""


class NatsInput(Protocol):
    """What listens on one subject."""

    async def close(self) -> None:
        """Takes no more messages; those that have come are still handled."""

    def reconnected(self) -> None:
        """The connection is a new one."""


class NatsFront:
    """Answers what comes over one NATS cluster, for all models that are ready."""

    def __init__(
        self,
        place: NatsPlace,
        options: TopicOptions,
        answers: TopicAnswers,
        catalog: ModelCatalog,
        registry: Registry,
        clock: Callable[[], float],
    ) -> None:
        if importlib.util.find_spec("nats") is None:
            raise StartupError("--nats needs nats-py: pip install 'salver[nats]'")
        self.place = place
        self.options = options
        self.answers = answers
        self.catalog = catalog
        self.clock = clock
        self.metrics = TopicMetrics("nats", registry)
        self.handlers = Handlers(self.metrics)
        self.is_draining = False
        self.nc: Any = None
        self._listened = Listened(catalog, options.names, NATS_NAME)
        self._inputs: dict[str, NatsInput] = {}
        self._task: asyncio.Task[None] | None = None
        self._last_error = ""

    def start(self) -> None:
        """Begins to connect, and goes on until it is drained. Needs a running event loop."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def drain(self, timeout_s: float) -> bool:
        """Takes no more messages and answers those that have come; True if all in time."""
        self.is_draining = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self.nc is None:
            return True
        if self.nc.is_connected:
            await asyncio.gather(*(self._close_input(topic) for topic in tuple(self._inputs)))
        is_clean = await self.handlers.wait_idle(timeout_s)
        with contextlib.suppress(Exception):
            async with asyncio.timeout(_UNSUBSCRIBE_S):
                if self.nc.is_connected:
                    await self.nc.flush()
                await self.nc.close()
        self.metrics.connected.value = 0
        return is_clean

    # The connection.

    async def _run(self) -> None:
        failures = 0
        while True:
            try:
                if self.nc is None:
                    self.nc = await self._connect()
                wait_s = await self._sync()
                failures = 0
            except Exception as error:
                failures += 1
                wait_s = _BACKOFF.delay_s(failures)
                said = str(error) or type(error).__name__
                logger.warning("NATS: %s; trying again in %.1f s", said, wait_s)
            await asyncio.sleep(wait_s)

    async def _connect(self) -> Any:
        from nats.aio.client import Client

        client = Client()
        try:
            async with asyncio.timeout(_CONNECT_S):
                await self._connect_client(client)
        except BaseException as error:
            await client.close()
            if not isinstance(error, Exception):
                raise
            # Their hosts alone: addresses may have passwords in them.
            hosts = ", ".join(each.rpartition("@")[2] for each in self.place.servers)
            reason = self._last_error or str(error) or type(error).__name__
            raise Unavailable(f"no connection to {hosts}: {reason}") from error
        self.metrics.connected.value = 1
        self.metrics.connections.value += 1
        place = client.connected_url
        logger.info("NATS: connected to %s", place.hostname if place is not None else "?")
        return client

    async def _connect_client(self, client: Any) -> None:
        extra = {"user_credentials": self.place.credentials} if self.place.credentials else {}
        await client.connect(
            servers=list(self.place.servers),
            name="salver",
            # The first time is ours to repeat, so that its reason is told.
            allow_reconnect=True,
            max_reconnect_attempts=-1,
            reconnect_time_wait=_RECONNECT_EVERY_S,
            connect_timeout=2,
            error_cb=self._on_error,
            disconnected_cb=self._on_disconnected,
            reconnected_cb=self._on_reconnected,
            closed_cb=self._on_closed,
            **extra,
        )

    async def _on_error(self, error: Exception) -> None:
        self._last_error = str(error) or type(error).__name__
        if not self.is_draining:
            logger.debug("NATS: %s", self._last_error)

    async def _on_disconnected(self) -> None:
        if self.metrics.connected.value and not self.is_draining:
            logger.warning("NATS: the connection is lost")
        self.metrics.connected.value = 0

    async def _on_reconnected(self) -> None:
        self.metrics.connected.value = 1
        self.metrics.connections.value += 1
        logger.info("NATS: connected again")
        for each in self._inputs.values():
            each.reconnected()

    async def _on_closed(self) -> None:
        # The library has given up, which it does when it is told that it may not connect.
        self.metrics.connected.value = 0
        if not self.is_draining:
            self.nc = None
            self._inputs.clear()

    # The subjects.

    async def _sync(self) -> float:
        """Listens for the models there are now; returns when to look again."""
        wait_s = self._listened.look(self.clock)
        wanted = self._listened.topics
        for topic in [topic for topic in self._inputs if topic not in wanted]:
            await self._close_input(topic)
        for topic, model in wanted.items():
            if topic not in self._inputs:
                self._inputs[topic] = await self._open(topic, model)
                logger.info("NATS: listening on %s", topic)
        return wait_s

    async def _open(self, topic: str, model: str) -> NatsInput:
        if self.place.stream:
            from salver.server.topics.jetstream import StreamInput

            return await StreamInput.open(self, topic, model)
        from salver.server.topics.nats_plain import PlainInput

        return await PlainInput.open(self, topic, model)

    async def _close_input(self, topic: str) -> None:
        with contextlib.suppress(Exception):
            async with asyncio.timeout(_UNSUBSCRIBE_S):
                await self._inputs.pop(topic).close()

    # Replies.

    async def publish(self, subject: str, reply: TopicReply) -> None:
        """Sends a reply to a subject; one that is too large for the broker is told as an error."""
        await self.nc.publish(subject, reply.body, headers=reply_headers(reply))

    def fitted(self, message: TopicMessage, reply: TopicReply) -> TopicReply:
        """The reply, or what is wrong with it if the broker would not take it."""
        headers = reply_headers(reply)
        size = len(reply.body) + sum(
            len(name) + len(value.encode()) + _HEADER_BYTES for name, value in headers.items()
        )
        if size <= self.nc.max_payload:
            return reply
        said = (
            f"the answer has {len(reply.body)} bytes, over NATS' max_payload of "
            f"{self.nc.max_payload}: ask for fewer rows, or raise it"
        )
        return refusal_of(message, None, ErrorKind.PAYLOAD_TOO_LARGE, said)
