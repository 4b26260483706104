"""Watches: every change once and in order, or the word to list again."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from itertools import count
from typing import Any

import pytest
from starlette.types import Message

from salver.control.resources import ObjectRef
from salver.server.apis import listing, watching
from salver.server.http.asgi import LASTING

SERVICES = "/apis/serving.kserve.io/v1beta1/namespaces/default/inferenceservices"
MERGE = "application/merge-patch+json"


class Watcher:
    """One watch, read piece by piece. `end` is the server's wish to stop."""

    def __init__(self, api: Any, query: str, path: str = SERVICES, accept: str = "") -> None:
        self._pieces: asyncio.Queue[Message] = asyncio.Queue()
        self._ended = False
        headers = [(b"accept", accept.encode())] if accept else []
        self._scope = {
            "type": "http",
            "method": "GET",
            "path": path,
            "query_string": query.encode(),
            "headers": headers,
            "extensions": {LASTING: lambda: lambda: self._ended},
        }
        self._app = api.app()
        self._gate = asyncio.Event()
        self._gate.set()

    async def __aenter__(self) -> Watcher:
        self._task = asyncio.create_task(self._app(self._scope, self._receive, self._send))
        self.status = (await self._next())["status"]
        return self

    async def __aexit__(self, *exception: object) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _receive(self) -> Message:
        return {"type": "http.request", "body": b""}

    async def _send(self, message: Message) -> None:
        await self._gate.wait()
        self._pieces.put_nowait(message)

    def stall(self) -> None:
        """From now on the client takes nothing."""
        self._gate.clear()

    def resume(self) -> None:
        self._gate.set()

    async def _next(self) -> Message:
        async with asyncio.timeout(10):
            return await self._pieces.get()

    async def events(self) -> list[tuple[str, str]]:
        """The next piece's events: type and name."""
        return [
            (each["type"], each["object"].get("metadata", {}).get("name", ""))
            for each in await self.lines()
        ]

    async def lines(self) -> list[Any]:
        message = await self._next()
        self.has_ended = not message["more_body"]
        return [json.loads(line) for line in message["body"].splitlines()]

    def end(self) -> None:
        self._ended = True


def scenario(steps: Callable[[], Awaitable[None]]) -> None:
    async def run() -> None:
        async with asyncio.timeout(20):
            await steps()

    asyncio.run(run())


def put(api: Any, name: str, labels: dict[str, str] | None = None, plural: str = "") -> None:
    ref = ObjectRef("serving.kserve.io", plural or "inferenceservices", "default", name)
    obj = {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"labels": labels or {}},
    }
    known = {each["metadata"]["name"] for each in api.store.list(ref.group, ref.plural)[0]}
    (api.store.update if name in known else api.store.create)(ref, obj)


def remove(api: Any, name: str) -> None:
    api.store.delete(ObjectRef("serving.kserve.io", "inferenceservices", "default", name))


def test_present_objects_come_first_and_then_changes(api: Any) -> None:
    put(api, "a")

    async def steps() -> None:
        async with Watcher(api, "watch=1") as watcher:
            assert watcher.status == 200
            assert await watcher.events() == [("ADDED", "a")]
            put(api, "b")
            put(api, "a", {"x": "y"})
            remove(api, "a")
            assert await watcher.events() == [
                ("ADDED", "b"),
                ("MODIFIED", "a"),
                ("DELETED", "a"),
            ]
        assert api.counters.open.value == 0

    scenario(steps)


def test_what_changes_while_the_present_is_sent_comes_once(
    api: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "PIECE", 2)
    for name in ("a", "b", "c", "d", "e"):
        put(api, name)

    whole, asked = api.store.page, count(1)

    def page(*arguments: Any, **more: Any) -> Any:
        if next(asked) == 2:
            put(api, "a", {"x": "y"})
            put(api, "e", {"x": "y"})
            remove(api, "d")
            put(api, "f")
        return whole(*arguments, **more)

    async def steps() -> None:
        monkeypatch.setattr(api.store, "page", page)
        async with Watcher(api, "watch=1") as watcher:
            seen: list[tuple[str, str]] = []
            while len(seen) < 7:
                seen += await watcher.events()
            assert seen == [
                ("ADDED", "a"),
                ("ADDED", "b"),
                ("ADDED", "c"),
                ("ADDED", "e"),
                ("ADDED", "f"),
                ("MODIFIED", "a"),
                ("DELETED", "d"),
            ]

    scenario(steps)


def test_a_watch_goes_on_from_a_version(api: Any) -> None:
    put(api, "a")
    put(api, "elsewhere", plural="servingruntimes")
    version = api.store.version
    put(api, "b")

    async def steps() -> None:
        async with Watcher(api, f"watch=true&resourceVersion={version}") as watcher:
            assert await watcher.events() == [("ADDED", "b")]
            remove(api, "b")
            (line,) = await watcher.lines()
            assert line["type"] == "DELETED"
            assert line["object"]["metadata"]["resourceVersion"] == str(api.store.version)

    scenario(steps)


def test_the_head_of_an_empty_watch_comes_at_once(api: Any) -> None:
    async def steps() -> None:
        async with Watcher(api, "watch=1") as watcher:
            assert await watcher.events() == []

    scenario(steps)


def test_a_version_that_is_gone_is_told_with_410(api: Any) -> None:
    async def steps() -> None:
        async with Watcher(api, "watch=1&resourceVersion=999") as watcher:
            assert await watcher.lines() == []
            (line,) = await watcher.lines()
            assert line["type"] == "ERROR"
            assert (line["object"]["code"], line["object"]["reason"]) == (410, "Expired")
            assert watcher.has_ended

    scenario(steps)


def test_a_watcher_that_falls_behind_is_told_to_list_again(
    api: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching.WatchResponse.__init__, "__kwdefaults__", {"queue_length": 3})

    async def steps() -> None:
        async with Watcher(api, "watch=1") as watcher:
            assert await watcher.events() == []
            put(api, "first")
            assert await watcher.events() == [("ADDED", "first")]
            watcher.stall()
            put(api, "second")
            await asyncio.sleep(0)
            for name in ("a", "b", "c", "d", "e"):
                put(api, name)
            watcher.resume()
            seen = [line async for line in _all(watcher)]
            assert seen[-1]["type"] == "ERROR"
            assert seen[-1]["object"]["code"] == 410
            assert "fell 3 changes behind" in seen[-1]["object"]["message"]
        assert api.counters.overflows.value == 1

    scenario(steps)


async def _all(watcher: Watcher) -> Any:
    watcher.has_ended = False
    while not watcher.has_ended:
        for line in await watcher.lines():
            yield line


def test_a_watch_with_a_selector_sees_objects_come_and_go(api: Any) -> None:
    put(api, "in", {"team": "a"})
    put(api, "out", {"team": "b"})

    async def steps() -> None:
        async with Watcher(api, "watch=1&labelSelector=team%3Da") as watcher:
            assert await watcher.events() == [("ADDED", "in")]
            put(api, "out", {"team": "a"})
            put(api, "in", {"team": "c"})
            put(api, "in", {"team": "d"})
            remove(api, "in")
            remove(api, "out")
            assert await watcher.events() == [
                ("ADDED", "out"),
                ("DELETED", "in"),
                ("DELETED", "out"),
            ]

    scenario(steps)


def test_a_watch_that_goes_on_misses_no_object_that_stopped_matching(api: Any) -> None:
    put(api, "one", {"team": "a"})
    version = api.store.version
    put(api, "one", {"team": "b"})
    query = f"watch=1&labelSelector=team%3Da&resourceVersion={version}"

    async def steps() -> None:
        async with Watcher(api, query) as watcher:
            assert await watcher.events() == [("DELETED", "one")]

    scenario(steps)


def test_one_object_can_be_watched(api: Any) -> None:
    put(api, "a")
    put(api, "b")

    async def steps() -> None:
        async with Watcher(api, "watch=1&fieldSelector=metadata.name%3Db") as watcher:
            assert await watcher.events() == [("ADDED", "b")]
        async with Watcher(api, "watch=1", SERVICES + "/a") as watcher:
            assert await watcher.events() == [("ADDED", "a")]

    scenario(steps)


def test_the_end_of_the_initial_objects_is_marked_if_asked(api: Any) -> None:
    put(api, "a")
    query = "watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan"

    async def steps() -> None:
        async with Watcher(api, query + "&resourceVersion=1&allowWatchBookmarks=1") as watcher:
            (added,) = await watcher.lines()
            (bookmark,) = await watcher.lines()
            assert added["type"] == "ADDED"
            assert bookmark["type"] == "BOOKMARK"
            metadata = bookmark["object"]["metadata"]
            assert metadata["resourceVersion"] == str(api.store.version)
            assert metadata["annotations"] == {"k8s.io/initial-events-end": "true"}

    scenario(steps)


def test_bookmarks_say_how_far_the_watch_is(api: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "BOOKMARK_S", 0.02)
    monkeypatch.setattr(watching, "_TICK_S", 0.01)

    async def steps() -> None:
        async with Watcher(api, "watch=1&allowWatchBookmarks=true") as watcher:
            assert await watcher.lines() == []
            put(api, "elsewhere", plural="servingruntimes")
            (bookmark, *_) = await watcher.lines()
            assert bookmark["type"] == "BOOKMARK"
            assert bookmark["object"]["kind"] == "InferenceService"
            while bookmark["object"]["metadata"]["resourceVersion"] != str(api.store.version):
                (bookmark, *_) = await watcher.lines()

    scenario(steps)


def test_watched_tables_are_tables(api: Any) -> None:
    put(api, "a")
    accept = "application/json;as=Table;v=v1;g=meta.k8s.io"

    async def steps() -> None:
        async with Watcher(api, "watch=1", accept=accept) as watcher:
            (line,) = await watcher.lines()
            assert line["object"]["kind"] == "Table"
            assert line["object"]["rows"][0]["cells"][0] == "a"

    scenario(steps)


def test_a_watch_ends_when_the_server_does(api: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "_TICK_S", 0.01)

    async def steps() -> None:
        async with Watcher(api, "watch=1") as watcher:
            assert await watcher.lines() == []
            watcher.end()
            assert await watcher.lines() == []
            assert watcher.has_ended

    scenario(steps)


def test_a_version_that_is_no_number_is_refused(api: Any) -> None:
    answer = api.ask("GET", SERVICES + "?watch=1&resourceVersion=x")
    assert answer.status_code == 400
