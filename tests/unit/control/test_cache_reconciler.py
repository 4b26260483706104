"""Models declared to be here, on a store in memory and a keeper that does as the test says."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from itertools import count
from typing import Any

import pytest

from salver.backends.state.sqlite import SqliteResourceStore
from salver.control import cache_reconciler as module
from salver.control.admission import refuse_changes
from salver.control.cache_reconciler import CacheReconciler, Kept, Wanted
from salver.control.resources import ObjectRef
from salver.errors import ManifestError, StorageError
from salver.spec.kinds import KSERVE

REF = ObjectRef(KSERVE, "localmodelcaches", "", "iris")


class FakeKeeper:
    """Implements `Keeper`; raises what lies in `failures`, one by one, before it succeeds."""

    def __init__(self, *failures: Exception) -> None:
        self.failures = list(failures)
        self.kept: list[str] = []
        self.asked: list[Wanted] = []

    async def keep(self, wanted: Wanted) -> Kept:
        self.asked.append(wanted)
        if self.failures:
            raise self.failures.pop(0)
        self.kept.append(wanted.uri)
        return Kept(7, wanted.uri)

    def release(self, kept: Kept) -> None:
        self.kept.remove(kept.handle)


def cache(uri: str = "gs://b/iris", **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": f"{KSERVE}/v1alpha1",
        "kind": "LocalModelCache",
        "metadata": {"name": "iris"},
        "spec": {"sourceModelUri": uri, **spec},
    }


def run(
    keeper: FakeKeeper,
    scenario: Callable[[SqliteResourceStore], Awaitable[None]],
) -> None:
    async def whole() -> None:
        uids = count(1)
        moment = datetime(2026, 1, 2, tzinfo=UTC)
        store = SqliteResourceStore(None, now=lambda: moment, new_uid=lambda: str(next(uids)))
        loop = CacheReconciler(store, keeper)
        loop.start()
        try:
            await scenario(store)
        finally:
            await loop.close()
            store.close()

    asyncio.run(whole())


async def status(store: SqliteResourceStore, state: str) -> Any:
    """The status once it says so."""
    async with asyncio.timeout(5):
        while True:
            found = store.get(REF).get("status") or {}
            if found.get("nodeStatus") == {"local": state}:
                return found
            await asyncio.sleep(0)


def test_a_declared_model_is_fetched_and_kept_until_it_is_deleted() -> None:
    keeper = FakeKeeper()

    async def scenario(store: SqliteResourceStore) -> None:
        storage = {"key": "minio", "parameters": {"bucket": "b"}}
        store.create(REF, cache(serviceAccountName="sa", storage=storage))
        found = await status(store, "NodeDownloaded")
        assert found["copies"] == {"total": 1, "available": 1, "failed": 0}
        assert found["sizeBytes"] == 7
        assert keeper.kept == ["gs://b/iris"]
        store.delete(REF)
        assert keeper.kept == []

    run(keeper, scenario)
    assert keeper.asked == [Wanted("gs://b/iris", "default", "sa", "minio", (("bucket", "b"),))]


def test_what_cannot_be_fetched_says_why_and_is_tried_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "FIRST_RETRY_S", 0.01)
    keeper = FakeKeeper(StorageError("no such bucket"), ValueError("a fault of ours"))

    async def scenario(store: SqliteResourceStore) -> None:
        store.create(REF, cache())
        found = await status(store, "NodeDownloadError")
        assert found["message"] == "no such bucket"
        assert found["copies"] == {"total": 1, "available": 0, "failed": 1}
        assert "message" not in await status(store, "NodeDownloaded")

    run(keeper, scenario)
    assert len(keeper.asked) == 3


def test_a_model_deleted_while_it_is_fetched_is_not_kept() -> None:
    class Slow(FakeKeeper):
        async def keep(self, wanted: Wanted) -> Kept:
            await asyncio.sleep(60)
            return await super().keep(wanted)

    keeper = Slow()

    async def scenario(store: SqliteResourceStore) -> None:
        store.create(REF, cache())
        await status(store, "NodeDownloading")
        store.delete(REF)

    run(keeper, scenario)
    assert keeper.kept == []


def test_the_source_cannot_be_changed() -> None:
    refuse_changes(cache(), cache(modelSize="1Gi"))
    with pytest.raises(ManifestError, match=r"spec\.sourceModelUri: cannot be changed"):
        refuse_changes(cache(), cache("gs://b/other"))
