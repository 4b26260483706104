"""Small models in memory, and a loop with a clock of its own, to walk flows with."""

from __future__ import annotations

import heapq
import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from salver.engine.call import Call
from salver.engine.executor import GraphModel
from salver.engine.flow_ports import Bindings, Failure, FlowObserver, Message
from salver.engine.ports import ModelStatus, ServedModel
from salver.errors import ErrorKind, ModelNotFound
from salver.graphs.flow import Edge, Flow, Service, Step
from salver.inference.metadata import ModelMetadata, TensorMetadata
from salver.protocol.bundle import MessageHead, StepReply, pack, unpack_call
from salver.protocol.wire_codes import Codec

Compute = Callable[[dict[str, Any]], dict[str, Any]]


class Timer:
    """What is to be called, unless it is cancelled."""

    def __init__(self, callback: Callable[[], object]) -> None:
        self._callback: Callable[[], object] | None = callback

    def cancel(self) -> None:
        self._callback = None

    @property
    def is_due(self) -> bool:
        return self._callback is not None

    def __call__(self) -> None:
        if self._callback is not None:
            self._callback()


class Loop:
    """The part of an event loop that runs need; time passes when told."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self._later: list[tuple[float, int, Timer]] = []
        self._numbers = itertools.count()

    def clock(self) -> float:
        return self.now_s

    def call_soon(self, callback: Callable[[], object]) -> Timer:
        return self.call_later(0.0, callback)

    def call_later(self, delay: float, callback: Callable[[], object]) -> Timer:
        timer = Timer(callback)
        heapq.heappush(self._later, (self.now_s + delay, next(self._numbers), timer))
        return timer

    @property
    def due(self) -> int:
        """Callbacks that are still to come."""
        return sum(timer.is_due for _, _, timer in self._later)

    def run_until(self, time_s: float) -> None:
        while self._later and self._later[0][0] <= time_s:
            self.now_s, _, callback = heapq.heappop(self._later)
            callback()
        self.now_s = time_s


class AskedCall(Call):
    """A caller's call; keeps what came of it."""

    __slots__ = ("added", "answers", "failures", "given_headers")

    def __init__(
        self,
        body: bytes,
        codec: Codec = Codec.V1_JSON,
        *,
        aux: int = 0,
        headers: Mapping[str, str] | None = None,
        tag: int = 0,
    ) -> None:
        super().__init__(tag or int(codec), aux, body, arrived_s=0.0, deadline_s=30.0)
        self.answers: list[tuple[bytes, int]] = []
        self.failures: list[Failure] = []
        self.added: dict[bytes, bytes] = {}
        self.given_headers = {k.encode(): v.encode() for k, v in (headers or {}).items()}

    def deliver(self, body: bytes, aux: int) -> None:
        self.answers.append((body, aux))

    def fail(self, kind: ErrorKind, message: str) -> None:
        self.failures.append(Failure(kind, message))

    def reject(self, status: int, body: bytes, kind: ErrorKind, message: str) -> None:
        self.failures.append(Failure(kind, message, status, body))

    def add_header(self, name: bytes, value: bytes) -> None:
        self.added[name] = value

    def header(self, name: bytes) -> bytes:
        return self.given_headers.get(name, b"")

    @property
    def json(self) -> Any:
        assert not self.failures, self.failures
        (answer,) = self.answers
        return json.loads(answer[0])

    @property
    def failure(self) -> Failure:
        assert not self.answers, self.answers
        (failure,) = self.failures
        return failure


class JsonModel:
    """Answers JSON requests by a function, after `seconds`; asked many times at once."""

    def __init__(
        self,
        loop: Loop,
        compute: Compute | None = None,
        *,
        seconds: float = 0.0,
        name: str = "m",
        failure: Failure | None = None,
        metadata: ModelMetadata | None = None,
    ) -> None:
        self.name = name
        self.version = "1"
        self.asked: list[dict[str, Any]] = []
        self.calls: list[Call] = []
        self.is_ready = True
        self.metadata = metadata or ModelMetadata("test", (), ())
        self._loop = loop
        self._compute = compute
        self._seconds = seconds
        self._failure = failure

    @property
    def status(self) -> ModelStatus:
        state = "READY" if self.is_ready else "UNAVAILABLE"
        return ModelStatus(self.name, "1", state, "" if self.is_ready else "it is asleep")

    def submit(self, call: Call) -> None:
        self.calls.append(call)
        self._loop.call_later(self._seconds, lambda: self._answer(call))

    def _answer(self, call: Call) -> None:
        if call.is_abandoned:
            return
        if self._failure is not None:
            failure = self._failure
            if failure.status:
                call.reject(failure.status, failure.body, failure.kind, failure.message)
            else:
                call.fail(failure.kind, failure.message)
            return
        request = json.loads(call.body)
        self.asked.append(request)
        assert self._compute is not None
        call.deliver(json.dumps(self._compute(request)).encode(), 0)


class StepsModel(JsonModel):
    """A steps worker of plain Python functions on V1 rows."""

    def __init__(self, loop: Loop, functions: Mapping[str, Callable[..., Any]]) -> None:
        super().__init__(loop, name="steps")
        self._functions = functions
        self.chains: list[list[str]] = []

    def _answer(self, call: Call) -> None:
        if call.is_abandoned:
            return
        head, bodies = unpack_call(call.body)
        self.chains.append([each.function for each in head.calls])
        values = [next(iter(json.loads(bytes(body)).values()), None) for body in bodies]
        reply = StepReply(seconds=[0.001] * len(head.calls))
        for each in head.calls:
            values = [self._functions[each.function](*values)]
        if head.calls[-1].method in ("branch", "route"):
            reply.branch = int(values[0])
            call.deliver(pack(reply, []), 0)
            return
        body = json.dumps({"predictions": values[0]}).encode()
        reply.messages = [MessageHead("", int(Codec.V1_JSON), 0, 0, len(body), False)]
        call.deliver(pack(reply, [body]), 0)


class Bench:
    """A flow with its models."""

    def __init__(self, loop: Loop | None = None) -> None:
        self.loop = loop or Loop()
        self.models: dict[str, ServedModel] = {}
        self.units: dict[str, ServedModel] = {}
        self.observer: FlowObserver | None = None
        self.random = iter(itertools.cycle([0.5]))

    def add(self, name: str, compute: Compute | None = None, **options: Any) -> JsonModel:
        model = JsonModel(self.loop, compute, name=name, **options)
        self.models[name] = model
        return model

    def graph(self, steps: Sequence[Step], output: Sequence[Edge], **options: Any) -> GraphModel:
        return self.of(Flow("g", tuple(steps), tuple(output), **options))

    def of(self, flow: Flow) -> GraphModel:
        return GraphModel(
            "g",
            "1",
            flow,
            Bindings(self.units, self._find, observer=self.observer),
            clock=self.loop.clock,
            scheduler=self.loop,
            random_number=lambda: next(self.random),
            new_id=lambda: "new-id",
        )

    def _find(self, namespace: str, name: str) -> ServedModel:
        if name not in self.models:
            raise ModelNotFound(f"unknown model '{name}'")
        return self.models[name]

    def ask(self, graph: GraphModel, request: Any, codec: Codec = Codec.V1_JSON) -> AskedCall:
        call = AskedCall(json.dumps(request).encode(), codec)
        call.arrived_s += self.loop.now_s
        call.deadline_s += self.loop.now_s
        graph.submit(call)
        self.loop.run_until(self.loop.now_s + 100.0)
        return call


def service(name: str, *inputs: Edge, **options: Any) -> Step:
    """A step that asks the model of its name."""
    return Step(name, Service("ns", name), inputs or (Edge(),), **options)


def plus(number: float) -> Compute:
    """V1: adds to every instance."""

    def compute(request: dict[str, Any]) -> dict[str, Any]:
        return {"predictions": [value + number for value in request["instances"]]}

    return compute


def v2_of(tensors: Callable[[dict[str, list[Any]]], dict[str, list[Any]]]) -> Compute:
    """V2: from tensors by name to tensors by name, all INT32."""

    def compute(request: dict[str, Any]) -> dict[str, Any]:
        given = {each["name"]: each["data"] for each in request["inputs"]}
        outputs = [v2_tensor(name, data) for name, data in tensors(given).items()]
        return {"model_name": "m", "outputs": outputs}

    return compute


def v2_tensor(name: str, data: list[Any]) -> dict[str, Any]:
    return {"name": name, "shape": [1, len(data)], "datatype": "INT32", "data": data}


def v2_request(**tensors: list[Any]) -> dict[str, Any]:
    return {"inputs": [v2_tensor(name, data) for name, data in tensors.items()]}


def outputs_of(answer: Mapping[str, Any]) -> dict[str, list[Any]]:
    return {each["name"]: each["data"] for each in answer["outputs"]}


def inputs_named(*names: str) -> ModelMetadata:
    tensors = tuple(TensorMetadata(name, "INT32", (1, -1)) for name in names)
    return ModelMetadata("test", tensors, ())


__all__ = ["AskedCall", "Bench", "JsonModel", "Loop", "Message", "StepsModel", "plus", "service"]
