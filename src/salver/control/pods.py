"""Replicas as Pods, so that `kubectl get pods` and `logs` mean something here.

A mirror and nothing else: what runs is the machine's affair, and a Pod that is deleted by
hand comes back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import msgspec

from salver.control.resources import JsonObject, ObjectRef, ResourceStore
from salver.control.revisions import COMPONENT_LABEL, SERVICE_LABEL
from salver.errors import ResourceNotFound
from salver.spec.kinds import CORE

PODS = (CORE, "pods")
REVISION_LABEL = "salver.dev/revision"
GRAPH_LABEL = "salver.dev/graph"


class Replica(msgspec.Struct, frozen=True):
    """One replica that runs, or is about to. `id` is its process, the same while it lives.
    `graph`: the graph whose unit it is of, if it is."""

    namespace: str
    service: str
    component: str
    revision: str
    id: str
    is_ready: bool
    detail: str = ""
    graph: str = ""

    @property
    def name(self) -> str:
        """The Pod's name."""
        return f"{self.revision}-{self.id}"


class Pods(Protocol):
    """Shows replicas as Pods."""

    def show(self, replicas: Sequence[Replica]) -> None: ...


class PodMirror:
    """Keeps the Pods in the store those that run."""

    def __init__(self, store: ResourceStore, now: Callable[[], str]) -> None:
        self._store = store
        self._now = now
        self._shown: dict[ObjectRef, Replica] = {}
        for obj in store.list(*PODS)[0]:
            # Those of a former run of the server.
            self._remove(ObjectRef(*PODS, obj["metadata"]["namespace"], obj["metadata"]["name"]))

    def show(self, replicas: Sequence[Replica]) -> None:
        """Writes what has changed since the last call."""
        wanted = {ObjectRef(*PODS, each.namespace, each.name): each for each in replicas}
        for ref in [ref for ref in self._shown if ref not in wanted]:
            del self._shown[ref]
            self._remove(ref)
        for ref, replica in wanted.items():
            if self._shown.get(ref) == replica:
                continue
            self._write(ref, replica)
            self._shown[ref] = replica

    def _write(self, ref: ObjectRef, replica: Replica) -> None:
        pod = self._pod(replica)
        try:
            if ref in self._shown:
                self._store.update_status(ref, pod)
                return
        except ResourceNotFound:
            pass
        created = self._store.create(ref, pod)
        self._store.update_status(ref, {**created, "status": pod["status"]})

    def _remove(self, ref: ObjectRef) -> None:
        try:
            self._store.delete(ref)
        except ResourceNotFound:
            return

    def _pod(self, replica: Replica) -> JsonObject:
        ready = "True" if replica.is_ready else "False"
        condition: dict[str, Any] = {"type": "Ready", "status": ready}
        if replica.detail:
            condition["message"] = replica.detail
        return {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": replica.name,
                "namespace": replica.namespace,
                "labels": {
                    SERVICE_LABEL: replica.service,
                    COMPONENT_LABEL: replica.component,
                    REVISION_LABEL: replica.revision,
                    "serving.kserve.io/inferenceservice": replica.service,
                    "component": replica.component,
                    **({GRAPH_LABEL: replica.graph} if replica.graph else {}),
                },
            },
            "spec": {"containers": [{"name": "kserve-container"}]},
            "status": {
                "phase": "Running" if replica.is_ready else "Pending",
                "conditions": [condition],
                "containerStatuses": [
                    {
                        "name": "kserve-container",
                        "ready": replica.is_ready,
                        "restartCount": 0,
                        "image": "",
                        "imageID": "",
                    }
                ],
            },
        }
