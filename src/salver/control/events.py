"""Events: what has happened to a resource, as Kubernetes keeps it, in bounded number."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

from salver.control.resources import JsonObject, ObjectRef, ResourceStore
from salver.errors import ResourceNotFound
from salver.spec.kinds import CORE

MAX_EVENTS = 2000


class EventRecorder:
    """Writes events; the same one again raises its `count` instead."""

    def __init__(self, store: ResourceStore, now: Callable[[], str]) -> None:
        self._store = store
        self._now = now
        self._kept: dict[ObjectRef, None] = {}
        for obj in store.list(CORE, "events")[0]:
            metadata = obj["metadata"]
            self._kept[ObjectRef(CORE, "events", metadata["namespace"], metadata["name"])] = None

    def record(self, about: JsonObject, kind: str, reason: str, message: str) -> None:
        """`kind` is Normal or Warning; `about` the resource it happened to."""
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
        self._kept[ref] = None

    def _make_room(self) -> None:
        while len(self._kept) >= MAX_EVENTS:
            oldest = next(iter(self._kept))
            del self._kept[oldest]
            try:
                self._store.delete(oldest)
            except ResourceNotFound:
                continue

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
