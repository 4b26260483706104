"""A flow made ready to be walked: steps by number, who waits for whom, what is asked as one.

Worked out once for each flow; a run (`flow_run.py`) only reads it.
"""

from __future__ import annotations

from salver.graphs.flow import (
    REQUEST,
    Answered,
    Conditions,
    Edge,
    Flow,
    Function,
    Learned,
    Pass,
    Step,
    Succeeded,
    Weights,
)

FROM_REQUEST = -1
"""As the number of an edge's source: the request."""
_CHOICES = (Conditions, Weights, Answered, Learned, Succeeded)
_FUSED_METHODS = ("call", "predict", "transform_input", "transform_output")


class Node:
    """One step of a program. `edges` are its inputs, then its triggers, each with the number of
    its source; `targets` are (number of a node, number of its edge) of those who wait for it."""

    __slots__ = (
        "chain",
        "edges",
        "is_choice",
        "is_in_cycle",
        "is_plain",
        "is_side",
        "lends_input",
        "number",
        "step",
        "survives",
        "targets",
        "timeout_s",
        "trigger_from",
    )

    def __init__(self, number: int, step: Step, numbers: dict[str, int]) -> None:
        self.number = number
        self.step = step
        self.edges: tuple[tuple[int, Edge], ...] = tuple(
            (numbers[edge.source] if edge.source != REQUEST else FROM_REQUEST, edge)
            for edge in (*step.inputs, *step.triggers)
        )
        self.trigger_from = len(step.inputs)
        self.targets: list[tuple[int, int]] = []
        self.is_choice = isinstance(step.action, _CHOICES)
        self.is_plain = (
            len(step.inputs) == 1 and not step.inputs[0].tensor and not step.inputs[0].renames
        )
        """It gets one whole message: nothing has to be put together."""
        self.is_in_cycle = step.max_visits > 1
        self.is_side = False
        """Nothing it makes gets into the answer: it goes on after it, its failure is its own."""
        self.lends_input = False
        """What it is given gets into the answer, whatever becomes of what it makes of that."""
        self.survives = False
        """Those on the way to the answer can do without it, or those after them can."""
        self.timeout_s = step.timeout_s
        """What a call of it may take: with functions asked as one, what all of them may."""
        self.chain: tuple[Node, ...] = (self,)
        """The functions that are asked as one, from this one on; empty if one before asks it."""


class Program:
    """A flow's nodes, and last of them the output as a node that nothing waits for."""

    def __init__(self, flow: Flow) -> None:
        self.flow = flow
        numbers = {step.name: number for number, step in enumerate(flow.steps)}
        output = Step(
            "output", Pass(flow.merges_output), flow.output, flow.output_join, path="output"
        )
        self.nodes = [Node(at, step, numbers) for at, step in enumerate((*flow.steps, output))]
        self.output = self.nodes[-1]
        self.from_request: list[tuple[int, int]] = []
        for node in self.nodes:
            for at, (source, _) in enumerate(node.edges):
                place = (node.number, at)
                (
                    self.from_request if source == FROM_REQUEST else self.nodes[source].targets
                ).append(place)
        self._mark_sides()
        self._mark_survivors()
        self._fuse()
        self.sides = [node for node in self.nodes if node.is_side]
        self.has_cycles = any(node.is_in_cycle for node in self.nodes)
        self.counts = [len(node.edges) for node in self.nodes]

    def _mark_sides(self) -> None:
        needed = {self.output.number}
        seen = {self.output.number}
        todo: list[Node] = [self.output]
        while todo:
            for source, edge in todo.pop().edges:
                if source == FROM_REQUEST:
                    continue
                if edge.end == "outputs" or self.nodes[source].is_choice:
                    needed.add(source)
                else:
                    self.nodes[source].lends_input = True
                if source not in seen:
                    seen.add(source)
                    todo.append(self.nodes[source])
        for node in self.nodes:
            node.is_side = node.number not in needed

    def _mark_survivors(self) -> None:
        """From the output backwards, until nothing changes: in a cycle once may not be enough."""
        is_changed = True
        while is_changed:
            is_changed = False
            for node in reversed(self.nodes):
                survives = not node.is_side and all(
                    self._can_do_without(target, at) for target, at in node.targets
                )
                if survives and node.targets and not node.survives:
                    node.survives = is_changed = True

    def _can_do_without(self, target: int, at: int) -> bool:
        node = self.nodes[target]
        if node.is_side or node.survives:
            return True
        is_trigger = at >= node.trigger_from
        join = node.step.triggers_join if is_trigger else node.step.join
        return join == "any" or (node.step.quorum > 0 and not is_trigger)

    def _fuse(self) -> None:
        """Chains of functions of one unit, each the only one to wait for the one before."""
        for node in self.nodes:
            after = self._next_of(node)
            if after is None:
                continue
            head = next(each for each in self.nodes if node in each.chain)
            head.chain = (*head.chain, *after.chain)
            head.timeout_s += after.timeout_s
            after.chain = ()

    def _next_of(self, node: Node) -> Node | None:
        if len(node.targets) != 1 or not _is_fusible(node.step):
            return None
        after = self.nodes[node.targets[0][0]]
        step, action = after.step, after.step.action
        if not isinstance(action, Function) or not isinstance(node.step.action, Function):
            return None
        is_next = (
            action.unit == node.step.action.unit
            and step.inputs == (Edge(node.step.name),)
            and not step.triggers
            and not step.delay_s
            and step.max_visits == 1
            and not step.tolerates
            and step.timeout_s == node.step.timeout_s
            and action.method not in ("route", "aggregate")
            and after.number > node.number
            and not self._shows_input(after)
        )
        return after if is_next else None

    def _shows_input(self, node: Node) -> bool:
        """Whether others get what it was given: that of functions asked as one is never written."""
        return any(self.nodes[to].edges[at][1].end == "inputs" for to, at in node.targets)


def _is_fusible(step: Step) -> bool:
    action = step.action
    return (
        isinstance(action, Function)
        and action.method in _FUSED_METHODS
        and not step.tolerates
        and step.max_visits == 1
    )
