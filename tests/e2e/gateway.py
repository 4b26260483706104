"""A catalog and its HTTP listener on a loop of their own in this process, with real workers.

For what no route of the server does yet: telling a model how many workers it is to have.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import uvloop

from salver.artifacts.layout import discover
from salver.backends.local.catalog import LocalCatalog
from salver.backends.local.model import LocalModel
from salver.engine.directory import ModelDirectory
from salver.server.http.listener import HttpListener
from salver.settings import ServeSettings
from salver.telemetry.registry import Registry


class Gateway:
    """Serves one target; `port` is where it listens."""

    def __init__(self, path: Path, **settings: Any) -> None:
        self._settings = ServeSettings(http_port=0, **settings)
        self._targets = discover(str(path))
        self._loop = uvloop.new_event_loop()
        self.catalog = LocalCatalog(lambda: self._targets, self._settings, Registry())
        self.catalog.prepare(self._targets)
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.run(self._start())

    async def _start(self) -> None:
        async def no_pages(*_: object) -> None:
            raise LookupError("this listener answers inference only")

        self._listener = HttpListener(
            ModelDirectory(self.catalog), no_pages, self._settings, count_status=lambda _: None
        )
        await self._listener.start()
        self.catalog.start_checks()
        await self.catalog.load_all(self._targets)

    @property
    def port(self) -> int:
        return self._listener.port

    @property
    def model(self) -> LocalModel:
        """The first of its models."""
        return self.catalog.models()[0]

    def run(self, work: Coroutine[Any, Any, None]) -> None:
        """Runs a coroutine on the gateway's loop and waits for it."""
        asyncio.run_coroutine_threadsafe(work, self._loop).result(60)

    def scale(self, replicas: int) -> None:
        """Returns when the model has so many workers; at 0, when their processes have ended."""

        async def scale() -> None:
            self.model.scale(replicas)
            while self.model.ready_replicas != replicas or self.model.processes != replicas:
                await asyncio.sleep(0.005)

        self.run(scale())

    def tell(self, replicas: int) -> None:
        """Tells the number and does not wait."""
        self._loop.call_soon_threadsafe(self.model.scale, replicas)

    def close(self) -> None:
        async def end() -> None:
            await self._listener.drain(0.1)
            self.catalog.close()

        self.run(end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
