"""The control loop of graphs: starts their units, exposes whole flows, ends what is not used.

A pass over one graph compiles its manifest, starts each unit as a revision, and once all are
ready and all services that it asks answer, exposes the graph in one step; what served before
serves until then. It acts on the store and on what the machine shows, and may be cut off at any
point and done again. What served last is in the store: a manifest that cannot be carried out
changes nothing but the status, not even after a restart.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping, Sequence

import msgspec

from salver.control.graph_compiling import GRAPHS, SERVERS
from salver.control.graph_status import GraphView, Missing, UnitView, failure_of, graph_status
from salver.control.graph_units import (
    ServedGraph,
    ServedGraphs,
    numbered,
    orders_of,
    revisions_of,
    service_of,
)
from salver.control.ports import Machine, Phase
from salver.control.resources import JsonObject, ObjectRef, ResourceStore, WatchEvent
from salver.errors import ResourceNotFound, SalverError
from salver.graphs.flow import GraphDesire, Service
from salver.graphs.selection import PlanError
from salver.spec.kinds import KSERVE, MLOPS

logger = logging.getLogger("salver.control")

SERVICES = (KSERVE, "inferenceservices")
MODELS = (MLOPS, "models")
_SUFFIXES = {"pipelines": ".pipeline", "experiments": ".experiment"}
"""What goes behind a name that is taken, as callers of Seldon say it."""
_RESYNC_S = 5.0
_RETRY_S = 1.0
_LOOKS_AT_ONCE = 100

Compile = Callable[[JsonObject], GraphDesire]
"""Makes the plan of a stored graph. Raises `PlanError` or a `SalverError`."""
Answers = Callable[[str, str], bool]
"""Whether a service of that namespace and name answers here now."""
Mismatch = Callable[[GraphDesire, Mapping[str, str]], str]
"""What of the edges cannot work, now that the models have said what they take; or nothing.
`GraphDesire`'s units are these revisions."""


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
        self._answers = answers
        self._mismatch = mismatch
        self._served = ServedGraphs(store)
        self._graphs: dict[ObjectRef, _Graph] = {}
        self._holders: dict[tuple[str, str], ObjectRef] = {}
        """Whose a name in a namespace is."""
        self._askers: dict[tuple[str, str], dict[ObjectRef, None]] = {}
        """The graphs that a service matters to: it is a unit of theirs, or is asked by them."""
        self._dirty: dict[ObjectRef, None] = {}
        self._wake = asyncio.Event()
        self._unsubscribe = store.subscribe(self._on_change)
        refs = [_ref(type, obj) for type in GRAPHS for obj in store.list(*type)[0]]
        # Those that served before keep their names.
        for ref in sorted(refs, key=lambda ref: self._served.get(ref) is None):
            self.touch(ref)

    def touch(self, ref: ObjectRef) -> None:
        """Something about the graph may have changed: a pass over it is due."""
        self._dirty[ref] = None
        self._wake.set()

    def touch_service(self, namespace: str, name: str) -> None:
        """The machine or the store says that a service has changed: whom does it matter to?"""
        for ref in self._askers.get((namespace, name), {}):
            self.touch(ref)

    def desire_of(self, namespace: str, name: str) -> tuple[ObjectRef, GraphDesire] | None:
        """The graph of that name as it serves now, or else as it is wanted."""
        ref = self._holders.get((namespace, name))
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
            event.type == "ADDED" and (ref.namespace, ref.name) in self._holders
        ):
            self._touch_rivals(ref)

    def _touch_rivals(self, ref: ObjectRef) -> None:
        for each in self._graphs:
            if (each.namespace, each.name) == (ref.namespace, ref.name) and each != ref:
                self.touch(each)

    async def run(self) -> None:
        """Goes on until cancelled."""
        while True:
            try:
                async with asyncio.timeout(_RESYNC_S):
                    await self._wake.wait()
            except TimeoutError:
                await self._touch_changed()
            self._wake.clear()
            while self._dirty:
                ref = next(iter(self._dirty))
                del self._dirty[ref]
                self._pass_over(ref)
                await asyncio.sleep(0)

    async def _touch_changed(self) -> None:
        """Touches what looks different by now; thousands that do not cost next to nothing."""
        for number, (ref, graph) in enumerate(list(self._graphs.items())):
            if self._look(graph, ref.namespace) != graph.seen:
                self.touch(ref)
            if number % _LOOKS_AT_ONCE == 0:
                await asyncio.sleep(0)

    def _look(self, graph: _Graph, namespace: str) -> object:
        """All that a pass depends on besides the store."""
        revisions = sorted(graph.started)
        seen = [self._machine.observe(namespace, each) for each in revisions]
        return seen, self._missing(graph.wanted), self._missing(graph.exposed)

    def _pass_over(self, ref: ObjectRef) -> None:
        try:
            self.reconcile(ref)
        except Exception:
            # One graph's trouble must not end the loop for the others.
            logger.exception("%s %s/%s: the control loop failed on it", *_words(ref))
            asyncio.get_running_loop().call_later(_RETRY_S, self.touch, ref)

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
        units = self._units(desire) if graph.place else []
        missing = self._missing(desire)
        if desire is not None and problem is None:
            problem = self._misfit(desire, units, missing)
        if problem is None and desire is not None and _are_ready(units) and not missing:
            self._expose(obj, ref, graph, desire)
        elif graph.exposed is None and graph.resumed is not None and graph.place:
            self._resume(graph, graph.resumed)
        self._retire_all_but(ref, graph, [graph.exposed, graph.resumed, desire])
        shown = desire or former
        return GraphView(
            _type(ref),
            _generation(obj),
            self._address_of(shown) if shown is not None else "",
            shown,
            units,
            [*missing, *(each for each in self._missing(graph.exposed) if each not in missing)],
            problem,
            serves=graph.exposed is not None,
            is_current=desire is not None and graph.exposed == desire,
            notes=desire.notes if desire is not None else (),
        )

    def _units(self, desire: GraphDesire | None) -> list[UnitView]:
        if desire is None:
            return []
        return [
            UnitView(name, revision, self._machine.observe(desire.namespace, revision))
            for name, revision in revisions_of(desire).items()
        ]

    def _missing(self, desire: GraphDesire | None) -> list[Missing]:
        """The services that it asks and that do not answer."""
        if desire is None:
            return []
        return [
            Missing(each, self._is_declared(each))
            for each in desire.references
            if not self._answers(each.namespace, each.name)
        ]

    def _is_declared(self, service: Service) -> bool:
        plain = service.name
        for suffix in _SUFFIXES.values():
            plain = plain.removesuffix(suffix)
        for type in (SERVICES, *GRAPHS):
            with contextlib.suppress(ResourceNotFound):
                self._store.get(ObjectRef(*type, service.namespace, plain))
                return True
        return False

    def _misfit(
        self, desire: GraphDesire, units: Sequence[UnitView], missing: Sequence[Missing]
    ) -> tuple[str, str] | None:
        """What of its edges cannot work, once everybody has said what they take and give."""
        if missing or not _are_ready(units):
            return None
        text = self._mismatch(desire, {each.name: each.revision for each in units})
        return ("TypeMismatch", text) if text else None

    def _expose(self, obj: JsonObject, ref: ObjectRef, graph: _Graph, desire: GraphDesire) -> None:
        if graph.exposed != desire:
            self._served.put(obj, ref, ServedGraph(desire, _kept(desire, graph.numbers)))
            self._machine.expose_graph(desire, revisions_of(desire), self._address_of(desire))
            graph.exposed = desire
            # Others may wait for it.
            self.touch_service(desire.namespace, desire.name)
        graph.resumed = None

    def _resume(self, graph: _Graph, desire: GraphDesire) -> None:
        """What served before a restart serves until the present manifest can."""
        if _are_ready(self._units(desire)) and not self._missing(desire):
            self._machine.expose_graph(desire, revisions_of(desire), self._address_of(desire))
            graph.exposed, graph.resumed = desire, None
            self.touch_service(desire.namespace, desire.name)

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
        names = [desire.name]
        if ref.plural in _SUFFIXES:
            names.append(desire.name + _SUFFIXES[ref.plural])
        for name in names:
            if self._claims(ref, name):
                if graph.place not in ("", name):
                    self._leave(ref, graph)
                graph.place = name
                placed = msgspec.structs.replace(desire, name=name)
                self._refuse_cycle(ref, placed)
                return placed
        self._stop(ref, graph)
        graph.resumed = None
        raise PlanError(
            "NameTaken",
            f"'{ref.namespace}/{ref.name}' is the name of {self._rival(ref)} already: rename one",
        )

    def _claims(self, ref: ObjectRef, name: str) -> bool:
        """Takes the name, unless it is another's."""
        with contextlib.suppress(ResourceNotFound):
            self._store.get(ObjectRef(*SERVICES, ref.namespace, name))
            return False
        return self._holders.setdefault((ref.namespace, name), ref) == ref

    def _rival(self, ref: ObjectRef) -> str:
        holder = self._holders.get((ref.namespace, ref.name))
        return f"one of the {holder.plural}" if holder is not None else "an InferenceService"

    def _refuse_cycle(self, ref: ObjectRef, desire: GraphDesire) -> None:
        """Raises `PlanError` for a graph that would ask itself, through whichever others."""
        start = (desire.namespace, desire.name)
        paths = [[start, (each.namespace, each.name)] for each in desire.references]
        seen: set[tuple[str, str]] = set()
        while paths:
            path = paths.pop()
            if path[-1] == start:
                names = " -> ".join(f"{namespace}/{name}" for namespace, name in path)
                raise PlanError("GraphCycle", f"the graph would ask itself: {names}")
            if path[-1] in seen:
                continue
            seen.add(path[-1])
            found = self.desire_of(*path[-1])
            if found is not None:
                paths += [[*path, (each.namespace, each.name)] for each in found[1].references]

    # Ends.

    def _leave(self, ref: ObjectRef, graph: _Graph) -> None:
        """Gives the name away."""
        if graph.exposed is not None:
            self._machine.withdraw_graph(ref.namespace, graph.place)
            graph.exposed = None
        if self._holders.get((ref.namespace, graph.place)) == ref:
            del self._holders[ref.namespace, graph.place]
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


def _are_ready(units: Sequence[UnitView]) -> bool:
    return all(each.seen.phase is Phase.READY for each in units)


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


def _words(ref: ObjectRef) -> tuple[str, str, str]:
    return ref.plural, ref.namespace, ref.name
