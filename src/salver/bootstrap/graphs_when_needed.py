"""Graphs, from the first one that is declared on: until then nothing of them is imported.

A server of single models starts without the executor, the dialects and the routers that learn,
and pays nothing for them. What is asked of graphs over HTTP makes them too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec
from starlette.requests import Request
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from salver.backends.state.sqlite import SqliteResourceStore
from salver.control.resources import JsonObject, WatchEvent
from salver.engine.directory import ModelDirectory
from salver.settings import ServeSettings
from salver.spec.kinds import KSERVE, MLOPS, SALVER, SELDON
from salver.telemetry.registry import Registry

if TYPE_CHECKING:
    from salver.backends.local.graph_wiring import GraphWiring, Logged, Shadowed
    from salver.backends.local.machine import LocalMachine
    from salver.bootstrap.graphs import GraphParts
    from salver.control.graph_reconciler import GraphReconciler
    from salver.telemetry.otlp import SpanSink

RESOURCES = (
    (KSERVE, "inferencegraphs"),
    (SELDON, "seldondeployments"),
    (MLOPS, "models"),
    (MLOPS, "pipelines"),
    (MLOPS, "experiments"),
    (SALVER, "graphs"),
    (SALVER, "servedgraphs"),
)
"""What is a graph, or was one when the server was last up."""
_PATHS = ("/salver/v1/{rest:path}", "/graphs/{rest:path}")

OnEvent = Callable[[JsonObject, str, str, str], None]


class Around(msgspec.Struct, frozen=True):
    """What graphs are put into; known once the server has its port."""

    machine: LocalMachine
    base_url: str
    now: Callable[[], str]
    on_event: OnEvent
    logged: Logged
    shadowed: Shadowed


class Graphs:
    """The parts of graphs, made when they are needed. Used in the loop's thread."""

    def __init__(
        self,
        store: SqliteResourceStore,
        directory: ModelDirectory,
        settings: ServeSettings,
        registry: Registry,
        *,
        is_kept: bool,
        spans: SpanSink | None = None,
    ) -> None:
        """`is_kept`: what routers learn outlives the process. `spans` takes those of steps."""
        self._spans = spans
        self._store = store
        self._directory = directory
        self._settings = settings
        self._registry = registry
        self._is_kept = is_kept
        self._parts: GraphParts | None = None
        self._around: Around | None = None
        self._reconciler: GraphReconciler | None = None
        self._running: asyncio.Task[None] | None = None
        self._unsubscribe: Callable[[], None] | None = None

    def routes(self, authorise: Callable[[Request], None]) -> list[Route]:
        """What is shown of graphs; `authorise` raises `Refusal`."""
        shown = _Shown(lambda: self.parts.routes(authorise))
        return [Route(path, shown) for path in _PATHS]

    @property
    def parts(self) -> GraphParts:
        """What flows are made with."""
        if self._parts is None:
            from salver.bootstrap.graphs import GraphParts
            from salver.bootstrap.routers import RouterParts

            routers = RouterParts(
                self._store, self._settings, self._registry, is_kept=self._is_kept
            )
            self._parts = GraphParts(
                self._directory,
                self._settings,
                self._registry,
                routers=routers,
                spans=self._spans,
            )
            self._parts.start()
        return self._parts

    def wiring(self) -> GraphWiring:
        """What a graph's requests go through."""
        from salver.backends.local.graph_wiring import GraphWiring

        assert self._around is not None
        tools = self.parts.tools(logged=self._around.logged, shadowed=self._around.shadowed)
        return GraphWiring(tools)

    def start(self, around: Around) -> None:
        """Serves the graphs that are declared, now or later."""
        self._around = around
        loop = asyncio.get_running_loop()

        def on_change(event: WatchEvent) -> None:
            if (event.ref.group, event.ref.plural) in RESOURCES:
                loop.call_soon_threadsafe(self._begin)

        self._unsubscribe = self._store.subscribe(on_change)
        if any(self._store.page(*each, limit=1)[0] for each in RESOURCES):
            self._begin()

    def _begin(self) -> None:
        """Starts the control loop of graphs, once."""
        around = self._around
        if self._reconciler is not None or around is None:
            return
        if self._unsubscribe is not None:
            self._unsubscribe()
            self._unsubscribe = None
        from salver.bootstrap.graphs import answers_here, graph_address, misfits
        from salver.control.graph_compiling import GraphCompiler
        from salver.control.graph_reconciler import GraphReconciler

        address_of = graph_address(around.base_url)
        self._reconciler = GraphReconciler(
            self._store,
            around.machine,
            GraphCompiler(self._store, self._settings.propagate_headers),
            now=around.now,
            address_of=address_of,
            on_event=around.on_event,
            answers=answers_here(self._directory),
            mismatch=misfits(around.machine.model_of, self._directory),
        )
        self.parts.board.attach(self._reconciler, address_of)
        self._running = asyncio.get_running_loop().create_task(self._reconciler.run())

    def touch_service(self, namespace: str, name: str) -> None:
        """Something about a service may have changed that graphs ask."""
        if self._reconciler is not None:
            self._reconciler.touch_service(namespace, name)

    def stop(self) -> None:
        """Ends the control loop; what is served goes on."""
        self._around = None
        if self._unsubscribe is not None:
            self._unsubscribe()
        if self._running is not None:
            self._running.cancel()
        if self._reconciler is not None:
            self._reconciler.close()

    async def close(self) -> None:
        """Ends the rest; all that was learned is on disk."""
        if self._parts is not None:
            await self._parts.close()


class _Shown:
    """An ASGI application whose routes are made at the first request."""

    def __init__(self, make_routes: Callable[[], list[Route]]) -> None:
        self._make_routes = make_routes
        self._app: ASGIApp | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._app is None:
            from starlette.routing import Router

            self._app = Router(routes=self._make_routes())
        await self._app(scope, receive, send)
