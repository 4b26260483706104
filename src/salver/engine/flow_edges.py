"""What edges decide on a request's way through a graph: who begins, who never will, who need not.

A step waits until its edges are decided; a step that will never run is absent to those that wait
for it, and what it still waited for itself is given up unless others need it. Absence is passed on
from a queue, not from step to step, so that a chain may be as long as one likes. Owns the values
of the edges, the states of the steps and their timers; what steps do is `flow_run.py`'s.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Container, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any
from weakref import ref

from salver.engine.call import Call
from salver.engine.flow_calls import FlowCall
from salver.engine.flow_ports import Failure, FlowObserver, Message
from salver.engine.flow_program import Node
from salver.engine.flow_texts import no_output
from salver.errors import ErrorKind

if TYPE_CHECKING:
    from salver.engine.executor import GraphModel

WAITING, RUNNING, DONE, GONE = 0, 1, 2, 3


class Absent:
    """As the value of an edge: no message will come."""


ABSENT = Absent()
_NOBODY: frozenset[int] = frozenset()
Value = Message | Absent | None
"""What an edge has: None while it is undecided."""


class FlowEdges:
    """The part of a run that decides whose turn it is."""

    __slots__ = (
        "_gone",
        "_late",
        "_ready",
        "_timers",
        "_visits",
        "aside",
        "asks",
        "call",
        "failure",
        "is_over",
        "model",
        "observer",
        "state",
        "values",
    )

    def __init__(self, model: GraphModel, call: Call) -> None:
        counts = model.program.counts
        self.model = model
        self.call = call
        self.observer: FlowObserver | None = None
        """Who sees what happens to this request."""
        self.is_over = False
        """The caller has its answer."""
        self.aside: Container[int] = _NOBODY
        """Once it is over: the steps that go on since side branches wait for them."""
        self.values: list[list[Value]] = [[None] * count for count in counts]
        self.state = [WAITING] * len(counts)
        self.asks: dict[int, ref[FlowCall]] = {}
        """The calls whose answers are waited for. Those who have them keep them: one that is let
        go of, since the client has left, takes the run with it."""
        self.failure: Failure | None = None
        """The first failure of a step that others could do without."""
        self._ready: deque[Node] = deque()
        self._gone: deque[Node] = deque()
        self._timers: dict[int, Any] = {}
        self._visits: dict[int, int] = {}
        self._late: dict[int, deque[tuple[int, Message]]] = {}
        """What comes to a step of a cycle while it is busy, for its next rounds."""

    # What a run does.

    def pump(self) -> None:
        """Does what is due now, and what becomes due by that."""
        raise NotImplementedError

    def on_failure(self, node: Node, failure: Failure, started_s: float) -> None:
        """A step has failed."""
        raise NotImplementedError

    def break_off(self, error: Exception) -> None:
        """Something here or in who is asked has a fault."""
        raise NotImplementedError

    def end_without_answer(self) -> None:
        """There can be no answer any more."""
        raise NotImplementedError

    # Edges.

    def decide(self, node: Node, at: int, value: Value) -> None:
        """An edge has a message, or will never have one."""
        number = node.number
        values = self.values[number]
        if node.is_in_cycle:
            self._decide_again(node, at, value)
        elif values[at] is None:
            values[at] = value
            if self.state[number] == WAITING:
                self._consider(node, at)

    def _decide_again(self, node: Node, at: int, value: Value) -> None:
        """In a cycle each message counts, one after the other."""
        number = node.number
        if self.state[number] == RUNNING:
            if isinstance(value, Message):
                self._late.setdefault(number, deque()).append((at, value))
            return
        self.values[number][at] = value
        if self.state[number] == WAITING or self._may_run_again(node, value):
            self._consider(node, at)

    def _may_run_again(self, node: Node, value: Value) -> bool:
        if not isinstance(value, Message) or self.state[node.number] != DONE:
            return False
        visits = self._visits.get(node.number, 0)
        if visits < node.step.max_visits:
            return True
        text = f"step '{node.step.name}' has run {visits} times, which is its limit"
        self.failure = self.failure or no_output(text)
        return False

    def _consider(self, node: Node, at: int) -> None:
        """Starts the step, or gives it up, if its edges say so."""
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
        elif step.window_s and self._opens_window(node, at):
            self._wait(node, step.window_s, partial(self.close_window, node))

    def _opens_window(self, node: Node, at: int) -> bool:
        """Whether this is the first input of several that are not waited for any longer."""
        cut, values = node.trigger_from, self.values[node.number]
        is_first = at < cut and isinstance(values[at], Message) and node.number not in self._timers
        return is_first and node.step.join == "outer" and None in values[:cut]

    def _set_ready(self, node: Node) -> None:
        number = node.number
        self.state[number] = RUNNING
        if self._timers:
            self._drop_timer(number)
        if node.is_in_cycle:
            self._visits[number] = self._visits.get(number, 0) + 1
        elif len(self.values[number]) > 1:
            self._release_sources(node)
            # What comes from now on, while it is held back, is too late.
            values = self.values[number]
            values[:] = [ABSENT if each is None else each for each in values]
        if node.step.delay_s:
            self._wait(node, node.step.delay_s, partial(self._ready.append, node))
        else:
            self._ready.append(node)

    def _skip(self, node: Node) -> None:
        """The step is not run: neither are those that cannot do without it."""
        if node.is_in_cycle:
            return  # What is not there now may come on the next round.
        if node is self.model.program.output:
            self.state[node.number] = GONE
            self.end_without_answer()
            return
        if self.observer is not None:
            self.observer.on_skipped(node.number)
        self.give_up(node)

    def give_up(self, node: Node) -> None:
        """The step has no answer, and will have none."""
        self.state[node.number] = GONE
        if self._timers:
            self._drop_timer(node.number)
        if not node.is_in_cycle:
            self._gone.append(node)

    def _pass_on_absence(self, node: Node) -> None:
        nodes = self.model.program.nodes
        for number, at in node.targets:
            self.decide(nodes[number], at, ABSENT)
        if len(self.values[node.number]) > 1:
            self._release_sources(node)

    # What nobody needs any more.

    def _release_sources(self, node: Node) -> None:
        """The step goes ahead, or is given up, without some of its sources."""
        self._release(self._undecided_sources(node))

    def _undecided_sources(self, node: Node) -> list[int]:
        pairs = zip(node.edges, self.values[node.number], strict=True)
        return [source for (source, _), value in pairs if value is None and source >= 0]

    def _release(self, numbers: list[int]) -> None:
        """Unless others need these steps they need not run, nor what they wait for."""
        nodes, state = self.model.program.nodes, self.state
        while numbers:
            number = numbers.pop()
            if self._is_needless(nodes[number]):
                if state[number] == WAITING:
                    numbers += self._undecided_sources(nodes[number])
                state[number] = GONE
                self._drop_timer(number)
                self.abandon(number)

    def _is_needless(self, node: Node) -> bool:
        state = self.state
        if state[node.number] not in (WAITING, RUNNING) or node.is_in_cycle or node.is_side:
            return False
        values = self.values
        return not any(
            state[to] == WAITING and values[to][at] is None and self._still_counts(to)
            for to, at in node.targets
        )

    def _still_counts(self, number: int) -> bool:
        """Once the caller has its answer, steps that waited on the way to it do not."""
        is_side = self.model.program.nodes[number].is_side
        return not self.is_over or is_side or number in self.aside

    def abandon(self, number: int) -> None:
        """Nobody waits for what the step was asked."""
        kept = self.asks.pop(number, None)
        ask = kept() if kept is not None else None
        if ask is not None:
            ask.is_abandoned = True

    def wanted_aside(self) -> set[int]:
        """Steps on the way to the answer for which side branches still wait."""
        nodes, state = self.model.program.nodes, self.state
        todo = [each for each in self.model.program.sides if state[each.number] == WAITING]
        wanted: set[int] = set()
        while todo:
            for source in self._undecided_sources(todo.pop()):
                if source not in wanted and state[source] in (WAITING, RUNNING):
                    wanted.add(source)
                    todo.append(nodes[source])
        return wanted

    # Time.

    def _wait(self, node: Node, seconds: float, then: Callable[[], object]) -> None:
        """Goes on with the step later. One that may only begin after the request's time limit
        fails at that limit: nobody else would tell the caller."""
        left_s = self.call.deadline_s - self.model.clock()
        delay_s = min(seconds, max(0.0, left_s))
        on_time = partial(self._on_time, node, seconds - delay_s, then)
        self._timers[node.number] = self.model.scheduler.call_later(delay_s, on_time)

    def _on_time(self, node: Node, more_s: float, then: Callable[[], object]) -> None:
        del self._timers[node.number]
        if self.call.is_abandoned:
            return
        try:
            if more_s <= 0.0:
                then()
            elif self.model.clock() < self.call.deadline_s:
                # A model that may take longer has moved the limit meanwhile.
                self._wait(node, more_s, then)
            else:
                limit_s = self.call.granted_s
                text = f"the request's time limit of {limit_s:g} s has passed before it could begin"
                failure = Failure(ErrorKind.DEADLINE_EXCEEDED, text)
                self.on_failure(node, failure, self.model.clock())
            self.pump()
        except Exception as error:
            self.break_off(error)

    def drop_timers(self, kept: Container[int]) -> None:
        """Those of steps on the way to the answer, but for some, need not come."""
        nodes = self.model.program.nodes
        for number in list(self._timers):
            if not nodes[number].is_side and number not in kept:
                self._drop_timer(number)

    def _drop_timer(self, number: int) -> None:
        timer = self._timers.pop(number, None)
        if timer is not None:
            timer.cancel()

    def close_window(self, node: Node) -> None:
        """What has not come by now will not be waited for."""
        if self.state[node.number] != WAITING:
            return
        values = self.values[node.number]
        late = [at for at in range(node.trigger_from) if values[at] is None]
        for at in late:
            values[at] = ABSENT
        self._consider(node, 0)
        self._release([node.edges[at][0] for at in late if node.edges[at][0] >= 0])

    # Cycles.

    def clear_used(self, node: Node) -> None:
        """A step of a cycle does not get on its next round what it has used on this one, but for
        what comes only once, from outside the cycle, and is joined with what comes anew."""
        nodes, values = self.model.program.nodes, self.values[node.number]
        for at, (source, _) in enumerate(node.edges):
            comes_again = source >= 0 and nodes[source].is_in_cycle
            if comes_again or node.step.join == "any":
                values[at] = None

    def take_late(self, node: Node) -> None:
        """The step is done: it goes on with what has come meanwhile."""
        late = self._late.get(node.number)
        while late and self.state[node.number] != RUNNING:
            at, value = late.popleft()
            self.decide(node, at, value)


def _verdict(values: Sequence[Value], join: str, quorum: int) -> bool | None:
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
