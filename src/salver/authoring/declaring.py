"""`@salver.step` and `@salver.graph`."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar, overload

from salver.authoring.blocks import Block, Ref
from salver.authoring.calling import options_of, refs_of, refuse_call, result_of
from salver.authoring.running import (
    Answer,
    Chooses,
    Run,
    first_arm,
    given_of,
    is_running,
    outside,
    running,
)
from salver.authoring.symbols import Symbol
from salver.authoring.tracing import PlacedError, Walk, current_walk, explore, line_of
from salver.errors import GraphError

if TYPE_CHECKING:
    from salver.graphs.flow import Flow

_open: ContextVar[tuple[object, ...]] = ContextVar("salver_open_graphs", default=())
"""The graphs that are being traced, each within the one before it."""
P = ParamSpec("P")
R = TypeVar("R")
_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


class Step(Generic[P, R]):
    """A function that is a step of graphs. Called in a graph it is recorded, or run as a worker
    would run it; anywhere else it is the function."""

    def __init__(self, function: Callable[P, R], timeout_s: float) -> None:
        self._function = function
        self._options = options_of(timeout_s)
        functools.update_wrapper(self, function)
        self.title: str = getattr(function, "__name__", "step")

    def __call__(self, *args: P.args, **named: P.kwargs) -> R:
        walk = current_walk()
        answer: Any
        if walk is not None:
            answer = self.recorded(walk, self._positional(args, named))
        elif is_running():
            answer = self._run(self._positional(args, named))
        else:
            answer = self._function(*args, **named)
        return answer  # type: ignore[no-any-return]

    def recorded(self, walk: Walk, args: tuple[Any, ...], **extra: Any) -> Symbol:
        """Its answer in a graph that is traced; `extra` is what else the step has."""
        fragment = {"python": self._place(walk), **self._options, **extra}
        refs = refs_of(walk, args, self.title)
        return Symbol(walk.record(self.title, fragment, refs, self.parameters()))

    def parameters(self) -> tuple[str, ...]:
        """The names of the function's parameters."""
        return tuple(inspect.signature(self._function).parameters)

    def _run(self, args: tuple[Any, ...]) -> Answer:
        from salver.authoring.local import Given, call_function

        # Without names: a worker would go by them where they are the parameters'.
        inputs = [Given("", each.tensors()) for each in given_of(args, self.title)]
        with outside():
            return Answer(call_function(self._function, self.title, inputs))

    def _positional(self, args: tuple[Any, ...], named: Mapping[str, Any]) -> tuple[Any, ...]:
        try:
            bound = inspect.signature(self._function).bind(*args, **named)
        except TypeError as error:
            refuse_call(f"{self.title} cannot be called so: {error}")
        if bound.kwargs:
            name = next(iter(bound.kwargs))
            refuse_call(f"{self.title} takes '{name}' by name only: let it come by place, too")
        if not bound.args:
            refuse_call(f"{self.title} is called with nothing: give it an answer or the request")
        return bound.args

    def _place(self, walk: Walk) -> str:
        code = getattr(self._function, "__code__", None)
        name = getattr(self._function, "__qualname__", "")
        if code is None or not name.isidentifier():
            walk.refuse(
                f"{self.title} is not at the top of its file, where a worker would find it: move "
                "it there"
            )
        return f"{code.co_filename}:{name}"


class Graph:
    """A function that is a graph. Called with data, it runs in this process: see `test`."""

    def __init__(self, function: Callable[..., Any], name: str, timeout_s: float) -> None:
        self._function = function
        functools.update_wrapper(self, function)
        own = getattr(function, "__name__", "graph")
        self.title: str = name or own.replace("_", "-").strip("-").lower()
        self.timeout_s = timeout_s

    def __call__(self, *args: Any, **named: Any) -> Any:
        walk = current_walk()
        if walk is not None:
            return self._inlined(walk, args, named)
        if is_running():
            return self._function(*args, **named)
        return self.test(*args, **named)

    def test(
        self,
        *args: Any,
        models: Mapping[str, Any] | None = None,
        choose: Chooses = first_arm,
        **named: Any,
    ) -> Any:
        """Runs it in this process, with these models: functions, or objects with `predict`.

        Takes and gives arrays, or dicts of arrays. `choose` is what routers choose; else their
        first arm. Raises `GraphError` too if it could not be served.
        """
        from salver.authoring.local import plain, request_of

        self.trace()
        try:
            bound = inspect.signature(self._function).bind(*args, **named)
        except TypeError as error:
            raise GraphError(f"graph {self.title} cannot be called so: {error}") from error
        if len(bound.arguments) == 1:
            given = {name: request_of(value) for name, value in bound.arguments.items()}
        else:
            request = request_of(dict(bound.arguments))
            given = {name: request.picked(name) for name in bound.arguments}
        with running(Run(models or {}, choose)):
            answer = self._function(**{name: Answer(each) for name, each in given.items()})
        return plain(answer.given)

    def bind(self, **models: Any) -> Callable[..., Any]:
        """The graph as a plain function, with these models."""
        return functools.partial(self.test, models=models)

    def trace(self) -> Block:
        """All ways through it. Raises `GraphError`."""
        if current_walk() is not None:
            raise GraphError(f"graph {self.title} is traced within a graph: call it instead")
        try:
            part = functools.partial(self._result, self._request())
            return explore(part, f"graph {self.title}")
        except PlacedError:
            raise
        except GraphError as error:
            raise PlacedError(f"{self.place}: {error}") from error

    @property
    def place(self) -> str:
        """Where its function stands: `fraud.py, line 12`."""
        code = getattr(self._function, "__code__", None)
        return line_of(code.co_filename, code.co_firstlineno) if code is not None else self.title

    def is_declared_in(self, file: str) -> bool:
        """Whether its function stands in that file."""
        code = getattr(self._function, "__code__", None)
        return code is not None and code.co_filename == file

    def manifest(self) -> dict[str, Any]:
        """It as a `Graph` of `salver.dev/v1`. Raises `GraphError`."""
        from salver.authoring.manifest import manifest_of

        return manifest_of(self)

    def flow(self) -> Flow:
        """The plan that it is served by. Raises `GraphError`."""
        from salver.authoring.manifest import desire_of

        return desire_of(self).variants[0].flow

    def _inlined(self, walk: Walk, args: tuple[Any, ...], named: Mapping[str, Any]) -> Symbol:
        try:
            bound = inspect.signature(self._function).bind(*args, **named)
        except TypeError as error:
            walk.refuse(f"graph {self.title} cannot be called so: {error}")
        refs = refs_of(walk, bound.arguments.values(), f"graph {self.title}")
        symbols = dict(zip(bound.arguments, map(Symbol, refs), strict=True))
        part = functools.partial(self._result, symbols)
        return Symbol(walk.group((self._code(), refs), self.title, [(None, part)]))

    def _request(self) -> dict[str, Symbol]:
        """One parameter is the whole request, several are tensors of it."""
        parameters = inspect.signature(self._function).parameters
        odd = [each.name for each in parameters.values() if each.kind not in _POSITIONAL]
        if odd or not parameters:
            what = f"its parameter '{odd[0]}' is none" if odd else "it has none"
            raise GraphError(
                f"graph {self.title} needs one parameter for the request, or one for each of its "
                f"tensors: {what}"
            )
        if len(parameters) == 1:
            return {name: Symbol(Ref(None)) for name in parameters}
        return {name: Symbol(Ref(None, name)) for name in parameters}

    def _result(self, symbols: Mapping[str, Symbol]) -> Ref:
        walk = current_walk()
        assert walk is not None
        around = _open.get()
        if self in around:
            walk.refuse(f"graph {self.title} calls itself, which never ends: put loops into steps")
        token = _open.set((*around, self))
        try:
            answer = self._function(**symbols)
        finally:
            _open.reset(token)
        return result_of(walk, answer, f"graph {self.title}", self.place)

    def _code(self) -> object:
        """The same code is the same graph, even if it was declared again on another way."""
        return getattr(self._function, "__code__", self)


@overload
def step(function: Callable[P, R], /) -> Step[P, R]: ...


@overload
def step(*, timeout_s: float = 0.0) -> Callable[[Callable[P, R]], Step[P, R]]: ...


def step(function: Callable[..., Any] | None = None, /, *, timeout_s: float = 0.0) -> Any:
    """Makes a function a step of graphs: `@salver.step`, or `@salver.step(timeout_s=0.1)`."""
    if function is None:
        return lambda function: Step(function, timeout_s)
    return Step(function, timeout_s)


@overload
def graph(function: Callable[..., Any], /) -> Graph: ...


@overload
def graph(*, name: str = "", timeout_s: float = 0.0) -> Callable[[Callable[..., Any]], Graph]: ...


def graph(
    function: Callable[..., Any] | None = None, /, *, name: str = "", timeout_s: float = 0.0
) -> Any:
    """Makes a function a graph: `@salver.graph`, or `@salver.graph(name="fraud-2")`.

    Its name is the function's, with '-' for '_'.
    """
    if function is None:
        return lambda function: Graph(function, name, timeout_s)
    return Graph(function, name, timeout_s)
