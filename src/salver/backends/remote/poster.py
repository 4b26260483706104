"""Posts the messages of graphs to URLs that are no services of this machine.

Implements the engine's `Poster`. Owns connections, by origin, and a bound on how many exchanges
there are at a time: beyond it a call is refused, and counted. A call that nobody waits for any
more ends its exchange.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections import OrderedDict
from collections.abc import Callable, Sequence
from urllib.parse import urlsplit

import msgspec

from salver.backends.remote.forwarding import coding_of, headers_of, kind_of, reason_of
from salver.backends.remote.http_client import Answer, HttpClient, Origin, Request
from salver.engine.call import Call
from salver.engine.queue import Clock
from salver.errors import ErrorKind, SalverError
from salver.protocol.http_headers import HOP_BY_HOP
from salver.protocol.wire_codes import Codec
from salver.telemetry.registry import Registry

logger = logging.getLogger("salver.remote")

_SWEEP_S = 0.1
_GRPC = (Codec.V2_GRPC, Codec.SELDON_GRPC)
_OURS = HOP_BY_HOP | {
    *(b"host", b"content-length", b"content-type", b"content-encoding", b"accept-encoding"),
    *(b"expect", b"inference-header-content-length"),
}
"""Headers that say what the body is, or are about one connection."""


class PosterOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds. `max_origins`: hosts whose connections are kept."""

    max_in_flight: int = 1024
    max_idle: int = 64
    max_origins: int = 256
    max_body_bytes: int = 1 << 30


class HttpPoster:
    """The exchanges of all graphs. `knowing` makes the `Poster` of one."""

    def __init__(
        self, clock: Clock, registry: Registry, options: PosterOptions | None = None
    ) -> None:
        self._clock = clock
        self._options = options or PosterOptions()
        self._clients: OrderedDict[Origin, HttpClient] = OrderedDict()
        self._exchanges: dict[asyncio.Task[None], Call] = {}
        self._sweeper: asyncio.TimerHandle | None = None
        self._is_closed = False
        self._in_flight = registry.gauge(
            "salver_posts_in_flight", "Messages of graphs that URLs have been sent."
        )
        self._refused = registry.counter(
            "salver_posts_refused_total", "Messages of graphs refused since too many are in flight."
        )

    @property
    def in_flight(self) -> int:
        """Exchanges that have no answer yet."""
        return len(self._exchanges)

    def knowing(self, patterns: Sequence[str]) -> _GraphPoster:
        """A `Poster` that hands on the caller's headers whose names match a pattern."""
        return _GraphPoster(self, _matcher(patterns))

    def post(self, url: str, call: Call) -> None:
        """See `Poster`: without any header of the caller's."""
        self.send(url, call, ())

    def send(self, url: str, call: Call, headers: Sequence[tuple[bytes, bytes]]) -> None:
        """`post` with further headers."""
        if call.codec & 0xFF in _GRPC:
            call.fail(ErrorKind.UNSUPPORTED, f"{url} is asked over HTTP: ask the graph over REST")
        elif self._is_closed:
            call.fail(ErrorKind.UNAVAILABLE, f"{url} is not asked: the server is stopping")
        elif len(self._exchanges) >= self._options.max_in_flight:
            self._refused.value += 1
            most = self._options.max_in_flight
            call.fail(ErrorKind.QUEUE_FULL, f"{url} is not asked: {most} others are; retry later")
        else:
            task = asyncio.get_running_loop().create_task(self._exchange(url, call, headers))
            self._exchanges[task] = call
            self._in_flight.value = len(self._exchanges)
            task.add_done_callback(self._on_done)
            if self._sweeper is None:
                self._sweep()

    async def close(self) -> None:
        """Ends all exchanges; those who wait are told."""
        self._is_closed = True
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None
        left = dict(self._exchanges)
        for task in left:
            task.cancel()
        for call in left.values():
            if not call.is_abandoned:
                call.fail(ErrorKind.UNAVAILABLE, "the server is stopping")
        await asyncio.gather(*left, return_exceptions=True)
        for client in self._clients.values():
            client.close()
        self._clients.clear()

    # One exchange.

    async def _exchange(self, url: str, call: Call, headers: Sequence[tuple[bytes, bytes]]) -> None:
        began_s = self._clock()
        try:
            origin, target = _place(url)
            request = Request("POST", target, [*headers_of(call, ()), *headers], call.body)
            async with asyncio.timeout(max(call.deadline_s - began_s, 0.0)):
                answer = await self._client(origin).ask(request)
        except TimeoutError:
            waited_s = self._clock() - began_s
            text = f"{url} did not answer within {waited_s:.3f} s, the time limit"
            _fail(call, ErrorKind.DEADLINE_EXCEEDED, text)
        except (SalverError, OSError, ValueError) as error:
            _fail(call, ErrorKind.UNAVAILABLE, f"{url}: {error}")
        except Exception as error:
            logger.exception("a post to %s failed", url)
            _fail(call, ErrorKind.MODEL_FAILED, f"{url}: {error}")
        else:
            if not call.is_abandoned:
                _answer(url, call, answer)

    def _client(self, origin: Origin) -> HttpClient:
        client = self._clients.get(origin)
        if client is None:
            options = self._options
            client = HttpClient(
                origin, max_idle=options.max_idle, max_body_bytes=options.max_body_bytes
            )
            self._clients[origin] = client
            if len(self._clients) > options.max_origins:
                self._clients.popitem(last=False)[1].close()
        self._clients.move_to_end(origin)
        return client

    def _on_done(self, task: asyncio.Task[None]) -> None:
        self._exchanges.pop(task, None)
        self._in_flight.value = len(self._exchanges)

    def _sweep(self) -> None:
        """Ends exchanges that nobody waits for."""
        for task, call in self._exchanges.items():
            if call.is_abandoned:
                task.cancel()
        self._sweeper = (
            asyncio.get_running_loop().call_later(_SWEEP_S, self._sweep)
            if self._exchanges
            else None
        )


class _GraphPoster:
    """Implements `Poster` for one graph: its headers go along."""

    def __init__(self, poster: HttpPoster, matches: Callable[[str], bool]) -> None:
        self._poster = poster
        self._matches = matches

    def post(self, url: str, call: Call) -> None:
        """See `Poster`."""
        headers = [
            (name, value)
            for name, value in call.headers()
            if name not in _OURS and self._matches(name.decode("latin-1"))
        ]
        self._poster.send(url, call, headers)


def _matcher(patterns: Sequence[str]) -> Callable[[str], bool]:
    """Whether a name matches one of the patterns; their letters' case does not count, since names
    come here in lower case and KServe's router sees `Like-This`."""
    compiled = [re.compile(each, re.IGNORECASE) for each in patterns]
    return lambda name: any(each.search(name) for each in compiled)


def _place(url: str) -> tuple[Origin, str]:
    """The origin of a URL, and its path and query. Raises `ValueError`."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("it is no http(s) address")
    is_tls = parts.scheme == "https"
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Origin(parts.hostname, parts.port or (443 if is_tls else 80), is_tls), target


def _answer(url: str, call: Call, answer: Answer) -> None:
    coding = coding_of(answer.header(b"content-encoding"))
    length = answer.header(b"inference-header-content-length")
    if 200 <= answer.status < 300 and coding >= 0 and (not length or length.isdigit()):
        call.coding = coding
        call.deliver(answer.body, int(length or 0))
    elif answer.status >= 400:
        said = f"{url} answered {answer.status}: {reason_of(answer.body)}"
        if coding:
            call.fail(kind_of(answer.status), said)
        else:
            call.reject(answer.status, answer.body, kind_of(answer.status), said)
    else:
        where = answer.header(b"location").decode("latin-1")
        hint = f", a redirection to {where}: name that address" if where else ""
        _fail(call, ErrorKind.MODEL_FAILED, f"{url} answered {answer.status}{hint}")


def _fail(call: Call, kind: ErrorKind, message: str) -> None:
    if not call.is_abandoned:
        call.fail(kind, " ".join(message.split()))
