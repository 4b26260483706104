"""Events to files, in batches, written by a thread so that the event loop never waits."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from typing import Protocol

from salver.engine.payload_log import EventQueue, PayloadEvent

logger = logging.getLogger("salver.payload_log")

_BATCH = 500
_GATHER_S = 0.2
"""How long events gather before they are written together."""
_PAUSE_AFTER_FAILURE_S = 1.0


class EventWriter(Protocol):
    """Writes events to a file of some format. Called from one thread at a time."""

    def write(self, events: Sequence[PayloadEvent]) -> None:
        """Raises `OSError` if they cannot be written; `ImportError` without its library."""

    def is_due(self, now_s: float) -> bool:
        """It has held events back long enough that it should be told to `flush`."""

    def flush(self) -> None:
        """Makes what has been written readable by others."""

    def close(self) -> None:
        """Flushes and ends."""


class FileSink:
    """Takes events from its queue to a writer."""

    def __init__(self, writer: EventWriter, queue: EventQueue) -> None:
        self.queue = queue
        self._writer = writer
        self._task: asyncio.Task[None] | None = None
        self._failed = queue.dropped("sink failed")
        self._is_closing = False

    def start(self) -> None:
        """See `ports.Sink`."""
        self._task = asyncio.get_running_loop().create_task(self._work())

    async def close(self, timeout_s: float) -> None:
        """See `ports.Sink`."""
        self._is_closing = True
        if self._task is not None:
            try:
                await asyncio.wait_for(self._task, timeout_s)
            except TimeoutError:
                logger.warning("%d payload events are lost: the disk is too slow", len(self.queue))
        self.queue.dropped("closed").value += len(self.queue.take(1 << 62))
        await asyncio.to_thread(self._writer.close)

    async def _work(self) -> None:
        while len(self.queue) or not self._is_closing:
            events = self.queue.take(_BATCH)
            if events:
                await self._write(events)
            elif self._writer.is_due(time.monotonic()):
                await asyncio.to_thread(self._writer.flush)
            if not self._is_closing and len(self.queue) < _BATCH:
                await asyncio.sleep(_GATHER_S)

    async def _write(self, events: list[PayloadEvent]) -> None:
        try:
            await asyncio.to_thread(self._writer.write, events)
        except (OSError, ImportError, ValueError) as error:
            self._failed.value += len(events)
            logger.warning("%d payload events could not be written: %s", len(events), error)
            await asyncio.sleep(0.0 if self._is_closing else _PAUSE_AFTER_FAILURE_S)
        else:
            self.queue.logged.value += len(events)
