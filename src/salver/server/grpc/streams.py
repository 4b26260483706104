"""Bidirectional streams behind the native front: a grpcio server that starts when needed.

The native front forwards the methods that it does not serve to a Unix socket. This listens
there, and only the first connection brings grpcio (16 MB) into the process.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from salver.server.grpc.grpcio_front import GrpcioFront
from salver.server.grpc.ports import FrontSettings, GrpcMethods, StreamHandler

_CHUNK_BYTES = 256 * 1024
_STOP_S = 1.0


class LazyStreamServer:
    """A Unix socket that speaks gRPC, for the methods of `methods` only."""

    def __init__(self, methods: Mapping[str, StreamHandler], max_message_bytes: int) -> None:
        self._methods = GrpcMethods(unary={}, stream=methods, on_cancel=lambda _: None)
        self._settings = FrontSettings(host="", port=0, max_message_bytes=max_message_bytes)
        self._folder: Path | None = None
        self._listener: asyncio.Server | None = None
        self._front: GrpcioFront | None = None
        self._starting = asyncio.Lock()
        self._relays: dict[asyncio.Task[Any], list[asyncio.StreamWriter]] = {}

    @property
    def is_started(self) -> bool:
        """True once grpcio has been brought in."""
        return self._front is not None

    async def listen(self) -> str:
        """Opens the socket and returns its path."""
        self._folder = Path(tempfile.mkdtemp(prefix="salver-grpc-"))
        path = str(self._folder / "front.sock")
        self._listener = await asyncio.start_unix_server(self._on_connection, path)
        return path

    async def _on_connection(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._relays[task] = [writer]
        try:
            inner_reader, inner_writer = await asyncio.open_unix_connection(await self._inner())
            self._relays[task].append(inner_writer)
            await asyncio.gather(_copy(reader, inner_writer), _copy(inner_reader, writer))
        finally:
            for one in self._relays.pop(task):
                one.transport.abort()
                with contextlib.suppress(ConnectionError):
                    await one.wait_closed()

    async def _inner(self) -> str:
        """The path of grpcio's own socket, after starting it if this is the first call."""
        assert self._folder is not None
        path = str(self._folder / "grpcio.sock")
        async with self._starting:
            if self._front is None:
                # In a thread, so that unary calls go on while half a second of imports runs.
                await asyncio.to_thread(importlib.import_module, "grpc.aio")
                front = GrpcioFront(self._settings, target=f"unix:{path}")
                await front.start(self._methods)
                self._front = front
        return path

    async def drain(self, timeout_s: float) -> bool:
        """Lets the open streams end; True if all did within the time."""
        return True if self._front is None else await self._front.drain(timeout_s)

    async def stop(self) -> None:
        """Ends all streams and removes the sockets."""
        if self._listener is not None:
            self._listener.close()
        if self._front is not None:
            await self._front.stop()
        # Cutting the connections ends the relays; cancelling their tasks would be logged.
        for writers in self._relays.values():
            for writer in writers:
                writer.transport.abort()
        if self._relays:
            await asyncio.wait(tuple(self._relays), timeout=_STOP_S)
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)


async def _copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while chunk := await source.read(_CHUNK_BYTES):
            sink.write(chunk)
            await sink.drain()
        if sink.can_write_eof():
            sink.write_eof()
