"""The default front: HTTP/2 and gRPC framing in Rust threads, by `pygrpc-native`.

Unary calls come in batches: a thread waits for events without the GIL and posts each batch
to the loop with one wake-up. Bidirectional streams, which the library does not serve, go to
a grpcio server behind it; grpcio costs 16 MB of memory and is imported when the first such
stream arrives. No TLS: the composition takes `GrpcioFront` for that.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Sequence
from typing import Any

from pygrpc_native import EVENT_CALL, NativeGrpcFront

from salver.server.grpc.address import cannot_listen, target_of
from salver.server.grpc.ports import (
    DRAINING,
    NO_METADATA,
    RETRY_AFTER,
    Code,
    FrontSettings,
    GrpcMethods,
    Metadata,
    UnaryHandler,
)
from salver.server.grpc.streams import LazyStreamServer

_EVENTS_PER_BATCH = 64
_IO_THREADS = 1
_FLUSH_S = 0.05
BROKEN = "the server failed on this request; its log says why"


class NativeFront:
    """`GrpcFront` on `pygrpc_native.NativeGrpcFront`."""

    def __init__(self, settings: FrontSettings) -> None:
        self._settings = settings
        self._front: NativeGrpcFront | None = None
        self._streams: LazyStreamServer | None = None
        self._handlers: Sequence[UnaryHandler] = ()
        self._open: set[int] = set()
        self._idle = asyncio.Event()
        self._is_draining = False
        self._thread: threading.Thread | None = None
        self.peer = ""

    @property
    def port(self) -> int:
        return 0 if self._front is None else int(self._front.bound_port)

    async def start(self, methods: GrpcMethods) -> None:
        front = self._bind(list(methods.unary))
        self._handlers = tuple(methods.unary.values())
        self._on_cancel = methods.on_cancel
        self._front = front
        self._native_respond = front.respond
        self._streams = LazyStreamServer(methods.stream, self._settings.max_message_bytes)
        front.set_fallback(await self._streams.listen())
        front.start()
        self._thread = threading.Thread(
            target=_pump,
            args=(front, asyncio.get_running_loop(), self._on_events),
            name="salver-grpc",
            daemon=True,
        )
        self._thread.start()

    def _bind(self, paths: list[str]) -> NativeGrpcFront:
        host, port = self._settings.host, self._settings.port
        methods = [(path, False) for path in paths]
        library_log = logging.getLogger("pygrpc_native")
        try:
            # It would log what it raises, and the caller reports that already.
            library_log.disabled = True
            return NativeGrpcFront(
                target_of(host, port), methods, io_threads=_IO_THREADS, call_details=True
            )
        except OSError as error:
            raise cannot_listen(host, port, error) from error
        finally:
            library_log.disabled = False

    def respond(self, call_id: int, payload: bytes, initial: Metadata = NO_METADATA) -> None:
        if initial:
            self._native_respond(call_id, payload, list(initial))
        else:
            self._native_respond(call_id, payload)
        self._closed(call_id)

    def fail(
        self, call_id: int, code: Code, message: str, trailing: Metadata = NO_METADATA
    ) -> None:
        assert self._front is not None
        self._front.fail(call_id, int(code), message, list(trailing) or None)
        self._closed(call_id)

    def _closed(self, call_id: int) -> None:
        self._open.discard(call_id)
        if self._is_draining and not self._open:
            self._idle.set()

    async def drain(self, timeout_s: float) -> bool:
        self._is_draining = True
        if not self._open:
            self._idle.set()
        streams = asyncio.ensure_future(self._streams.drain(timeout_s)) if self._streams else None
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._idle.wait(), timeout_s)
        is_clean = not self._open
        if streams is not None:
            is_clean = await streams and is_clean
        # The last answers are on their way through the library's threads, which do not
        # report when they have been written.
        await asyncio.sleep(_FLUSH_S)
        return is_clean

    async def stop(self) -> None:
        self._is_draining = True
        front, self._front = self._front, None
        if front is None:
            return
        if self._streams is not None:
            await self._streams.stop()
        await asyncio.get_running_loop().run_in_executor(None, front.close)
        if self._thread is not None:
            self._thread.join(1.0)

    def _on_events(self, events: list[Any]) -> None:
        for kind, call_id, method_id, payload, _, details in events:
            if kind != EVENT_CALL:
                self._on_cancelled(call_id)
            elif self._is_draining:
                self.fail(call_id, Code.UNAVAILABLE, DRAINING, RETRY_AFTER)
            else:
                self._open.add(call_id)
                self.peer = details[1]
                try:
                    self._handlers[method_id](call_id, payload, details[2], details[0])
                except Exception as error:
                    self._on_error(call_id, error)

    def _on_error(self, call_id: int, error: Exception) -> None:
        """A handler broke its contract; the other calls of the batch must not pay for it."""
        context = {"message": "a gRPC handler raised", "exception": error}
        asyncio.get_running_loop().call_exception_handler(context)
        self.fail(call_id, Code.INTERNAL, BROKEN)

    def _on_cancelled(self, call_id: int) -> None:
        if call_id in self._open:
            self._on_cancel(call_id)
            self._closed(call_id)


def _pump(front: NativeGrpcFront, loop: asyncio.AbstractEventLoop, on_events: Any) -> None:
    """Waits for events on a thread of its own until the front is closed."""
    while (events := front.recv_batch_details(_EVENTS_PER_BATCH)) is not None:
        try:
            loop.call_soon_threadsafe(on_events, events)
        except RuntimeError:  # the loop was closed without `stop`
            front.close()
            return
