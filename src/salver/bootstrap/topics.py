"""Wires the brokers that requests come over, where there are any."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Protocol

from salver.engine.ports import ModelCatalog
from salver.errors import SettingsError
from salver.server.observe import RequestObserver
from salver.server.topics.addresses import KAFKA_NAME, NATS_NAME, TopicNames, pattern_problem
from salver.server.topics.answering import AnsweringLimits, TopicAnswers
from salver.server.topics.listening import TopicOptions
from salver.server.topics.outcome import RetryPolicy
from salver.settings import ServeSettings
from salver.telemetry.registry import Registry


class TopicFront(Protocol):
    """One broker."""

    def start(self) -> None: ...

    async def drain(self, timeout_s: float) -> bool: ...


class TopicFronts:
    """All brokers of one server; most have none."""

    def __init__(self, fronts: Sequence[TopicFront]) -> None:
        self._fronts = fronts

    def start(self) -> None:
        """Begins to connect to all of them, in the background."""
        for front in self._fronts:
            front.start()

    async def drain(self, timeout_s: float) -> None:
        """Answers what has come, and takes no more."""
        await asyncio.gather(*(front.drain(timeout_s) for front in self._fronts))


def topic_fronts(
    catalog: ModelCatalog,
    settings: ServeSettings,
    registry: Registry,
    observer: RequestObserver | None,
) -> TopicFronts:
    """The brokers that the settings name. Raises `SettingsError` for topics that cannot be, and
    `StartupError` if a client library is not installed."""
    _check(settings)
    options = TopicOptions(
        names=TopicNames(settings.topic_input, settings.topic_output, settings.topic_dead_letters),
        group=settings.topic_group,
        in_flight=settings.topic_in_flight,
        timeout_s=settings.request_timeout,
        policy=RetryPolicy(max_attempts=settings.topic_attempts),
    )
    limits = AnsweringLimits(settings.request_timeout, settings.max_body_size)

    def answers(broker: str) -> TopicAnswers:
        return TopicAnswers(broker, catalog, limits, clock=time.monotonic, observer=observer)

    fronts: list[TopicFront] = []
    if settings.nats:
        from salver.server.topics.nats import NatsFront, NatsPlace

        place = NatsPlace(settings.nats, settings.nats_credentials, settings.nats_stream)
        fronts.append(NatsFront(place, options, answers("nats"), catalog, registry, time.monotonic))
    if settings.kafka:
        from salver.server.topics.kafka import KafkaFront

        fronts.append(
            KafkaFront(settings.kafka, options, answers("kafka"), catalog, registry, time.monotonic)
        )
    return TopicFronts(fronts)


def _check(settings: ServeSettings) -> None:
    given = {
        "--topic-input": settings.topic_input,
        "--topic-output": settings.topic_output,
        "--topic-dead-letters": settings.topic_dead_letters,
    }
    brokers = [(settings.nats, NATS_NAME), (settings.kafka, KAFKA_NAME)]
    problems = [
        f"{flag}: {problem}"
        for servers, fits in brokers
        for flag, pattern in given.items()
        if servers
        and (pattern or flag == "--topic-input")
        and (problem := pattern_problem(pattern, fits))
    ]
    if problems:
        raise SettingsError(problems)
