"""One request on its way through a graph.

Each step waits until its edges are decided (`flow_edges.py`), acts once, and decides the edges
that begin at it (`graphs/flow.py` says what the joins mean). All of it happens in the event loop's
turns in which answers come: nothing here waits. The run ends with the first answer of its output,
or when there can be none any more; steps whose answers nobody needs then are abandoned, while side
branches (detectors, logs) go on. However it goes, the caller is told exactly once, unless it has
left.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any
from weakref import ref

import msgspec

from salver.engine.call import Call
from salver.engine.flow_calls import FlowCall
from salver.engine.flow_edges import ABSENT, DONE, GONE, RUNNING, WAITING, Absent, FlowEdges, Value
from salver.engine.flow_outputs import Asked
from salver.engine.flow_ports import Failure, Message
from salver.engine.flow_program import Node
from salver.engine.flow_starts import STARTS
from salver.engine.flow_texts import Tolerated, named, no_output, step_that_failed, tolerated
from salver.errors import ErrorKind, InvalidInput, ModelFailed, RequestError
from salver.graphs.flow import (
    ALL_BRANCHES,
    Edge,
    Function,
    Pass,
    Service,
    Step,
    Unit,
)
from salver.protocol.bundle import unpack_reply
from salver.protocol.messages import (
    as_response,
    assemble,
    find_tensor,
    tensors_of,
)

if TYPE_CHECKING:
    from salver.engine.executor import GraphModel

logger = logging.getLogger("salver.graphs")


class FlowRun(FlowEdges):
    """See the module. Keeps its `GraphModel` alive until its last step has answered, and is itself
    kept by those who are asked: by nothing else, and by no cycle."""

    __slots__ = (
        "_has_misfits",
        "_is_pumping",
        "_missing",
        "asked",
        "branches",
        "given",
        "metrics",
        "request",
        "run_id",
        "tags",
        "wants_binary",
    )

    def __init__(self, model: GraphModel, call: Call, request: Message, run_id: str) -> None:
        super().__init__(model, call)
        self.request = request
        self.run_id = run_id
        self.asked: Asked | None = None
        """The outputs that the caller names, if it does."""
        self.wants_binary = False
        self.branches: dict[int, int] = {}
        """What the choosing steps have chosen, by their numbers."""
        self.tags: dict[str, object] = {}
        self.metrics: list[dict[str, object]] = []
        self.given: dict[int, Sequence[Message]] = {}
        self._has_misfits = False
        """A failure was tolerated that the run's wire format has no form for."""
        self._is_pumping = False
        self._missing = ""
        model.in_flight += 1

    def __del__(self) -> None:
        # Queues drop calls whose client has left without a word, and the run with the last one.
        if not self.is_over:
            self.model.in_flight -= 1
            if self.observer is not None:
                self.observer.on_end(None, self._seconds())

    def _seconds(self) -> float:
        return max(0.0, self.model.clock() - self.call.arrived_s)

    def begin(self) -> None:
        """Gives the request to the steps that wait for it. Never raises."""
        program = self.model.program
        try:
            for number, at in program.from_request:
                node = program.nodes[number]
                value = self.through(node.edges[at][1], self.request, "the request")
                self.decide(node, at, value)
            if not program.output.edges:
                # A graph without output takes the request; nobody waits for what it makes of it.
                self._finish(assemble((), self.request, is_request=False))
            self.pump()
        except Exception as error:
            self.break_off(error)

    def steps_done(self) -> list[Step]:
        """The steps that have answered, in the order of the flow."""
        nodes = self.model.program.nodes[:-1]
        return [node.step for node in nodes if self.state[node.number] == DONE]

    # Edges.

    def through(self, edge: Edge, message: Message, source: str) -> Message | Absent:
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

    def edge_of(self, place: tuple[int, int]) -> Edge:
        return self.model.program.nodes[place[0]].edges[place[1]][1]

    # Steps.

    def pump(self) -> None:
        """Starts what is ready, and what becomes ready by that."""
        if self._is_pumping:
            return
        self._is_pumping = True
        try:
            self._work()
            if self.model.program.has_cycles:
                self._settle()
        finally:
            self._is_pumping = False

    def _work(self) -> None:
        while self._gone or self._ready:
            if self._gone:
                self._pass_on_absence(self._gone.popleft())
                continue
            node = self._ready.popleft()
            is_wanted = not self.is_over or node.is_side or node.number in self.aside
            if is_wanted and self.state[node.number] == RUNNING:
                self._start(node)

    def _settle(self) -> None:
        """In a cycle nobody says that nothing more will come. Once nothing moves, nothing will."""
        nodes = self.model.program.nodes
        while not self.is_over and not self._timers:
            if any(not nodes[number].is_side for number in self.asks):
                return
            node = next((each for each in nodes if self._waits_in_vain(each)), None)
            if node is None:
                self.end_without_answer()
                return
            self.close_window(node)
            self._work()

    def _waits_in_vain(self, node: Node) -> bool:
        """Whether it has inputs enough but for those that will not come."""
        given = self.values[node.number][: node.trigger_from]
        is_outer = node.step.join == "outer" and self.state[node.number] == WAITING
        return is_outer and None in given and any(isinstance(each, Message) for each in given)

    def _start(self, node: Node) -> None:
        try:
            if node is self.model.program.output:
                self._finish(self.joined(node))
            elif self._has_misfits and self._is_given_a_misfit(node):
                return
            else:
                STARTS[type(node.step.action)](self, node)
        except RequestError as error:
            failure = Failure(error.kind, str(error))
            if node is self.model.program.output:
                self._end(failure)
            else:
                self.on_failure(node, failure, self.model.clock())

    def _is_given_a_misfit(self, node: Node) -> bool:
        """A failure that was tolerated is no message of this wire format: who is to be asked with
        it fails of the same cause."""
        if not isinstance(node.step.action, Service | Unit | Function):
            return False
        values = self.values[node.number][: node.trigger_from]
        found = next((each for each in values if isinstance(each, Tolerated)), None)
        if found is None:
            return False
        kind, text = found.failure.kind, f"there is no answer for it: {found.failure.message}"
        self.on_failure(node, Failure(kind, text), self.model.clock())
        return True

    def opened(self, ask: FlowCall) -> None:
        """The call is about to be made: the step's answer is what comes of it."""
        self.asks[ask.node.number] = ref(ask)

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
        if not present:
            raise ModelFailed("nothing has come to it")
        action = node.step.action
        is_choice_of_one = node.is_choice or (isinstance(action, Pass) and not action.merges)
        if is_choice_of_one and not any(each.tensor for each, _ in present):
            present = present[:1]
        edge, message = present[0]
        if len(present) == 1 and not edge.tensor and not edge.renames:
            return message
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
        self.given[node.number] = (message,)
        self._is_done(node)
        for place in node.targets:
            edge = self.edge_of(place)
            is_taken = edge.branch in (None, branch) or (
                branch == ALL_BRANCHES and edge.branch is not None and edge.branch >= 0
            )
            target = self.model.program.nodes[place[0]]
            value = self.through(edge, message, f"step '{node.step.name}'") if is_taken else ABSENT
            self.decide(target, place[1], value)
        if node.is_in_cycle:
            self.take_late(node)

    def _is_done(self, node: Node) -> None:
        self.state[node.number] = DONE
        if node.is_in_cycle:
            self.clear_used(node)

    # Answers.

    def on_answer(self, ask: FlowCall, body: bytes, aux: int) -> None:
        """A step's call is answered. Never raises."""
        try:
            if self._closed(ask):
                self._take(ask, body, aux)
                self.pump()
        except Exception as error:
            self.break_off(error)

    def on_refusal(self, ask: FlowCall, failure: Failure) -> None:
        """A step's call has failed. Never raises."""
        try:
            if self._closed(ask):
                self.on_failure(ask.node, failure, ask.started_s)
        except Exception as error:
            self.break_off(error)

    def _closed(self, ask: FlowCall) -> bool:
        """Takes the call off the list; False if nobody waits for it."""
        number = ask.node.number
        kept = self.asks.get(number)
        if kept is None or kept() is not ask:
            return False
        del self.asks[number]
        return True

    def _take(self, ask: FlowCall, body: bytes, aux: int) -> None:
        node = ask.node
        seconds = self.model.clock() - ask.started_s
        try:
            if isinstance(node.step.action, Function):
                self._on_reply(ask, body, seconds)
                return
            message = Message(ask.codec & 0xFF, aux, body, is_request=False, coding=ask.coding)
            if ask.coding:
                message = self.model.plain(message)
        except InvalidInput as error:
            self.on_failure(node, Failure(ErrorKind.MODEL_FAILED, str(error)), ask.started_s)
            return
        if self.observer is not None:
            given = self.given.get(node.number, ())
            self.observer.on_answer(node.number, given, message, seconds)
        self._send(node, message)

    def _on_reply(self, ask: FlowCall, body: bytes, seconds: float) -> None:
        chain = ask.node.chain
        last = chain[-1]
        reply, bodies = unpack_reply(body)
        for name, meta in reply.meta.items():
            self._note(name, meta)
        message: Message | None = None
        if reply.messages:
            head = reply.messages[-1]
            message = Message(head.codec, head.aux, bytes(bodies[-1]), head.is_request, head.coding)
        if reply.branch is not None:
            self.branches[last.number] = reply.branch
            message = message or self.given[chain[0].number][0]
        if message is None:
            failure = Failure(ErrorKind.MODEL_FAILED, "it answered without a message")
            self.on_failure(ask.node, failure, ask.started_s)
            return
        self._observe_chain(chain, message, reply.seconds, seconds)
        for each in chain:
            self.state[each.number] = DONE
        self._send(last, message)

    def _note(self, name: str, meta: Mapping[str, Any]) -> None:
        """What a component says along with its answer."""
        self.tags.update(meta.get("tags") or {})
        metrics = meta.get("metrics")
        if metrics:
            self.metrics += metrics
            if self.model.bindings.reported is not None:
                self.model.bindings.reported(name, metrics)

    def _observe_chain(
        self, chain: Sequence[Node], message: Message, parts: Sequence[float], seconds: float
    ) -> None:
        observer = self.observer
        if observer is None:
            return
        given = self.given[chain[0].number]
        for at, each in enumerate(chain):
            took = parts[at] if len(chain) > 1 and at < len(parts) else seconds
            answer = message if each is chain[-1] else None
            observer.on_answer(each.number, given if at == 0 else (), answer, took)

    def answer(self, node: Node, message: Message, given: Sequence[Message]) -> None:
        """The answer of a step that asks nobody."""
        if self.observer is not None:
            self.observer.on_answer(node.number, given, message, 0.0)
        self._send(node, message)

    def _send(self, node: Node, message: Message) -> None:
        self._is_done(node)
        nodes = self.model.program.nodes
        for number, at in node.targets:
            target = nodes[number]
            edge = target.edges[at][1]
            if edge.end == "outputs":
                if edge.tensor:
                    value: Value = self.through(edge, message, f"step '{node.step.name}'")
                    if value is ABSENT and node.is_in_cycle:
                        continue  # It may come on the next round.
                else:
                    value = message
                self.decide(target, at, value)
            elif node.number not in self.given:
                self.decide(target, at, ABSENT)  # It has failed before it was given anything.
        if node.is_in_cycle:
            self.take_late(node)

    # Ends.

    def on_failure(self, node: Node, failure: Failure, started_s: float) -> None:
        """A step has failed: that is its answer, or the end of what needs it."""
        if self.state[node.number] in (DONE, GONE):
            return
        self.asks.pop(node.number, None)
        at = step_that_failed(node, failure)
        if self.observer is not None:
            seconds = max(0.0, self.model.clock() - started_s)
            self.observer.on_failure(at.number, failure, seconds)
        failure = named(at, failure, self.given.get(node.number, ()))
        if node.step.tolerates:
            if self._lacks_input_of(node):
                self.failure = self.failure or failure
            message = tolerated(failure, self.request.codec)
            self._has_misfits = self._has_misfits or message.codec != self.request.codec
            self._send(node, message)
        else:
            self._fail(node, failure)
        self.pump()

    def _fail(self, node: Node, failure: Failure) -> None:
        last = node.chain[-1] if node.chain else node
        if not (last.is_side or last.survives or self.is_over):
            self._end(failure)
        elif not last.is_side or self._lacks_input_of(last):
            self.failure = self.failure or failure
        for each in node.chain:
            self.state[each.number] = GONE
        self.give_up(last)

    def _lacks_input_of(self, node: Node) -> bool:
        """Whether the answer is made of what the step is given, and it failed before it was given
        anything. What it fails of later takes nothing from those who have its input."""
        return node.lends_input and node.number not in self.given

    def break_off(self, error: Exception) -> None:
        """Something here, or in who chooses, watches or is asked, has a fault: it is logged, and
        the caller does not wait for ever."""
        name = self.model.name
        logger.error("graph '%s': a request cannot go on", name, exc_info=error)
        text = f"the graph cannot go on, which is a fault of the server: {type(error).__name__}"
        self._end(Failure(ErrorKind.MODEL_FAILED, f"{text}: {error}"))

    def end_without_answer(self) -> None:
        """There can be no answer any more."""
        self._end(self.failure or no_output(self._missing))

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
        if isinstance(message, Tolerated):
            self._end(message.failure)
            return
        self.state[-1] = DONE
        if message.is_request:
            message = as_response(message)
        message = self.model.finished(self, message)
        self._stop(message)
        self.call.coding = message.coding
        body = message.body
        self.call.deliver(body if isinstance(body, bytes) else bytes(body), message.aux)

    def _stop(self, answer: Message | Failure) -> None:
        """The caller has its answer: what was on its way to it need not arrive."""
        self.is_over = True
        self.model.in_flight -= 1
        program = self.model.program
        if program.sides:
            self.aside = self.wanted_aside()
        for number in list(self.asks):
            if not program.nodes[number].is_side and number not in self.aside:
                self.abandon(number)
        if self._timers:
            self.drop_timers(self.aside)
        if self.observer is not None:
            try:
                self.observer.on_end(answer, self._seconds())
            except Exception:
                logger.exception("graph '%s': who watches a request has a fault", self.model.name)
