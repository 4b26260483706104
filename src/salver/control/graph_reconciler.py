"""The control loop of graphs: starts their units, exposes whole flows, ends what is not used.

A pass over one graph compiles its manifest, starts each unit as a revision, and once all are
ready and all services that it asks answer, exposes the graph in one step; what served before
serves until then. It acts on the store and on what the machine shows, and may be cut off at any
point and done again. What served last is in the store: a manifest that cannot be carried out
changes nothing but the status, not even after a restart.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence

import msgspec

from salver.control.graph_compiling import GRAPHS, SERVERS
from salver.control.graph_names import GraphNames, refuse_cycle
from salver.control.graph_sight import SERVICES, Answers, GraphSight, Mismatch, are_ready
from salver.control.graph_status import GraphView, UnitView, failure_of, graph_status
from salver.control.graph_units import (
    ServedGraph,
    ServedGraphs,
    numbered,
    orders_of,
    revisions_of,
    service_of,
)
from salver.control.passes import PassLoop
from salver.control.ports import Machine
from salver.control.resources import JsonObject, ObjectRef, ResourceStore, WatchEvent
from salver.errors import ResourceNotFound, SalverError
from salver.graphs.flow import GraphDesire
from salver.graphs.selection import PlanError
from salver.spec.kinds import MLOPS

MODELS = (MLOPS, "models")

Compile = Callable[[JsonObject], GraphDesire]
"""Makes the plan of a stored graph. Raises `PlanError` or a `SalverError`."""


class _Graph:
    """What is known of one graph between two passes."""

    def __init__(self, uid: str, served: ServedGraph | None) -> None:
        self.uid = uid
        self.numbers: Mapping[str, int] = served.numbers if served is not None else {}
        self.resumed = served.desire if served is not None else None
        """What served before the restart, until it or its successor serves."""
        self.exposed: GraphDesire | None = None
        self.wanted: GraphDesire | None = None
        self.started: set[str] = set()
        self.heeds: set[tuple[str, str]] = set()
        """The services whose changes matter to it."""
        self.seen: object = None
        self.place = ""
        """The name under which it answers; empty while another has it."""


class GraphReconciler:
    """Watches the store and the machine, and passes over each graph that may have changed."""

    def __init__(
        self,
        store: ResourceStore,
        machine: Machine,
        compile_object: Compile,
        *,
        now: Callable[[], str],
        address_of: Callable[[GraphDesire], str],
        on_event: Callable[[JsonObject, str, str, str], None],
        answers: Answers,
        mismatch: Mismatch = lambda desire, revisions: "",
    ) -> None:
        self._store = store
        self._machine = machine
        self._compile = compile_object
        self._now = now
        self._address_of = address_of
        self._on_event = on_event
        self._sight = GraphSight(store, machine, answers, mismatch)
        self._names = GraphNames(self._is_service)
        self._served = ServedGraphs(store)
        self._graphs: dict[ObjectRef, _Graph] = {}
        self._askers: dict[tuple[str, str], dict[ObjectRef, None]] = {}
        """The graphs that a service matters to: it is a unit of theirs, or is asked by them."""
        self._passes = PassLoop[ObjectRef](
            lambda ref: self.reconcile(ref),
            lambda: self._graphs,
            self._looks_different,
            lambda ref: f"{ref.plural} {ref.namespace}/{ref.name}",
        )
        self._unsubscribe = store.subscribe(self._on_change)
        refs = [_ref(type, obj) for type in GRAPHS for obj in store.list(*type)[0]]
        # Those that served before keep their names.
        for ref in sorted(refs, key=lambda ref: self._served.get(ref) is None):
            self.touch(ref)

    def touch(self, ref: ObjectRef) -> None:
        """Something about the graph may have changed: a pass over it is due."""
        self._passes.touch(ref)

    def touch_service(self, namespace: str, name: str) -> None:
        """The machine or the store says that a service has changed: whom does it matter to?"""
        for ref in self._askers.get((namespace, name), {}):
            self.touch(ref)

    def desire_of(self, namespace: str, name: str) -> tuple[ObjectRef, GraphDesire] | None:
        """The graph of that name as it serves now, or else as it is wanted."""
        ref = self._names.holder(namespace, name)
        graph = self._graphs.get(ref) if ref is not None else None
        if ref is None or graph is None:
            return None
        desire = graph.exposed or graph.wanted
        return None if desire is None else (ref, desire)

    def serves(self, ref: ObjectRef) -> bool:
        """Whether some form of the graph answers now."""
        graph = self._graphs.get(ref)
        return graph is not None and graph.exposed is not None

    def known(self) -> list[tuple[ObjectRef, str]]:
        """All graphs, and the names under which they answer."""
        return [(ref, graph.place) for ref, graph in self._graphs.items() if graph.place]

    def close(self) -> None:
        """Hears no more of the store."""
        self._unsubscribe()

    def _on_change(self, event: WatchEvent) -> None:
        ref = event.ref
        type = (ref.group, ref.plural)
        if type in GRAPHS:
            self.touch(ref)
        elif type in SERVERS:
            for each in self._graphs:
                if (each.group, each.plural) == MODELS:
                    self.touch(each)
        if type in GRAPHS or type == SERVICES:
            self.touch_service(ref.namespace, ref.name)
        if event.type == "DELETED" or (
            event.type == "ADDED" and self._names.holder(ref.namespace, ref.name) is not None
        ):
            self._touch_rivals(ref)

    def _touch_rivals(self, ref: ObjectRef) -> None:
        for each in self._graphs:
            if (each.namespace, each.name) == (ref.namespace, ref.name) and each != ref:
                self.touch(each)

    async def run(self) -> None:
        """Goes on until cancelled."""
        await self._passes.run()

    def _looks_different(self, ref: ObjectRef) -> bool:
        graph = self._graphs.get(ref)
        return graph is not None and self._look(graph, ref.namespace) != graph.seen

    def _look(self, graph: _Graph, namespace: str) -> object:
        """All that a pass depends on besides the store."""
        revisions = sorted(graph.started)
        seen = [self._machine.observe(namespace, each) for each in revisions]
        return seen, self._sight.missing(graph.wanted), self._sight.missing(graph.exposed)

    # One pass.

    def reconcile(self, ref: ObjectRef) -> None:
        """One pass over one graph."""
        try:
            obj = self._store.get(ref)
        except ResourceNotFound:
            self._forget(ref)
            return
        graph = self._known(ref, obj)
        problem: tuple[str, str] | None = None
        desire: GraphDesire | None = None
        try:
            desire = self._placed(ref, graph, self._compile(obj))
        except PlanError as error:
            problem = (error.reason, str(error))
        except SalverError as error:
            problem = ("InvalidSpec", str(error))
        if desire is not None and desire.stopped:
            self._stop(ref, graph)
            graph.wanted, graph.resumed = desire, None
            address = self._address_of(desire)
            view = GraphView(_type(ref), _generation(obj), address, desire, stopped=True)
        else:
            view = self._carry_out(obj, ref, graph, desire, problem)
        graph.seen = self._look(graph, ref.namespace)
        self._write_status(ref, obj, view)

    def _known(self, ref: ObjectRef, obj: JsonObject) -> _Graph:
        uid = obj["metadata"].get("uid", "")
        graph = self._graphs.get(ref)
        if graph is not None and graph.uid != uid:
            # Another of its name: it inherits nothing.
            self._forget(ref)
            graph = None
        if graph is None:
            graph = self._graphs[ref] = _Graph(uid, self._served.get(ref))
        return graph

    def _carry_out(
        self,
        obj: JsonObject,
        ref: ObjectRef,
        graph: _Graph,
        desire: GraphDesire | None,
        problem: tuple[str, str] | None,
    ) -> GraphView:
        if graph.resumed is not None:
            with contextlib.suppress(PlanError):
                graph.resumed = self._placed(ref, graph, graph.resumed)
        former = graph.exposed or graph.resumed
        # What serves, or did before a restart, comes first.
        plans = [each for each in (former, desire) if each is not None and graph.place]
        graph.numbers = numbered(plans, graph.numbers)
        for each in plans:
            for order in orders_of(each, graph.numbers, are_proven=each is former):
                self._machine.start(order)
        graph.wanted = desire or former
        self._note_askers(ref, graph)
        units = self._sight.units(desire) if graph.place else []
        missing = self._sight.missing(desire)
        if problem is None and desire is not None and are_ready(units) and not missing:
            problem = self._expose(obj, ref, graph, desire, units)
        if graph.exposed is None and graph.resumed is not None and graph.place:
            self._resume(graph, graph.resumed)
        self._retire_all_but(ref, graph, [graph.exposed, graph.resumed, desire])
        shown = desire or former
        return GraphView(
            _type(ref),
            _generation(obj),
            self._address_of(shown) if shown is not None else "",
            shown,
            units,
            [
                *missing,
                *(each for each in self._sight.missing(graph.exposed) if each not in missing),
            ],
            problem,
            serves=graph.exposed is not None,
            is_current=desire is not None and graph.exposed == desire,
            notes=desire.notes if desire is not None else (),
        )

    def _expose(
        self,
        obj: JsonObject,
        ref: ObjectRef,
        graph: _Graph,
        desire: GraphDesire,
        units: Sequence[UnitView],
    ) -> tuple[str, str] | None:
        """Lets the graph serve as it is wanted; what keeps it from that, if anything does."""
        if graph.exposed == desire:
            return None
        problem = self._sight.misfit(desire, units)
        if problem is None:
            problem = self._serve(graph, desire)
        if problem is None:
            self._served.put(obj, ref, ServedGraph(desire, _kept(desire, graph.numbers)))
        return problem

    def _resume(self, graph: _Graph, desire: GraphDesire) -> None:
        """What served before a restart serves until the present manifest can."""
        if self._sight.is_ready(desire):
            self._serve(graph, desire)

    def _serve(self, graph: _Graph, desire: GraphDesire) -> tuple[str, str] | None:
        try:
            self._machine.expose_graph(desire, revisions_of(desire), self._address_of(desire))
        except SalverError as error:
            # What served before still does: nothing was taken away yet.
            return "InvalidGraph", str(error)
        graph.exposed, graph.resumed = desire, None
        # Others may wait for it.
        self.touch_service(desire.namespace, desire.name)
        return None

    def _retire_all_but(
        self, ref: ObjectRef, graph: _Graph, plans: Sequence[GraphDesire | None]
    ) -> None:
        """Ends the units that neither what serves nor what is to serve has."""
        wanted = {
            revision
            for plan in plans
            if plan is not None and graph.place
            for revision in revisions_of(plan).values()
        }
        for revision in graph.started - wanted:
            self._machine.retire(ref.namespace, revision)
        graph.started = wanted

    def _note_askers(self, ref: ObjectRef, graph: _Graph) -> None:
        """Remembers whose changes matter to it."""
        heeds = {
            name
            for desire in (graph.exposed, graph.resumed, graph.wanted)
            if desire is not None
            for name in (
                *((desire.namespace, service_of(desire, each.name)) for each in desire.units),
                *((each.namespace, each.name) for each in desire.references),
            )
        }
        self._heed(ref, graph, heeds)

    def _heed(self, ref: ObjectRef, graph: _Graph, names: set[tuple[str, str]]) -> None:
        for name in graph.heeds - names:
            self._askers[name].pop(ref, None)
            if not self._askers[name]:
                del self._askers[name]
        for name in names:
            self._askers.setdefault(name, {})[ref] = None
        graph.heeds = names

    # Names.

    def _placed(self, ref: ObjectRef, graph: _Graph, desire: GraphDesire) -> GraphDesire:
        """The plan under the name that the graph gets. Raises `PlanError`."""
        try:
            name = self._names.take(ref, desire.name)
        except PlanError:
            self._stop(ref, graph)
            graph.resumed = None
            raise
        if graph.place not in ("", name):
            self._leave(ref, graph)
        graph.place = name
        placed = msgspec.structs.replace(desire, name=name)
        refuse_cycle(placed, self._plan_of)
        return placed

    def _plan_of(self, namespace: str, name: str) -> GraphDesire | None:
        found = self.desire_of(namespace, name)
        return None if found is None else found[1]

    def _is_service(self, namespace: str, name: str) -> bool:
        try:
            self._store.get(ObjectRef(*SERVICES, namespace, name))
        except ResourceNotFound:
            return False
        return True

    # Ends.

    def _leave(self, ref: ObjectRef, graph: _Graph) -> None:
        """Gives the name away."""
        if graph.exposed is not None:
            self._machine.withdraw_graph(ref.namespace, graph.place)
            graph.exposed = None
        self._names.release(ref, graph.place)
        graph.place = ""

    def _stop(self, ref: ObjectRef, graph: _Graph) -> None:
        """The graph keeps its manifest and its name, and runs nothing."""
        if graph.exposed is not None:
            self._machine.withdraw_graph(ref.namespace, graph.place)
            self.touch_service(ref.namespace, graph.place)
        graph.exposed = None
        for revision in graph.started:
            self._machine.retire(ref.namespace, revision)
        graph.started = set()

    def _forget(self, ref: ObjectRef) -> None:
        """The graph is no more; the store has dropped what served with it."""
        graph = self._graphs.pop(ref, None)
        if graph is None:
            return
        self._stop(ref, graph)
        self._leave(ref, graph)
        self._heed(ref, graph, set())
        self._touch_rivals(ref)

    # Status.

    def _write_status(self, ref: ObjectRef, obj: JsonObject, view: GraphView) -> None:
        old = obj.get("status") or {}
        status = graph_status(view, old, self._now())
        if status == old:
            return
        metadata = {**obj["metadata"]}
        metadata.pop("resourceVersion", None)
        try:
            self._store.update_status(ref, {**obj, "metadata": metadata, "status": status})
        except ResourceNotFound:
            return
        self._announce(obj, view, old, status)

    def _announce(
        self, obj: JsonObject, view: GraphView, old: JsonObject, status: JsonObject
    ) -> None:
        """An event for what people want to hear of: ready, and what failed."""
        before, after = _condition(old, "Ready"), _condition(status, "Ready")
        if after.get("status") == "True" != before.get("status"):
            self._on_event(obj, "Normal", "GraphReady", "the graph is ready")
        failure, latest = failure_of(view), _condition(old, "LatestDeploymentReady")
        if failure is not None and (latest.get("reason"), latest.get("message")) != failure:
            self._on_event(obj, "Warning", *failure)


def _kept(desire: GraphDesire, numbers: Mapping[str, int]) -> dict[str, int]:
    """The numbers worth keeping: those of the units that there are."""
    stems = {service_of(desire, unit.name) for unit in desire.units}
    return {name: number for name, number in numbers.items() if name.rpartition("-")[0] in stems}


def _condition(status: JsonObject, type: str) -> JsonObject:
    return next((each for each in status.get("conditions", []) if each["type"] == type), {})


def _generation(obj: JsonObject) -> int:
    return int(obj["metadata"].get("generation", 1))


def _type(ref: ObjectRef) -> tuple[str, str]:
    return ref.group, ref.plural


def _ref(type: tuple[str, str], obj: JsonObject) -> ObjectRef:
    return ObjectRef(*type, obj["metadata"]["namespace"], obj["metadata"]["name"])
