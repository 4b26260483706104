"""Routers that learn, for tests: on a virtual clock, with chance from a seed."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import Any

import httpx
from starlette.applications import Starlette

from salver.backends.state.router_log import LogFiles, RouterLogs
from salver.engine.call import Call
from salver.engine.flow_ports import Choosing
from salver.engine.learning import LearnedRouters, LearningSettings
from salver.engine.learning_ports import MemoryRouterLog, OpenLog
from salver.graphs.flow import Learned
from salver.protocol.messages import Message
from salver.protocol.wire_codes import Codec
from salver.server.rest.feedback import FeedbackRoutes
from salver.telemetry.registry import Registry


class Time:
    """A clock that stands still unless it is moved."""

    def __init__(self, now_s: float = 1000.0) -> None:
        self.now_s = now_s

    def __call__(self) -> float:
        return self.now_s


class Gateway:
    """One process's routers: on a folder, or in memory."""

    def __init__(
        self,
        folder: Path | None = None,
        name: str = "one",
        *,
        seed: int = 1,
        time: Time | None = None,
        files: LogFiles | None = None,
        settings: LearningSettings | None = None,
    ) -> None:
        self.time = time or Time()
        self.registry = Registry()
        self.logs: RouterLogs | None = None
        open_log: OpenLog = lambda router: MemoryRouterLog()  # noqa: E731
        if folder is not None:
            self.logs = RouterLogs(
                folder, name, call_soon=lambda flush: flush(), files=files, now=self.time
            )
            open_log = self.logs.open
        self.routers = LearnedRouters(
            open_log,
            self.registry,
            random=random.Random(seed).random,
            clock=self.time,
            now=self.time,
            settings=settings or LearningSettings(gateway=name, refresh_s=0.0),
        )

    def close(self) -> None:
        self.routers.close()
        if self.logs is not None:
            self.logs.close()


def learned(
    algorithm: str = "epsilon_greedy", arms: tuple[str, ...] = ("a", "b"), **parameters: str
) -> Learned:
    return Learned(algorithm, arms, tuple(parameters.items()))


def choosing(run_id: str, body: bytes = b"{}", codec: Codec = Codec.V1_JSON) -> Choosing:
    call = Call(int(codec), 0, body, arrived_s=0.0, deadline_s=30.0)
    return Choosing(run_id, Message(int(codec), 0, body, is_request=True), call)


def feedback_app(gateway: Gateway, *, admin_key: str = "") -> Starlette:
    """The routes of feedback and routers, as the server has them."""
    routes = FeedbackRoutes(gateway.routers, max_body_size=1 << 20, admin_key=admin_key)
    return Starlette(routes=routes.routes())


def ask_app(
    app: Starlette, method: str, path: str, *, client: str = "127.0.0.1", **options: Any
) -> httpx.Response:
    """One request from that address."""

    async def send() -> httpx.Response:
        transport = httpx.ASGITransport(app, client=(client, 5000))
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8080") as web:
            return await web.request(method, path, **options)

    return asyncio.run(send())
