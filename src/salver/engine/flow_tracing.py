"""Spans of the steps of a graph: what happens in a run whose request is traced, and when.

Each step that acts becomes a span below that of its request; what a step asks in turn (a nested
graph, a URL) has the step's span as its parent. Steps that were asked as one are told of together,
when all have answered, so they are put one after the other, up to then. Requests that are not
traced have nobody of this module's. Sends nothing: `telemetry/otlp.py` does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple
from urllib.parse import urlsplit

from salver.engine.call import Call
from salver.engine.flow_ports import Failure, FlowObserver, Message
from salver.engine.flow_program import Program
from salver.graphs.flow import Action, Address, Flow, Function, Learned, Service, Unit
from salver.telemetry.otlp import SpanRecord
from salver.telemetry.trace import RandomBits, TraceContext, child_of

_Attributes = Mapping[str, str | int | float | bool]
_NS = 1e9


class SpanTools(NamedTuple):
    """What spans are made with. `record` takes those that have ended; `now_ns` is the time on the
    wall."""

    record: Callable[[SpanRecord], object]
    random_bits: RandomBits
    now_ns: Callable[[], int]


class TracingObserver:
    """Implements `FlowObserver`: each traced request is watched by a `_TracedRun`."""

    def __init__(self, graph: str, variant: str, flow: Flow, tools: SpanTools) -> None:
        """`graph` is its `namespace/name`."""
        self.tools = tools
        self.names = [f"step {step.name}" for step in flow.steps]
        self.attributes = [
            _attributes(graph, variant, step.name, step.action) for step in flow.steps
        ]
        self.sides = [node.is_side for node in Program(flow).nodes]
        self.chosen = _chosen(flow)

    def begin(self, run_id: str, request: Message, call: Call) -> FlowObserver | None:
        """See `FlowObserver`."""
        parent = call.span
        return None if parent is None else _TracedRun(self, parent)

    def span(self, step: int) -> TraceContext | None:
        """See `FlowObserver`: runs have spans."""
        return None

    def on_end(self, answer: Message | Failure | None, seconds: float) -> None:
        """See `FlowObserver`: runs are watched by their own."""

    def on_answer(
        self, step: int, given: Sequence[Message], answer: Message | None, seconds: float
    ) -> None:
        """See `on_end`."""

    def on_failure(self, step: int, failure: Failure, seconds: float) -> None:
        """See `on_end`."""

    def on_choice(self, step: int, branch: int) -> None:
        """See `on_end`."""

    def on_skipped(self, step: int) -> None:
        """See `on_end`."""


def _attributes(graph: str, variant: str, step: str, action: Action) -> _Attributes:
    kind = str(type(action).__struct_config__.tag)
    found = {
        "salver.graph": graph,
        "salver.graph.variant": variant,
        "salver.step": step,
        "salver.step.kind": kind,
    }
    target = _target(action)
    return {**found, "salver.step.target": target} if target else found


def _target(action: Action) -> str:
    """Who is asked."""
    if isinstance(action, Service):
        return f"{action.namespace}/{action.name}"
    if isinstance(action, Unit):
        return action.unit
    if isinstance(action, Address):
        # A query, or a name and password in front of the host, may be secrets.
        parts = urlsplit(action.url)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
    if isinstance(action, Function):
        return f"{action.function} of {action.unit}"
    if isinstance(action, Learned):
        return action.algorithm
    return ""


def _chosen(flow: Flow) -> dict[tuple[str, int], str]:
    """The steps that a branch leads to, by the name of the step that chooses it."""
    found: dict[tuple[str, int], list[str]] = {}
    for step in flow.steps:
        for edge in (*step.inputs, *step.triggers):
            if edge.branch is not None:
                found.setdefault((edge.source, edge.branch), []).append(step.name)
    return {key: ", ".join(dict.fromkeys(names)) for key, names in found.items()}


class _TracedRun:
    """Implements `FlowObserver`: watches one request."""

    __slots__ = ("_chain", "_graph", "_open", "_parent")

    def __init__(self, graph: TracingObserver, parent: TraceContext) -> None:
        self._graph = graph
        self._parent = parent
        self._open: dict[int, tuple[TraceContext, int]] = {}
        """Spans that others are below already, and since when."""
        self._chain: list[tuple[int, float, int]] = []
        """Steps asked as one that were told of so far: their numbers, seconds and bytes in."""

    def begin(self, run_id: str, request: Message, call: Call) -> FlowObserver | None:
        """See `FlowObserver`: it has begun already."""
        return self

    def span(self, step: int) -> TraceContext | None:
        """See `FlowObserver`."""
        found = self._open.get(step)
        if found is None:
            tools = self._graph.tools
            found = (child_of(self._parent, tools.random_bits), tools.now_ns())
            self._open[step] = found
        return found[0]

    def on_end(self, answer: Message | Failure | None, seconds: float) -> None:
        """See `FlowObserver`: what nobody waits for any more has ended too."""
        end_ns = self._graph.tools.now_ns()
        for step in [each for each in self._open if not self._graph.sides[each]]:
            start_ns = self._open[step][1]
            self._record(step, start_ns, end_ns, {"salver.step.abandoned": True})

    def on_answer(
        self, step: int, given: Sequence[Message], answer: Message | None, seconds: float
    ) -> None:
        """See `FlowObserver`."""
        size = 0
        for message in given:
            size += len(message.body)
        if answer is None or self._chain:
            self._chain.append((step, seconds, size))
            if answer is not None:
                self._record_chain(len(answer.body))
            return
        end_ns = self._graph.tools.now_ns()
        sizes = {"salver.step.bytes_in": size, "salver.step.bytes_out": len(answer.body)}
        self._record(step, end_ns - int(seconds * _NS), end_ns, sizes)

    def _record_chain(self, bytes_out: int) -> None:
        chain, self._chain = self._chain, []
        end_ns = self._graph.tools.now_ns()
        start_ns = end_ns - int(sum(seconds for _, seconds, _ in chain) * _NS)
        for step, seconds, bytes_in in chain:
            end_ns = start_ns + int(seconds * _NS)
            more: dict[str, int] = {"salver.step.bytes_in": bytes_in} if bytes_in else {}
            if step == chain[-1][0]:
                more["salver.step.bytes_out"] = bytes_out
            self._record(step, start_ns, end_ns, more)
            start_ns = end_ns

    def on_failure(self, step: int, failure: Failure, seconds: float) -> None:
        """See `FlowObserver`."""
        end_ns = self._graph.tools.now_ns()
        more: dict[str, str | int] = {"error.type": failure.kind.reason}
        if failure.status:
            more["http.response.status_code"] = failure.status
        start_ns = end_ns - int(seconds * _NS)
        self._record(step, start_ns, end_ns, more, failure.message or failure.kind.reason)

    def on_choice(self, step: int, branch: int) -> None:
        """See `FlowObserver`."""
        graph = self._graph
        more: dict[str, str | int] = {"salver.step.branch": branch}
        name = str(graph.attributes[step]["salver.step"])
        chosen = graph.chosen.get((name, branch))
        if chosen:
            more["salver.step.chosen"] = chosen
        now_ns = graph.tools.now_ns()
        self._record(step, now_ns, now_ns, more)

    def on_skipped(self, step: int) -> None:
        """See `FlowObserver`: what does not act has no span."""

    def _record(
        self, step: int, start_ns: int, end_ns: int, more: _Attributes, error: str = ""
    ) -> None:
        graph = self._graph
        found = self._open.pop(step, None) if self._open else None
        graph.tools.record(
            SpanRecord(
                graph.names[step],
                child_of(self._parent, graph.tools.random_bits) if found is None else found[0],
                self._parent.span_id,
                start_ns,
                end_ns,
                {**graph.attributes[step], **more},
                error,
                is_internal=True,
            )
        )
