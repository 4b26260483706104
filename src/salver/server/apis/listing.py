"""A list as an answer: read, rendered and sent a piece at a time, so that tens of thousands of
objects neither hold up the event loop nor lie in memory all at once.

Objects that change while a list is under way may be in it as they were or as they are: the
version that the list carries is that of its beginning, so that a watch from there tells of all
of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence

import msgspec
from starlette.types import Receive, Scope, Send

from salver.control.resources import JsonObject
from salver.server.apis.ports import PagedStore
from salver.server.apis.queries import Position, page_token
from salver.server.apis.selectors import Matches
from salver.spec.kinds import ResourceType

PIECE = 100
"""Objects read and rendered in one go: a few milliseconds."""


class ListRequest(msgspec.Struct, frozen=True):
    """What is to be listed: at most `limit` objects after this position, 0 for all of them.

    `version` is that of the list which this one goes on with, 0 if it is the first.
    """

    type: ResourceType
    namespace: str
    limit: int = 0
    version: int = 0
    after: Position = ("", "")


async def pieces(
    store: PagedStore, type: ResourceType, namespace: str, after: Position = ("", "")
) -> AsyncIterator[tuple[list[JsonObject], int]]:
    """The objects from there on, a piece at a time, and the store's version; at least one piece.

    The event loop has its turn between two of them.
    """
    while True:
        found, version = store.page(type.group, type.plural, namespace, after=after, limit=PIECE)
        yield found, version
        if len(found) < PIECE:
            return
        after = position(found[-1])
        await asyncio.sleep(0)


def position(obj: JsonObject) -> Position:
    """Where the object is in a list."""
    return (obj["metadata"].get("namespace", ""), obj["metadata"]["name"])


class ListResponse:
    """The answer to a list, as an ASGI application.

    `head` is the list but for its metadata and its members, which `member` renders and which
    it has under `name`.
    """

    def __init__(
        self,
        store: PagedStore,
        request: ListRequest,
        *,
        head: JsonObject,
        name: str,
        member: Callable[[JsonObject], JsonObject],
        matches: Matches | None,
    ) -> None:
        self._store = store
        self._request = request
        self._head = head
        self._name = name
        self._member = member
        self._matches = matches
        self._version = request.version
        self._next: Position | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        body = msgspec.json.encode(self._head)[:-1] + b',"%b":[' % self._name.encode()
        has_members = False
        async for members in self._members():
            if has_members and body:
                # Only now is it known that this piece is not the last one.
                await send({"type": "http.response.body", "body": body, "more_body": True})
                body = b""
            if members:
                body += (b"," if has_members else b"") + b",".join(members)
                has_members = True
        body += b'],"metadata":%b}' % msgspec.json.encode(self._metadata())
        await send({"type": "http.response.body", "body": body})

    async def _members(self) -> AsyncIterator[Sequence[bytes]]:
        """The rendered members, a piece at a time."""
        request, count, after = self._request, 0, self._request.after
        async for objects, version in pieces(
            self._store, request.type, request.namespace, request.after
        ):
            self._version = self._version or version
            members: list[bytes] = []
            for obj in objects:
                if self._matches is None or self._matches(obj):
                    if request.limit and count == request.limit:
                        self._next = after
                        yield members
                        return
                    members.append(msgspec.json.encode(self._member(obj)))
                    count += 1
                after = position(obj)
            yield members

    def _metadata(self) -> JsonObject:
        metadata: JsonObject = {"resourceVersion": str(self._version)}
        if self._next is not None:
            metadata["continue"] = page_token(self._version, self._next)
        return metadata
