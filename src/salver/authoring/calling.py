"""What is called in a graph, be it traced or run: symbols to references, answers to symbols."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NoReturn

from salver.authoring.blocks import Ref
from salver.authoring.symbols import Symbol, ref_of
from salver.authoring.tracing import Walk, current_walk
from salver.errors import GraphError

Part = Callable[..., Any]
"""What takes answers and gives one: a step, a model, a graph, or several of them put together."""


def refs_of(walk: Walk, args: Iterable[Any], what: str) -> tuple[Ref, ...]:
    """The symbols that something is called with. Raises `GraphError` for anything else."""
    return tuple(_ref(walk, each, what) for each in args)


def named_refs_of(walk: Walk, named: Mapping[str, Any], what: str) -> tuple[Ref, ...]:
    """The tensors that something is called with by name."""
    found = []
    for name, value in named.items():
        ref = _ref(walk, value, what)
        if not ref.tensor:
            walk.refuse(
                f"{what} gets {name}={ref}, which may have several tensors: name the one, as in "
                f"answer['{name}']"
            )
        found.append(Ref(ref.record, ref.tensor, name))
    return tuple(found)


def result_of(walk: Walk, value: Any, what: str, place: str = "") -> Ref:
    """What a graph, or an arm, returns. `place`: where it is declared, for errors."""
    if not isinstance(value, Symbol):
        kind = "nothing" if value is None else f"a {type(value).__name__}"
        walk.refuse(
            f"{what} returns {kind}: return the answer of a step, a model or a combination; what "
            "is to be made of several, make in a @salver.step",
            place,
        )
    return ref_of(value)


def refuse_call(message: str) -> NoReturn:
    """Raises `GraphError` for a call that is wrong, be the graph traced or run."""
    walk = current_walk()
    if walk is not None:
        walk.refuse(message)
    raise GraphError(message)


def options_of(timeout_s: float) -> dict[str, Any]:
    """The options of a step as a manifest has them."""
    return {"timeoutSeconds": timeout_s} if timeout_s else {}


def as_part(part: Part | str) -> Part:
    """A name stands for the model of that name."""
    if isinstance(part, str):
        from salver.authoring.models import model

        return model(part)
    if not callable(part):
        raise GraphError(f"{part!r} is no model, no step and no graph: give one, or a model's name")
    return part


def title_of(part: Any) -> str:
    """What a part is called, for the names of steps and arms."""
    return str(getattr(part, "title", "") or getattr(part, "__name__", "") or "part")


def _ref(walk: Walk, value: Any, what: str) -> Ref:
    if not isinstance(value, Symbol):
        walk.refuse(
            f"{what} is called with {_shown(value)}, which is no answer and not the request: "
            "write constants into a @salver.step function"
        )
    return ref_of(value)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"a {type(value).__name__}"
