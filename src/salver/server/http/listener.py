"""The HTTP listener: accepts connections, keeps them to the limits, drains them at the end."""

from __future__ import annotations

import asyncio
import ssl
import time
import uuid
from collections.abc import Callable, Coroutine
from email.utils import formatdate
from typing import Any

from salver.engine.directory import ModelDirectory
from salver.engine.ports import ServedModel
from salver.errors import StartupError
from salver.protocol.operations import MAY_SHARE
from salver.server.http.asgi import AsgiApp
from salver.server.http.connection import HttpConnection
from salver.server.http.head import HeadCache, RequestHead
from salver.server.local_callers import binds_locally
from salver.server.observe import RequestObserver
from salver.settings import ServeSettings

_SWEEP_S = 1.0
_BACKLOG = 4096


class HttpListener:
    """All HTTP connections of this process."""

    def __init__(
        self,
        catalog: ModelDirectory,
        application: AsgiApp,
        settings: ServeSettings,
        *,
        count_status: Callable[[int], None],
        observer: RequestObserver | None = None,
        new_id: Callable[[], str] = lambda: str(uuid.uuid4()),
    ) -> None:
        """`new_id` makes ids for requests whose protocol wants one."""
        self.settings = settings
        self.application = application
        self.find_model = catalog.find
        self._directory = catalog
        self.count_status = count_status
        self.observer = observer
        self.new_id = new_id
        self.heads = HeadCache(marks=marks_of_all(settings))
        self.local_heads = HeadCache(marks=MAY_SHARE) if tells_local_callers(settings) else None
        """The heads of callers on this machine, where those may do more than others."""
        self.request_timeout_s = settings.request_timeout
        self.application_timeout_s = max(settings.request_timeout, settings.load_timeout) + 1.0
        self.is_draining = False
        self.date = b""
        self.status_prefix = b""
        self.plain_prefix = b""
        self._connections: set[HttpConnection] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._loop = asyncio.get_running_loop()
        self._sweeper: asyncio.TimerHandle | None = None
        self.now = time.monotonic
        self.call_soon = self._loop.call_soon

    async def start(self) -> None:
        """Starts listening. Raises `StartupError` if the address cannot be had."""
        settings = self.settings
        try:
            self._server = await self._loop.create_server(
                lambda: HttpConnection(self),
                settings.host,
                settings.http_port,
                backlog=_BACKLOG,
                ssl=tls_context(settings),
            )
        except OSError as error:
            raise StartupError(
                f"cannot listen on {settings.host}:{settings.http_port}: "
                f"{error.strerror or error}; choose another with --http-port (0 picks a free one)"
            ) from error
        self._sweep()

    @property
    def port(self) -> int:
        """The port listened on."""
        assert self._server is not None
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    @property
    def open_connections(self) -> int:
        return len(self._connections)

    def admit(self, connection: HttpConnection) -> bool:
        """Counts a new connection in; False if there are too many."""
        if len(self._connections) >= self.settings.max_connections:
            self.count_status(503)
            return False
        self._connections.add(connection)
        return True

    def forget(self, connection: HttpConnection) -> None:
        """A connection has closed."""
        self._connections.discard(connection)

    def find_scoped(self, head: RequestHead) -> ServedModel:
        """The model of a request whose path, host or verb asks for more than a name."""
        if head.is_explain:
            return self._directory.find_explainer(head.scope, head.model)
        if head.label:
            return self._labelled(head)
        return self._directory.find_in(head.scope, head.model, head.version)

    def _labelled(self, head: RequestHead) -> ServedModel:
        view = self._directory.view(head.scope)
        versions = view.versions(head.model)
        version = self._directory.labels.version(head.model, head.label, versions)
        return view.find(head.model, version)

    def find_unnamed(self, head: RequestHead) -> ServedModel:
        """What a request is for that names no model: see `SeldonPaths`."""
        return self._directory.find_seldon(head.scope, head.node, head.component or "predict")

    def find_generating(self, head: RequestHead) -> ServedModel:
        """The model whose generate route is asked. Raises `ModelNotFound`."""
        if head.scope:
            return self._directory.find_in(head.scope, head.generates, head.version)
        return self.find_model(head.generates, head.version)

    def is_forwarded(self, head: RequestHead) -> bool:
        """Whether the service that path or host name answers any path itself."""
        return self._directory.forwarder(head.scope) is not None

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Runs a request of the ASGI application."""
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _sweep(self) -> None:
        self.date = formatdate(time.time(), usegmt=True).encode()
        self.status_prefix = b"HTTP/1.1 200 OK\r\ndate: %b\r\n" % self.date
        self.plain_prefix = (
            b"%bcontent-type: application/json\r\ncontent-length: " % self.status_prefix
        )
        now_s = self.now()
        for connection in list(self._connections):
            connection.check_time(now_s)
        self._sweeper = self._loop.call_later(_SWEEP_S, self._sweep)

    async def drain(self, timeout_s: float) -> None:
        """Accepts no more, lets open requests finish, then closes what is left."""
        self.is_draining = True
        if self._server is not None:
            self._server.close()
        deadline_s = self.now() + timeout_s
        while self._connections and self.now() < deadline_s:
            for connection in list(self._connections):
                if connection.is_idle:
                    connection.transport.close()
            await asyncio.sleep(0.01)
        for connection in list(self._connections):
            connection.transport.abort()
        if self._sweeper is not None:
            self._sweeper.cancel()


def marks_of_all(settings: ServeSettings) -> int:
    """What every caller may do: share memory, where nobody from elsewhere is heard."""
    takes_memory = settings.client_shared_memory != "off"
    return MAY_SHARE if takes_memory and binds_locally(settings.host) else 0


def tells_local_callers(settings: ServeSettings) -> bool:
    """Whether callers on this machine may do what others may not."""
    return settings.client_shared_memory != "off" and not binds_locally(settings.host)


def tls_context(settings: ServeSettings) -> ssl.SSLContext | None:
    """The server's TLS, or None if it speaks plain HTTP. Raises `StartupError`."""
    if not settings.tls_cert:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(settings.tls_cert, settings.tls_key or None)
    except (OSError, ssl.SSLError) as error:
        raise StartupError(
            f"cannot use the certificate {settings.tls_cert}: {error}; see --tls-cert, --tls-key"
        ) from error
    return context
