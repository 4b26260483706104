"""A load generator over raw sockets: some connections that ask one after the other, all the while.

Speaks just the HTTP/1.1 that Salver answers a small request with. Counts what comes back by
status and by the answer's body; a connection that breaks is a failure.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

CONNECTIONS = 32


class Load:
    """What has come back so far; told to stop, or ends after `most` requests."""

    def __init__(self, port: int, request: bytes, connections: int, most: int) -> None:
        self.answers: Counter[bytes] = Counter()
        """Bodies of answers with status 200."""
        self.failures: list[str] = []
        self.slowest_s = 0.0
        self._port = port
        self._request = request
        self._connections = connections
        self._left = most
        self._stop = threading.Event()

    @property
    def count(self) -> int:
        """Answers that were right."""
        return sum(self.answers.values())

    def stop(self) -> None:
        self._stop.set()

    def run(self) -> None:
        asyncio.run(self._run())

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(self._connections):
                group.create_task(self._ask_on())

    async def _ask_on(self) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            while self._left > 0 and not self._stop.is_set():
                self._left -= 1
                started_s = time.monotonic()
                writer.write(self._request)
                async with asyncio.timeout(60):
                    head = await reader.readuntil(b"\r\n\r\n")
                    body = await reader.readexactly(_length(head))
                self.slowest_s = max(self.slowest_s, time.monotonic() - started_s)
                if head.startswith(b"HTTP/1.1 200 "):
                    self.answers[body] += 1
                else:
                    self.failures.append(f"{head.splitlines()[0]!r} {body[:300]!r}")
        except (OSError, EOFError, TimeoutError) as error:
            self.failures.append(f"the connection broke: {error!r}")
        finally:
            writer.close()


def _length(head: bytes) -> int:
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return int(line.partition(b":")[2])
    raise AssertionError(f"an answer without a length: {head!r}")


@contextmanager
def under_load(
    port: int, request: bytes, *, connections: int = CONNECTIONS, least: int = 50
) -> Iterator[Load]:
    """Asks all the while; answers come before the block begins, and `least` more after it."""
    load = Load(port, request, connections, 1 << 40)
    thread = threading.Thread(target=load.run)
    thread.start()
    try:
        _wait_more(load, connections)
        yield load
        _wait_more(load, least)
    finally:
        load.stop()
        thread.join(90)


def _wait_more(load: Load, more: int) -> None:
    enough, deadline_s = load.count + more, time.monotonic() + 60
    while load.count < enough and not load.failures:
        assert time.monotonic() < deadline_s, f"only {load.count} answers"
        time.sleep(0.01)


def ask(port: int, request: bytes, count: int, connections: int = CONNECTIONS) -> Load:
    """So many requests; returns when all are answered."""
    load = Load(port, request, connections, count)
    load.run()
    return load


def post(path: str, body: bytes, **headers: Any) -> bytes:
    """A JSON request as it goes over the wire."""
    lines = [f"POST {path} HTTP/1.1", "host: localhost", "content-type: application/json"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, f"content-length: {len(body)}", "", ""]).encode() + body
