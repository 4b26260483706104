"""This machine as the control loop sees it: revisions that come up, run and end here.

Owns one task for each revision that is on its way, what is seen of each, and the autoscaler's
clock. What a revision needs to come up is `bring_up.py`'s, what requests go through
`wiring.py`'s.
"""

from __future__ import annotations

import asyncio
import logging
import weakref
from collections.abc import Callable, Coroutine, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from salver.backends.local.bring_up import BringUp, Running
from salver.backends.local.scaled import scaled
from salver.backends.local.wiring import Wiring
from salver.backends.processes.service import ProcessService
from salver.backends.remote.model import RemoteModel
from salver.control.autoscaling import TICK_S
from salver.control.pods import Pods, Replica
from salver.control.ports import UNSEEN, Observation, Phase, Report, RevisionOrder
from salver.control.scaler import SAMPLE_S, Autoscaler
from salver.engine.chain import TransformedService
from salver.engine.directory import ModelDirectory, ServiceEntry
from salver.engine.payload_log import LoggedModel
from salver.engine.ports import ServedModel
from salver.engine.queue import Clock
from salver.errors import SalverError
from salver.graphs.plan import Component, ServiceDesire, TrafficPlan

if TYPE_CHECKING:
    from salver.backends.local.graph_wiring import GraphWiring
    from salver.engine.executor import GraphModel
    from salver.graphs.flow import GraphDesire

logger = logging.getLogger("salver.machine")

_LOOK_S = 1.0
FIRST_RETRY_S = 5.0
MAX_RETRY_S = 300.0
"""Between two attempts at a revision that failed to come up: doubled each time, up to this."""
_LAST_STEPS_S = 60.0
"""How long a revision that nothing leads to any more waits for calls amid their steps."""
_LAST_STEPS_LOOK_S = 0.02

RevisionKey = tuple[str, str]
ServiceKey = tuple[str, str]
_Former = list["weakref.ref[TransformedService] | weakref.ref[GraphModel]"]


def _chain_of(entry: ServedModel) -> TransformedService | None:
    """What of an entry has several steps, if anything does."""
    while isinstance(entry, LoggedModel):
        entry = entry.model
    return entry if isinstance(entry, TransformedService) else None


def _processes(model: Running) -> list[str]:
    """The ids of a model's replicas on this machine."""
    if isinstance(model, RemoteModel):
        return []
    pids = model.guard_pids if isinstance(model, ProcessService) else model.pids
    return [str(pid) for pid in pids]


def _ignore(phase: Phase, detail: str) -> None:
    """The `Report` of an attempt that nobody needs to follow."""


class _Revision:
    """One revision: its order, how far it has come, its model once there is one."""

    def __init__(self, order: RevisionOrder) -> None:
        self.order = order
        self.phase = Phase.PENDING
        self.detail = ""
        self.model: Running | None = None
        self.task: asyncio.Task[None] | None = None

    def report(self, phase: Phase, detail: str) -> None:
        self.phase, self.detail = phase, detail


class _Exposed(NamedTuple):
    """A graph as it is exposed: its flows, and the revisions that their steps ask."""

    entry: ServiceEntry
    flows: Sequence[GraphModel]
    revisions: Sequence[RevisionKey]


class LocalMachine:
    """Implements the control loop's `Machine`."""

    def __init__(
        self,
        bring_up: BringUp,
        directory: ModelDirectory,
        wiring: Wiring,
        make_graph_wiring: Callable[[], GraphWiring],
        *,
        url_of: Callable[[str, str], str],
        on_change: Callable[[str, str], None],
        pods: Pods,
        clock: Clock,
    ) -> None:
        self._bring_up = bring_up
        self._directory = directory
        self._wiring = wiring
        self._make_graph_wiring = make_graph_wiring
        self._url_of = url_of
        self._on_change = on_change
        self._pods = pods
        self._clock = clock
        self._revisions: dict[RevisionKey, _Revision] = {}
        self._services: dict[tuple[str, str], dict[str, _Revision]] = {}
        """The same by service: there may be thousands of those."""
        self._graphs: dict[ServiceKey, _Exposed] = {}
        self._former: dict[ServiceKey, _Former] = {}
        """Services as they were before, for as long as calls are amid their steps."""
        self._autoscaler = Autoscaler()
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_closed = False

    # The control loop's port.

    def start(self, order: RevisionOrder) -> None:
        key = (order.namespace, order.name)
        if key in self._revisions or self._is_closed:
            return
        revision = self._revisions[key] = _Revision(order)
        self._services.setdefault((order.namespace, order.service), {})[order.name] = revision
        revision.task = self._spawn(self._come_up(key, revision))

    def retire(self, namespace: str, name: str) -> None:
        revision = self._revisions.pop((namespace, name), None)
        if revision is None:
            return
        self._drop(revision.order)
        self._autoscaler.unwatch(f"{namespace}/{name}")
        if revision.task is not None:
            revision.task.cancel()
        if revision.model is not None:
            self._spawn(self._end(revision.order, revision.model))

    async def _end(self, order: RevisionOrder, model: Running) -> None:
        """Brings it down once no call is on its way to it."""
        key = (order.namespace, order.service)
        former, ends_s = self._former.get(key, []), self._clock() + _LAST_STEPS_S
        while any(chain() is not None for chain in former) and self._clock() < ends_s:
            await asyncio.sleep(_LAST_STEPS_LOOK_S)
        if former is self._former.get(key):
            del self._former[key]
        await self._bring_up.bring_down(model)

    def _note_former(self, namespace: str, name: str) -> None:
        """The service is about to change: calls between two steps still have it as it is."""
        entry = self._directory.service(namespace, name)
        chain = None if entry is None else _chain_of(entry.entry)
        if chain is not None:
            # A list of its own for each change: who waits for the last one waits for no later.
            former = self._former.get((namespace, name), [])
            alive = [each for each in former if each() is not None]
            self._former[namespace, name] = [*alive, weakref.ref(chain)]

    def _drop(self, order: RevisionOrder) -> None:
        own = self._services[order.namespace, order.service]
        del own[order.name]
        if not own:
            del self._services[order.namespace, order.service]

    def observe(self, namespace: str, name: str) -> Observation:
        revision = self._revisions.get((namespace, name))
        if revision is None:
            return UNSEEN
        model = revision.model
        if model is None:
            return Observation(revision.phase, revision.detail)
        if isinstance(model, RemoteModel):
            count = len(model.endpoints)
            return Observation(revision.phase, revision.detail, count, count)
        wanted, ready = model.wanted_replicas, model.ready_replicas
        return Observation(revision.phase, revision.detail, ready, wanted)

    def model_of(self, namespace: str, name: str) -> ServedModel | None:
        """The model of a revision, once it is up."""
        revision = self._revisions.get((namespace, name))
        return None if revision is None else revision.model

    def expose(
        self, desire: ServiceDesire, traffic: Mapping[Component, TrafficPlan], address: str
    ) -> None:
        own = self._services.get((desire.namespace, desire.name), {})
        models = {name: each.model for name, each in own.items() if each.model is not None}
        self._note_former(desire.namespace, desire.name)
        self._directory.expose(self._wiring.entry(desire, traffic, models))
        self._note_reachable(desire, traffic)

    def withdraw(self, namespace: str, name: str) -> None:
        if (namespace, name) in self._graphs and self._is_graph(namespace, name):
            return
        self._note_former(namespace, name)
        self._directory.withdraw(namespace, name)

    @cached_property
    def _graph_wiring(self) -> GraphWiring:
        """Made for the first graph: most servers have none."""
        return self._make_graph_wiring()

    def expose_graph(self, desire: GraphDesire, units: Mapping[str, str], address: str) -> None:
        namespace = desire.namespace
        models = {
            unit: model
            for unit, name in units.items()
            if (model := self._revisions[namespace, name].model) is not None
        }
        wired = self._graph_wiring.entry(desire, models)
        self._note_former_flows(namespace, desire.name)
        self._directory.expose(wired.entry)
        keys = [(namespace, name) for name in units.values()]
        self._graphs[namespace, desire.name] = _Exposed(*wired, keys)
        for name in units.values():
            self._autoscaler.set_reachable(f"{namespace}/{name}", True)

    def withdraw_graph(self, namespace: str, name: str) -> None:
        if self._is_graph(namespace, name):
            self._directory.withdraw(namespace, name)
        self._note_former_flows(namespace, name)
        if self._graphs.pop((namespace, name), None) is not None:
            self._graph_wiring.forget(namespace, name)

    def _is_graph(self, namespace: str, name: str) -> bool:
        """Whether the graph of that name is what answers to it."""
        graph = self._graphs.get((namespace, name))
        return graph is not None and self._directory.service(namespace, name) is graph.entry

    def _note_former_flows(self, namespace: str, name: str) -> None:
        """The graph is about to change: requests amid its steps go on with it as it is."""
        graph = self._graphs.get((namespace, name))
        for key in graph.revisions if graph is not None else ():
            self._autoscaler.set_reachable(f"{key[0]}/{key[1]}", False)
            revision = self._revisions.get(key)
            if revision is not None and graph is not None:
                self._note_flows((namespace, revision.order.service), graph.flows)

    def _note_flows(self, key: ServiceKey, flows: Sequence[GraphModel]) -> None:
        former = [each for each in self._former.get(key, []) if each() is not None]
        self._former[key] = [*former, *(weakref.ref(each) for each in flows)]

    def _note_reachable(
        self, desire: ServiceDesire, traffic: Mapping[Component, TrafficPlan]
    ) -> None:
        """Tells the autoscaler which revisions requests can get to."""
        reached = {
            name
            for plan in traffic.values()
            for name in (*(target.revision for target in plan.targets), plan.shadow)
        }
        for name in self._services.get((desire.namespace, desire.name), {}):
            self._autoscaler.set_reachable(f"{desire.namespace}/{name}", name in reached)

    def replicas(self) -> list[Replica]:
        """Every replica of every revision, those on their way included."""
        found: list[Replica] = []
        for (namespace, name), revision in self._revisions.items():
            order, model = revision.order, revision.model
            # One that failed is tried again, and its log says why it failed.
            for id in ("pending",) if model is None else _processes(model):
                is_ready = model is not None
                detail = "" if is_ready else revision.detail
                kept = (namespace, order.service, order.component, name, id, is_ready, detail)
                found.append(Replica(*kept, graph=order.graph))
        return found

    # Comings and goings.

    async def _come_up(self, key: RevisionKey, revision: _Revision) -> None:
        order = revision.order
        url = f"{self._url_of(order.namespace, f'{order.service}-predictor')}"

        def report(phase: Phase, detail: str) -> None:
            is_news = phase is not revision.phase
            revision.report(phase, detail)
            if is_news:
                self._on_change(order.namespace, order.service)

        failures = 0
        while not await self._has_come_up(key, revision, url, report):
            self._on_change(order.namespace, order.service)
            # What was not there may be put there: try again, later each time.
            await asyncio.sleep(min(MAX_RETRY_S, FIRST_RETRY_S * 2.0**failures))
            failures += 1
            # Until it is better than failed, it stays failed: no flapping in the status.
            report = _ignore
        if self._revisions.get(key) is not revision:
            assert revision.model is not None
            await self._bring_up.bring_down(revision.model)
            return
        self._watch(key, revision)
        self._on_change(order.namespace, order.service)

    async def _has_come_up(
        self, key: RevisionKey, revision: _Revision, predictor_url: str, report: Report
    ) -> bool:
        """One attempt; what went wrong is in the revision."""
        try:
            revision.model = await self._bring_up.bring_up(revision.order, predictor_url, report)
        except SalverError as error:
            if str(error) != revision.detail:
                logger.warning("revision %s/%s failed: %s", *key, error)
            revision.report(Phase.FAILED, str(error))
            return False
        except Exception as error:
            logger.exception("revision %s/%s failed", *key)
            revision.report(Phase.FAILED, f"{type(error).__name__}: {error}")
            return False
        revision.report(Phase.READY, "")
        return True

    def _watch(self, key: RevisionKey, revision: _Revision) -> None:
        model = revision.model
        if model is None or isinstance(model, RemoteModel):
            return
        label = f"{key[0]}/{key[1]}"
        policy = revision.order.plan.scaling
        view = scaled(model, policy)
        if policy.initial_scale == 0 and policy.min_replicas == 0:
            # It has proved itself; now it waits for requests.
            view.scale(0)
        elif view.wanted_replicas == 0:
            # It has served before, and is not to start just because it is looked at again.
            policy = msgspec.structs.replace(policy, initial_scale=0)
        self._autoscaler.watch(label, policy, view, self._clock())

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def run(self) -> None:
        """Keeps the autoscaler's time, and the Pods up to date, until cancelled."""
        next_tick_s = next_look_s = self._clock()
        while True:
            await asyncio.sleep(SAMPLE_S)
            try:
                if self._clock() >= next_look_s:
                    next_look_s = self._clock() + _LOOK_S
                    self._pods.show(self.replicas())
                now_s = self._clock()
                self._autoscaler.sample(now_s)
                if now_s >= next_tick_s:
                    next_tick_s = now_s + TICK_S
                    self._autoscaler.tick(now_s)
            except Exception:
                # One turn that fails must not be the last: nothing would be scaled any more.
                logger.exception("a turn of the autoscaler failed")

    async def close(self) -> None:
        """Ends what runs outside of the catalog's own workers."""
        self._is_closed = True
        for task in list(self._tasks):
            task.cancel()
        ends = [
            self._bring_up.bring_down(revision.model)
            for revision in self._revisions.values()
            if isinstance(revision.model, (ProcessService, RemoteModel))
        ]
        await asyncio.gather(*ends, return_exceptions=True)
