"""A load of clients that ask again as soon as they are answered, for `salver tune`.

Speaks the HTTP/1.1 that Salver answers a small request with. A client whose connection breaks
ends; each request has a deadline.
"""

from __future__ import annotations

import asyncio
import time
from typing import NamedTuple

_DEADLINE_S = 30.0
_WARM_SHARE = 0.2
"""Of the time: answers in it do not count."""


class Measured(NamedTuple):
    """Latencies of the requests that were answered 200, and how many were not."""

    latencies_s: list[float]
    errors: int
    seconds: float


def http_request(path: str, body: bytes) -> bytes:
    """The bytes of a POST."""
    return (
        f"POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
        f"content-length: {len(body)}\r\n\r\n"
    ).encode() + body


def measure(host: str, port: int, request: bytes, connections: int, seconds: float) -> Measured:
    """Asks for so long with so many clients."""
    return asyncio.run(_measure(host, port, request, connections, seconds))


async def _measure(
    host: str, port: int, request: bytes, connections: int, seconds: float
) -> Measured:
    started_s = time.perf_counter()
    counts_from_s, end_s = started_s + seconds * _WARM_SHARE, started_s + seconds
    latencies: list[float] = []
    clients = [
        _client(host, port, request, latencies, counts_from_s, end_s) for _ in range(connections)
    ]
    errors = sum(await asyncio.gather(*clients))
    return Measured(latencies, errors, end_s - counts_from_s)


async def _client(
    host: str,
    port: int,
    request: bytes,
    latencies: list[float],
    counts_from_s: float,
    end_s: float,
) -> int:
    """How many of its requests failed."""
    errors = 0
    try:
        async with asyncio.timeout(_DEADLINE_S):
            reader, writer = await asyncio.open_connection(host, port)
    except (OSError, TimeoutError):
        return 1
    try:
        while (asked_s := time.perf_counter()) < end_s:
            writer.write(request)
            async with asyncio.timeout(_DEADLINE_S):
                head = await reader.readuntil(b"\r\n\r\n")
                await reader.readexactly(_length(head))
            if not head.startswith(b"HTTP/1.1 200 "):
                errors += 1
            elif asked_s >= counts_from_s:
                latencies.append(time.perf_counter() - asked_s)
    except (OSError, EOFError, TimeoutError):
        errors += 1
    finally:
        writer.close()
    return errors


def _length(head: bytes) -> int:
    """Raises `EOFError` for an answer that does not say it."""
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return int(line.partition(b":")[2])
    raise EOFError("an answer without a length")
