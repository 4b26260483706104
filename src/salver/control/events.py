"""Events: what has happened to a resource, as Kubernetes keeps it: an hour, in bounded number."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from salver.control.resources import JsonObject, ObjectRef, ResourceStore
from salver.errors import ResourceNotFound
from salver.spec.kinds import CORE

MAX_EVENTS = 2000
KEPT_FOR = timedelta(hours=1)
"""Since an event was last seen."""
_SWEEP_S = 60.0


class EventRecorder:
    """Writes events; the same one again raises its `count` instead."""

    def __init__(self, store: ResourceStore, now: Callable[[], str]) -> None:
        self._store = store
        self._now = now
        self._kept: dict[ObjectRef, datetime] = {}
        """When each was last seen, the one that goes next first."""
        for seen, ref in sorted(
            (_last_seen(obj), _ref(obj)) for obj in store.list(CORE, "events")[0]
        ):
            self._kept[ref] = seen

    def record(self, about: JsonObject, kind: str, reason: str, message: str) -> None:
        """`kind` is Normal or Warning; `about` the resource it happened to."""
        self.forget_old()
        metadata = about["metadata"]
        text = f"{about['kind']}/{metadata.get('uid', '')}/{kind}/{reason}/{message}"
        name = f"{metadata['name']}.{hashlib.sha256(text.encode()).hexdigest()[:16]}"
        ref = ObjectRef(CORE, "events", metadata["namespace"], name)
        try:
            event = self._store.get(ref)
        except ResourceNotFound:
            self._make_room()
            self._store.create(ref, self._event(about, name, kind, reason, message))
        else:
            event["count"] = int(event.get("count", 1)) + 1
            event["lastTimestamp"] = self._now()
            event["metadata"].pop("resourceVersion", None)
            self._store.update(ref, event)
        self._kept.pop(ref, None)
        self._kept[ref] = datetime.fromisoformat(self._now())

    async def run(self) -> None:
        """Forgets what is old, also while nothing new happens, until cancelled."""
        while True:
            await asyncio.sleep(_SWEEP_S)
            self.forget_old()

    def forget_old(self) -> None:
        """Removes the events that were last seen too long ago."""
        oldest = datetime.fromisoformat(self._now()) - KEPT_FOR
        while self._kept and next(iter(self._kept.values())) < oldest:
            self._forget_first()

    def _make_room(self) -> None:
        while len(self._kept) >= MAX_EVENTS:
            self._forget_first()

    def _forget_first(self) -> None:
        ref = next(iter(self._kept))
        del self._kept[ref]
        with contextlib.suppress(ResourceNotFound):
            self._store.delete(ref)

    def _event(
        self, about: JsonObject, name: str, kind: str, reason: str, message: str
    ) -> dict[str, Any]:
        metadata, now = about["metadata"], self._now()
        return {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": name, "namespace": metadata["namespace"]},
            "involvedObject": {
                "apiVersion": about["apiVersion"],
                "kind": about["kind"],
                "name": metadata["name"],
                "namespace": metadata["namespace"],
                "uid": metadata.get("uid", ""),
            },
            "type": kind,
            "reason": reason,
            "message": message,
            "count": 1,
            "firstTimestamp": now,
            "lastTimestamp": now,
            "source": {"component": "salver"},
        }


def _ref(event: JsonObject) -> ObjectRef:
    metadata = event["metadata"]
    return ObjectRef(CORE, "events", metadata["namespace"], metadata["name"])


def _last_seen(event: JsonObject) -> datetime:
    """When the event happened last; one that does not say so, when it was made."""
    with contextlib.suppress(ValueError):
        seen = datetime.fromisoformat(str(event.get("lastTimestamp")))
        if seen.tzinfo is not None:
            return seen
    return datetime.fromisoformat(event["metadata"]["creationTimestamp"])
