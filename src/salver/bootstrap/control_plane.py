"""Wires the declarative half: the store, the admin API, the control loop, this machine.

Made in two steps, since the admin API's routes are part of the application that the listener
needs, and services' addresses need the port that the listener got.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import logging
import os
import random
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from starlette.routing import Route

from salver.backends.environments.manager import PythonEnvironments
from salver.backends.local.bring_up import BringUp
from salver.backends.local.catalog import LocalCatalog, options_of
from salver.backends.local.declared_pool import DeclaredPool
from salver.backends.local.elsewhere import Elsewhere
from salver.backends.local.machine import LocalMachine
from salver.backends.local.model_keeper import ModelKeeper
from salver.backends.local.own_workers import OwnWorkers
from salver.backends.local.wiring import Wiring
from salver.backends.processes.storage_programs import StoragePrograms
from salver.backends.sinks.ports import SinkPool
from salver.backends.state.sqlite import SqliteResourceStore
from salver.bootstrap.graphs_when_needed import Around, Graphs
from salver.bootstrap.pod_logs import AllPods, PodLogs
from salver.control.admission import SpecAdmission, apply_object
from salver.control.cache_reconciler import CacheReconciler
from salver.control.compiling import ObjectCompiler
from salver.control.events import EventRecorder
from salver.control.pods import PodMirror
from salver.control.pool_reconciler import PoolReconciler
from salver.control.reconciler import Reconciler
from salver.control.resources import JsonObject, ObjectRef
from salver.engine.comparing import close_answers
from salver.engine.directory import DEFAULT_NAMESPACE, ModelDirectory
from salver.engine.payload_log import LoggedModel, LogSubject
from salver.engine.ports import ServedModel
from salver.engine.shadow import ShadowedModel, ShadowSettings
from salver.errors import ResourceNotFound
from salver.graphs.plan import Component, LogPolicy, ServiceDesire
from salver.server.apis.access import authoriser
from salver.server.apis.routes import build_api_routes
from salver.server.apis.watching import WatchCounters
from salver.settings import ServeSettings
from salver.spec.conversion import converted
from salver.spec.kinds import CORE, KSERVE, RESOURCE_TYPES
from salver.spec.kserve_runtimes import ClusterStorageContainer
from salver.spec.read import parse_object
from salver.spec.schema import schema_of
from salver.storage.maps import parse_maps
from salver.storage.ports import StorageSettings
from salver.storage.store import ArtifactStore
from salver.telemetry.registry import Registry
from salver.telemetry.shadow import ShadowMetrics

if TYPE_CHECKING:
    from salver.telemetry.otlp import SpanSink

_STATE_FILE = "state.db"
_SINK_FLUSH_S = 5.0
_COLLECT_S = 60.0
_GRAPH_KINDS = ("InferenceGraph", "SeldonDeployment", "Graph", "Model", "Pipeline", "Experiment")
_SERVICE_KINDS = ("InferenceService", "TrainedModel", "Predictor", *_GRAPH_KINDS)
_MOST_SERVICES = 1000

logger = logging.getLogger("salver.server")
_SHADOW_TOLERANCE = 1e-5


class ControlPlane:
    """The declarative half of a running server."""

    def __init__(
        self,
        catalog: LocalCatalog,
        directory: ModelDirectory,
        settings: ServeSettings,
        registry: Registry,
        *,
        environments: PythonEnvironments,
        is_kept: bool,
        spans: SpanSink | None = None,
    ) -> None:
        """Opens the state: the state directory's if it `is_kept`, else one in memory. `spans`
        takes those of graphs' steps.

        Raises `StartupError`.
        """
        self._catalog = catalog
        self._directory = directory
        self._settings = settings
        self._registry = registry
        self._is_kept = is_kept
        path = settings.state_dir / _STATE_FILE if is_kept else None
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
        self.store = SqliteResourceStore(path, now=_now, new_uid=lambda: str(uuid.uuid4()))
        self.admission = SpecAdmission()
        self._sinks = SinkPool(registry)
        self._tasks: list[asyncio.Task[None]] = []
        self._reconciler: Reconciler | None = None
        self._graphs = Graphs(
            self.store, directory, settings, registry, is_kept=is_kept, spans=spans
        )
        self._pool_reconciler: PoolReconciler | None = None
        self._cache_reconciler: CacheReconciler | None = None
        self._machine: LocalMachine | None = None
        self._artifacts: ArtifactStore | None = None
        self._environments = environments

    def routes(self) -> list[Route]:
        """The admin API, and what is shown of graphs."""
        authorise = authoriser(self._settings.admin_key)
        return self._graphs.routes(authorise) + build_api_routes(
            self.store,
            self.admission,
            RESOURCE_TYPES,
            schema_of=schema_of,
            convert=converted,
            counters=WatchCounters(self._registry),
            authorise=authorise,
            read_logs=PodLogs(self.store, self._catalog.logs),
        )

    def start(self, base_url: str) -> None:
        """Begins to serve what is declared. `base_url` is where callers reach this server."""
        settings = self._settings

        def url_of(namespace: str, name: str) -> str:
            return f"{base_url}/serving/{namespace}/{name}"

        clock = time.monotonic
        self._artifacts = ArtifactStore(
            StorageSettings(
                cache_dir=settings.state_dir / "models",
                cache_bytes=settings.cache_size,
                maps=parse_maps(settings.map),
                offline=settings.offline,
            ),
            StoreSecrets(self.store),
            environ=os.environ,
            custom=StoragePrograms(
                self._storage_containers, look_up=StoreSecrets(self.store).values
            ),
        )
        bring_up = BringUp(
            self._artifacts,
            OwnWorkers(self._catalog, options_of(settings)),
            Elsewhere(
                self._registry,
                options_of(settings),
                logs=self._catalog.logs,
                clock=clock,
            ),
            look_up=StoreSecrets(self.store).values,
        )
        wiring = Wiring(
            clock=clock, logged=self._logged, shadowed=self._shadowed, domain=settings.domain
        )
        self._machine = LocalMachine(
            bring_up,
            self._directory,
            wiring,
            self._graphs.wiring,
            url_of=url_of,
            on_change=self._touch,
            pods=AllPods(PodMirror(self.store, _now_text), self._catalog),
            clock=clock,
        )
        compiler = ObjectCompiler(self.store)
        events = EventRecorder(self.store, _now_text)
        self._reconciler = Reconciler(
            self.store,
            self._machine,
            compiler,
            now=_now_text,
            url_of=url_of,
            on_event=events.record,
            pooled_problem=self._pooled_problem,
        )
        self._graphs.start(
            Around(
                self._machine,
                base_url,
                _now_text,
                events.record,
                logged=self._logged_graph,
                shadowed=self._shadowed,
            )
        )
        self._pool_reconciler = PoolReconciler(
            self.store,
            DeclaredPool(self._catalog, self._directory, bring_up, domain=settings.domain),
            compiler,
            now=_now_text,
            url_of=lambda namespace, name: (
                url_of(namespace, name) if namespace else f"{base_url}/v2/models/{name}"
            ),
            on_service=self._touch,
        )
        self._pool_reconciler.start()
        self._cache_reconciler = CacheReconciler(self.store, ModelKeeper(self._artifacts))
        self._cache_reconciler.start()
        loop = asyncio.get_running_loop()
        self._tasks = [
            loop.create_task(self._reconciler.run()),
            loop.create_task(self._pool_reconciler.run()),
            loop.create_task(self._machine.run()),
            loop.create_task(events.run()),
            loop.create_task(self._collect_environments()),
        ]

    async def _collect_environments(self) -> None:
        """Ends fork servers and deletes environments that nothing runs in any more."""
        while True:
            await asyncio.sleep(_COLLECT_S)
            self._catalog.end_unused_environments()
            if self._catalog.suiting.choosing:
                continue
            try:
                await self._environments.collect(self._catalog.environments_in_use)
            except OSError as error:
                logger.warning("unused Python environments cannot be deleted: %s", error)

    def services(self) -> list[JsonObject]:
        """What is declared that answers requests; of each kind so many as people may look at."""
        found: list[JsonObject] = []
        for type in RESOURCE_TYPES:
            if type.kind in _SERVICE_KINDS:
                objects, _ = self.store.page(type.group, type.plural, limit=_MOST_SERVICES)
                found += [{"kind": type.kind, **obj} for obj in objects]
        return found

    async def apply(self, objects: Iterable[JsonObject]) -> list[tuple[ObjectRef, str]]:
        """Creates or changes resources; what became of each. Raises `ManifestError`."""
        applied = []
        for obj in objects:
            applied.append(apply_object(self.store, self.admission, obj))
            # There may be tens of thousands: requests and the control loop have their turn.
            await asyncio.sleep(0)
        await self.store.wait_durable()
        return applied

    def _storage_containers(self) -> Iterator[ClusterStorageContainer]:
        for obj in self.store.list(KSERVE, "clusterstoragecontainers")[0]:
            resource = parse_object(obj).resource
            if isinstance(resource, ClusterStorageContainer):
                yield resource

    def _pooled_problem(self, namespace: str, name: str) -> tuple[str, str] | None:
        if self._pool_reconciler is None:
            return None
        return self._pool_reconciler.problem(namespace, name)

    def look_again(self, names: Iterable[str]) -> None:
        """Models of the command line have come: graphs may have waited for them."""
        for name in names:
            self._graphs.touch_service(DEFAULT_NAMESPACE, name)

    def _touch(self, namespace: str, name: str) -> None:
        if self._reconciler is not None:
            self._reconciler.touch(namespace, name)
        self._graphs.touch_service(namespace, name)

    def _logged(
        self, model: ServedModel, policy: LogPolicy, desire: ServiceDesire, component: Component
    ) -> ServedModel:
        subject = LogSubject(desire.name, desire.namespace, component)
        return self._logged_as(subject, model, policy)

    def _logged_graph(
        self, model: ServedModel, policy: LogPolicy, namespace: str, name: str
    ) -> ServedModel:
        return self._logged_as(LogSubject(name, namespace, "graph"), model, policy)

    def _logged_as(self, subject: LogSubject, model: ServedModel, policy: LogPolicy) -> ServedModel:
        return LoggedModel(
            model,
            subject,
            policy,
            self._sinks.queue_of(policy.url),
            clock=time.monotonic,
            now_text=lambda: datetime.now(UTC).isoformat(timespec="microseconds"),
            new_id=lambda: str(uuid.uuid4()),
        )

    def _shadowed(
        self, model: ServedModel, shadow: ServedModel, share: float, service: str
    ) -> ServedModel:
        return ShadowedModel(
            model,
            shadow,
            ShadowSettings(share=share),
            metrics=ShadowMetrics(self._registry, service, shadow.version),
            is_same=close_answers(_SHADOW_TOLERANCE),
            random_number=random.random,
            scheduler=asyncio.get_running_loop(),
            clock=time.monotonic,
        )

    async def close(self) -> None:
        """Stops the control loop, then what it has started outside of the catalog."""
        for task in self._tasks:
            task.cancel()
        if self._reconciler is not None:
            self._reconciler.close()
        self._graphs.stop()
        if self._pool_reconciler is not None:
            self._pool_reconciler.close()
        if self._cache_reconciler is not None:
            await self._cache_reconciler.close()
        if self._machine is not None:
            await self._machine.close()
        await self._graphs.close()
        await self._sinks.close(_SINK_FLUSH_S)
        if self._artifacts is not None:
            await self._artifacts.aclose()
        self.store.close()


class StoreSecrets:
    """The storage's `SecretSource` over the resource store."""

    def __init__(self, store: SqliteResourceStore) -> None:
        self._store = store

    def values(self, kind: str, namespace: str, name: str) -> Mapping[str, str] | None:
        """The texts in a Secret or ConfigMap, as environment variables take them."""
        if kind == "secrets":
            found = self.secret(namespace, name)
            if found is None:
                return None
            return {
                key: str(value, "utf-8", "replace")
                for key, value in found.items()
                if "/" not in key
            }
        obj = self._get(kind, namespace, name)
        return None if obj is None else {key: str(v) for key, v in (obj.get("data") or {}).items()}

    def secret(self, namespace: str, name: str) -> Mapping[str, bytes] | None:
        obj = self._get("secrets", namespace, name)
        if obj is None:
            return None
        found: dict[str, bytes] = {}
        for key, value in (obj.get("data") or {}).items():
            try:
                found[key] = base64.b64decode(value, validate=True)
            except (binascii.Error, ValueError):
                # Not base64 at all: somebody wrote it as it is.
                found[key] = str(value).encode()
        found |= {key: str(text).encode() for key, text in _annotations(obj).items()}
        return found

    def service_account_secrets(self, namespace: str, name: str) -> Sequence[str]:
        obj = self._get("serviceaccounts", namespace, name)
        if obj is None:
            return ()
        entries = [*(obj.get("secrets") or []), *(obj.get("imagePullSecrets") or [])]
        return [entry["name"] for entry in entries if entry.get("name")]

    def _get(self, plural: str, namespace: str, name: str) -> JsonObject | None:
        try:
            return self._store.get(ObjectRef(CORE, plural, namespace, name))
        except ResourceNotFound:
            return None


def _annotations(obj: JsonObject) -> Mapping[str, Any]:
    return obj["metadata"].get("annotations") or {}


def _now() -> datetime:
    return datetime.now(UTC)


def _now_text() -> str:
    return _now().strftime("%Y-%m-%dT%H:%M:%SZ")
