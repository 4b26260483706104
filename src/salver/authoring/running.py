"""A graph that runs as the Python that it is: what its answers are, its models, its routers.

Everything runs in the caller's thread, one after the other: a hedge asks its second model only if
the first one fails, a quorum asks one after the other until it has enough.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from salver.errors import GraphError
from salver.spec.problems import did_you_mean

if TYPE_CHECKING:
    from salver.authoring.local import Given

Chooses = Callable[[str, Sequence[str]], int]
"""Given a router's name and its arms' names, the number of the arm."""


class Run:
    """One run in this process: who its models are, and what its routers choose."""

    def __init__(self, models: Mapping[str, Any], chooses: Chooses) -> None:
        self._models = models
        self._chooses = chooses

    def model(self, name: str) -> Any:
        """The model of that name. Raises `GraphError`."""
        if name not in self._models:
            raise GraphError(
                f"there is no model '{name}' to ask without a server"
                f"{did_you_mean(name, self._models)}; give one, a function or what has predict: "
                f"GRAPH.test(x, models={{'{name}': ...}})"
            )
        return self._models[name]

    def arm(self, router: str, arms: Sequence[str]) -> int:
        """The number of the arm that a router chooses. Raises `GraphError`."""
        chosen = self._chooses(router, arms)
        if not 0 <= chosen < len(arms):
            raise GraphError(f"router '{router}' has {len(arms)} arms and no number {chosen}")
        return chosen


class Answer:
    """An answer, or the request, while a graph runs: what `Symbol` is while it is traced."""

    __slots__ = ("given",)

    def __init__(self, given: Given) -> None:
        self.given = given

    def __bool__(self) -> bool:
        from salver.authoring.local import decide

        return decide("is_true", {}, self.given) == 1

    def __getitem__(self, tensor: str) -> Answer:
        return Answer(self.given.picked(tensor))


_runs: ContextVar[Run | None] = ContextVar("salver_run", default=None)


def current_run() -> Run:
    """The run that goes on here. Raises `GraphError` if none does."""
    run = _runs.get()
    if run is None:
        raise GraphError("steps and models are put together in a function with @salver.graph")
    return run


@contextmanager
def running(run: Run) -> Iterator[None]:
    """Within it, what is called in a graph belongs to this run."""
    token = _runs.set(run)
    try:
        yield
    finally:
        _runs.reset(token)


def is_running() -> bool:
    """Whether a graph runs here."""
    return _runs.get() is not None


@contextmanager
def outside() -> Iterator[None]:
    """Within it, nothing belongs to a run: the user's function is called as a function."""
    token = _runs.set(None)
    try:
        yield
    finally:
        _runs.reset(token)


def first_arm(router: str, arms: Sequence[str]) -> int:
    """What routers choose if nobody says otherwise."""
    return 0


def given_of(args: Iterable[Any], what: str) -> list[Given]:
    """The messages of answers, as they are given to the next. Raises `GraphError`."""
    found = []
    for each in args:
        if not isinstance(each, Answer):
            raise GraphError(f"{what} is called with {each!r}, which is no answer")
        found.append(each.given)
    return found
