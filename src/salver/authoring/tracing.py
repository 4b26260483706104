"""Tracing: runs a function once for every way through its branches, and keeps what it called.

A question (`if is_large(x):`) has no answer while there is no data, so the function runs again
for each: with the same answers it must call the same steps. Refuses to guess: what cannot be
traced is a `GraphError` with the line where it stands.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextvars import ContextVar
from typing import Any, NoReturn

from salver.authoring.blocks import Block, Condition, Group, Record, Ref, ends_of
from salver.errors import GraphError
from salver.spec.steps import MOST_STEPS

MOST_PATHS = 64
"""How many ways through one function there may be."""
_LOOPS = "a loop that a step's answer is to end has no end while it is traced; put it into a step"
_OWN_FOLDER = __file__.rpartition("/")[0] + "/"

Parts = Sequence[tuple[Condition | None, Callable[[], Ref]]]

_walks: ContextVar[Walk | None] = ContextVar("salver_walk", default=None)


class PlacedError(GraphError):
    """A fault whose message begins with the line where it stands."""


def current_walk() -> Walk | None:
    """The run of a function that is being traced here, if one is."""
    return _walks.get()


def explore(function: Callable[[], Ref], title: str) -> Block:
    """All ways through the function, as a tree. Raises `GraphError`."""
    root = Block()
    waiting: list[tuple[bool, ...]] = [()]
    paths = 0
    while waiting:
        paths += 1
        if paths > MOST_PATHS:
            raise GraphError(
                f"{title} has more than {MOST_PATHS} ways through its branches: put some of them "
                "into a @salver.graph of their own, where they come together again"
            )
        walk = Walk(root, waiting.pop(), title, _walks.get())
        _run(walk, function)
        waiting += walk.others
    return root


def _run(walk: Walk, function: Callable[[], Ref]) -> None:
    token = _walks.set(walk)
    try:
        walk.end(function())
    except PlacedError:
        raise
    except GraphError as error:
        raise walk.fault or PlacedError(f"{_place(error)}: {error}") from error
    except Exception as error:
        place = _place(error)
        what = f"{type(error).__name__}: {error}"
        raise walk.fault or PlacedError(f"{place}: tracing the graph failed with {what}") from error
    finally:
        _walks.reset(token)
    if walk.fault is not None:
        # Whoever caught it would have a graph that does something else with data.
        raise walk.fault


class Walk:
    """One run of a function: follows the tree as far as it is known, and then adds to it.

    `outcomes` are the answers to its first questions; later ones are answered yes, and `others`
    has the ways where they are answered no.
    """

    def __init__(
        self, root: Block, outcomes: tuple[bool, ...], title: str, parent: Walk | None
    ) -> None:
        self.fault: GraphError | None = None
        self.others: list[tuple[bool, ...]] = []
        self._block = root
        self._at = 0
        self._outcomes = outcomes
        self._title = title
        self._parent = parent
        self._taken: tuple[bool, ...] = ()
        self._answers: dict[Record, bool] = {}
        self._seen: set[Record] = set()

    def record(
        self,
        title: str,
        fragment: Mapping[str, Any],
        inputs: Iterable[Ref],
        parameters: tuple[str, ...] = (),
    ) -> Ref:
        """Keeps a step; its answer."""
        found = Record(title, dict(fragment), tuple(inputs), parameters)
        for each in found.inputs:
            self._check_visible(each, f"{title} is given {each}")
        known = self._next()
        if known is None:
            if len(self._block.items) >= MOST_STEPS:
                self.refuse(f"{self._title} calls more than {MOST_STEPS} steps: {_LOOPS}")
            self._block.items.append(found)
        elif not isinstance(known, Record) or not known.is_like(found):
            self._not_repeated(known, title)
        else:
            found = known
        self._at += 1
        self._seen.add(found)
        return Ref(found)

    def group(self, key: tuple[object, ...], title: str, parts: Parts) -> Ref:
        """Keeps what functions do that are traced on their own, and joins their ends."""
        known = self._next()
        if known is None:
            group = self._explored(key, title, parts)
            self._block.items.append(group)
        elif not isinstance(known, Group) or known.key != key:
            self._not_repeated(known, title)
        else:
            group = known
        self._at += 1
        if group.result.record is not None:
            self._seen.add(group.result.record)
        return group.result

    def ask(self, decider: Record) -> bool:
        """Which way this run goes; the same answer each time it is asked."""
        self._check_visible(Ref(decider), f"{decider.title} is asked for its truth")
        known = self._known_answer(decider)
        if known is not None:
            return known
        if self._at < len(self._block.items) or self._block.result is not None:
            self._not_repeated(self._next(), f"a question to {decider.title}")
        if self._block.asked not in (None, decider):
            self._not_repeated(self._block.asked, f"a question to {decider.title}")
        self._block.asked = decider
        asked_before = len(self._taken)
        if asked_before >= MOST_PATHS:
            self.refuse(f"{self._title} asks more than {MOST_PATHS} questions in a row: {_LOOPS}")
        if asked_before < len(self._outcomes):
            outcome = self._outcomes[asked_before]
        else:
            outcome = True
            self.others.append((*self._taken, False))
        self._taken = (*self._taken, outcome)
        self._answers[decider] = outcome
        self._block = self._block.branches.setdefault(outcome, Block())
        self._at = 0
        return outcome

    def end(self, result: Ref) -> None:
        """The function has returned."""
        self._check_visible(result, f"{self._title} returns {result}")
        block = self._block
        if self._at < len(block.items) or block.asked is not None:
            self._not_repeated(self._next(), "its end")
        if block.result is not None and block.result != result:
            self._not_repeated(None, "its end")
        block.result = result

    def refuse(self, message: str, place: str = "") -> NoReturn:
        """Ends the tracing, even if somebody catches the error: `place` is where the fault is, if
        not where the user's code is now. Raises `GraphError`."""
        error = PlacedError(f"{place or caller_line()}: {message}")
        walk: Walk | None = self
        while walk is not None:
            walk.fault = walk.fault or error
            walk = walk._parent
        raise error

    def _explored(self, key: tuple[object, ...], title: str, parts: Parts) -> Group:
        found = [(condition, explore(part, title)) for condition, part in parts]
        ends = [end for _, block in found for end in ends_of(block)]
        group = Group(key, found)
        is_own = not (ends[0].tensor or self._is_visible(ends[0]))
        if len(ends) == 1 and (is_own or found[0][0] is None):
            group.result = ends[0]
        else:
            group.join = Record(title, {"combine": "first"}, tuple(ends))
            group.result = Ref(group.join)
        return group

    def _next(self) -> Record | Group | None:
        """What the tree has here; None where it is yet to grow."""
        if self._at < len(self._block.items):
            return self._block.items[self._at]
        if self._block.is_closed:
            self._not_repeated(None, "another step")
        return None

    def _known_answer(self, decider: Record) -> bool | None:
        walk: Walk | None = self
        while walk is not None:
            if decider in walk._answers:
                return walk._answers[decider]
            walk = walk._parent
        return None

    def _is_visible(self, ref: Ref) -> bool:
        walk: Walk | None = self
        while walk is not None:
            if ref.record is None or ref.record in walk._seen:
                return True
            walk = walk._parent
        return False

    def _check_visible(self, ref: Ref, what: str) -> None:
        if not self._is_visible(ref):
            self.refuse(f"{what}, which is of another call: use only answers of this one")

    def _not_repeated(self, known: Record | Group | None, now: str) -> NoReturn:
        before = known.title if isinstance(known, Record) else "something else"
        self.refuse(
            f"{self._title} does not do the same each time: it came to {before} before, and to "
            f"{now} now; take randomness, clocks and changing globals out of it, into steps"
        )


def _place(error: BaseException) -> str:
    """The innermost line of the user's code that an error has passed."""
    place = "the graph"
    trace = error.__traceback__
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        if not file.startswith(_OWN_FOLDER):
            place = line_of(file, trace.tb_lineno)
        trace = trace.tb_next
    return place


def caller_line() -> str:
    """Where the user's code is now: `fraud.py, line 12`."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_OWN_FOLDER):
        frame = frame.f_back
    return line_of(frame.f_code.co_filename, frame.f_lineno)


def line_of(file: str, line: int) -> str:
    """A place as errors name it."""
    return f"{file.rpartition('/')[2]}, line {line}"
