"""Random graphs, and models that take the time that was drawn for them, to walk them with."""

from __future__ import annotations

import json
import random
from typing import Any

import msgspec
from tests.unit.engine.flows import AskedCall, Loop

from salver.engine.call import Call
from salver.engine.executor import GraphModel
from salver.engine.flow_ports import Bindings
from salver.engine.ports import ModelStatus
from salver.errors import ErrorKind
from salver.graphs.flow import (
    REQUEST,
    Edge,
    Flow,
    Function,
    Pass,
    Service,
    Step,
    Succeeded,
    Weights,
)
from salver.inference.metadata import ModelMetadata
from salver.protocol.bundle import MessageHead, StepReply, pack, unpack_call
from salver.protocol.wire_codes import Codec

KINDS = (ErrorKind.MODEL_FAILED, ErrorKind.UNAVAILABLE, ErrorKind.MODEL_NOT_READY)
ONE_OF_THREE = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))


class Habits(msgspec.Struct):
    """How long a step takes, and how it fails; at once, as a full queue does, or after its time."""

    seconds: float
    fails: ErrorKind | None = None
    at_once: bool = False


class Drawn(msgspec.Struct):
    flow: Flow
    habits: dict[str, Habits]
    deadline_s: float


def draw(seed: int) -> Drawn:
    chance = random.Random(seed)
    steps: list[Step] = []
    habits: dict[str, Habits] = {}
    for number in range(chance.randint(1, 9)):
        step = draw_step(chance, f"s{number}", steps)
        steps.append(step)
        habits[step.name] = draw_habits(chance)
    edges = draw_edges(chance, steps, chance.randint(1, 3), only_steps=True)
    join = chance.choice(("any", "any", "inner", "outer"))
    flow = Flow("g", tuple(steps), edges, join, merges_output=chance.random() < 0.5)
    deadline_s = chance.uniform(1.0, 6.0) if chance.random() < 0.3 else 1000.0
    return Drawn(flow, habits, deadline_s)


def draw_habits(chance: random.Random) -> Habits:
    seconds = chance.uniform(0.1, 2.0)
    if chance.random() < 0.75:
        return Habits(seconds)
    if chance.random() < 0.4:
        return Habits(seconds, ErrorKind.QUEUE_FULL, at_once=True)
    return Habits(seconds, chance.choice(KINDS))


def draw_step(chance: random.Random, name: str, before: list[Step]) -> Step:
    kind = chance.choices(
        ("service", "function", "pass", "weights", "succeeded"), (55, 18, 9, 12, 6)
    )[0]
    action: Any = {
        "service": lambda: Service("ns", name),
        "function": lambda: Function("py", name),
        "pass": lambda: Pass(merges=chance.random() < 0.5),
        "weights": lambda: Weights(chance.choice(ONE_OF_THREE)),
        "succeeded": Succeeded,
    }[kind]()
    inputs = draw_edges(chance, before, chance.choice((1, 1, 1, 2, 2, 3)))
    options: dict[str, Any] = {}
    if len(inputs) > 1:
        join = chance.choice(("inner", "outer", "any", "quorum"))
        if join == "quorum":
            options["quorum"] = chance.randint(1, len(inputs))
        else:
            options["join"] = join
        if join == "outer" and chance.random() < 0.5:
            options["window_s"] = chance.uniform(0.2, 2.0)
    if before and chance.random() < 0.2:
        options["triggers"] = draw_edges(chance, before, chance.randint(1, 2), only_steps=True)
        options["triggers_join"] = chance.choice(("inner", "outer", "any"))
    if chance.random() < 0.2:
        options["delay_s"] = chance.uniform(0.2, 3.0)
    if kind in ("service", "function") and chance.random() < 0.25:
        options["tolerates"] = True
    return Step(name, action, inputs, **options)


def draw_edges(
    chance: random.Random, steps: list[Step], count: int, *, only_steps: bool = False
) -> tuple[Edge, ...]:
    sources = [each.name for each in steps] + ([] if only_steps else [REQUEST])
    by_name = {each.name: each for each in steps}
    found = []
    # Late steps more often than early ones: graphs are to be deep.
    for name in chance.sample(sources[-5:], min(count, len(sources[-5:]))):
        step = by_name.get(name)
        if step is not None and isinstance(step.action, Weights | Succeeded):
            count_of = 3 if isinstance(step.action, Weights) else 2
            branch = None if chance.random() < 0.2 else chance.randrange(count_of)
            found.append(Edge(name, branch=branch))
        elif step is not None and chance.random() < 0.12:
            found.append(Edge(name, "inputs"))
        else:
            found.append(Edge(name))
    return tuple(found)


# For real.


class Timed:
    """A model that takes its time, tells what it was given, and keeps time limits."""

    version = "1"
    is_ready = True
    metadata = ModelMetadata("test", (), ())

    def __init__(self, name: str, bench: Timing) -> None:
        self.name = name
        self.bench = bench

    @property
    def status(self) -> ModelStatus:
        return ModelStatus(self.name, "1", "READY")

    def submit(self, call: Call) -> None:
        steps, messages = self.read(call)
        bench, loop = self.bench, self.bench.loop
        bench.asked.append((steps[0], loop.now_s))
        texts, now_s = messages, loop.now_s
        for name in steps:
            habits = bench.habits[name]
            now_s += 0.0 if habits.at_once else habits.seconds
            kind = habits.fails
            if now_s >= call.deadline_s and not habits.at_once:
                now_s, kind = call.deadline_s, ErrorKind.DEADLINE_EXCEEDED
            if kind is not None:
                self.refuse(call, name, kind, now_s, at_once=len(steps) == 1 and habits.at_once)
                return
            texts = [f"{name}({','.join(texts)})"]
        loop.call_later(now_s - loop.now_s, lambda: self.answer(call, texts))

    def refuse(self, call: Call, name: str, kind: ErrorKind, at_s: float, *, at_once: bool) -> None:
        if at_once:
            call.fail(kind, f"step '{name}' (drawn) fails")
        else:
            loop = self.bench.loop
            loop.call_later(at_s - loop.now_s, lambda: call.fail(kind, "drawn"))

    def read(self, call: Call) -> tuple[list[str], list[str]]:
        return [self.name], texts_of(call.body)

    def answer(self, call: Call, texts: list[str]) -> None:
        call.deliver(written(texts[0], texts), 0)


class TimedFunctions(Timed):
    """The same as functions in a steps worker."""

    def read(self, call: Call) -> tuple[list[str], list[str]]:
        head, bodies = unpack_call(call.body)
        found = [
            text
            for each, body in zip(head.messages, bodies, strict=True)
            if each.codec
            for text in texts_of(bytes(body))
        ]
        return [each.step for each in head.calls], found

    def answer(self, call: Call, texts: list[str]) -> None:
        body = written(texts[0], texts)
        head, _ = unpack_call(call.body)
        seconds = [0.0] * len(head.calls)
        message = MessageHead("", int(Codec.V2_JSON), 0, 0, len(body), False)
        call.deliver(pack(StepReply([message], seconds=seconds), [body]), 0)


def written(name: str, texts: list[str]) -> bytes:
    tensor = {"name": name, "shape": [len(texts)], "datatype": "BYTES", "data": texts}
    return json.dumps({"model_name": "m", "outputs": [tensor]}).encode()


def texts_of(body: bytes | bytearray) -> list[str]:
    document = json.loads(body)
    tensors = document.get("inputs", document.get("outputs"))
    return ["!"] if tensors is None else [text for each in tensors for text in each["data"]]


class WatchedCall(AskedCall):
    """Tells when it is told."""

    __slots__ = ("__weakref__", "loop", "told_s")

    def __init__(self, loop: Loop, deadline_s: float) -> None:
        request = {"inputs": [{"name": "x", "shape": [1], "datatype": "BYTES", "data": ["x"]}]}
        super().__init__(json.dumps(request).encode(), Codec.V2_JSON)
        self.deadline_s = deadline_s
        self.loop = loop
        self.told_s: list[float] = []

    def deliver(self, body: bytes, aux: int) -> None:
        self.told_s.append(self.loop.now_s)
        super().deliver(body, aux)

    def fail(self, kind: ErrorKind, message: str) -> None:
        self.told_s.append(self.loop.now_s)
        super().fail(kind, message)


class Timing:
    """A drawn flow, ready to be asked."""

    def __init__(self, drawn: Drawn) -> None:
        self.loop = Loop()
        self.habits = drawn.habits
        self.asked: list[tuple[str, float]] = []
        units = {"py": TimedFunctions("py", self)}
        self.graph = GraphModel(
            "g",
            "1",
            drawn.flow,
            Bindings(units, lambda namespace, name: Timed(name, self)),
            clock=self.loop.clock,
            scheduler=self.loop,
            random_number=lambda: 0.5,
            new_id=lambda: "id",
        )

    def ask(self, deadline_s: float) -> WatchedCall:
        call = WatchedCall(self.loop, deadline_s)
        self.graph.submit(call)
        return call
