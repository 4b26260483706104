"""A watch: changes of one type as a stream of JSON lines, until its time or its client's is up.

Each watcher has a bounded queue. One that falls behind is told to list again (410) rather
than losing a change.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Sequence

import msgspec
from starlette.types import Receive, Scope, Send

from salver.control.resources import JsonObject, WatchEvent
from salver.errors import WatchExpired
from salver.server.apis.ports import PagedStore
from salver.server.apis.selectors import Matches
from salver.server.apis.status import refusal_of, status_body
from salver.server.http.asgi import LASTING
from salver.spec.kinds import ResourceType

QUEUE_LENGTH = 4096
BOOKMARK_S = 30.0
_TICK_S = 1.0
"""How often a silent watch looks whether the server ends."""

Render = Callable[[JsonObject], JsonObject]


class WatchRequest(msgspec.Struct, frozen=True):
    """What a client wants to watch. Without `since`, all present objects come first."""

    type: ResourceType
    namespace: str
    since: int | None
    timeout_s: float
    wants_bookmarks: bool = False
    marks_initial_end: bool = False


class WatchCounters:
    """How many watches there are, and how many were cut off for falling behind."""

    def __init__(self) -> None:
        self.open = 0
        self.overflows = 0


class WatchResponse:
    """The answer to a watch, as an ASGI application."""

    def __init__(
        self,
        store: PagedStore,
        request: WatchRequest,
        *,
        render: Render,
        render_bookmark: Callable[[int, bool], JsonObject],
        matches: Matches | None,
        counters: WatchCounters,
        queue_length: int = QUEUE_LENGTH,
    ) -> None:
        self._store = store
        self._request = request
        self._render = render
        self._render_bookmark = render_bookmark
        self._filter = _Filter(matches)
        self._counters = counters
        self._queue_length = queue_length
        self._queue: deque[WatchEvent] = deque()
        self._failure: JsonObject | None = None
        self._loop = asyncio.get_running_loop()
        self._arrived = asyncio.Event()
        self._sent_version = 0
        self._seen_version = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        last = (scope.get("extensions") or {}).get(LASTING)
        is_ending = last() if last else lambda: False
        # No await between these two: a change would be missed, or come twice.
        stop = self._store.subscribe(self._on_event)
        self._counters.open += 1
        try:
            first = self._first_lines()
            headers = [(b"content-type", b"application/json")]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            # Even an empty first piece matters: it sends the head, which clients wait for.
            await _send_piece(send, first)
            await self._follow(send, is_ending)
            rest = [_line("ERROR", self._failure)] if self._failure else []
            await _send_piece(send, rest, more=False)
        finally:
            self._counters.open -= 1
            stop()

    def _on_event(self, event: WatchEvent) -> None:
        self._seen_version = event.version
        ref, request = event.ref, self._request
        if (ref.group, ref.plural) != (request.type.group, request.type.plural):
            return
        if request.namespace and ref.namespace != request.namespace:
            return
        if len(self._queue) < self._queue_length:
            self._queue.append(event)
        elif self._failure is None:
            self._counters.overflows += 1
            fact = f"this watch fell {self._queue_length} changes behind"
            self._fail(WatchExpired(f"{fact}: list again and watch from there"))
        # The listener may run in another thread, the one that wrote.
        self._loop.call_soon_threadsafe(self._arrived.set)

    def _fail(self, error: WatchExpired) -> None:
        self._failure = status_body(refusal_of(error))

    def _first_lines(self) -> list[bytes]:
        request = self._request
        key = (request.type.group, request.type.plural, request.namespace)
        present, self._sent_version = self._store.list(*key)
        self._seen_version = self._sent_version
        if request.since is not None:
            try:
                missed = self._store.changes_since(request.since, *key)
            except WatchExpired as error:
                self._fail(error)
                return []
            self._filter.resume(present, missed)
            return [line for event in missed for line in self._lines(event)]
        chosen = self._filter.begin(present)
        lines = [_line("ADDED", self._render(obj)) for obj in chosen]
        if request.marks_initial_end:
            lines.append(_line("BOOKMARK", self._render_bookmark(self._sent_version, True)))
        return lines

    async def _follow(self, send: Send, is_ending: Callable[[], bool]) -> None:
        request = self._request
        now_s = self._loop.time()
        deadline_s, bookmark_s = now_s + request.timeout_s, now_s + BOOKMARK_S
        while self._failure is None and now_s < deadline_s and not is_ending():
            lines = self._pending_lines()
            if request.wants_bookmarks and now_s >= bookmark_s:
                bookmark_s = now_s + BOOKMARK_S
                lines.append(_line("BOOKMARK", self._render_bookmark(self._seen_version, False)))
            if lines:
                await _send_piece(send, lines)
            else:
                await self._wait_event(min(_TICK_S, deadline_s - now_s))
            now_s = self._loop.time()

    async def _wait_event(self, timeout_s: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._arrived.wait()

    def _pending_lines(self) -> list[bytes]:
        self._arrived.clear()
        lines: list[bytes] = []
        while self._queue:
            event = self._queue.popleft()
            if event.version > self._sent_version:
                self._sent_version = event.version
                lines += self._lines(event)
        return lines

    def _lines(self, event: WatchEvent) -> Sequence[bytes]:
        type = self._filter.type_of(event)
        if type is None:
            return ()
        metadata = {**event.object["metadata"], "resourceVersion": str(event.version)}
        return (_line(type, self._render({**event.object, "metadata": metadata})),)


class _Filter:
    """Which changes a watcher with selectors sees: an object that begins to match is ADDED,
    one that no longer does is DELETED."""

    def __init__(self, matches: Matches | None) -> None:
        self._matches = matches
        self._matching: dict[tuple[str, str], bool] = {}

    def begin(self, present: Sequence[JsonObject]) -> list[JsonObject]:
        """Those that match, for a watcher that knows none yet."""
        if self._matches is None:
            return list(present)
        chosen = [obj for obj in present if self._matches(obj)]
        self._matching = {_name(obj): True for obj in chosen}
        return chosen

    def resume(self, present: Sequence[JsonObject], missed: Sequence[WatchEvent]) -> None:
        """For a watcher that knows what there was before `missed`. What those were then is not
        known: they count as known to the watcher, which forgives a needless DELETED."""
        self.begin(present)
        if self._matches is not None:
            for event in missed:
                self._matching[_name(event.object)] = event.type != "ADDED"

    def type_of(self, event: WatchEvent) -> str | None:
        """What the change is to this watcher, None if nothing."""
        if self._matches is None:
            return event.type
        name = _name(event.object)
        was = self._matching.pop(name, False)
        if event.type != "DELETED" and self._matches(event.object):
            self._matching[name] = True
            return "MODIFIED" if was else "ADDED"
        return "DELETED" if was else None


def _name(obj: JsonObject) -> tuple[str, str]:
    return (obj["metadata"].get("namespace", ""), obj["metadata"]["name"])


def _line(type: str, obj: JsonObject) -> bytes:
    return msgspec.json.encode({"type": type, "object": obj}) + b"\n"


async def _send_piece(send: Send, lines: Sequence[bytes], *, more: bool = True) -> None:
    await send({"type": "http.response.body", "body": b"".join(lines), "more_body": more})
