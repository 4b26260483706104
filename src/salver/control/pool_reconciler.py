"""The control loop of pooled models: TrainedModels, ModelMesh Predictors, and InferenceServices
that say `deploymentMode: ModelMesh`.

A pooled model needs no revision and no rollout: it is known to the pool or not. What is seen
of it goes into its status (an InferenceService's is `reconciler.py`'s); a model that is merely
loaded or unloaded on demand is ready either way, so that thousands of them do not keep the
store busy.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable, Set
from typing import Protocol

import msgspec

from salver.control.pooled_status import READY, Problem, predictor_status, trained_model_status
from salver.control.resources import JsonObject, ObjectRef, ResourceStore, WatchEvent
from salver.errors import ManifestError, ResourceNotFound
from salver.graphs.pooled import DEPLOYMENT_MODE, PooledPlan
from salver.graphs.selection import PlanError
from salver.spec.kinds import KSERVE

logger = logging.getLogger("salver.control")

SERVICES = "inferenceservices"
TRAINED_MODELS = "trainedmodels"
PREDICTORS = "predictors"
KINDS = (SERVICES, TRAINED_MODELS, PREDICTORS)
"""In the order in which they are looked at: services before what belongs to them."""
_LOOK_S = 5.0
_AT_ONCE = 20
_LOOKS_AT_ONCE = 500


class Pool(Protocol):
    """The models that share memory, as the control loop sees them."""

    def register(self, plan: PooledPlan) -> None:
        """Makes the model known, or gives it another source."""

    def unregister(self, name: str) -> None:
        """It is not known any more; its worker ends."""

    def failure(self, name: str) -> str:
        """Why its last load failed; empty if it did not."""

    def expose(self, namespace: str, name: str, models: Set[str]) -> None:
        """These models answer under the service's address too; the set is looked at live."""

    def withdraw(self, namespace: str, name: str) -> None:
        """The service has no address any more."""


class PooledCompiler(Protocol):
    """Makes plans of stored objects. Raises `PlanError` or `ManifestError`."""

    def pooled(self, obj: JsonObject) -> PooledPlan: ...

    def is_pool(self, obj: JsonObject) -> bool:
        """Whether the service is there for TrainedModels to be served, with no model itself."""


class _Service(msgspec.Struct):
    """A service whose models are in the pool. `seen`: what of it was looked at."""

    seen: object
    models: set[str]
    is_exposed: bool = False


class PoolReconciler:
    """Keeps the pool's models those that are declared."""

    def __init__(
        self,
        store: ResourceStore,
        pool: Pool,
        compiler: PooledCompiler,
        *,
        now: Callable[[], str],
        url_of: Callable[[str, str], str],
        on_service: Callable[[str, str], object] = lambda namespace, name: None,
    ) -> None:
        """`url_of`: the address of a service, or of a model that has none.

        `on_service` hears of InferenceServices whose `problem` has changed.
        """
        self._store = store
        self._pool = pool
        self._compiler = compiler
        self._now = now
        self._url_of = url_of
        self._on_service = on_service
        self._registered: dict[ObjectRef, PooledPlan] = {}
        self._owners: dict[str, ObjectRef] = {}
        """Whose the name of a pooled model is."""
        self._problems: dict[ObjectRef, Problem] = {}
        self._failures: dict[ObjectRef, str] = {}
        self._services: dict[tuple[str, str], _Service] = {}
        self._due: dict[ObjectRef, None] = {}
        self._left = asyncio.Event()
        self._unsubscribe = store.subscribe(self._on_change)

    def start(self) -> None:
        """Registers what is declared already."""
        for kind in KINDS:
            for obj in self._store.list(KSERVE, kind)[0]:
                metadata = obj["metadata"]
                ref = ObjectRef(KSERVE, kind, metadata["namespace"], metadata["name"])
                if ref not in self._registered:
                    self._reconcile(ref)
            self._work_off(len(self._due))

    async def run(self) -> None:
        """Looks for failed loads now and then, until cancelled; does what is left to do."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_S):
                    await self._left.wait()
            self._left.clear()
            while self._due:
                self._work_off(_AT_ONCE)
                await asyncio.sleep(0)
            known = list(self._registered)
            for begin in range(0, len(known), _LOOKS_AT_ONCE):
                self.look(known[begin : begin + _LOOKS_AT_ONCE])
                await asyncio.sleep(0)

    def look(self, refs: Iterable[ObjectRef] | None = None) -> None:
        """Takes notice of loads that have failed, or have succeeded after that: of all models,
        or of these."""
        for ref in list(self._registered) if refs is None else refs:
            plan = self._registered.get(ref)
            if plan is None:
                continue
            failure = self._pool.failure(plan.name)
            if failure != self._failures.get(ref, ""):
                self._failures[ref] = failure
                self._reconcile(ref)

    def problem(self, namespace: str, name: str) -> Problem | None:
        """What keeps an InferenceService's pooled model from being served."""
        return self._problems.get(ObjectRef(KSERVE, SERVICES, namespace, name))

    def close(self) -> None:
        """Hears no more of the store."""
        self._unsubscribe()

    def _on_change(self, event: WatchEvent) -> None:
        if event.ref.group == KSERVE and event.ref.plural in KINDS:
            self._reconcile(event.ref)
            if len(self._due) <= _AT_ONCE:
                self._work_off(_AT_ONCE)
            else:
                self._left.set()

    def _work_off(self, most: int) -> None:
        """Looks at some of those that are due: a service may have tens of thousands."""
        while self._due and most > 0:
            ref = next(iter(self._due))
            del self._due[ref]
            most -= 1
            self._reconcile(ref)

    def _reconcile(self, ref: ObjectRef) -> None:
        try:
            obj = self._store.get(ref)
        except ResourceNotFound:
            self._forget(ref)
            if ref.plural == SERVICES:
                self._forget_service(ref)
            return
        if ref.plural == SERVICES:
            self._see_service(ref, obj)
        else:
            self._write_status(ref, obj, self._take_in(ref, obj))

    def _take_in(self, ref: ObjectRef, obj: JsonObject) -> Problem | None:
        """Registers the model; what is wrong with it, if anything is."""
        try:
            self._check_service(ref, obj)
        except PlanError as error:
            self._forget(ref)
            return Problem(error.reason, str(error))
        try:
            self._register(ref, self._compiler.pooled(obj))
        except PlanError as error:
            # What was registered before goes on: a mistake takes nothing away.
            return Problem(error.reason, str(error))
        except ManifestError as error:
            return Problem("InvalidPredictorSpec", str(error))
        failure = self._failures.get(ref, "")
        return Problem("ModelLoadFailed", failure) if failure else None

    def _check_service(self, ref: ObjectRef, obj: JsonObject) -> None:
        """Raises `PlanError` unless the service that a TrainedModel belongs to takes it."""
        if ref.plural != TRAINED_MODELS:
            return
        name = obj["spec"]["inferenceService"]
        if (ref.namespace, name) in self._services:
            return
        try:
            self._store.get(ObjectRef(KSERVE, SERVICES, ref.namespace, name))
        except ResourceNotFound:
            raise PlanError(
                "InferenceServiceNotFound",
                f"InferenceService '{ref.namespace}/{name}' is not there: apply it, or name "
                "another in spec.inferenceService",
            ) from None
        raise PlanError(
            "NotMultiModel",
            f"InferenceService '{ref.namespace}/{name}' has a model of its own: name one whose "
            "predictor has no storageUri",
        )

    def _register(self, ref: ObjectRef, plan: PooledPlan) -> None:
        former = self._registered.get(ref)
        if former == plan:
            return
        owner = self._owners.get(plan.name, ref)
        if owner != ref:
            raise PlanError(
                "NameTaken",
                f"another pooled model is called '{plan.name}' already, that of {owner.plural} "
                f"{owner.namespace}/{owner.name}: rename one",
            )
        if former is not None and former.service != plan.service:
            self._forget(ref)
        self._failures.pop(ref, None)
        self._pool.register(plan)
        self._registered[ref] = plan
        self._owners[plan.name] = ref
        self._models_of(plan).add(plan.name)

    def _models_of(self, plan: PooledPlan) -> set[str]:
        service = self._services.get((plan.namespace, plan.service))
        return service.models if service is not None else set()

    def _forget(self, ref: ObjectRef) -> None:
        plan = self._registered.pop(ref, None)
        self._failures.pop(ref, None)
        if plan is not None:
            self._owners.pop(plan.name, None)
            self._models_of(plan).discard(plan.name)
            self._pool.unregister(plan.name)

    # Services.

    def _see_service(self, ref: ObjectRef, obj: JsonObject) -> None:
        metadata = obj["metadata"]
        mode = (metadata.get("annotations") or {}).get(DEPLOYMENT_MODE, "")
        seen = (metadata.get("uid"), metadata.get("generation"), mode, self._failures.get(ref))
        key = (ref.namespace, ref.name)
        service = self._services.get(key)
        if service is not None and service.seen == seen:
            return
        if not self._is_ours(obj, mode):
            self._forget(ref)
            self._forget_service(ref)
            return
        if service is None:
            service = self._services[key] = _Service(seen, set())
            self._pool.expose(*key, service.models)
            self._see_trained_models(key)
        service.seen = seen
        if mode == "ModelMesh":
            self._note_problem(ref, self._take_in(ref, obj))

    def _is_ours(self, obj: JsonObject, mode: str) -> bool:
        try:
            return mode == "ModelMesh" or self._compiler.is_pool(obj)
        except (ManifestError, PlanError):
            # It is refused elsewhere; what it served goes on until it is right or gone.
            metadata = obj["metadata"]
            return (metadata["namespace"], metadata["name"]) in self._services

    def _note_problem(self, ref: ObjectRef, problem: Problem | None) -> None:
        if problem == self._problems.get(ref):
            return
        if problem is None:
            del self._problems[ref]
        else:
            self._problems[ref] = problem
        self._on_service(ref.namespace, ref.name)

    def _forget_service(self, ref: ObjectRef) -> None:
        key = (ref.namespace, ref.name)
        self._problems.pop(ref, None)
        if self._services.pop(key, None) is not None:
            self._pool.withdraw(*key)
            self._see_trained_models(key)

    def _see_trained_models(self, key: tuple[str, str]) -> None:
        """Those that belong to a service which has come or gone."""
        for obj in self._store.list(KSERVE, TRAINED_MODELS, key[0])[0]:
            if obj["spec"].get("inferenceService") == key[1]:
                self._due[ObjectRef(KSERVE, TRAINED_MODELS, key[0], obj["metadata"]["name"])] = None

    # Status.

    def _write_status(self, ref: ObjectRef, obj: JsonObject, problem: Problem | None) -> None:
        old = obj.get("status") or {}
        if ref.plural == PREDICTORS:
            url = self._url_of("", ref.name)
            status = predictor_status(url, problem, old, self._now())
        else:
            base = self._url_of(ref.namespace, obj["spec"]["inferenceService"])
            url = f"{base}/v1/models/{ref.name}:predict"
            status = trained_model_status(url, problem, old, self._now())
        if status == old:
            return
        if problem is not None:
            logger.warning("%s %s/%s: %s", ref.plural, ref.namespace, ref.name, problem.message)
        elif not _was_ready(old):
            logger.info("%s %s/%s is ready", ref.plural, ref.namespace, ref.name)
        metadata = {**obj["metadata"]}
        metadata.pop("resourceVersion", None)
        try:
            self._store.update_status(ref, {**obj, "metadata": metadata, "status": status})
        except ResourceNotFound:
            return


def _was_ready(status: JsonObject) -> bool:
    return any(
        each.get("type") == READY and each.get("status") == "True"
        for each in status.get("conditions", [])
    )
