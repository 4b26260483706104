"""Pods and their logs: the command line's models beside revisions, and what each has printed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from salver.backends.local.catalog import LocalCatalog
from salver.backends.local.model import LocalModel
from salver.backends.processes.kept_logs import KeptLogs
from salver.control.pods import PODS, REVISION_LABEL, PodMirror, Replica
from salver.control.resources import ObjectRef, ResourceStore


class AllPods:
    """Shows the replicas of revisions together with those of the command line's models."""

    def __init__(self, mirror: PodMirror, catalog: LocalCatalog) -> None:
        self._mirror = mirror
        self._catalog = catalog

    def show(self, replicas: Sequence[Replica]) -> None:
        """As `PodMirror.show`."""
        own = [
            replica
            for model, (namespace, name) in self._catalog.own_models()
            for replica in _replicas(model, namespace, name)
        ]
        self._mirror.show([*replicas, *own])


def _replicas(model: LocalModel, namespace: str, name: str) -> list[Replica]:
    ids = [str(pid) for pid in model.pids]
    if not ids and model.status.state != "READY":
        ids = ["pending"]
    detail = "" if model.is_ready else model.status.reason
    return [
        Replica(namespace, model.name, "predictor", name, each, model.is_ready, detail)
        for each in ids
    ]


class PodLogs:
    """Implements the admin API's `ReadLogs`.

    A pod is one process of a revision and has its lines; a pod whose process is not there (it
    is about to start, or could not) has those of all that the revision has tried.
    """

    def __init__(self, store: ResourceStore, logs: KeptLogs) -> None:
        self._store = store
        self._logs = logs

    async def __call__(
        self, namespace: str, pod: str, *, follow: bool, tail: int | None
    ) -> AsyncIterator[bytes]:
        obj = self._store.get(ObjectRef(*PODS, namespace, pod))
        revision = (obj["metadata"].get("labels") or {}).get(REVISION_LABEL, "")
        log = self._logs.find(namespace, revision)
        if log is None:
            if not follow:
                return
            log = self._logs.open(namespace, revision)
        source = _source(pod.removeprefix(f"{revision}-"))
        if follow:
            async for line in log.follow(tail, source):
                yield line.encode() + b"\n"
            return
        for line in log.read(tail, source):
            yield line.encode() + b"\n"


def _source(pod_id: str) -> str:
    """The lines' source; empty for those of all, if the pod is no process."""
    return pod_id if pod_id.isdigit() else ""
