"""Random graphs, walked by the executor and worked out on paper: the same comes of both.

The paper (`Paper`) knows no events: it works out for every edge when it is decided and what it
then has, sources first, and from that when each step begins, ends, and is no longer of use.
Graphs in which two things happen at the same instant and it matters which comes first are left
out; all times are drawn so that this is rare.
"""

from __future__ import annotations

import gc
import json
import random
import weakref
from collections import Counter
from typing import Any

import msgspec
import pytest

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
from tests.unit.engine.flows import AskedCall, Loop

EPS = 1e-9
NEVER = float("inf")
KINDS = (ErrorKind.MODEL_FAILED, ErrorKind.UNAVAILABLE, ErrorKind.MODEL_NOT_READY)
ONE_OF_THREE = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
Texts = tuple[str, ...]


class Failed(msgspec.Struct, frozen=True):
    """A failure that was tolerated, as a message."""

    kind: ErrorKind


Value = Texts | Failed


class Habits(msgspec.Struct):
    """How long a step takes, and how it fails; at once, as a full queue does, or after its time."""

    seconds: float
    fails: ErrorKind | None = None
    at_once: bool = False


class Drawn(msgspec.Struct):
    flow: Flow
    habits: dict[str, Habits]
    deadline_s: float


# Drawing.


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


# On paper.


class Ambiguous(Exception):
    """Two things happen at once, and it matters which is first."""


class Fate(msgspec.Struct):
    """What becomes of a step: when it is decided whether it runs, what it is given, how it ends."""

    decided_s: float
    given: list[tuple[Edge, Value]] | None = None
    begins_s: float = NEVER
    ends_s: float = NEVER
    answer: Value | None = None
    fails: ErrorKind | None = None
    branch: int | None = None
    useless_s: float = NEVER
    """From when on nobody waits for its answer."""

    @property
    def stops_waiting_s(self) -> float:
        return min(self.decided_s, self.useless_s)


class Paper:
    """A flow worked out."""

    def __init__(self, drawn: Drawn) -> None:
        self.flow = drawn.flow
        self.habits = drawn.habits
        self.deadline_s = drawn.deadline_s
        flow = self.flow
        action = Pass(flow.merges_output)
        self.output = Step("output", action, flow.output, flow.output_join)
        self.steps = (*flow.steps, self.output)
        self.targets: dict[str, list[tuple[Step, Edge, bool]]] = {s.name: [] for s in self.steps}
        for step in self.steps:
            for edge in step.inputs:
                if edge.source:
                    self.targets[edge.source].append((step, edge, False))
            for edge in step.triggers:
                self.targets[edge.source].append((step, edge, True))
        self.fates: dict[str, Fate] = {}
        for step in self.steps:
            self.fates[step.name] = self.fate(step)
        for step in reversed(flow.steps):
            self.fates[step.name].useless_s = self.useless_s(step)
        self.ends_s, self.outcomes = self.ended()

    # Which steps matter.

    def is_side(self, step: Step) -> bool:
        return step is not self.output and all(
            self.is_side(target) for target, _, _ in self.targets[step.name]
        )

    def is_fatal(self, step: Step) -> bool:
        """Whether the request fails if this step does."""
        if step is self.output:
            return True
        for target, _, is_trigger in self.targets[step.name]:
            join = target.triggers_join if is_trigger else target.join
            can_do_without = join == "any" or (target.quorum and not is_trigger)
            if not self.is_side(target) and not can_do_without and self.is_fatal(target):
                return True
        return False

    def useless_s(self, step: Step) -> float:
        if self.is_side(step):
            return NEVER
        return max(
            self.fates[target.name].stops_waiting_s for target, _, _ in self.targets[step.name]
        )

    # What happens.

    def edge(self, edge: Edge) -> tuple[float, Value | None]:
        """When the edge is decided, and what it has; None: nothing."""
        if edge.source == REQUEST:
            return 0.0, ("x",)
        fate, step = self.fates[edge.source], self.step(edge.source)
        if fate.given is None:
            return fate.decided_s, None
        if fate.branch is not None:
            is_taken = edge.branch in (None, fate.branch)
            return fate.ends_s, self.one(step, fate.given) if is_taken else None
        if edge.end == "inputs":
            if fate.begins_s == NEVER:
                return fate.ends_s, None
            return fate.begins_s, self.shown(step, fate.given)
        return fate.ends_s, fate.answer

    def step(self, name: str) -> Step:
        return next(each for each in self.steps if each.name == name)

    def fate(self, step: Step) -> Fate:
        inputs = [(edge, *self.edge(edge)) for edge in step.inputs]
        triggers = [(edge, *self.edge(edge)) for edge in step.triggers]
        times = [(time, value is not None) for _, time, value in inputs]
        is_late = False
        closes_s = NEVER
        if step.join == "outer" and step.window_s and len(inputs) > 1:
            firsts = [time for time, is_there in times if is_there]
            opens_s = min(firsts, default=NEVER)
            last_s = max(time for time, _ in times)
            closes_s = opens_s + step.window_s
            self.apart(min(closes_s, self.deadline_s), [time for time, _ in times])
            if closes_s < last_s:
                # Too late for those who come after that; if it is after the time limit, for all.
                is_late = closes_s > self.deadline_s and last_s > self.deadline_s
                times = [(min(time, closes_s), is_there and time < closes_s)
                         for time, is_there in times]  # fmt: skip
        goes, when_s = self.joined(times, step.join, step.quorum)
        if triggers:
            may_go, then_s = self.joined(
                [(time, value is not None) for _, time, value in triggers], step.triggers_join, 0
            )
            nos = [time for time, is_yes in ((when_s, goes), (then_s, may_go)) if not is_yes]
            goes, when_s = (False, min(nos)) if nos else (True, max(when_s, then_s))
        if is_late and when_s > self.deadline_s:
            return self.out_of_time(step)
        if not goes:
            return Fate(when_s)
        self.apart(when_s, self.unneeded(step, times, when_s))
        given = [
            (edge, value)
            for (edge, _, value), (time, is_there) in zip(inputs, times, strict=True)
            if value is not None and is_there and time <= when_s
        ]
        return self.run(step, given, when_s)

    def unneeded(self, step: Step, times: list[tuple[float, bool]], when_s: float) -> list[float]:
        """When inputs come that it could go without; but for those that let it go."""
        if step.join == "any" or step.quorum:
            there = sorted(time for time, is_there in times if is_there)
            wanted = step.quorum or 1
            return there[wanted:] + [time for time in there[:wanted] if time > when_s]
        return []

    def apart(self, time_s: float, others: list[float]) -> None:
        if any(abs(each - time_s) < EPS for each in others):
            raise Ambiguous

    def joined(
        self, times: list[tuple[float, bool]], join: str, quorum: int
    ) -> tuple[bool, float]:
        """Whether it may go, and since when that is known."""
        there = sorted(time for time, is_there in times if is_there)
        gone = sorted(time for time, is_there in times if not is_there)
        if join == "outer":
            return bool(there), max(time for time, _ in times)
        wanted = 1 if join == "any" else quorum or len(times)
        if len(there) >= wanted:
            return True, there[wanted - 1]
        return False, gone[len(times) - wanted]

    def run(self, step: Step, given: list[tuple[Edge, Value]], when_s: float) -> Fate:
        begins_s = when_s + step.delay_s
        if step.delay_s and begins_s > self.deadline_s:
            return self.out_of_time(step, when_s, given)
        fate = Fate(when_s, given, begins_s, begins_s)
        if isinstance(step.action, Weights):
            fate.branch = step.action.weights.index(1.0)
        elif isinstance(step.action, Succeeded):
            fate.branch = 1 if isinstance(self.one(step, given), Failed) else 0
        elif isinstance(step.action, Pass):
            fate.answer = self.one(step, given)
        else:
            self.ask(step, fate)
        return fate

    def ask(self, step: Step, fate: Fate) -> None:
        habits = self.habits[step.name]
        fate.fails = habits.fails
        if not habits.at_once:
            fate.ends_s = fate.begins_s + habits.seconds
            if fate.ends_s >= self.deadline_s:
                fate.ends_s, fate.fails = self.deadline_s, ErrorKind.DEADLINE_EXCEEDED
        if fate.fails is not None:
            fate.answer = Failed(fate.fails) if step.tolerates else None
            return
        assert fate.given is not None
        fate.answer = (f"{step.name}({','.join(self.seen(step, fate.given))})",)

    def out_of_time(
        self, step: Step, when_s: float = NEVER, given: list[tuple[Edge, Value]] | None = None
    ) -> Fate:
        kind = ErrorKind.DEADLINE_EXCEEDED
        answer = Failed(kind) if step.tolerates else None
        decided_s = min(when_s, self.deadline_s)
        return Fate(decided_s, given or [], NEVER, self.deadline_s, answer, kind)

    # What messages hold.

    def one(self, step: Step, given: list[tuple[Edge, Value]]) -> Value:
        """The one message of several."""
        is_first = not (isinstance(step.action, Pass) and step.action.merges)
        asks = isinstance(step.action, Service | Function)
        if len(given) == 1 or (is_first and not asks):
            return given[0][1]
        return tuple(text for _, each in given if not isinstance(each, Failed) for text in each)

    def shown(self, step: Step, given: list[tuple[Edge, Value]]) -> Value:
        """What others get of its inputs: of a function's arguments the first."""
        if not isinstance(step.action, Function):
            return self.one(step, given)
        source = given[0][0].source
        return self.one(step, [each for each in given if each[0].source == source])

    def seen(self, step: Step, given: list[tuple[Edge, Value]]) -> list[str]:
        """What a model or function reads."""
        if isinstance(step.action, Function):
            sources = dict.fromkeys(edge.source for edge, _ in given)
            messages = [self.one(step, [e for e in given if e[0].source == s]) for s in sources]
        else:
            messages = [self.one(step, given)]
        return [t for each in messages for t in (("!",) if isinstance(each, Failed) else each)]

    # How it ends.

    def ended(self) -> tuple[float, list[Texts | ErrorKind]]:
        """When the caller is told, and what it may be."""
        output = self.fates["output"]
        fatal = []
        for step, fate in self.failures():
            if not self.is_side(step) and self.is_fatal(step):
                if self.may_not_begin(fate):
                    raise Ambiguous
                fatal.append((fate.ends_s, fate.fails))
        ends_s = min([output.decided_s, *(time for time, _ in fatal)])
        found: list[Texts | ErrorKind] = [
            kind for time, kind in fatal if time <= ends_s + EPS and kind is not None
        ]
        if output.decided_s <= ends_s + EPS:
            found += self.ends(output)
        return ends_s, found

    def ends(self, output: Fate) -> list[Texts | ErrorKind]:
        if output.given is not None:
            answer = self.one(self.output, output.given)
            return [answer.kind if isinstance(answer, Failed) else answer]
        told = [
            (fate.ends_s, fate.fails, self.may_not_begin(fate))
            for step, fate in self.failures()
            if not self.is_side(step) and fate.ends_s <= output.decided_s + EPS
        ]
        first_s = min((time for time, _, is_unsure in told if not is_unsure), default=NEVER)
        found: list[Texts | ErrorKind] = [
            kind for time, kind, _ in told if time <= first_s + EPS and kind is not None
        ]
        return found if first_s < NEVER else [*found, ErrorKind.INVALID_INPUT]

    def may_not_begin(self, fate: Fate) -> bool:
        """It would begin at the instant at which it becomes useless."""
        return abs(fate.begins_s - fate.useless_s) < EPS

    def failures(self) -> list[tuple[Step, Fate]]:
        """Of steps whose answers are still waited for, and that tolerate none."""
        pairs = [(step, self.fates[step.name]) for step in self.flow.steps]
        return [
            (step, fate)
            for step, fate in pairs
            if fate.fails is not None and not step.tolerates and fate.ends_s <= fate.useless_s + EPS
        ]

    def must_be_asked(self, step: Step, *, surely: bool) -> bool:
        """Whether the step is asked; not `surely`: whether it may be, if things are close."""
        eps = EPS if surely else -EPS
        fate = self.fates[step.name]
        if fate.begins_s >= fate.useless_s - eps or fate.begins_s == NEVER:
            return False
        is_in_time = fate.begins_s < self.ends_s - eps
        return is_in_time or self.is_side(step) or self.is_wanted_aside(step, eps)

    def is_wanted_aside(self, step: Step, eps: float) -> bool:
        for target, _, _ in self.targets[step.name]:
            waits = self.fates[target.name].stops_waiting_s > self.ends_s + eps
            if waits and (self.is_side(target) or self.is_wanted_aside(target, eps)):
                return True
        return False


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

    def refuse(
        self, call: Call, name: str, kind: ErrorKind, at_s: float, *, at_once: bool
    ) -> None:
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


@pytest.mark.parametrize("part", range(8))
def test_what_comes_of_a_graph_is_what_the_paper_says(part: int) -> None:
    compared: Counter[str] = Counter()
    for seed in range(part, 4000, 8):
        drawn = draw(seed)
        try:
            paper = Paper(drawn)
        except Ambiguous:
            compared["ambiguous"] += 1
            continue
        compare(seed, drawn, paper, compared)
    assert compared["ambiguous"] < 150, compared
    assert min(compared["answers"], compared["failures"], compared["asked"]) > 60, compared


def compare(seed: int, drawn: Drawn, paper: Paper, compared: Counter[str]) -> None:
    timing = Timing(drawn)
    call = timing.ask(drawn.deadline_s)
    timing.loop.run_until(2000.0)
    outcomes = paper.outcomes
    assert len(call.answers) + len(call.failures) == 1, (seed, call.failures)
    assert call.told_s == [pytest.approx(paper.ends_s, abs=1e-6)], seed
    if call.answers:
        assert tuple(texts_of(call.answers[0][0])) in outcomes, seed
        compared["answers"] += 1
    else:
        assert call.failures[0].kind in outcomes, (seed, call.failures, outcomes)
        compared["failures"] += 1
    names = Counter(name for name, _ in timing.asked)
    assert set(names.values()) <= {1}, (seed, names)
    for step in drawn.flow.steps:
        if isinstance(step.action, Service):
            if paper.must_be_asked(step, surely=True):
                assert step.name in names, (seed, step.name)
                compared["asked"] += 1
            if not paper.must_be_asked(step, surely=False):
                assert step.name not in names, (seed, step.name)
    assert timing.graph.in_flight == 0 and timing.loop.due == 0, seed


@pytest.mark.parametrize("part", range(4))
def test_when_the_client_leaves_nothing_more_is_asked_and_nothing_is_left(part: int) -> None:
    left_amid = 0
    gc.disable()
    try:
        for seed in range(part, 1600, 4):
            drawn = draw(seed)
            timing = Timing(drawn)
            call = timing.ask(drawn.deadline_s)
            leaves_s = random.Random(seed).uniform(0.0, 5.0)
            timing.loop.run_until(leaves_s)
            was_told = len(call.told_s)
            call.is_abandoned = True
            left_amid += not was_told
            timing.loop.run_until(2000.0)
            assert all(time <= leaves_s for _, time in timing.asked), seed
            assert len(call.told_s) == was_told, seed
            assert timing.graph.in_flight == 0, seed
            # Nothing refers to the run any more, not even itself.
            kept = weakref.ref(call)
            del call
            assert kept() is None, seed
    finally:
        gc.enable()
    assert left_amid > 50
