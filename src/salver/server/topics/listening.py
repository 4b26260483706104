"""What all brokers share: which models are listened for, and what is counted of messages."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
from collections.abc import Callable, Coroutine, Mapping

import msgspec

from salver.engine.ports import ModelCatalog
from salver.server.topics.addresses import TopicNames, input_topics
from salver.server.topics.outcome import RetryPolicy, Step
from salver.telemetry.registry import Counter, Registry

logger = logging.getLogger("salver.topics")

_LOOK_EVERY_S = 0.25
_LOOK_SHARE = 50
"""Looking for new models takes at most one part of so many: a server may have thousands."""


class TopicOptions(msgspec.Struct, frozen=True):
    """What a broker's front is told, besides where the broker is. `in_flight` is for each topic."""

    names: TopicNames
    group: str
    in_flight: int
    timeout_s: float
    policy: RetryPolicy


class TopicMetrics:
    """The counters of one broker's messages."""

    def __init__(self, broker: str, registry: Registry) -> None:
        self._broker = broker
        self._registry = registry
        self.answered = self._outcome("answered")
        self.refused = self._outcome("refused")
        self.retried = self._outcome("retried")
        self.buried = self._outcome("dead_letter")
        self.unanswered = self._outcome("reply_lost")
        self.in_flight = registry.gauge(
            "salver_topic_in_flight", "Messages that have no outcome yet.", broker=broker
        )
        self.connected = registry.gauge(
            "salver_topic_connected", "Whether there is a connection to the broker.", broker=broker
        )
        self.connections = registry.counter(
            "salver_topic_connections_total", "Connections made to the broker.", broker=broker
        )

    def _outcome(self, outcome: str) -> Counter:
        return self._registry.counter(
            "salver_topic_messages_total",
            "Messages by what became of them.",
            broker=self._broker,
            outcome=outcome,
        )

    def count(self, step: Step, *, is_error: bool) -> None:
        """One message has come to this end, or to its next try."""
        if step is Step.RETRY:
            self.retried.value += 1
        elif step is Step.BURY:
            self.buried.value += 1
        elif is_error:
            self.refused.value += 1
        else:
            self.answered.value += 1


class Handlers:
    """The messages under way: each a task, all of them known and ended in time."""

    def __init__(self, metrics: TopicMetrics) -> None:
        self._tasks: set[asyncio.Task[None]] = set()
        self._metrics = metrics

    def __len__(self) -> int:
        return len(self._tasks)

    def start(self, work: Coroutine[None, None, None], on_end: Callable[[], None]) -> None:
        """Runs the work; `on_end` is called when it has ended, however it did."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        self._metrics.in_flight.value = len(self._tasks)

        def ended(_: object) -> None:
            self._tasks.discard(task)
            self._metrics.in_flight.value = len(self._tasks)
            if not task.cancelled() and (error := task.exception()) is not None:
                logger.error("a message could not be handled", exc_info=error)
            on_end()

        task.add_done_callback(ended)

    async def wait_idle(self, timeout_s: float) -> bool:
        """Waits for all of them; those that take longer are ended. True if none did."""
        if not self._tasks:
            return True
        _, late = await asyncio.wait(tuple(self._tasks), timeout=timeout_s)
        for task in late:
            task.cancel()
        if late:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1.0):
                    await asyncio.gather(*late, return_exceptions=True)
        return not late


class Listened:
    """The topics to listen on, as models come and go."""

    def __init__(self, catalog: ModelCatalog, names: TopicNames, fits: re.Pattern[str]) -> None:
        self._catalog = catalog
        self._names = names
        self._fits = fits
        self._left: tuple[str, ...] = ()
        self.topics: Mapping[str, str] = {}
        """Topics with their models."""

    def look(self, clock: Callable[[], float]) -> float:
        """Looks at the models that are ready; returns after how many seconds to look again.

        One that is not ready is not listened for: its messages wait, or go to other servers.
        """
        began_s = clock()
        ready = {each.name for each in self._catalog.statuses() if each.state == "READY"}
        if not self._names.is_per_model:
            self.topics = {self._names.input: ""} if ready else {}
        else:
            self.topics, left = input_topics(self._names, ready, self._fits)
            if left and left != self._left:
                logger.warning(
                    "%d models have no topic of their own (first: %s): give --topic-input a topic "
                    "without {model}, and messages the header salver-model",
                    len(left),
                    left[0],
                )
            self._left = left
        return max(_LOOK_EVERY_S, (clock() - began_s) * _LOOK_SHARE)
