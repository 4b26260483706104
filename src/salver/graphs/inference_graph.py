"""From an InferenceGraph to a flow: what KServe's router does, as steps and edges. Pure.

Nodes are unfolded where steps name them, so that a flow has no nested graphs. The router's rules,
from its source: a Sequence goes on after a Soft step whatever it answered, and stops at a Hard one
that failed, or where a condition does not hold of the answer before; a Switch or Splitter answers
what its one step does; an Ensemble gathers what all answer, unless a Hard one fails. A failure
that ends a node is that node's answer, so that a Soft step that names the node goes on. Only a
failure that reaches the caller that way fails the request.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from urllib.parse import unquote, urlsplit

import msgspec

from salver.graphs.flow import (
    OTHERWISE,
    Action,
    Address,
    Conditions,
    Edge,
    Flow,
    Gather,
    GraphDesire,
    Learned,
    Pass,
    Service,
    Step,
    Succeeded,
    Variant,
    Weights,
)
from salver.graphs.inference_graph_notes import idle_fields, place
from salver.graphs.selection import PlanError
from salver.spec.graph_checks import header_patterns, learned_choice
from salver.spec.kinds import KSERVE
from salver.spec.kserve_graph import HEADERS, ROOT, ROUTER, InferenceGraph, InferenceStep

STOP = "serving.kserve.io/stop"
TRACE_HEADERS = ("^traceparent$", "^tracestate$")
"""What steps are given besides what the annotation says: W3C's trace context."""
_ASKED_PATH = re.compile(r"/v[12]/models/([^/:]+)(:predict|/infer)")


def compile_inference_graph(graph: InferenceGraph, headers: Sequence[str] = ()) -> GraphDesire:
    """What the manifest wants. `headers`: patterns that hold for all graphs. Raises `PlanError`."""
    annotations = graph.metadata.annotations
    namespace = graph.metadata.namespace or "default"
    name = graph.metadata.name
    compiler = _Compiler(graph, namespace)
    flow = compiler.flow()
    return GraphDesire(
        (KSERVE, "inferencegraphs"),
        namespace,
        name,
        (Variant(name, flow),),
        headers=(*TRACE_HEADERS, *headers, *header_patterns(annotations.get(HEADERS, ""))),
        stopped=annotations.get(STOP, "").lower() == "true",
        notes=tuple(dict.fromkeys(compiler.notes)),
    )


_NOT_MATCHED = (
    b'{"error":"Failed to process request",'
    b'"cause":"None of the routes matched with the switch condition"}'
)
"""What KServe's router answers when no condition of a Switch holds."""


class _Entry(msgspec.Struct, frozen=True):
    """What a node or step begins with: one of the edges brings its request, one of the triggers
    lets it begin. `is_mapped`: a V1 answer becomes a request by renaming `predictions`."""

    inputs: tuple[Edge, ...]
    triggers: tuple[Edge, ...] = ()
    is_mapped: bool = False


_Ends = tuple[Edge, ...]
"""Where an answer is: on one of these edges."""


class _Compiler:
    """Unfolds one graph; `steps` are in an order in which sources come first."""

    def __init__(self, graph: InferenceGraph, namespace: str) -> None:
        self.graph = graph
        self.namespace = namespace
        self.steps: list[Step] = []
        self.notes: list[str] = []
        self._names: set[str] = set()
        timeouts = graph.spec.router_timeouts
        self._step_timeout_s = float(timeouts.service_client or 0) if timeouts else 0.0

    def flow(self) -> Flow:
        """The whole graph."""
        result = self._node(ROOT, _Entry((Edge(),)), is_scoped=False)
        spec = self.graph.spec
        write = spec.router_timeouts.server_write if spec.router_timeouts else None
        limits = [float(each) for each in (spec.timeout, write) if each]
        return Flow(
            self.graph.metadata.name,
            tuple(self.steps),
            result,
            timeout_s=min(limits, default=0.0),
        )

    # Nodes. `is_scoped`: a failure that ends the node is not the request's, a Soft step goes on.

    def _node(self, name: str, entry: _Entry, *, is_scoped: bool) -> _Ends:
        node = self.graph.spec.nodes[name]
        self.notes += idle_fields(name, node)
        if node.router_type == "Sequence":
            return self._sequence(name, entry, is_scoped)
        if node.router_type == "Ensemble":
            return self._ensemble(name, entry, is_scoped)
        return self._choice(name, entry, is_scoped)

    def _choice(self, name: str, entry: _Entry, is_scoped: bool) -> _Ends:
        node = self.graph.spec.nodes[name]
        action: Action
        if node.router_type == "Switch":
            action = Conditions(tuple(step.condition for step in node.steps), _NOT_MATCHED)
        else:
            action = self._split(name)
        chosen = self._add(name, action, entry, place(name), as_request="raw")
        edges: list[Edge] = []
        for index in range(len(node.steps)):
            branch = _Entry((Edge(chosen, branch=index),), is_mapped=entry.is_mapped)
            edges += self._step(name, index, branch, is_scoped=is_scoped)
        return tuple(edges)

    def _split(self, name: str) -> Weights | Learned:
        steps = self.graph.spec.nodes[name].steps
        text = self.graph.metadata.annotations.get(ROUTER + name)
        if text is None:
            return Weights(tuple(float(step.weight or 0) for step in steps))
        learned = learned_choice(text)
        if isinstance(learned, str):
            raise PlanError("InvalidAnnotation", f"annotation {ROUTER}{name} {learned}")
        arms = tuple(_titles(steps))
        self.notes.append(f"node '{name}' learns ({learned.algorithm}): its weights have no effect")
        return Learned(learned.algorithm, arms, tuple(sorted(learned.parameters.items())))

    def _ensemble(self, name: str, entry: _Entry, is_scoped: bool) -> _Ends:
        steps = self.graph.spec.nodes[name].steps
        answers: list[Edge] = []
        failures: list[Edge] = []
        for index, step in enumerate(steps):
            is_soft = step.dependency == "Soft"
            result = self._step(name, index, entry, is_scoped=is_soft or is_scoped)
            if is_scoped and not is_soft:
                result, failed = self._told_apart(name, index, result)
                failures.append(failed)
            answers.append(self._one(name, index, result))
        keys = tuple(step.name or str(index) for index, step in enumerate(steps))
        gathered = self._add(name, Gather(keys), _Entry(tuple(answers)), place(name), join="inner")
        return (Edge(gathered), *failures)

    def _sequence(self, name: str, entry: _Entry, is_scoped: bool) -> _Ends:
        steps = self.graph.spec.nodes[name].steps
        ends: list[Edge] = []
        before: _Ends = ()
        for index, step in enumerate(steps):
            begin = entry
            if index:
                begin, ended = self._after(name, index, entry, before)
                ends += ended
            is_last = index == len(steps) - 1
            is_soft = step.dependency == "Soft" and not is_last
            before = self._step(name, index, begin, is_scoped=is_soft or is_scoped)
            if is_scoped and not is_soft and not is_last:
                before, failed = self._told_apart(name, index, before)
                ends.append(failed)
        return (*before, *ends)

    def _after(
        self, name: str, index: int, entry: _Entry, before: _Ends
    ) -> tuple[_Entry, list[Edge]]:
        """What a later step of a Sequence begins with, and where the Sequence ends instead."""
        step = self.graph.spec.nodes[name].steps[index]
        ready, ends = before, []
        if step.condition:
            title = f"{name}.{_titles(self.graph.spec.nodes[name].steps)[index]} if"
            path = f"{place(name, index)}.condition"
            tested = self._add(
                title, Conditions((step.condition,)), _Entry(ready), path, as_request="raw"
            )
            ready, ends = (Edge(tested, branch=0),), [Edge(tested, branch=OTHERWISE)]
        if step.data == "$response":
            return _Entry(ready), ends
        # The request once more, but not before the step before is done: it may be a gate.
        return _Entry(entry.inputs, ready, entry.is_mapped), ends

    # Steps.

    def _step(self, name: str, index: int, entry: _Entry, *, is_scoped: bool) -> _Ends:
        step = self.graph.spec.nodes[name].steps[index]
        if step.map_predictions_to_instances:
            entry = msgspec.structs.replace(entry, is_mapped=True)
        if step.node_name:
            return self._node(step.node_name, entry, is_scoped=is_scoped)
        title = _titles(self.graph.spec.nodes[name].steps)[index]
        added = self._add(
            f"{name}.{title}", self._target(step), entry, place(name, index), tolerates=is_scoped
        )
        return (Edge(added),)

    def _target(self, step: InferenceStep) -> Service | Address:
        if step.service_name:
            return Service(self.namespace, step.service_name)
        service = local_service(step.service_url)
        if service is None:
            return Address(step.service_url)
        self.notes.append(
            f"{step.service_url} is an address within a cluster: the service "
            f"{service.namespace}/{service.name} of this server is asked"
        )
        return service

    def _told_apart(self, name: str, index: int, result: _Ends) -> tuple[_Ends, Edge]:
        """The result if it is a success, and the edge that has it if not."""
        title = f"{name}.{_titles(self.graph.spec.nodes[name].steps)[index]} ok"
        entry = _Entry(result)
        told = self._add(title, Succeeded(), entry, place(name, index), as_request="raw")
        return (Edge(told, branch=0),), Edge(told, branch=1)

    def _one(self, name: str, index: int, result: _Ends) -> Edge:
        """One edge for an answer that may come on several."""
        if len(result) == 1:
            return result[0]
        title = f"{name}.{_titles(self.graph.spec.nodes[name].steps)[index]}"
        return Edge(self._add(title, Pass(), _Entry(result), place(name, index)))

    def _add(
        self,
        name: str,
        action: Action,
        entry: _Entry,
        path: str,
        *,
        join: str = "",
        as_request: str = "",
        tolerates: bool = False,
    ) -> str:
        unique, count = name, 1
        while unique in self._names:
            count += 1
            unique = f"{name}-{count}"
        self._names.add(unique)
        is_target = isinstance(action, Service | Address)
        self.steps.append(
            Step(
                unique,
                action,
                entry.inputs,
                join="any" if len(entry.inputs) > 1 and not join else "inner",
                triggers=entry.triggers,
                triggers_join="any" if len(entry.triggers) > 1 else "inner",
                timeout_s=self._step_timeout_s if is_target else 0.0,
                tolerates=tolerates,
                as_request="mapped" if entry.is_mapped else "raw" if as_request else "auto",
                path=path,
                title=name if unique != name else "",
            )
        )
        return unique


def local_service(url: str) -> Service | None:
    """The service that an address within a cluster means; None for any other address."""
    parts = urlsplit(url)
    labels = (parts.hostname or "").split(".")
    if labels[2:] not in (["svc"], ["svc", "cluster", "local"]):
        return None
    asked = _ASKED_PATH.fullmatch(parts.path)
    if asked is None and parts.path not in ("", "/"):
        return None
    own = re.sub(r"-(predictor|transformer)(-default)?$", "", labels[0])
    return Service(labels[1], unquote(asked[1]) if asked is not None else own)


def _titles(steps: Sequence[InferenceStep]) -> list[str]:
    """What the steps of a node are called: by their name, else by whom they ask, else by number."""
    titles: list[str] = []
    for index, step in enumerate(steps):
        title = step.name or step.service_name or step.node_name or str(index)
        titles.append(title if title not in titles else f"{title}-{index}")
    return titles
