"""Wires the declarative half: the store, the admin API, the control loop, this machine.

Made in two steps, since the admin API's routes are part of the application that the listener
needs, and services' addresses need the port that the listener got.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import os
import random
import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any

from starlette.routing import Route

from salver.backends.environments.manager import PythonEnvironments
from salver.backends.local.bring_up import BringUp
from salver.backends.local.catalog import LocalCatalog, options_of
from salver.backends.local.machine import LocalMachine
from salver.backends.local.model import LocalModel
from salver.backends.local.pooled import CopyLimits
from salver.backends.local.wiring import Wiring
from salver.backends.sinks.ports import SinkPool
from salver.backends.state.sqlite import SqliteResourceStore
from salver.control.admission import SpecAdmission, apply_object
from salver.control.compiling import ObjectCompiler
from salver.control.events import EventRecorder
from salver.control.pods import PodMirror
from salver.control.pool_reconciler import PoolReconciler
from salver.control.reconciler import Reconciler
from salver.control.resources import JsonObject, ObjectRef
from salver.engine.comparing import close_answers
from salver.engine.directory import ModelDirectory
from salver.engine.payload_log import LoggedModel, LogSubject
from salver.engine.ports import ServedModel
from salver.engine.shadow import ShadowedModel, ShadowSettings
from salver.errors import ResourceNotFound
from salver.graph.plan import Component, LogPolicy, ServiceDesire
from salver.graph.pooled import PooledPlan
from salver.server.apis.routes import build_api_routes
from salver.settings import ServeSettings
from salver.spec.kinds import CORE, RESOURCE_TYPES
from salver.spec.schema import schema_of
from salver.storage.maps import parse_maps
from salver.storage.ports import StorageSettings
from salver.storage.store import ArtifactStore
from salver.telemetry.registry import Registry
from salver.telemetry.shadow import ShadowMetrics

_STATE_FILE = "state.db"
_SINK_FLUSH_S = 5.0
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
        is_kept: bool,
    ) -> None:
        """Opens the state: the state directory's if it `is_kept`, else one in memory.

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
        self._pool_reconciler: PoolReconciler | None = None
        self._machine: LocalMachine | None = None
        self._artifacts: ArtifactStore | None = None
        self._environments: PythonEnvironments | None = None

    def routes(self) -> list[Route]:
        """The admin API."""
        return build_api_routes(
            self.store,
            self.admission,
            RESOURCE_TYPES,
            schema_of=schema_of,
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
        )
        self._environments = PythonEnvironments(
            settings.state_dir / "environments", offline=settings.offline
        )
        bring_up = BringUp(
            self._catalog,
            self._artifacts,
            self._environments,
            self._registry,
            options_of(settings),
            look_up=StoreSecrets(self.store).values,
            logs_dir=settings.state_dir / "logs" if self._is_kept else None,
            clock=clock,
        )
        wiring = Wiring(
            clock=clock, logged=self._logged, shadowed=self._shadowed, domain=settings.domain
        )
        self._machine = LocalMachine(
            bring_up,
            self._directory,
            wiring,
            remove_model=self._remove_model,
            url_of=url_of,
            on_change=self._touch,
            pods=PodMirror(self.store, _now_text),
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
        )
        self._pool_reconciler = PoolReconciler(
            self.store,
            DeclaredPool(self._catalog, bring_up),
            compiler.pooled,
            now=_now_text,
            url_of=lambda name: f"{base_url}/v2/models/{name}",
        )
        self._pool_reconciler.start()
        loop = asyncio.get_running_loop()
        self._tasks = [
            loop.create_task(self._reconciler.run()),
            loop.create_task(self._pool_reconciler.run()),
            loop.create_task(self._machine.run()),
        ]

    def apply(self, objects: Iterable[JsonObject]) -> list[tuple[ObjectRef, str]]:
        """Creates or changes resources; what became of each. Raises `ManifestError`."""
        return [apply_object(self.store, self.admission, obj) for obj in objects]

    def _touch(self, namespace: str, name: str) -> None:
        if self._reconciler is not None:
            self._reconciler.touch(namespace, name)

    async def _remove_model(self, model: LocalModel) -> None:
        await self._catalog.remove_model(model.name, model.version)

    def _logged(
        self, model: ServedModel, policy: LogPolicy, desire: ServiceDesire, component: Component
    ) -> ServedModel:
        return LoggedModel(
            model,
            LogSubject(desire.name, desire.namespace, component),
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
        if self._pool_reconciler is not None:
            self._pool_reconciler.close()
        if self._machine is not None:
            await self._machine.close()
        await self._sinks.close(_SINK_FLUSH_S)
        if self._artifacts is not None:
            await self._artifacts.aclose()
        if self._environments is not None:
            await self._environments.close()
        self.store.close()


class DeclaredPool:
    """The pool of declared models, over the catalog's own."""

    def __init__(self, catalog: LocalCatalog, bring_up: BringUp) -> None:
        self._catalog = catalog
        self._bring_up = bring_up
        self._tasks: set[asyncio.Task[None]] = set()

    def register(self, plan: PooledPlan) -> None:
        self._catalog.pool.register(
            plan.name,
            "1",
            partial(self._bring_up.prepare_pooled, plan),
            CopyLimits(plan.min_copies, max(1, plan.min_copies, plan.max_copies)),
        )

    def unregister(self, name: str) -> None:
        task = asyncio.get_running_loop().create_task(self._catalog.pool.unregister(name))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def failure(self, name: str) -> str:
        record = self._catalog.pool.find(name, "1")
        return record.failure if record is not None else ""


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
