"""The fallback front: grpcio's asyncio server, with handlers that take and give raw bytes.

Ten times the cost of the native front per call, but complete: TLS and bidirectional streams.
grpcio (16 MB of memory) is imported when a front is built, not with this module.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

from salver.errors import StartupError
from salver.server.grpc.address import cannot_listen, target_of
from salver.server.grpc.ports import (
    DRAINING,
    NO_METADATA,
    RETRY_AFTER,
    Code,
    FrontSettings,
    GrpcMethods,
    Metadata,
    StreamError,
    StreamHandler,
    UnaryHandler,
)

_NO_DEADLINE_S = 1e9
"""grpcio may report a call without a deadline as one with a huge amount of time left."""


class _Failure:
    __slots__ = ("code", "message", "trailing")

    def __init__(self, code: Code, message: str, trailing: Metadata) -> None:
        self.code = code
        self.message = message
        self.trailing = trailing


_REFUSED = _Failure(Code.UNAVAILABLE, DRAINING, RETRY_AFTER)


class GrpcioFront:
    """`GrpcFront` on `grpc.aio`. `target` overrides host and port, e.g. `unix:/a/socket`."""

    def __init__(self, settings: FrontSettings, *, target: str = "") -> None:
        import grpc
        import grpc.aio

        self._grpc = grpc
        self._settings = settings
        self._target = target
        self._server: Any = None
        self._port = 0
        self._ids = itertools.count(1)
        self._open: dict[int, asyncio.Future[tuple[bytes, Metadata] | _Failure]] = {}
        self._on_cancel: Callable[[int], None] = _ignore
        self._streams = 0
        self._is_draining = False
        self._idle = asyncio.Event()
        self._context: Any = None

    @property
    def port(self) -> int:
        return self._port

    @property
    def peer(self) -> str:
        return "" if self._context is None else str(self._context.peer())

    async def start(self, methods: GrpcMethods) -> None:
        self._on_cancel = methods.on_cancel
        limit = self._settings.max_message_bytes
        server = self._grpc.aio.server(
            options=(
                ("grpc.so_reuseport", 0),
                ("grpc.max_receive_message_length", limit),
                ("grpc.max_send_message_length", -1),
            )
        )
        server.add_generic_rpc_handlers((self._router(methods),))
        self._port = self._bind(server)
        await server.start()
        self._server = server

    def _bind(self, server: Any) -> int:
        settings = self._settings
        target = self._target or target_of(settings.host, settings.port)
        try:
            if settings.tls_cert:
                return int(server.add_secure_port(target, self._credentials()))
            return int(server.add_insecure_port(target))
        except RuntimeError as error:
            raise cannot_listen(settings.host, settings.port, error) from error

    def _credentials(self) -> Any:
        try:
            key = Path(self._settings.tls_key).read_bytes()
            certificate = Path(self._settings.tls_cert).read_bytes()
        except OSError as error:
            raise StartupError(
                f"gRPC cannot read its TLS files ({error}); check --tls-cert and --tls-key"
            ) from error
        return self._grpc.ssl_server_credentials([(key, certificate)])

    def _router(self, methods: GrpcMethods) -> Any:
        grpc = self._grpc
        table: dict[str, Any] = {}
        for path, handler in methods.unary.items():
            table[path] = grpc.unary_unary_rpc_method_handler(self._unary(handler))
        for path, stream_handler in methods.stream.items():
            table[path] = grpc.stream_stream_rpc_method_handler(self._stream(stream_handler))

        def service(_: Any, details: Any) -> Any:
            return table.get(details.method)

        # Made by `type`, as the base class is imported only now.
        return type("Router", (grpc.GenericRpcHandler,), {"service": service})()

    def _unary(self, handler: UnaryHandler) -> Any:
        async def serve(payload: bytes, context: Any) -> bytes:
            if self._is_draining:
                await self._abort(context, _REFUSED)
            call_id = next(self._ids)
            answer = asyncio.get_running_loop().create_future()
            self._open[call_id] = answer
            self._context = context
            try:
                handler(call_id, payload, _time_left_s(context), _metadata(context))
                result = await answer
            except asyncio.CancelledError:
                self._on_cancel(call_id)
                raise
            finally:
                del self._open[call_id]
                self._check_idle()
            if isinstance(result, tuple):
                payload, initial = result
                if initial:
                    await context.send_initial_metadata(tuple(initial))
                return payload
            await self._abort(context, result)
            return b""  # never reached: aborting raises

        return serve

    def _stream(self, handler: StreamHandler) -> Any:
        async def serve(_: Any, context: Any) -> None:
            if self._is_draining:
                await self._abort(context, _REFUSED)
            self._streams += 1
            try:
                await handler(_Stream(context, self._grpc.aio.EOF))
            except StreamError as error:
                await self._abort(context, _Failure(error.code, error.message, NO_METADATA))
            finally:
                self._streams -= 1
                self._check_idle()

        return serve

    async def _abort(self, context: Any, failure: _Failure) -> None:
        code = next(one for one in self._grpc.StatusCode if one.value[0] == failure.code)
        await context.abort(code, failure.message, tuple(failure.trailing))

    def respond(self, call_id: int, payload: bytes, initial: Metadata = NO_METADATA) -> None:
        self._answer(call_id, (payload, initial))

    def fail(
        self, call_id: int, code: Code, message: str, trailing: Metadata = NO_METADATA
    ) -> None:
        self._answer(call_id, _Failure(code, message, trailing))

    def _answer(self, call_id: int, result: tuple[bytes, Metadata] | _Failure) -> None:
        answer = self._open.get(call_id)
        if answer is not None and not answer.done():
            answer.set_result(result)

    async def drain(self, timeout_s: float) -> bool:
        self._is_draining = True
        self._check_idle()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._idle.wait(), timeout_s)
        return not self._open and not self._streams

    def _check_idle(self) -> None:
        if self._is_draining and not self._open and not self._streams:
            self._idle.set()

    async def stop(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            await server.stop(None)


class _Stream:
    """`GrpcStream` on a grpcio context."""

    def __init__(self, context: Any, end: Any) -> None:
        self._context = context
        self._end = end

    @property
    def metadata(self) -> Metadata:
        return _metadata(self._context)

    @property
    def time_left_s(self) -> float | None:
        return _time_left_s(self._context)

    async def receive(self) -> bytes | None:
        message = await self._context.read()
        return None if message is self._end else message

    async def send(self, payload: bytes) -> None:
        await self._context.write(payload)


def _time_left_s(context: Any) -> float | None:
    left = context.time_remaining()
    return None if left is None or left > _NO_DEADLINE_S else float(left)


def _metadata(context: Any) -> Metadata:
    return tuple(context.invocation_metadata() or ())


def _ignore(_: int) -> None:
    """Until `start` names the one to tell."""
