"""The control loop: makes the machine look like the declared resources.

One pass over one service is a plain function of what the store says and what the machine
shows: it compiles the manifest, records a revision if the plan is new, asks `rollout.py` who
gets the traffic, tells the machine, and writes the status. Everything that must survive is in
the store, written in one transaction before anything acts on it; a pass may be cut off at any
point and done again.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any, get_args

import msgspec

from salver.control import rollout
from salver.control.inference_status import ComponentView, ServiceView, inference_status
from salver.control.passes import PassLoop
from salver.control.ports import Machine, Observation, Phase, RevisionOrder
from salver.control.resources import JsonObject, ObjectRef, ResourceStore, WatchEvent
from salver.control.revision_status import RevisionMirror, share_of
from salver.control.revisions import RevisionRecord, indexed, revision_object
from salver.errors import ResourceNotFound, SalverError
from salver.graphs.plan import (
    Component,
    ComponentDesire,
    ServiceDesire,
    TrafficPlan,
)
from salver.graphs.selection import PlanError
from salver.spec.kinds import KSERVE, SALVER

SERVICES = (KSERVE, "inferenceservices")
REVISIONS = (SALVER, "revisions")
RUNTIMES = ((KSERVE, "servingruntimes"), (KSERVE, "clusterservingruntimes"))
PAUSED = "salver.dev/paused"
"""Annotation: `true` keeps traffic as it is, whatever the manifest says."""
PINNED = "salver.dev/pinned"
"""Annotation: the revision that gets all traffic, whatever the manifest says."""
MAX_HISTORY = 10
"""Revisions of a component that are kept for an undo."""

_SETTLED = (Phase.READY, Phase.FAILED)
_STATES: Mapping[Phase, rollout.RevisionState] = {
    Phase.UNKNOWN: "pending",
    Phase.PENDING: "loading",
    Phase.DOWNLOADING: "loading",
    Phase.BUILDING: "loading",
    Phase.LOADING: "loading",
    Phase.READY: "ready",
    Phase.FAILED: "failed",
}

ServiceKey = tuple[str, str]
Compile = Callable[[JsonObject], ServiceDesire]
"""Makes the plan of a stored object. Raises `PlanError` or `ManifestError`."""


class Reconciler:
    """Watches the store and the machine, and passes over each service that may have changed."""

    def __init__(
        self,
        store: ResourceStore,
        machine: Machine,
        compile_object: Compile,
        *,
        now: Callable[[], str],
        url_of: Callable[[str, str], str],
        on_event: Callable[[JsonObject, str, str, str], None],
        pooled_problem: Callable[[str, str], tuple[str, str] | None] = lambda *_: None,
    ) -> None:
        """`pooled_problem` says what keeps a service's model in the shared pool from serving."""
        self._store = store
        self._machine = machine
        self._compile = compile_object
        self._now = now
        self._url_of = url_of
        self._on_event = on_event
        self._pooled_problem = pooled_problem
        self._mirror = RevisionMirror(store, now)
        self._passes = PassLoop[ServiceKey](
            lambda key: self.reconcile(*key),
            lambda: self._started,
            self._looks_different,
            lambda key: f"service {key[0]}/{key[1]}",
        )
        self._exposed: dict[ServiceKey, Any] = {}
        self._started: dict[ServiceKey, set[str]] = {}
        self._seen: dict[ServiceKey, Mapping[str, Observation]] = {}
        self._known: set[ServiceKey] = set()
        self._gone: set[ServiceKey] = set()
        self._revisions = indexed(store.list(*REVISIONS)[0])
        self._unsubscribe = store.subscribe(self._on_change)
        for obj in store.list(*SERVICES)[0]:
            self.touch(obj["metadata"]["namespace"], obj["metadata"]["name"])

    def touch(self, namespace: str, name: str) -> None:
        """Something about the service may have changed: a pass over it is due."""
        self._passes.touch((namespace, name))

    def _on_change(self, event: WatchEvent) -> None:
        ref = event.ref
        if (ref.group, ref.plural) == SERVICES:
            if event.type == "DELETED":
                # Another of its name may be there before the next pass: it inherits nothing.
                self._gone.add((ref.namespace, ref.name))
            self.touch(ref.namespace, ref.name)
        elif (ref.group, ref.plural) in RUNTIMES:
            # It has come, changed or gone: any service may now choose another.
            for namespace, name in self._known:
                self.touch(namespace, name)

    async def run(self) -> None:
        """Goes on until cancelled."""
        await self._passes.run()

    def _looks_different(self, key: ServiceKey) -> bool:
        names = self._started.get(key)
        return names is not None and self._observations(key, names) != self._seen.get(key)

    def _observations(self, key: ServiceKey, names: Iterable[str]) -> Mapping[str, Observation]:
        return {name: self._machine.observe(key[0], name) for name in names}

    def close(self) -> None:
        """Hears no more of the store."""
        self._unsubscribe()

    # One pass.

    def reconcile(self, namespace: str, name: str) -> None:
        """One pass over one service."""
        key = (namespace, name)
        ref = ObjectRef(*SERVICES, namespace, name)
        if key in self._gone:
            self._gone.discard(key)
            self._forget(key)
        try:
            obj = self._store.get(ref)
        except ResourceNotFound:
            self._forget(key)
            return
        self._known.add(key)
        old = obj.get("status") or {}
        problem: tuple[str, str] | None = None
        desire: ServiceDesire | None = None
        try:
            desire = self._compile(obj)
        except PlanError as error:
            problem = (error.reason, str(error))
        except SalverError as error:
            problem = ("InvalidPredictorSpec", str(error))
        if desire is None:
            desire = self._former(obj)
        if desire is not None and desire.stopped:
            self._stop(key)
            view = ServiceView(_generation(obj), self._url_of(namespace, name), stopped=True)
        elif desire is not None and desire.pooled:
            # It may have had revisions of its own before.
            self._stop(key)
            view = ServiceView(
                _generation(obj),
                self._url_of(namespace, name),
                problem=problem or self._pooled_problem(namespace, name),
                notes=desire.notes,
            )
        elif desire is None:
            view = ServiceView(_generation(obj), self._url_of(namespace, name), problem=problem)
        else:
            view = self._carry_out(obj, desire, problem)
        self._write_status(ref, obj, old, view)
        self._show_revisions(key, view)

    def _show_revisions(self, key: ServiceKey, view: ServiceView) -> None:
        traffic = {each.component: each.traffic for each in view.components}
        for kind in get_args(Component):
            for record in self._revisions.get((*key, kind), []):
                seen = self._machine.observe(key[0], record.name)
                share = share_of(record.name, traffic.get(kind))
                self._mirror.show(ObjectRef(*REVISIONS, key[0], record.name), seen, share)

    def _former(self, obj: JsonObject) -> ServiceDesire | None:
        """What was last carried out, for as long as the present manifest cannot be."""
        kept = self._exposed.get((obj["metadata"]["namespace"], obj["metadata"]["name"]))
        return self._remembered(obj) if kept is None else kept[0]

    def _remembered(self, obj: JsonObject) -> ServiceDesire | None:
        """What served before a restart, by the status and the revisions."""
        namespace, name = obj["metadata"]["namespace"], obj["metadata"]["name"]
        components: list[ComponentDesire] = []
        for kind, status in ((obj.get("status") or {}).get("components") or {}).items():
            past = rollout.past_of(status)
            records = self._revisions.get((namespace, name, kind), [])
            newest = next((each for each in records if each.name == past.latest_created), None)
            if newest is None or not past.targets:
                return None
            components.append(ComponentDesire(newest.plan))
        return ServiceDesire(namespace, name, tuple(components)) if components else None

    def _carry_out(
        self, obj: JsonObject, desire: ServiceDesire, problem: tuple[str, str] | None
    ) -> ServiceView:
        key = (desire.namespace, desire.name)
        url = self._url_of(*key)
        options = _options(obj)
        if problem is not None:
            # What cannot be carried out changes nothing: traffic stays as it is.
            options = msgspec.structs.replace(options, paused=True)
        views: list[ComponentView] = []
        traffic: dict[Component, TrafficPlan] = {}
        wanted: set[str] = set()
        for component in desire.components:
            view, used = self._component(obj, desire, component, options)
            views.append(view)
            wanted |= used
            if view.serves and view.traffic is not None:
                traffic[component.plan.component] = view.traffic
        if views and all(view.serves for view in views):
            state = (desire, tuple(sorted(traffic.items())))
            if self._exposed.get(key) != state:
                self._machine.expose(desire, traffic, url)
                self._exposed[key] = state
        self._retire_all_but(key, wanted)
        return ServiceView(_generation(obj), url, tuple(views), problem=problem, notes=desire.notes)

    def _retire_all_but(self, key: ServiceKey, wanted: set[str]) -> None:
        """Ends what is not wanted and gets no requests any more.

        While one component is not ready, requests still go where they went before, though
        the others have moved on already.
        """
        wanted = wanted | self._exposed_revisions(key)
        for name in self._started.get(key, set()) - wanted:
            self._machine.retire(key[0], name)
        self._started[key] = wanted
        self._seen[key] = self._observations(key, wanted)

    def _exposed_revisions(self, key: ServiceKey) -> set[str]:
        if key not in self._exposed:
            return set()
        _, traffic = self._exposed[key]
        found = {target.revision for _, plan in traffic for target in plan.targets}
        return found | {plan.shadow for _, plan in traffic if plan.shadow}

    def _component(
        self,
        obj: JsonObject,
        desire: ServiceDesire,
        component: ComponentDesire,
        options: rollout.RolloutOptions,
    ) -> tuple[ComponentView, set[str]]:
        """One component's pass: its view, and the revisions that should run."""
        namespace, kind = desire.namespace, component.plan.component
        records = self._revisions.setdefault((namespace, desire.name, kind), [])
        status = ((obj.get("status") or {}).get("components") or {}).get(kind) or {}
        past = rollout.past_of(status)
        if _pinned_component(desire, options.pinned) != kind:
            options = msgspec.structs.replace(options, pinned="")
        self._create_missing(obj, component, records)
        decision = rollout.decide(
            component,
            [self._snapshot(namespace, record) for record in records],
            past,
            options,
        )
        served = {target.revision for target in past.targets}
        for record in records:
            if record.name in served or record.name in decision.to_load:
                self._machine.start(
                    RevisionOrder(
                        record.name,
                        namespace,
                        desire.name,
                        record.number,
                        record.plan,
                        is_proven=record.name in served,
                    )
                )
        is_resuming = any(
            record.name in served
            and self._machine.observe(namespace, record.name).phase not in _SETTLED
            for record in records
        )
        view = ComponentView(
            kind,
            decision.latest_created,
            decision.latest_ready,
            decision.latest_rolled_out,
            decision.previous_rolled_out,
            # Until what served before a restart is back, nobody else takes its share.
            _kept(past) if is_resuming or decision.traffic is None else decision.traffic,
            self._machine.observe(namespace, decision.latest_created),
            self._url_of(namespace, f"{desire.name}-{kind}"),
            serves=decision.traffic is not None and not is_resuming,
            blocked=decision.blocked_reason,
            is_pinned=bool(options.pinned),
        )
        self._prune(namespace, records, view)
        running = {
            record.name
            for record in records
            if self._machine.observe(namespace, record.name).phase is not Phase.UNKNOWN
        }
        return view, running - set(decision.to_retire)

    def _create_missing(
        self, obj: JsonObject, component: ComponentDesire, records: list[RevisionRecord]
    ) -> None:
        """Records a revision for each plan that has been none yet."""
        known = {record.digest for record in records}
        for digest, plan in rollout.wanted_plans(component).items():
            if digest in known:
                continue
            metadata = obj["metadata"]
            number = max((record.number for record in records), default=0) + 1
            name = rollout.revision_name(metadata["name"], plan.component, number)
            record = RevisionRecord(name, number, digest, plan, self._now())
            ref = ObjectRef(*REVISIONS, metadata["namespace"], name)
            self._store.create(ref, revision_object(record, obj))
            records.append(record)
            self._on_event(obj, "Normal", "RevisionCreated", f"created revision {name}")

    def _prune(
        self,
        namespace: str,
        records: list[RevisionRecord],
        view: ComponentView,
    ) -> None:
        """Forgets the oldest revisions that nothing refers to, beyond those kept as history."""
        used = {view.latest_created, view.latest_ready, view.latest_rolled_out}
        used |= {view.previous_rolled_out}
        if view.traffic is not None:
            used |= {target.revision for target in view.traffic.targets} | {view.traffic.shadow}
        idle = [
            record
            for record in records
            if record.name not in used
            and self._machine.observe(namespace, record.name).phase is Phase.UNKNOWN
        ]
        for record in idle[: max(0, len(records) - MAX_HISTORY)]:
            records.remove(record)
            self._mirror.forget(ObjectRef(*REVISIONS, namespace, record.name))
            with contextlib.suppress(ResourceNotFound):
                self._store.delete(ObjectRef(*REVISIONS, namespace, record.name))

    def _snapshot(self, namespace: str, record: RevisionRecord) -> rollout.RevisionSnapshot:
        seen = self._machine.observe(namespace, record.name)
        return rollout.RevisionSnapshot(
            record.name, record.digest, record.number, _STATES[seen.phase], seen.detail
        )

    # Ends.

    def _stop(self, key: ServiceKey) -> None:
        """The service keeps its manifest and its revisions, and runs nothing."""
        self._machine.withdraw(*key)
        for name in self._started.pop(key, set()):
            self._machine.retire(key[0], name)
        self._exposed.pop(key, None)
        self._seen.pop(key, None)

    def _forget(self, key: ServiceKey) -> None:
        """The service is no more; the store has dropped its revisions with it."""
        self._stop(key)
        self._known.discard(key)
        for each in [each for each in self._revisions if each[:2] == key]:
            for record in self._revisions.pop(each):
                self._machine.retire(key[0], record.name)
                self._mirror.forget(ObjectRef(*REVISIONS, key[0], record.name))

    # Status.

    def _write_status(
        self, ref: ObjectRef, obj: JsonObject, old: JsonObject, view: ServiceView
    ) -> None:
        status = inference_status(view, old, self._now())
        if status == old:
            return
        metadata = {**obj["metadata"]}
        metadata.pop("resourceVersion", None)
        try:
            self._store.update_status(ref, {**obj, "metadata": metadata, "status": status})
        except ResourceNotFound:
            return
        self._announce(obj, old, status)

    def _announce(self, obj: JsonObject, old: JsonObject, status: JsonObject) -> None:
        """An event for what people want to hear of: ready, and what failed."""
        before, after = _conditions(old), _conditions(status)
        if after.get("Ready", {}).get("status") == "True" != before.get("Ready", {}).get("status"):
            self._on_event(obj, "Normal", "InferenceServiceReady", "the service is ready")
        failure = status.get("modelStatus", {}).get("lastFailureInfo")
        if failure and failure != old.get("modelStatus", {}).get("lastFailureInfo"):
            self._on_event(obj, "Warning", failure["reason"], failure["message"])


def _conditions(status: JsonObject) -> dict[str, JsonObject]:
    return {each["type"]: each for each in status.get("conditions", [])}


def _generation(obj: JsonObject) -> int:
    return int(obj["metadata"].get("generation", 1))


def _options(obj: JsonObject) -> rollout.RolloutOptions:
    annotations = obj["metadata"].get("annotations") or {}
    return rollout.RolloutOptions(
        paused=annotations.get(PAUSED, "") == "true", pinned=annotations.get(PINNED, "")
    )


def _pinned_component(desire: ServiceDesire, pinned: str) -> str:
    """Whose revision that is, by its name; what nobody knows, the predictor complains of."""
    for component in desire.components:
        kind = component.plan.component
        if pinned.startswith(f"{desire.name}-{kind}-"):
            return kind
    return "predictor"


def _kept(past: rollout.Past) -> TrafficPlan | None:
    """The traffic that the status shows, for as long as there is none to put in its place."""
    return TrafficPlan(past.targets) if past.targets else None
