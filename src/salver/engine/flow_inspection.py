"""Keeps the last messages on each edge of each graph, for people to look at: the bus's memory.

In place of Seldon's Kafka topics: `seldon.NAMESPACE.{model|pipeline}.NAME.{inputs,outputs}`, and
`seldon.NAMESPACE.errors.errors` for what has failed. Bodies are kept as they are, bounded in number
and in bytes; the oldest go first. On the path of every request, so keeping one is a few additions.
Decodes nothing; what other graphs take from here is `flow_feeds.py`'s.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Sequence

import msgspec

from salver.engine.call import Call
from salver.engine.flow_ports import Failure, FlowObserver, Message
from salver.graphs.flow import Flow
from salver.telemetry.trace import TraceContext

MOST_MESSAGES = 10
"""Of one edge."""
MOST_BYTES = 64 << 20
"""Of all edges of all graphs."""
MOST_MESSAGE_BYTES = 1 << 20
"""What is larger is noted, and not kept."""
ERRORS = "errors"
_PIPELINE = ".pipeline"
_INPUTS, _OUTPUTS = "inputs", "outputs"

Publish = Callable[[str, str, str, str, str, Message], None]
"""Takes namespace, graph, step (empty: the graph itself), end, run id and message."""


def ignore_message(
    namespace: str, graph: str, step: str, end: str, run_id: str, message: Message
) -> None:
    """The `Publish` of graphs whose data nobody takes."""


class Kept(msgspec.Struct, frozen=True):
    """What went over an edge once, at that time of the clock on the wall.

    `size_bytes` counts what was too large to be kept too: then there are no messages. `error` says
    what has failed, and `step` where.
    """

    number: int
    time_s: float
    run_id: str
    messages: tuple[Message, ...]
    size_bytes: int
    error: str = ""
    step: str = ""


class Topic:
    """One end of a step, or of the graph itself (`step` empty), and what was last seen there."""

    __slots__ = ("end", "kept", "name", "seen", "step")

    def __init__(self, name: str, step: str, end: str) -> None:
        self.name = name
        self.step = step
        self.end = end
        self.kept: deque[Kept] = deque()
        self.seen = 0
        """How many there have been in all."""


class FlowInspection:
    """All graphs that are watched."""

    def __init__(
        self,
        *,
        now: Callable[[], float],
        new_id: Callable[[], str],
        publish: Publish = ignore_message,
        most_messages: int = MOST_MESSAGES,
        most_bytes: int = MOST_BYTES,
    ) -> None:
        """`now`: the time on the wall. `new_id` names runs that have no id."""
        self.now = now
        self.new_id = new_id
        self.publish = publish
        self._most_messages = most_messages
        self._most_bytes = most_bytes
        self._graphs: dict[tuple[str, str], GraphInspection] = {}
        self._order: OrderedDict[int, Topic] = OrderedDict()
        """Of each kept message its topic, the oldest first."""
        self._number = 0
        self.kept_bytes = 0

    def observer(self, namespace: str, graph: str, flow: Flow) -> GraphInspection:
        """The one who watches this flow; what was seen of the graph's former flow is forgotten."""
        self.forget(namespace, graph)
        found = GraphInspection(self, namespace, graph, flow)
        self._graphs[namespace, graph] = found
        return found

    def forget(self, namespace: str, graph: str) -> None:
        """The graph is gone, and what was seen of it."""
        former = self._graphs.pop((namespace, graph), None)
        for topic in former.topics if former is not None else ():
            while topic.kept:
                self._drop(topic)

    def topics(self, namespace: str, graph: str) -> Sequence[Topic] | None:
        """What is kept of a graph; None if nobody watches it."""
        found = self._graphs.get((namespace, graph)) or self._graphs.get(
            (namespace, graph + _PIPELINE)
        )
        return found.topics if found is not None else None

    def keep(
        self,
        topic: Topic,
        run_id: str,
        messages: Sequence[Message],
        error: str = "",
        step: str = "",
    ) -> None:
        """Adds to a topic, and drops what is too much by that."""
        size = 0
        for message in messages:
            size += len(message.body)
        is_kept = size <= MOST_MESSAGE_BYTES
        self._number += 1
        kept = tuple(_own(messages)) if is_kept else ()
        topic.kept.append(Kept(self._number, self.now(), run_id, kept, size, error, step))
        topic.seen += 1
        self._order[self._number] = topic
        self.kept_bytes += size if is_kept else 0
        if len(topic.kept) > self._most_messages:
            self._drop(topic)
        while self.kept_bytes > self._most_bytes:
            self._drop(next(iter(self._order.values())))

    def _drop(self, topic: Topic) -> None:
        oldest = topic.kept.popleft()
        del self._order[oldest.number]
        if oldest.messages:
            self.kept_bytes -= oldest.size_bytes


def _own(messages: Iterable[Message]) -> Iterable[Message]:
    """A view may be of memory that is used again: that alone is copied."""
    for message in messages:
        if isinstance(message.body, memoryview):
            yield msgspec.structs.replace(message, body=bytes(message.body))
        else:
            yield message


class GraphInspection:
    """Implements `FlowObserver`: watches one flow. Each request is watched by a `_Run`."""

    def __init__(self, owner: FlowInspection, namespace: str, graph: str, flow: Flow) -> None:
        plain = graph.removesuffix(_PIPELINE)
        prefix = f"seldon.{namespace}"
        self.owner = owner
        self.namespace, self.graph = namespace, plain
        self.names = [step.name for step in flow.steps]
        own = f"{prefix}.pipeline.{plain}"
        self.request = Topic(f"{own}.{_INPUTS}", "", _INPUTS)
        self.answer = Topic(f"{own}.{_OUTPUTS}", "", _OUTPUTS)
        self.inputs = [_topic(prefix, name, _INPUTS) for name in self.names]
        self.outputs = [_topic(prefix, name, _OUTPUTS) for name in self.names]
        self.errors = Topic(f"{prefix}.{ERRORS}.{ERRORS}", "", ERRORS)
        steps = [each for pair in zip(self.inputs, self.outputs, strict=True) for each in pair]
        self.topics = (self.request, *steps, self.answer, self.errors)

    def begin(self, run_id: str, request: Message, call: Call) -> FlowObserver:
        """See `FlowObserver`."""
        run = _Run(self, run_id or self.owner.new_id())
        run.note(self.request, (request,))
        return run

    def span(self, step: int) -> TraceContext | None:
        """See `FlowObserver`: it makes none."""
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


def _topic(prefix: str, step: str, end: str) -> Topic:
    return Topic(f"{prefix}.model.{step}.{end}", step, end)


class _Run:
    """Implements `FlowObserver`: watches one request."""

    __slots__ = ("_graph", "_run_id")

    def __init__(self, graph: GraphInspection, run_id: str) -> None:
        self._graph = graph
        self._run_id = run_id

    def note(self, topic: Topic, messages: Sequence[Message]) -> None:
        """Keeps it, and hands it to the graphs that take it as their input."""
        graph = self._graph
        graph.owner.keep(topic, self._run_id, messages)
        publish = graph.owner.publish
        if publish is not ignore_message and len(messages) == 1:
            publish(graph.namespace, graph.graph, topic.step, topic.end, self._run_id, messages[0])

    def begin(self, run_id: str, request: Message, call: Call) -> FlowObserver:
        """See `FlowObserver`: it has begun already."""
        return self

    def span(self, step: int) -> TraceContext | None:
        """See `FlowObserver`: it makes none."""
        return None

    def on_end(self, answer: Message | Failure | None, seconds: float) -> None:
        """See `FlowObserver`."""
        if isinstance(answer, Message):
            self.note(self._graph.answer, (answer,))

    def on_answer(
        self, step: int, given: Sequence[Message], answer: Message | None, seconds: float
    ) -> None:
        """See `FlowObserver`."""
        if given:
            self.note(self._graph.inputs[step], given)
        if answer is not None:
            self.note(self._graph.outputs[step], (answer,))

    def on_failure(self, step: int, failure: Failure, seconds: float) -> None:
        """See `FlowObserver`."""
        graph = self._graph
        graph.owner.keep(graph.errors, self._run_id, (), failure.message, graph.names[step])

    def on_choice(self, step: int, branch: int) -> None:
        """See `FlowObserver`: choices are no messages."""

    def on_skipped(self, step: int) -> None:
        """See `FlowObserver`: nothing has gone over its edges."""
