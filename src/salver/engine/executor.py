"""A graph as a `ServedModel`: every call becomes a run through its flow.

Owns what all runs of a flow share: the program, who answers, the compiled conditions and weights;
and what a protocol adds to the answer of a whole graph. A run itself is `flow_run.py`.
"""

from __future__ import annotations

import bisect
import itertools
import logging
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import msgspec

from salver.engine.call import Call
from salver.engine.flow_feedback import give_feedback
from salver.engine.flow_outputs import Asked, asked_outputs
from salver.engine.flow_ports import Bindings, Message
from salver.engine.flow_program import FROM_REQUEST, Program
from salver.engine.flow_run import FlowRun
from salver.engine.ports import ModelStatus, ServedModel
from salver.engine.queue import Clock, Scheduler
from salver.engine.step_batches import StepBatch
from salver.engine.traffic import RandomNumber, sticky_point
from salver.errors import ErrorKind, ModelNotFound, ModelNotReady, RequestError, Unsupported
from salver.graphs.flow import (
    Address,
    Conditions,
    Edge,
    Flow,
    Function,
    Pass,
    Service,
    Step,
    Unit,
    Weights,
)
from salver.inference.metadata import ModelMetadata, TensorMetadata
from salver.protocol.gjson import exists
from salver.protocol.messages import Body, as_model, unpacked
from salver.protocol.operations import Operation, operation_of
from salver.protocol.wire_codes import Codec

logger = logging.getLogger("salver.graphs")

PLATFORM = "salver_graph"
_ID_BYTES = 256
_SELDON = (Codec.SELDON_JSON, Codec.SELDON_GRPC)
_V2 = (Codec.V2_JSON, Codec.V2_GRPC)
_READ = (Codec.V1_JSON, *_V2, *_SELDON)
"""What steps can hand to each other; a graph that only chooses takes any other too."""


class GraphModel:
    """Implements `ServedModel` over a flow."""

    def __init__(
        self,
        name: str,
        version: str,
        flow: Flow,
        bindings: Bindings,
        *,
        clock: Clock,
        scheduler: Scheduler,
        random_number: RandomNumber,
        new_id: Callable[[], str],
        max_body_bytes: int = 64 << 20,
        answers_as: str = "",
    ) -> None:
        """`new_id` makes ids for requests that bring none; `max_body_bytes` is what a packed body
        may unpack to where a step looks into it. `answers_as`: the model that V2's answers are
        said to be of; empty: the one that made them."""
        self.name = name
        self.version = version
        self.flow = flow
        self.program = Program(flow)
        self.bindings = bindings
        self.observer = bindings.observer
        self.clock = clock
        self.scheduler = scheduler
        self.in_flight = 0
        """Runs whose caller waits."""
        self.conditions: dict[int, Sequence[Callable[[Body], bool]]] = {}
        self.weights: dict[int, Callable[[bytes], int]] = {}
        self.batches: dict[int, StepBatch] = {}
        self._new_id = new_id
        self._max_body_bytes = max_body_bytes
        self._answers_as = answers_as
        for node in self.program.nodes:
            action = node.step.action
            if node.step.batch_window_s:
                self.batches[node.number] = StepBatch(
                    node.step.batch_size, node.step.batch_window_s, scheduler
                )
            if isinstance(action, Conditions):
                self.conditions[node.number] = [partial(exists, path) for path in action.paths]
            elif isinstance(action, Weights):
                self.weights[node.number] = _by_weight(action.weights, random_number)
        self._needs_id = bool(bindings.choosers)
        self._hands_on = _hands_on(self.program)
        self._only_chooses = _only_chooses(self.program)

    def submit(self, call: Call) -> None:
        """See `ServedModel`."""
        try:
            if operation_of(call.codec) is Operation.FEEDBACK:
                give_feedback(self, call)
                return
            run = self._run(call)
        except RequestError as error:
            call.fail(error.kind, str(error))
        except Exception as error:
            logger.exception("graph '%s': a request cannot begin", self.name)
            text = f"the graph cannot begin, which is a fault of the server: {error}"
            call.fail(ErrorKind.MODEL_FAILED, text)
        else:
            run.begin()

    def _run(self, call: Call) -> FlowRun:
        """The run of a call, before it begins. Raises `RequestError`."""
        codec = call.codec & 0xFF
        request = Message(
            codec, call.aux, call.body, is_request=True, coding=call.codec >> 8 & 0xFF
        )
        if codec not in _READ and not self._only_chooses:
            raise Unsupported(
                f"graph '{self.name}' passes messages from step to step, which it can in V1, V2 "
                "and Seldon's protocol: ask it in one of these"
            )
        asked: Asked | None = None
        if request.coding and (codec in _SELDON or not self._hands_on):
            request = self.plain(request)
        if codec in _V2 and not self._hands_on:
            request, asked = asked_outputs(request)
        run_id = self._run_id(call, request) if self._needs_id or codec in _SELDON else ""
        if not run_id and self.observer is not None:
            run_id = call.header(b"x-request-id").decode("latin-1")
        if self.flow.timeout_s:
            call.limit(min(call.deadline_s, call.arrived_s + self.flow.timeout_s))
        observer = self.observer
        if observer is not None:
            observer = observer.begin(run_id, request, call)
        run = FlowRun(self, call, request, run_id)
        run.observer = observer
        if asked is not None:
            run.asked = asked
            run.wants_binary = asked.is_binary
        return run

    def _run_id(self, call: Call, request: Message) -> str:
        """What rewards name the request by: the caller's id of it, or a new one that is told."""
        if request.codec in _SELDON:
            from salver.protocol.seldon_meta import puid_of

            own = call.header(b"seldon-puid").decode("latin-1") or puid_of(
                request.codec, bytes(request.body)
            )
            found = own or self._new_id()
            call.add_header(b"seldon-puid", _as_header(found))
            return found
        found = call.header(b"x-request-id").decode("latin-1")
        if not found:
            found = self._new_id()
            call.add_header(b"x-request-id", found.encode())
        return found

    # What runs ask.

    def plain(self, message: Message) -> Message:
        """The message unpacked. Raises `InvalidInput`, `PayloadTooLarge`."""
        return unpacked(message, self._max_body_bytes)

    def finished(self, run: FlowRun, message: Message) -> Message:
        """The run's answer as its caller gets it. Raises `RequestError`."""
        if run.asked is not None:
            message = run.asked.only(message)
            if run.asked.classes:
                message = run.asked.ranked(message, self.metadata)
        if message.codec not in _SELDON:
            return as_model(message, self._answers_as) if self._answers_as else message
        from salver.protocol.seldon_meta import SeldonFacts, finish

        nodes = self.program.nodes
        facts = SeldonFacts(
            puid=run.run_id,
            routing={
                nodes[number].step.title or nodes[number].step.name: branch
                for number, branch in run.branches.items()
                if nodes[number].is_choice
            },
            request_path={
                step.title or step.name: step.image or step.title or step.name
                for step in run.steps_done()
                if step.image or isinstance(step.action, Function | Unit)
            },
            tags=run.tags,
            metrics=run.metrics,
        )
        body = finish(message.codec, bytes(message.body), facts)
        return msgspec.structs.replace(message, body=body, parts=None)

    # The rest of the port.

    @property
    def status(self) -> ModelStatus:
        """Ready, or why not: the first of what it asks that is not."""
        for name, model in self._asked_models():
            if model is None:
                return ModelStatus(self.name, self.version, "UNAVAILABLE", f"{name} is not there")
            if not model.is_ready:
                reason = model.status.reason or "is not ready"
                return ModelStatus(self.name, self.version, "UNAVAILABLE", f"{name}: {reason}")
        return ModelStatus(self.name, self.version, "READY")

    @property
    def is_ready(self) -> bool:
        return all(model is not None and model.is_ready for _, model in self._asked_models())

    @property
    def metadata(self) -> ModelMetadata:
        """What the first and last models say, as far as the request goes to them and the answer
        comes from them; nothing is said of tensors of functions."""
        inputs: list[TensorMetadata] = []
        for number, at in self.program.from_request:
            node = self.program.nodes[number]
            theirs = self._metadata_of(node.step)
            edge = node.edges[at][1]
            for tensor in theirs.inputs if theirs is not None else ():
                if not edge.tensor:
                    inputs.append(tensor)
                elif tensor.name == (edge.rename or edge.tensor):
                    inputs.append(msgspec.structs.replace(tensor, name=edge.tensor))
        outputs = [
            tensor
            for source, edge in self.program.output.edges
            for tensor in self._given(source, edge)
        ]
        return ModelMetadata(
            PLATFORM,
            _once(inputs),
            _once(outputs),
            batchable=False,
            idempotent=False,
            has_rows=self._has_rows(),
        )

    def _has_rows(self) -> bool:
        """Every model of it has rows, as far as they say."""
        known = [self._metadata_of(node.step) for node in self.program.nodes]
        found = [each.batchable or each.has_rows for each in known if each is not None]
        return bool(found) and all(found)

    def _given(self, source: int, edge: Edge) -> Iterator[TensorMetadata]:
        """The tensors that come over an edge, as far as models say; of one that hands on what
        several give, theirs."""
        if source < 0:
            return
        node = self.program.nodes[source]
        theirs = self._metadata_of(node.step)
        found = list(theirs.outputs) if theirs is not None else []
        if isinstance(node.step.action, Pass):
            found = [each for below in node.edges for each in self._given(*below)]
        for tensor in found:
            if edge.tensor in ("", tensor.name):
                yield msgspec.structs.replace(tensor, name=edge.rename or tensor.name)

    def _metadata_of(self, step: Step) -> ModelMetadata | None:
        try:
            model = self._model_of(step)
            return None if model is None else model.metadata
        except (ModelNotReady, ModelNotFound):
            return None

    def _model_of(self, step: Step) -> ServedModel | None:
        action = step.action
        if isinstance(action, Unit):
            return self.bindings.units.get(action.unit)
        if isinstance(action, Service):
            found: ServedModel = self.bindings.find(action.namespace, action.name)
            return found
        return None

    def _asked_models(self) -> Iterator[tuple[str, ServedModel | None]]:
        for name, unit in self.bindings.units.items():
            yield f"unit '{name}'", unit
        for step in self.flow.steps:
            if isinstance(step.action, Service):
                try:
                    yield f"service '{step.action.name}'", self._model_of(step)
                except RequestError:
                    yield f"service '{step.action.name}'", None


def _only_chooses(program: Program) -> bool:
    """Whether each request is answered by one service, which gets it as it is: nothing of the
    graph reads a message."""
    steps = [node for node in program.nodes if node is not program.output]
    whole = all(
        not edge.tensor and not edge.renames for node in program.nodes for _, edge in node.edges
    )
    first = [node for node in steps if any(at == FROM_REQUEST for at, _ in node.edges)]
    return (
        whole
        and len(first) == 1
        and all(
            isinstance(node.step.action, Service | Unit | Address | Weights)
            and all(at == FROM_REQUEST or program.nodes[at].is_choice for at, _ in node.edges)
            for node in steps
        )
    )


def _hands_on(program: Program) -> bool:
    """Whether it is one step that gets the request as it is, and answers for the graph: nothing
    needs to be read of either."""
    node, output = program.nodes[0], program.output
    return (
        len(program.nodes) == 2
        and isinstance(node.step.action, Service | Unit | Address | Function)
        and all(each.is_plain and len(each.edges) == 1 for each in (node, output))
        and node.edges[0][0] == FROM_REQUEST
        and output.edges[0] == (0, Edge(node.step.name))
    )


def _as_header(text: str) -> bytes:
    """What may stand in a header: ids come from bodies too, and may hold line ends."""
    found = text.encode("ascii", "replace")[:_ID_BYTES]
    return bytes(each if 0x20 < each < 0x7F else 0x3F for each in found)


def _once(tensors: Sequence[TensorMetadata]) -> tuple[TensorMetadata, ...]:
    return tuple({each.name: each for each in tensors}.values())


def _by_weight(weights: Sequence[float], random_number: RandomNumber) -> Callable[[bytes], int]:
    """Chooses an index by weight: by chance, or for a caller that is told apart always the same."""
    bounds = list(itertools.accumulate(weights))
    last = max(index for index, weight in enumerate(weights) if weight > 0)

    def choose(caller: bytes) -> int:
        point = sticky_point(caller) if caller else random_number()
        return min(bisect.bisect_right(bounds, point * bounds[-1]), last)

    return choose
