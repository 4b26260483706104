"""One request on its way through a graph.

Each step waits until its edges are decided, acts once, and decides the edges that begin at it
(`graphs/flow.py` says what the joins mean). All of it happens in the event loop's turns in which
answers come: nothing here waits. The run ends with the first answer of its output, or when there
can be none any more; steps whose answers nobody needs then are abandoned, while side branches
(detectors, logs) go on.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from salver.engine.call import Call
from salver.engine.flow_calls import FlowCall
from salver.engine.flow_outputs import Asked
from salver.engine.flow_ports import Failure, FlowObserver, Message
from salver.engine.flow_program import Node
from salver.engine.flow_starts import STARTS
from salver.engine.flow_texts import named, no_output, tolerated
from salver.errors import ErrorKind, InvalidInput, ModelFailed, RequestError
from salver.graphs.flow import (
    ALL_BRANCHES,
    Edge,
    Function,
    Pass,
    Step,
)
from salver.protocol.bundle import unpack_reply
from salver.protocol.messages import (
    as_response,
    assemble,
    find_tensor,
    tensors_of,
)
from salver.protocol.wire_codes import Codec

if TYPE_CHECKING:
    from salver.engine.executor import GraphModel

_WAITING, _RUNNING, _DONE, _ABSENT = 0, 1, 2, 3
_FORMAT_BITS = 0xFFFF
_SELDON = (Codec.SELDON_JSON, Codec.SELDON_GRPC)


class _Absent:
    """As the value of an edge: no message will come."""


ABSENT = _Absent()
_Value = Message | _Absent | None
"""What an edge has: None while it is undecided."""


class FlowRun:
    """See the module. Keeps its `GraphModel` alive until its last step has answered."""

    __slots__ = (
        "_failure",
        "_is_pumping",
        "_missing",
        "_ready",
        "_state",
        "_timers",
        "_visits",
        "asked",
        "asks",
        "branches",
        "call",
        "given",
        "is_over",
        "metrics",
        "model",
        "observer",
        "request",
        "run_id",
        "tags",
        "values",
        "wants_binary",
    )

    def __init__(self, model: GraphModel, call: Call, request: Message, run_id: str) -> None:
        program = model.program
        self.model = model
        self.call = call
        self.request = request
        self.run_id = run_id
        self.observer: FlowObserver | None = None
        """Who sees what happens to this request."""
        self.is_over = False
        self.asked: Asked | None = None
        """The outputs that the caller names, if it does."""
        self.wants_binary = False
        self.branches: dict[int, int] = {}
        """What the choosing steps have chosen, by their numbers."""
        self.tags: dict[str, object] = {}
        self.metrics: list[dict[str, object]] = []
        self.values: list[list[_Value]] = [[None] * count for count in program.counts]
        self._state = [_WAITING] * len(program.counts)
        self.given: dict[int, Message] = {}
        self._visits: dict[int, int] = {}
        self.asks: dict[int, FlowCall] = {}
        self._ready: deque[Node] = deque()
        self._is_pumping = False
        self._timers = 0
        self._failure: Failure | None = None
        self._missing = ""

    def begin(self) -> None:
        """Gives the request to the steps that wait for it."""
        nodes = self.model.program.nodes
        for number, at in self.model.program.from_request:
            node = nodes[number]
            self.decide(node, at, self.through(node.edges[at][1], self.request, "the request"))
        self._pump()
        if not self.model.program.output.edges:
            # A graph without output takes the request; nobody waits for what it makes of it.
            self._finish(assemble((), self.request, is_request=False))

    def steps_done(self) -> list[Step]:
        """The steps that have answered, in the order of the flow."""
        nodes = self.model.program.nodes[:-1]
        return [node.step for node in nodes if self._state[node.number] == _DONE]

    # Edges.

    def through(self, edge: Edge, message: Message, source: str) -> Message | _Absent:
        """What of a message comes through an edge."""
        if not edge.tensor:
            return message
        try:
            if find_tensor(message, edge.tensor) is not None:
                return message
            has = ", ".join(each.name for each in tensors_of(message)) or "none"
        except RequestError as error:
            has = str(error)
        self._missing = f"{source} has no tensor '{edge.tensor}' (it has {has})"
        return ABSENT

    def decide(self, node: Node, at: int, value: _Value) -> None:
        values = self.values[node.number]
        if values[at] is None or node.is_in_cycle:
            values[at] = value
            self._consider(node, at)

    def _consider(self, node: Node, at: int) -> None:
        """Starts the step, or gives it up, if its edges say so."""
        state = self._state[node.number]
        if state != _WAITING and not self._may_run_again(node, at):
            return
        values = self.values[node.number]
        step = node.step
        if len(values) == 1:
            verdict = None if values[0] is None else values[0] is not ABSENT
        else:
            cut = node.trigger_from
            verdict = _verdict(values[:cut], step.join, step.quorum)
            if verdict is not False and len(values) > cut:
                triggered = _verdict(values[cut:], step.triggers_join, 0)
                verdict = False if triggered is False else verdict if triggered else None
        if verdict:
            self._set_ready(node)
        elif verdict is False:
            self._skip(node)
        elif step.window_s and step.join == "outer" and values[at] is not ABSENT:
            self._wait(step.window_s, partial(self._close_window, node))

    def _may_run_again(self, node: Node, at: int) -> bool:
        visits = self._visits.get(node.number, 0)
        is_news = isinstance(self.values[node.number][at], Message)
        if not node.is_in_cycle or not is_news or self._state[node.number] != _DONE:
            return False
        if visits >= node.step.max_visits:
            text = f"step '{node.step.name}' has run {visits} times, which is its limit"
            self._failure = self._failure or no_output(text)
            return False
        return True

    def _set_ready(self, node: Node) -> None:
        number = node.number
        self._state[number] = _RUNNING
        if node.is_in_cycle:
            self._visits[number] = self._visits.get(number, 0) + 1
        if len(self.values[number]) > 1 and not node.is_in_cycle:
            self._release_undecided(node)
        if node.step.delay_s:
            self._wait(node.step.delay_s, partial(self._ready.append, node))
        else:
            self._ready.append(node)

    def _close_window(self, node: Node) -> None:
        if self._state[node.number] != _WAITING:
            return
        values = self.values[node.number]
        for at in range(node.trigger_from):
            if values[at] is None:
                values[at] = ABSENT
        self._consider(node, 0)

    def _wait(self, seconds: float, then: Callable[[], object]) -> None:
        def on_time() -> None:
            self._timers -= 1
            if not self.call.is_abandoned:
                then()
                self._pump()

        self._timers += 1
        self.model.scheduler.call_later(seconds, on_time)

    def _skip(self, node: Node) -> None:
        """The step is not run: neither are those that cannot do without it."""
        number = node.number
        if node.is_in_cycle and self._visits.get(number, 0) < node.step.max_visits:
            return  # What is not there now may come on the next round.
        if self._state[number] == _ABSENT:
            return
        self._state[number] = _ABSENT
        program = self.model.program
        if node is program.output:
            self._end_without_answer()
            return
        if self.observer is not None:
            self.observer.on_skipped(number)
        self._send_absence(node)

    def _send_absence(self, node: Node) -> None:
        nodes = self.model.program.nodes
        if node.is_in_cycle:
            return
        for number, at in node.targets:
            self.decide(nodes[number], at, ABSENT)

    def _release_undecided(self, node: Node) -> None:
        """The step goes ahead without some of its sources: nobody else may need them."""
        for (source, _), value in zip(node.edges, self.values[node.number], strict=True):
            if value is None and source >= 0:
                self._release(self.model.program.nodes[source])

    def _release(self, node: Node) -> None:
        state = self._state
        if state[node.number] not in (_WAITING, _RUNNING) or node.is_in_cycle:
            return
        if any(state[number] == _WAITING for number, _ in node.targets):
            return
        ask = self.asks.pop(node.number, None)
        if ask is not None:
            ask.is_abandoned = True
        was_waiting = state[node.number] == _WAITING
        state[node.number] = _ABSENT
        if was_waiting:
            self._release_undecided(node)

    # Steps.

    def _pump(self) -> None:
        """Starts what is ready, and what becomes ready by that."""
        if self._is_pumping:
            return
        self._is_pumping = True
        try:
            while self._ready:
                node = self._ready.popleft()
                if self._state[node.number] == _RUNNING and not (self.is_over and not node.is_side):
                    self._start(node)
        finally:
            self._is_pumping = False
        if self.model.program.has_cycles and not (self.asks or self._timers or self.is_over):
            # Nothing moves any more: what is undecided will stay so.
            self._end_without_answer()

    def _start(self, node: Node) -> None:
        if node is self.model.program.output:
            try:
                self._finish(self.joined(node))
            except RequestError as error:
                self._end(Failure(error.kind, str(error)))
            return
        try:
            STARTS[type(node.step.action)](self, node)
            if node.is_in_cycle and node.step.join == "any":
                # What it has used it does not get again on the next round.
                values = self.values[node.number]
                values[:] = [None] * len(values)
        except RequestError as error:
            self.on_failure(node, Failure(error.kind, str(error)), self.model.clock())

    def joined(self, node: Node) -> Message:
        """The one message that a step is given."""
        values = self.values[node.number]
        if node.is_plain:
            assert isinstance(values[0], Message)
            return values[0]
        edges = node.edges[: node.trigger_from]
        present = [
            (edge, value)
            for (_, edge), value in zip(edges, values, strict=False)
            if isinstance(value, Message)
        ]
        action = node.step.action
        is_choice_of_one = node.is_choice or (isinstance(action, Pass) and not action.merges)
        if len(present) == 1 or (is_choice_of_one and not any(each.tensor for each, _ in present)):
            edge, message = present[0]
            if not edge.tensor and not edge.renames:
                return message
        if not present:
            raise ModelFailed("nothing has come to it")
        return self.merged(present, node)

    def merged(self, present: Sequence[tuple[Edge, Message]], node: Node) -> Message:
        tensors = []
        taken: set[str] = set()
        for edge, message in present:
            renames = dict(edge.renames)
            for tensor in tensors_of(message):
                if edge.tensor and tensor.name != edge.tensor:
                    continue
                name = edge.rename or renames.get(tensor.name, tensor.name)
                if name in taken:
                    # Two steps that call their answers alike: the step's name tells them apart.
                    name = f"{edge.source or 'request'}.{name}"
                taken.add(name)
                tensors.append(msgspec.structs.replace(tensor, name=name))
        is_answer = node is self.model.program.output
        return assemble(
            tensors, self.request, is_request=not is_answer, is_binary=self.wants_binary
        )

    def choose(self, node: Node, branch: int, message: Message) -> None:
        self.branches[node.number] = branch
        if self.observer is not None:
            self.observer.on_choice(node.number, branch)
        self.given[node.number] = message
        self._state[node.number] = _DONE
        for place in node.targets:
            edge = self.edge_of(place)
            is_taken = edge.branch in (None, branch) or (
                branch == ALL_BRANCHES and edge.branch is not None and edge.branch >= 0
            )
            target = self.model.program.nodes[place[0]]
            value = self.through(edge, message, f"step '{node.step.name}'") if is_taken else ABSENT
            self.decide(target, place[1], value)

    def edge_of(self, place: tuple[int, int]) -> Edge:
        return self.model.program.nodes[place[0]].edges[place[1]][1]

    # Answers.

    def on_answer(self, ask: FlowCall, body: bytes, aux: int) -> None:
        """A step's call is answered."""
        node = ask.node
        if self.asks.pop(node.number, None) is not ask:
            return
        seconds = self.model.clock() - ask.started_s
        if isinstance(node.step.action, Function):
            self._on_reply(node, body, seconds)
        else:
            codec = ask.codec & 0xFF
            message = Message(codec, aux, body, is_request=False, coding=ask.coding)
            self._observed(node, message, seconds)
            self._send(node, message)
        self._pump()

    def _on_reply(self, node: Node, body: bytes, seconds: float) -> None:
        try:
            reply, bodies = unpack_reply(body)
        except InvalidInput as error:
            self.on_failure(node, Failure(ErrorKind.MODEL_FAILED, str(error)), 0.0)
            return
        for meta in reply.meta.values():
            self.tags.update(meta.get("tags") or {})
            self.metrics += meta.get("metrics") or []
        chain = node.chain
        last = chain[-1]
        message: Message | None = None
        if reply.messages:
            head = reply.messages[-1]
            message = Message(head.codec, head.aux, bytes(bodies[-1]), head.is_request, head.coding)
        if reply.branch is not None:
            self.branches[last.number] = reply.branch
            message = message or self.given[node.number]
        if message is None:
            text = "it answered without a message"
            self.on_failure(last, Failure(ErrorKind.MODEL_FAILED, text), 0.0)
            return
        self._observe_chain(chain, message, reply.seconds, seconds)
        for each in chain:
            self._state[each.number] = _DONE
        self._send(last, message)

    def _observe_chain(
        self, chain: Sequence[Node], message: Message, parts: Sequence[float], seconds: float
    ) -> None:
        observer = self.observer
        if observer is None:
            return
        given = (self.given[chain[0].number],)
        for at, each in enumerate(chain):
            took = parts[at] if len(chain) > 1 and at < len(parts) else seconds
            answer = message if each is chain[-1] else None
            observer.on_answer(each.number, given if at == 0 else (), answer, took)

    def _observed(self, node: Node, message: Message, seconds: float) -> None:
        if self.observer is not None:
            given = self.given.get(node.number)
            self.observer.on_answer(
                node.number, () if given is None else (given,), message, seconds
            )

    def answer(self, node: Node, message: Message, given: Sequence[Message]) -> None:
        """The answer of a step that asks nobody."""
        if self.observer is not None:
            self.observer.on_answer(node.number, given, message, 0.0)
        self._send(node, message)

    def _send(self, node: Node, message: Message) -> None:
        self._state[node.number] = _DONE
        nodes = self.model.program.nodes
        for number, at in node.targets:
            target = nodes[number]
            edge = target.edges[at][1]
            if edge.end == "outputs":
                if edge.tensor:
                    value: _Value = self.through(edge, message, f"step '{node.step.name}'")
                    if value is ABSENT and node.is_in_cycle:
                        continue  # It may come on the next round.
                else:
                    value = message
                self.decide(target, at, value)

    def on_failure(self, node: Node, failure: Failure, started_s: float) -> None:
        """A step has failed: that is its answer, or the end of what needs it."""
        self.asks.pop(node.number, None)
        if self._state[node.number] in (_DONE, _ABSENT):
            return
        if self.observer is not None:
            seconds = max(0.0, self.model.clock() - started_s)
            self.observer.on_failure(node.number, failure, seconds)
        if node.step.tolerates:
            self._send(node, tolerated(failure, self.request.codec))
        else:
            self._give_up(node, named(node, failure, self.given.get(node.number)))
        self._pump()

    def _give_up(self, node: Node, failure: Failure) -> None:
        last = node.chain[-1] if node.chain else node
        if not last.is_side and not last.survives:
            self._end(failure)
            return
        if self._failure is None and not last.is_side:
            self._failure = failure
        for each in node.chain or (node,):
            self._state[each.number] = _ABSENT
        self._send_absence(last)

    def _end_without_answer(self) -> None:
        self._end(self._failure or no_output(self._missing))

    def _end(self, failure: Failure) -> None:
        if self.is_over:
            return
        self._stop(failure)
        call = self.call
        if failure.status:
            call.reject(failure.status, failure.body, failure.kind, failure.message)
        else:
            call.fail(failure.kind, failure.message)

    def _finish(self, message: Message) -> None:
        if self.is_over:
            return
        self._state[-1] = _DONE
        call = self.call
        if message.status >= 300:
            text = bytes(message.body).decode(errors="replace")
            kind = ErrorKind.MODEL_FAILED
            self._stop(Failure(kind, text, message.status, bytes(message.body)))
            call.reject(message.status, bytes(message.body), kind, text)
            return
        if message.is_request:
            message = as_response(message)
        message = self.model.finished(self, message)
        self._stop(message)
        call.coding = message.coding
        body = message.body
        call.deliver(body if isinstance(body, bytes) else bytes(body), message.aux)

    def _stop(self, answer: Message | Failure) -> None:
        """The caller has its answer: what was on its way to it need not arrive."""
        self.is_over = True
        if self.observer is not None:
            self.observer.on_end(answer)
        self.model.on_end(self)
        for number, ask in list(self.asks.items()):
            if not self.model.program.nodes[number].is_side:
                ask.is_abandoned = True
                del self.asks[number]


def _verdict(values: Sequence[_Value], join: str, quorum: int) -> bool | None:
    """True: it may go ahead; False: it never will; None: it has to wait."""
    undecided = sum(value is None for value in values)
    present = sum(isinstance(value, Message) for value in values)
    if join == "any":
        wanted = 1
    elif join == "outer":
        return None if undecided else present > 0
    else:
        wanted = quorum or len(values)
    if present >= wanted:
        return True
    return False if present + undecided < wanted else None
