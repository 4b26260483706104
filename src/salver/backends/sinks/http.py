"""Events to an HTTP address, one POST each, in CloudEvents' binary mode, as KServe sends them."""

from __future__ import annotations

import asyncio
import logging
from urllib.parse import quote, urlsplit

from salver.backends.remote.http_client import HttpClient, Origin, Request, origin_of
from salver.engine.payload_log import EventQueue, PayloadEvent
from salver.errors import SalverError

logger = logging.getLogger("salver.payload_log")

_WORKERS = 5
_ATTEMPTS = 4
_FIRST_BACKOFF_S = 0.2
_POST_TIMEOUT_S = 10.0
_SAFE = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) not in '"%') + " "


class HttpSink:
    """Posts events with a few workers side by side; their order is therefore not kept."""

    def __init__(self, url: str, queue: EventQueue, *, first_backoff_s: float = _FIRST_BACKOFF_S):
        self.queue = queue
        parts = urlsplit(url)
        origin = origin_of(url)
        self._target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._client = HttpClient(
            Origin(origin.host, origin.port, origin.is_tls),
            max_idle=_WORKERS,
            max_body_bytes=1 << 20,
        )
        self._url = url
        self._first_backoff_s = first_backoff_s
        self._busy = 0
        self._tasks: list[asyncio.Task[None]] = []
        self._failed = queue.dropped("sink failed")

    def start(self) -> None:
        """See `ports.Sink`."""
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._work()) for _ in range(_WORKERS)]

    async def close(self, timeout_s: float) -> None:
        """See `ports.Sink`."""
        try:
            async with asyncio.timeout(timeout_s):
                while len(self.queue) or self._busy:
                    await asyncio.sleep(0.01)
        except TimeoutError:
            logger.warning("%s: %d payload events are lost", self._url, len(self.queue))
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.queue.dropped("closed").value += len(self.queue) + self._busy
        self._client.close()

    async def _work(self) -> None:
        while True:
            await self.queue.wait_filled()
            for event in self.queue.take(1):
                self._busy += 1
                await self._send(event)
                self._busy -= 1

    async def _send(self, event: PayloadEvent) -> None:
        request = Request("POST", self._target, event_headers(event), event.body)
        reason = ""
        for attempt in range(_ATTEMPTS):
            if attempt:
                await asyncio.sleep(self._first_backoff_s * 2 ** (attempt - 1))
            reason, may_retry = await self._post(request)
            if not reason:
                self.queue.logged.value += 1
                return
            if not may_retry:
                break
        self._failed.value += 1
        logger.warning("%s did not take a payload event: %s", self._url, reason)

    async def _post(self, request: Request) -> tuple[str, bool]:
        """Why it was not taken (empty if it was), and whether another try may help."""
        try:
            async with asyncio.timeout(_POST_TIMEOUT_S):
                answer = await self._client.ask(request)
        except (SalverError, OSError, TimeoutError) as error:
            return str(error) or type(error).__name__, True
        if 200 <= answer.status < 300:
            return "", False
        is_passing = answer.status >= 500 or answer.status in (408, 429)
        return f"it answered {answer.status}", is_passing


def event_headers(event: PayloadEvent) -> list[tuple[bytes, bytes]]:
    """The event's attributes as headers (CloudEvents' HTTP binding, binary mode)."""
    headers = [
        (b"ce-" + name.encode(), quote(value, safe=_SAFE).encode())
        for name, value in event.attributes().items()
    ]
    headers.append((b"content-type", event.content_type.encode()))
    if event.coding:
        headers.append((b"content-encoding", event.coding.encode()))
    if event.json_length:
        headers.append((b"inference-header-content-length", b"%d" % event.json_length))
    return headers
