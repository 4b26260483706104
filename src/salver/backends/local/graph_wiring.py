"""What a graph's requests go through: flows over its units, shares, a shadow, logs. Composition.

Each part is a `ServedModel` around others. A graph of one variant is its flow alone; one that is
nothing but a unit (Seldon v2's Model) is that unit's own queue.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from salver.engine.directory import ServiceEntry
from salver.engine.executor import GraphModel
from salver.engine.flow_observing import observing
from salver.engine.flow_ports import Bindings, Chooser, FlowObserver, Poster
from salver.engine.ports import Forwarder, ServedModel
from salver.engine.queue import Clock, Scheduler
from salver.engine.seldon_component import SeldonPart
from salver.engine.traffic import RandomNumber, Target, TrafficSplit
from salver.graphs.flow import Flow, Function, GraphDesire, Unit, Variant
from salver.graphs.plan import LogPolicy, StickyPolicy
from salver.spec.kinds import MLOPS, SALVER, SELDON

_ALL = 100.0
_NAMES_ITSELF = ((SELDON, "seldondeployments"), (MLOPS, "pipelines"), (SALVER, "graphs"))
"""Graphs whose V2 answers are said to be theirs; others pass on what the last service said."""

Find = Callable[[str, str], ServedModel]
"""The service of a namespace and name. Raises `ModelNotFound`."""
Logged = Callable[[ServedModel, LogPolicy, str, str], ServedModel]
"""Takes a model, the policy, namespace and name of the graph."""
Shadowed = Callable[[ServedModel, ServedModel, float, str], ServedModel]
"""Takes primary, shadow, the fraction that is copied, and the graph's name."""


class Routed(Protocol):
    """A split whose answers say which target they came from, so that callers may ask it again."""

    def __call__(
        self, name: str, targets: Sequence[Target], *, sticky: StickyPolicy | None
    ) -> ServedModel: ...


Observers = Callable[[GraphDesire, Variant], Sequence[FlowObserver]]
Reports = Callable[[GraphDesire, Variant], Callable[[str, Sequence[Any]], object]]
"""Who takes the metrics that a flow's components report."""
Choosers = Callable[[GraphDesire, Variant], Mapping[str, Chooser]]
"""The routers that learn of a flow, by step."""
Forwards = Callable[[ServedModel, GraphDesire], "Forwarder | None"]
"""What answers any path of a graph."""


class GraphTools(NamedTuple):
    """What flows are made with; given once, at the start."""

    clock: Clock
    scheduler: Scheduler
    random_number: RandomNumber
    new_id: Callable[[], str]
    find: Callable[[GraphDesire], Find]
    domain: str
    logged: Logged
    shadowed: Shadowed
    routed: Routed
    observers: Observers
    reports: Reports
    choosers: Choosers
    forwards: Forwards
    connect: Callable[[GraphDesire], None]
    """Hears of graphs that are about to be exposed: they may take others' data."""
    forget: Callable[[str, str], None]
    """Hears of graphs that are gone."""
    poster: Callable[[GraphDesire], Poster | None]


class WiredGraph(NamedTuple):
    """A graph as callers meet it, and the flows in it, whose runs have several steps."""

    entry: ServiceEntry
    flows: Sequence[GraphModel]


class GraphWiring:
    """Makes entries of graphs."""

    def __init__(self, tools: GraphTools) -> None:
        self._tools = tools

    def entry(self, desire: GraphDesire, units: Mapping[str, ServedModel]) -> WiredGraph:
        """The graph as callers meet it; `units` are the models of its units, by their names."""
        tools = self._tools
        flows: list[GraphModel] = []
        if desire.exposes_unit:
            model = units[desire.exposes_unit]
        else:
            flows = [self._flow(desire, each, units) for each in desire.variants]
            model = self._split(desire, flows)
        if desire.shadow is not None:
            shadow = self._flow(desire, desire.shadow, units)
            flows.append(shadow)
            model = tools.shadowed(model, shadow, desire.shadow_percent / _ALL, desire.name)
        if desire.logging is not None:
            model = tools.logged(model, desire.logging, desire.namespace, desire.name)
        entry = ServiceEntry(
            desire.namespace,
            desire.name,
            model,
            hosts=(
                f"{desire.name}-{desire.namespace}.{tools.domain}",
                f"{desire.name}.{desire.namespace}.{tools.domain}",
            ),
            forward=tools.forwards(model, desire),
            is_graph=True,
            nodes=_nodes(desire, units, tools.reports),
            addresses=desire.addresses,
            also_called=frozenset(_node_names(desire)),
        )
        tools.connect(desire)
        return WiredGraph(entry, flows)

    def forget(self, namespace: str, name: str) -> None:
        """The graph is no more, nor need anything be kept of it."""
        self._tools.forget(namespace, name)

    def _flow(
        self, desire: GraphDesire, variant: Variant, units: Mapping[str, ServedModel]
    ) -> GraphModel:
        tools = self._tools
        bindings = Bindings(
            units=units,
            find=tools.find(desire),
            choosers=tools.choosers(desire, variant),
            poster=tools.poster(desire),
            observer=observing(tools.observers(desire, variant)),
            reported=tools.reports(desire, variant),
        )
        return GraphModel(
            desire.name,
            _version(desire, variant),
            variant.flow,
            bindings,
            clock=tools.clock,
            scheduler=tools.scheduler,
            random_number=tools.random_number,
            new_id=tools.new_id,
            answers_as=desire.name if desire.resource in _NAMES_ITSELF else "",
        )

    def _split(self, desire: GraphDesire, flows: Sequence[GraphModel]) -> ServedModel:
        tools = self._tools
        targets = [
            Target(each.name, percent, flow)
            for each, percent, flow in zip(
                desire.variants, whole(desire.variants), flows, strict=True
            )
        ]
        if desire.tells_route:
            return tools.routed(desire.name, targets, sticky=desire.sticky)
        if len(flows) == 1:
            return flows[0]
        return TrafficSplit(
            desire.name, targets, random_number=tools.random_number, sticky=desire.sticky
        )


def _nodes(
    desire: GraphDesire, units: Mapping[str, ServedModel], reports: Reports
) -> dict[str, SeldonPart]:
    """The parts that callers may ask by themselves, by their names; of several variants' parts of
    one name, the first one's."""
    found: dict[str, SeldonPart] = {}
    for variant in desire.variants:
        reported = reports(desire, variant)
        for name, unit, function in _parts(variant.flow):
            if unit in units:
                found.setdefault(name, SeldonPart(units[unit], function, reported))
    return found


def _node_names(desire: GraphDesire) -> Iterator[str]:
    """The names of the nodes of a SeldonDeployment, which its V2 clients put into the path."""
    nodes = [each.flow.tree for each in desire.variants if each.flow.tree is not None]
    while nodes:
        node = nodes.pop()
        yield node.name
        nodes += node.children


def _parts(flow: Flow) -> Iterator[tuple[str, str, str]]:
    """Names, units and functions: of the nodes as they are declared, else of the steps."""
    nodes = [flow.tree] if flow.tree is not None else []
    while nodes:
        node = nodes.pop()
        yield node.name, node.unit, node.function
        nodes += node.children
    for step in flow.steps if flow.tree is None else ():
        if isinstance(step.action, Unit):
            yield step.title or step.name, step.action.unit, ""
        elif isinstance(step.action, Function):
            yield step.title or step.name, step.action.unit, step.action.function


def whole(variants: Sequence[Variant]) -> list[float]:
    """The variants' shares as percents that add up to 100."""
    total = sum(each.percent for each in variants)
    if total <= 0:
        return [_ALL / len(variants)] * len(variants)
    return [each.percent * _ALL / total for each in variants]


def _version(desire: GraphDesire, variant: Variant) -> str:
    """What the flow calls its version: which variant it is, if there are several."""
    is_one = len(desire.variants) == 1 and variant is not desire.shadow
    return "1" if is_one else variant.name
