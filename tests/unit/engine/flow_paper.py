"""A graph worked out on paper: what must become of it.

It knows no events: it works out for every edge when it is decided and what it then has, sources
first, and from that when each step begins, ends, and is no longer of use. Graphs in which two
things happen at the same instant and it matters which comes first are left out; all times are
drawn so that this is rare.
"""

from __future__ import annotations

import msgspec
from tests.unit.engine.drawn_flows import Drawn

from salver.errors import ErrorKind
from salver.graphs.flow import REQUEST, Edge, Function, Pass, Service, Step, Succeeded, Weights

EPS = 1e-9
NEVER = float("inf")
Texts = tuple[str, ...]


class Failed(msgspec.Struct, frozen=True):
    """A failure that was tolerated, as a message."""

    kind: ErrorKind


Value = Texts | Failed


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
    closes_s: float = NEVER
    """When it stops waiting for inputs, though it may wait for triggers."""
    useless_s: float = NEVER
    """From when on nobody waits for its answer."""


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
            self.fates[step.name].closes_s = self.closes_s(step)
        for step in reversed(flow.steps):
            self.fates[step.name].useless_s = self.useless_s(step)
        self.ends_s, self.outcomes = self.ended()

    # Which steps matter.

    def is_side(self, step: Step) -> bool:
        """Its answer gets nowhere; what it is given may."""
        return step is not self.output and all(
            not self.is_needed(target) or self.is_only_shown(step, edge)
            for target, edge, _ in self.targets[step.name]
        )

    def is_needed(self, step: Step) -> bool:
        """Something of it, be it what it is given, gets into the answer."""
        return step is self.output or any(
            self.is_needed(target) for target, _, _ in self.targets[step.name]
        )

    def is_only_shown(self, step: Step, edge: Edge) -> bool:
        return edge.end == "inputs" and not isinstance(step.action, Weights | Succeeded)

    def lends_input(self, step: Step) -> bool:
        """What it is given gets into the answer."""
        return any(
            self.is_needed(target) and self.is_only_shown(step, edge)
            for target, edge, _ in self.targets[step.name]
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
        shown_s = self.fates[step.name].begins_s
        times = []
        for target, edge, is_trigger in self.targets[step.name]:
            stops_s = self.stops_waiting_s(target, is_trigger=is_trigger)
            times.append(min(stops_s, shown_s) if self.is_only_shown(step, edge) else stops_s)
        return max(times)

    def stops_waiting_s(self, target: Step, *, is_trigger: bool) -> float:
        fate = self.fates[target.name]
        stops_s = min(fate.decided_s, fate.useless_s)
        return stops_s if is_trigger else min(stops_s, fate.closes_s)

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
        closes_s = self.closes_s(step)
        if closes_s < NEVER:
            last_s = max(time for time, _ in times)
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

    def closes_s(self, step: Step) -> float:
        """When the window of an outer join is over."""
        if step.join != "outer" or not step.window_s or len(step.inputs) == 1:
            return NEVER
        inputs = [self.edge(edge) for edge in step.inputs]
        opens_s = min((time for time, value in inputs if value is not None), default=NEVER)
        return opens_s + step.window_s

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

    def joined(self, times: list[tuple[float, bool]], join: str, quorum: int) -> tuple[bool, float]:
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
            if not step.tolerates and not self.is_side(step) and self.is_fatal(step):
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
        before = [each for each in self.failures() if each[1].ends_s <= output.decided_s + EPS]
        told = [
            (fate.ends_s, fate.fails, self.may_not_begin(fate))
            for step, fate in before
            if self.is_missed(step, fate)
        ]
        first_s = min((time for time, _, is_unsure in told if not is_unsure), default=NEVER)
        # At the time limit several fail at once: what follows from one that is tolerated may
        # leave the output out before the others are told.
        if told and any(step.tolerates and first_s <= fate.ends_s + EPS for step, fate in before):
            raise Ambiguous
        found: list[Texts | ErrorKind] = [
            kind for time, kind, _ in told if time <= first_s + EPS and kind is not None
        ]
        return found if first_s < NEVER else [*found, ErrorKind.INVALID_INPUT]

    def is_missed(self, step: Step, fate: Fate) -> bool:
        """Its failure took something from those on the way to the answer: what it would have
        answered, or, if it never began, what it would have been given."""
        never_began = fate.begins_s == NEVER and self.lends_input(step)
        return never_began or not (step.tolerates or self.is_side(step))

    def may_not_begin(self, fate: Fate) -> bool:
        """It would begin at the instant at which it becomes useless."""
        return abs(fate.begins_s - fate.useless_s) < EPS

    def failures(self) -> list[tuple[Step, Fate]]:
        """Of steps whose answers are still waited for."""
        pairs = [(step, self.fates[step.name]) for step in self.flow.steps]
        return [
            (step, fate)
            for step, fate in pairs
            if fate.fails is not None
            and (fate.ends_s <= fate.useless_s + EPS or self.may_not_begin(fate))
        ]

    def must_be_asked(self, step: Step, *, surely: bool) -> bool:
        """Whether the step is asked; not `surely`: whether it may be, if things are close."""
        eps = EPS if surely else -EPS
        fate = self.fates[step.name]
        if fate.begins_s >= fate.useless_s - eps or fate.begins_s == NEVER:
            return False
        is_in_time = fate.begins_s < self.ends_s - eps
        return is_in_time or self.is_side(step) or self.is_wanted_aside(step, fate.begins_s + eps)

    def is_wanted_aside(self, step: Step, time_s: float) -> bool:
        """Whether side branches wait for it then, though the caller has its answer."""
        for target, _, is_trigger in self.targets[step.name]:
            waits = self.stops_waiting_s(target, is_trigger=is_trigger) > time_s
            if waits and (self.is_side(target) or self.is_wanted_aside(target, time_s)):
                return True
        return False
