"""Wires the routers that learn: their registry, their logs in the state directory, their routes."""

from __future__ import annotations

import asyncio
import os
import random
import time
import uuid

from starlette.routing import Route

from salver.backends.state.router_log import RouterLogs
from salver.engine.learning import LearnedRouters, LearningSettings
from salver.engine.learning_ports import MemoryRouterLog
from salver.server.rest.feedback import FeedbackRoutes
from salver.settings import ServeSettings
from salver.telemetry.registry import Registry

_FOLDER = "routers"


class Learning:
    """Made within the running loop; `is_kept` says whether what is learned outlives the process."""

    def __init__(self, settings: ServeSettings, registry: Registry, *, is_kept: bool) -> None:
        gateway = uuid.uuid4().hex[:8]
        self._settings = settings
        self._logs: RouterLogs | None = None
        if is_kept:
            self._logs = RouterLogs(
                settings.state_dir / _FOLDER,
                gateway,
                call_soon=asyncio.get_running_loop().call_soon,
            )
        self.routers = LearnedRouters(
            self._logs.open if self._logs is not None else lambda name: MemoryRouterLog(),
            registry,
            random=random.Random(int.from_bytes(os.urandom(32))).random,
            clock=time.monotonic,
            now=time.time,
            settings=LearningSettings(gateway=gateway),
        )
        self.routers.start()

    def routes(self) -> list[Route]:
        """Feedback, and the routers themselves."""
        return FeedbackRoutes(
            self.routers,
            max_body_size=self._settings.max_body_size,
            admin_key=self._settings.admin_key,
        ).routes()

    def close(self) -> None:
        """After the last request: all that was learned is on disk."""
        self.routers.close()
        if self._logs is not None:
            self._logs.close()
