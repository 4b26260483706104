"""Wires routers that learn: whose what they learn is, where it lies, and who chooses in a flow."""

from __future__ import annotations

import asyncio
import logging
import random
import time

from salver.backends.state.router_folders import KEEP, Owner
from salver.backends.state.router_log import RouterLogs
from salver.control.graph_compiling import GRAPHS
from salver.control.graph_names import SUFFIXES
from salver.control.resources import JsonObject, ObjectRef, ResourceStore, WatchEvent
from salver.engine.flow_ports import Chooser
from salver.engine.learning import IdleChooser, LearnedRouters, MemoryRouterLog
from salver.errors import ResourceNotFound
from salver.graphs.flow import GraphDesire, Learned, Variant
from salver.settings import ServeSettings
from salver.telemetry.registry import Registry

logger = logging.getLogger("salver.routers")

_ROUTERS = "routers"
"""The folder of what routers have learned, in the state directory."""
_GATEWAY = "gateway"
_CLOSE_TIMEOUT_S = 30.0


class RouterParts:
    """The routers of all graphs. Made and used in the running loop."""

    def __init__(
        self, store: ResourceStore, settings: ServeSettings, registry: Registry, *, is_kept: bool
    ) -> None:
        """`is_kept`: what routers learn outlives the process."""
        self._store = store
        self._logs: RouterLogs | None = None
        if is_kept:
            loop = asyncio.get_running_loop()
            folder = settings.state_dir / _ROUTERS
            self._logs = RouterLogs(folder, _GATEWAY, call_soon=loop.call_soon)
            self._logs.folders.sweep(self._is_there)
        self._unsubscribe = store.subscribe(self._on_change)
        self.routers = LearnedRouters(
            self._logs.open if self._logs is not None else lambda name: MemoryRouterLog(),
            registry,
            random=random.random,
            clock=time.monotonic,
            now=time.time,
        )

    def choosers(self, desire: GraphDesire, variant: Variant) -> dict[str, Chooser]:
        """Who chooses in the flow, by step. Raises `SalverError`."""
        learned = {
            step.name: step.action
            for step in variant.flow.steps
            if isinstance(step.action, Learned)
        }
        if variant is desire.shadow:
            # Nobody sees what it answers, so no reward is for it.
            return {
                step: IdleChooser(action, random=random.random) for step, action in learned.items()
            }
        if learned and self._logs is not None:
            self._claim(self._logs, desire)
        place = desire.namespace, desire.name
        return {
            step: self.routers.chooser(*place, router_name(desire, variant, step), action)
            for step, action in learned.items()
        }

    def connect(self, desire: GraphDesire) -> None:
        """The graph is about to be exposed so: steps that it has no more learn no more."""
        place = desire.namespace, desire.name
        wanted = {
            router_name(desire, variant, step.name)
            for variant in desire.variants
            for step in variant.flow.steps
            if isinstance(step.action, Learned)
        }
        for router in self.routers.listed():
            name = router.name
            if (name.namespace, name.graph) == place and name.step not in wanted:
                self.routers.forget(*place, name.step)

    def forget(self, namespace: str, name: str) -> None:
        """The graph is served no more. What it has learned goes with it if it was deleted."""
        self.routers.forget(namespace, name)
        if self._logs is not None:
            self._logs.release(namespace, name, self._is_there)

    async def close(self) -> None:
        """All that was learned is on disk."""
        self._unsubscribe()
        self.routers.close()
        if self._logs is None:
            return
        try:
            async with asyncio.timeout(_CLOSE_TIMEOUT_S):
                await asyncio.to_thread(self._logs.close)
        except TimeoutError:
            logger.error(
                "what routers learned last was not on disk in %g s: what was acknowledged is; see "
                "that the disk of the state directory works",
                _CLOSE_TIMEOUT_S,
            )

    def _on_change(self, event: WatchEvent) -> None:
        """A graph's object says whether what it has learned is kept, up to its last form."""
        ref = event.ref
        if self._logs is None or (ref.group, ref.plural) not in GRAPHS:
            return
        owner = _owner(ref, event.object)
        names = list(dict.fromkeys((ref.name, ref.name + SUFFIXES.get(ref.plural, ""))))
        if not self._logs.folders.note(owner) and event.type == "DELETED":
            # It was stopped, or gave its name away: nobody will tell that it is gone.
            self._logs.leave(owner, names)

    def _claim(self, logs: RouterLogs, desire: GraphDesire) -> None:
        ref = _ref_of(desire)
        try:
            obj = self._store.get(ref)
        except ResourceNotFound:
            # It is being deleted: the next pass withdraws it.
            return
        logs.claim(desire.namespace, desire.name, _owner(ref, obj))

    def _is_there(self, owner: Owner) -> bool:
        try:
            obj = self._store.get(ObjectRef(owner.group, owner.plural, owner.namespace, owner.name))
        except ResourceNotFound:
            return False
        return bool(obj["metadata"].get("uid", "") == owner.uid)


def router_name(desire: GraphDesire, variant: Variant, step: str) -> str:
    """What the router of a step is called: where several variants have such a step, those after
    the first one with the variant's name in front."""
    first = next(
        each
        for each in desire.variants
        if any(one.name == step and isinstance(one.action, Learned) for one in each.flow.steps)
    )
    return step if first.name == variant.name else f"{variant.name}/{step}"


def _ref_of(desire: GraphDesire) -> ObjectRef:
    """The object that the graph is made of."""
    group, plural = desire.resource
    return ObjectRef(
        group, plural, desire.namespace, desire.name.removesuffix(SUFFIXES.get(plural, ""))
    )


def _owner(ref: ObjectRef, obj: JsonObject) -> Owner:
    metadata = obj["metadata"]
    keeps = (metadata.get("annotations") or {}).get(KEEP, "").strip().lower() == "true"
    return Owner(ref.group, ref.plural, ref.namespace, ref.name, metadata.get("uid", ""), keeps)
