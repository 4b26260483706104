"""The control loop of pooled models: TrainedModels and ModelMesh Predictors.

A pooled model needs no revision and no rollout: it is known to the pool or not. What is seen
of it goes into its status; a model that is merely loaded or unloaded on demand is ready either
way, so that thousands of them do not keep the store busy.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from salver.control.resources import JsonObject, ObjectRef, ResourceStore, WatchEvent
from salver.errors import ManifestError, ResourceNotFound
from salver.graph.plan import ModelRunner
from salver.graph.pooled import PooledPlan
from salver.graph.selection import PlanError
from salver.spec.kinds import KSERVE

logger = logging.getLogger("salver.control")

KINDS = ("trainedmodels", "predictors")
_LOOK_S = 5.0


class Pool(Protocol):
    """The models that share memory, as the control loop sees them."""

    def register(self, plan: PooledPlan) -> None:
        """Makes the model known, or gives it another source. Raises `ValueError` for a name
        that another model has."""

    def unregister(self, name: str) -> None:
        """It is not known any more; its worker ends."""

    def failure(self, name: str) -> str:
        """Why its last load failed; empty if it did not."""


class PoolReconciler:
    """Keeps the pool's models those that are declared."""

    def __init__(
        self,
        store: ResourceStore,
        pool: Pool,
        compile_object: Callable[[JsonObject], PooledPlan],
        *,
        now: Callable[[], str],
        url_of: Callable[[str], str],
    ) -> None:
        self._store = store
        self._pool = pool
        self._compile = compile_object
        self._now = now
        self._url_of = url_of
        self._registered: dict[ObjectRef, tuple[str, ModelRunner]] = {}
        self._failures: dict[ObjectRef, str] = {}
        self._unsubscribe = store.subscribe(self._on_change)

    def start(self) -> None:
        """Registers what is declared already."""
        for kind in KINDS:
            for obj in self._store.list(KSERVE, kind)[0]:
                metadata = obj["metadata"]
                self._reconcile(ObjectRef(KSERVE, kind, metadata["namespace"], metadata["name"]))

    async def run(self) -> None:
        """Looks for failed loads now and then, until cancelled."""
        while True:
            await asyncio.sleep(_LOOK_S)
            for ref, (name, _) in list(self._registered.items()):
                failure = self._pool.failure(name)
                if failure != self._failures.get(ref, ""):
                    self._failures[ref] = failure
                    self._reconcile(ref)

    def close(self) -> None:
        """Hears no more of the store."""
        self._unsubscribe()

    def _on_change(self, event: WatchEvent) -> None:
        if event.ref.group == KSERVE and event.ref.plural in KINDS:
            self._reconcile(event.ref)

    def _reconcile(self, ref: ObjectRef) -> None:
        try:
            obj = self._store.get(ref)
        except ResourceNotFound:
            self._forget(ref)
            return
        problem: tuple[str, str] | None = None
        try:
            self._register(ref, self._compile(obj))
        except PlanError as error:
            problem = (error.reason, str(error))
        except (ManifestError, ValueError) as error:
            problem = ("InvalidPredictorSpec", str(error))
        if problem is None and self._failures.get(ref):
            problem = ("ModelLoadFailed", self._failures[ref])
        self._write_status(ref, obj, problem)

    def _register(self, ref: ObjectRef, plan: PooledPlan) -> None:
        former = self._registered.get(ref)
        if former == (plan.name, plan.runner):
            return
        others = {name for other, (name, _) in self._registered.items() if other != ref}
        if plan.name in others:
            raise ValueError(
                f"another pooled model is called '{plan.name}' already: names of pooled models "
                "are unique over all namespaces; rename one"
            )
        self._pool.register(plan)
        self._registered[ref] = (plan.name, plan.runner)

    def _forget(self, ref: ObjectRef) -> None:
        former = self._registered.pop(ref, None)
        self._failures.pop(ref, None)
        if former is not None:
            self._pool.unregister(former[0])

    def _write_status(
        self, ref: ObjectRef, obj: JsonObject, problem: tuple[str, str] | None
    ) -> None:
        old = obj.get("status") or {}
        status = pooled_status(ref.plural, self._url_of(ref.name), problem, old, self._now())
        if status == old:
            return
        metadata = {**obj["metadata"]}
        metadata.pop("resourceVersion", None)
        self._store.update_status(ref, {**obj, "metadata": metadata, "status": status})


def pooled_status(
    plural: str,
    url: str,
    problem: tuple[str, str] | None,
    old: Mapping[str, Any],
    now: str,
) -> dict[str, Any]:
    """The status of a TrainedModel (KServe's shape) or a Predictor (ModelMesh's). Pure."""
    if plural == "predictors":
        return _predictor_status(url, problem, old, now)
    ready = _condition("Ready", problem, old, now)
    supported = _condition(
        "FrameworkSupported",
        problem if problem and problem[0] == "NoSupportingRuntime" else None,
        old,
        now,
    )
    status: dict[str, Any] = {"conditions": [supported, ready]}
    if problem is None:
        status["url"] = url
        status["address"] = {"url": url}
    return status


def _predictor_status(
    url: str, problem: tuple[str, str] | None, old: Mapping[str, Any], now: str
) -> dict[str, Any]:
    status: dict[str, Any] = {
        "available": problem is None,
        "activeModelState": "Standby" if problem is None else "FailedToLoad",
        "targetModelState": "",
        "transitionStatus": "UpToDate" if problem is None else "BlockedByFailedLoad",
        "conditions": [_condition("Ready", problem, old, now)],
    }
    if problem is None:
        status["httpEndpoint"] = url
    else:
        reason, message = problem
        status["lastFailureInfo"] = {"reason": reason, "message": message}
    return status


def _condition(
    name: str, problem: tuple[str, str] | None, old: Mapping[str, Any], now: str
) -> dict[str, Any]:
    text = "True" if problem is None else "False"
    conditions: list[Mapping[str, Any]] = old.get("conditions", [])
    nothing: Mapping[str, Any] = {}
    former = next((each for each in conditions if each.get("type") == name), nothing)
    is_same = former.get("status") == text
    condition = {
        "type": name,
        "status": text,
        "lastTransitionTime": former.get("lastTransitionTime", now) if is_same else now,
    }
    if problem is not None:
        condition["reason"], condition["message"] = problem
    return condition
