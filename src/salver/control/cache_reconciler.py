"""The control loop of LocalModelCache and LocalModelNamespaceCache: models fetched before use.

Owns one task for each declared model, which fetches it, and tries again later if that fails. A
fetched model is kept until its resource goes. What fetching and keeping are is the port's.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Protocol

import msgspec

from salver.control.resources import JsonObject, ObjectRef, ResourceStore, WatchEvent
from salver.errors import ResourceNotFound, SalverError
from salver.spec.kinds import KSERVE

logger = logging.getLogger("salver.control")

KINDS = ("localmodelcaches", "localmodelnamespacecaches")
NODE = "local"
"""What the one machine is called where KServe names nodes."""
CLUSTER_NAMESPACE = "default"
"""Whose secrets a LocalModelCache, which has no namespace, is fetched with."""
FIRST_RETRY_S = 5.0
MAX_RETRY_S = 300.0


class Wanted(msgspec.Struct, frozen=True):
    """A model to have on this machine, and on whose behalf it is fetched."""

    uri: str
    namespace: str
    service_account: str = ""
    storage_key: str = ""
    storage_parameters: tuple[tuple[str, str], ...] = ()


class Kept(msgspec.Struct, frozen=True):
    """A model that is here. `handle` is the keeper's own."""

    size_bytes: int
    handle: Any


class Keeper(Protocol):
    """Fetches models and keeps them."""

    async def keep(self, wanted: Wanted) -> Kept:
        """Raises `SalverError`."""

    def release(self, kept: Kept) -> None:
        """The model may go when room is needed."""


class CacheReconciler:
    """Keeps the models that are declared."""

    def __init__(self, store: ResourceStore, keeper: Keeper) -> None:
        self._store = store
        self._keeper = keeper
        self._wanted: dict[ObjectRef, Wanted] = {}
        self._tasks: dict[ObjectRef, asyncio.Task[None]] = {}
        self._kept: dict[ObjectRef, Kept] = {}
        self._unsubscribe: Callable[[], None] | None = None

    def start(self) -> None:
        """Fetches what is declared, from now on. For the event loop that runs."""
        self._unsubscribe = self._store.subscribe(self._on_change)
        for kind in KINDS:
            for obj in self._store.list(KSERVE, kind)[0]:
                metadata = obj["metadata"]
                self._see(
                    ObjectRef(KSERVE, kind, metadata.get("namespace", ""), metadata["name"]), obj
                )

    async def close(self) -> None:
        """Fetches no more; what is here stays for the next time."""
        if self._unsubscribe is not None:
            self._unsubscribe()
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _on_change(self, event: WatchEvent) -> None:
        ref = event.ref
        if ref.group != KSERVE or ref.plural not in KINDS:
            return
        if event.type == "DELETED":
            self._forget(ref)
        else:
            self._see(ref, event.object)

    def _see(self, ref: ObjectRef, obj: JsonObject) -> None:
        wanted = wanted_of(obj)
        if self._wanted.get(ref) == wanted:
            return
        self._forget(ref)
        self._wanted[ref] = wanted
        task = asyncio.get_running_loop().create_task(self._keep(ref, wanted))
        self._tasks[ref] = task

    def _forget(self, ref: ObjectRef) -> None:
        self._wanted.pop(ref, None)
        task = self._tasks.pop(ref, None)
        if task is not None:
            task.cancel()
        kept = self._kept.pop(ref, None)
        if kept is not None:
            self._keeper.release(kept)

    async def _keep(self, ref: ObjectRef, wanted: Wanted) -> None:
        """Until it is here."""
        self._show(ref, cache_status("NodeDownloading"))
        failures = 0
        while True:
            try:
                kept = await self._keeper.keep(wanted)
            except SalverError as error:
                message = str(error)
                logger.warning("%s %s: %s", ref.plural, ref.name, message)
            except Exception as error:
                # A fault of ours in one of them must not end the others' tasks unseen.
                logger.exception("%s %s could not be fetched", ref.plural, ref.name)
                message = f"{type(error).__name__}: {error}"
            else:
                self._kept[ref] = kept
                self._show(ref, cache_status("NodeDownloaded", size_bytes=kept.size_bytes))
                return
            self._show(ref, cache_status("NodeDownloadError", message))
            await asyncio.sleep(min(MAX_RETRY_S, FIRST_RETRY_S * 2.0**failures))
            failures += 1

    def _show(self, ref: ObjectRef, status: JsonObject) -> None:
        try:
            obj = self._store.get(ref)
            if obj.get("status") == status:
                return
            metadata = {**obj["metadata"]}
            metadata.pop("resourceVersion", None)
            self._store.update_status(ref, {**obj, "metadata": metadata, "status": status})
        except ResourceNotFound:
            return


def wanted_of(obj: JsonObject) -> Wanted:
    """What the resource wants. Pure."""
    spec = obj["spec"]
    storage = spec.get("storage") or {}
    parameters = storage.get("parameters") or {}
    return Wanted(
        spec["sourceModelUri"],
        obj["metadata"].get("namespace") or CLUSTER_NAMESPACE,
        spec.get("serviceAccountName") or "",
        storage.get("key") or "",
        tuple(sorted((str(key), str(value)) for key, value in parameters.items())),
    )


def cache_status(state: str, message: str = "", *, size_bytes: int = 0) -> JsonObject:
    """KServe's status, with one node; `message` and the size are added to it. Pure.

    `state` is one of KServe's: NodeDownloading, NodeDownloaded, NodeDownloadError.
    """
    status: JsonObject = {
        "nodeStatus": {NODE: state},
        "copies": {
            "total": 1,
            "available": int(state == "NodeDownloaded"),
            "failed": int(state == "NodeDownloadError"),
        },
    }
    if size_bytes:
        status["sizeBytes"] = size_bytes
    if message:
        status["message"] = message
    return status
