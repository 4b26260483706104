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
from salver.server.apis.listing import pieces, position
from salver.server.apis.ports import PagedStore
from salver.server.apis.queries import Position
from salver.server.apis.selectors import Matches
from salver.server.apis.status import refusal_of, status_body
from salver.server.http.asgi import LASTING
from salver.spec.kinds import ResourceType
from salver.telemetry.registry import Registry

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

    def __init__(self, registry: Registry) -> None:
        self.open = registry.gauge("salver_watches", "Watches of the admin API that are open.")
        self.overflows = registry.counter(
            "salver_watches_cut_off_total",
            "Watches that ended because their client did not keep up with the changes.",
        )


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
        self._sent_later: dict[Position, int] = {}
        self._seen_version = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        last = (scope.get("extensions") or {}).get(LASTING)
        is_ending = last() if last else lambda: False
        # Before the first look at the store: a change would be missed else.
        stop = self._store.subscribe(self._on_event)
        self._counters.open.value += 1
        try:
            headers = [(b"content-type", b"application/json")]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            if self._request.since is None:
                await self._send_present(send)
            else:
                # Even an empty first piece matters: it sends the head, which clients wait for.
                await _send_piece(send, self._missed_lines(self._request.since))
            await self._follow(send, is_ending)
            rest = [_line("ERROR", self._failure)] if self._failure else []
            await _send_piece(send, rest, more=False)
        finally:
            self._counters.open.value -= 1
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
            self._counters.overflows.value += 1
            fact = f"this watch fell {self._queue_length} changes behind"
            self._fail(WatchExpired(f"{fact}: list again and watch from there"))
        # The listener may run in another thread, the one that wrote.
        self._loop.call_soon_threadsafe(self._arrived.set)

    def _fail(self, error: WatchExpired) -> None:
        self._failure = status_body(refusal_of(error))

    async def _send_present(self, send: Send) -> None:
        """All that is there, as it is while it is sent: a piece at a time."""
        request, begin = self._request, 0
        async for objects, version in pieces(self._store, request.type, request.namespace):
            begin = begin or version
            self._note_later(objects, begin)
            chosen = self._filter.begin(objects)
            await _send_piece(send, [_line("ADDED", self._render(obj)) for obj in chosen])
        self._sent_version = begin
        self._seen_version = max(self._seen_version, begin)
        if request.marks_initial_end:
            bookmark = self._render_bookmark(begin, True)
            await _send_piece(send, [_line("BOOKMARK", bookmark)])

    def _note_later(self, objects: Sequence[JsonObject], begin: int) -> None:
        """Remembers what was sent as it was after the beginning: it must not come twice."""
        for obj in objects:
            version = int(obj["metadata"]["resourceVersion"])
            if version > begin:
                self._sent_later[position(obj)] = version

    def _missed_lines(self, since: int) -> list[bytes]:
        """What has changed since that version."""
        request = self._request
        key = (request.type.group, request.type.plural, request.namespace)
        try:
            missed = self._store.changes_since(since, *key)
        except WatchExpired as error:
            self._fail(error)
            return []
        if self._filter.is_selective:
            present, self._sent_version = self._store.list(*key)
            self._filter.resume(present, missed)
        else:
            _, self._sent_version = self._store.page(*key, limit=0)
        self._seen_version = self._sent_version
        return [line for event in missed for line in self._lines(event)]

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
            if event.version <= self._sent_version:
                continue
            self._sent_version = event.version
            if event.version > self._sent_later.get(position(event.object), 0):
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
        self._matching: dict[Position, bool] = {}

    @property
    def is_selective(self) -> bool:
        """Whether there are selectors at all."""
        return self._matches is not None

    def begin(self, present: Sequence[JsonObject]) -> list[JsonObject]:
        """Those of a piece that match, for a watcher that knows none of them yet."""
        if self._matches is None:
            return list(present)
        chosen = [obj for obj in present if self._matches(obj)]
        self._matching |= {position(obj): True for obj in chosen}
        return chosen

    def resume(self, present: Sequence[JsonObject], missed: Sequence[WatchEvent]) -> None:
        """For a watcher that knows what there was before `missed`. What those were then is not
        known: they count as known to the watcher, which forgives a needless DELETED."""
        self.begin(present)
        if self._matches is not None:
            for event in missed:
                self._matching[position(event.object)] = event.type != "ADDED"

    def type_of(self, event: WatchEvent) -> str | None:
        """What the change is to this watcher, None if nothing."""
        if self._matches is None:
            return event.type
        name = position(event.object)
        was = self._matching.pop(name, False)
        if event.type != "DELETED" and self._matches(event.object):
            self._matching[name] = True
            return "MODIFIED" if was else "ADDED"
        return "DELETED" if was else None


def _line(type: str, obj: JsonObject) -> bytes:
    return msgspec.json.encode({"type": type, "object": obj}) + b"\n"


async def _send_piece(send: Send, lines: Sequence[bytes], *, more: bool = True) -> None:
    await send({"type": "http.response.body", "body": b"".join(lines), "more_body": more})
