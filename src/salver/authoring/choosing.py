"""What asks one model and not another: `first_of`, `cascade`, `router`, `choose`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from salver.authoring.blocks import Condition, Ref
from salver.authoring.calling import Part, as_part, refs_of, refuse_call, result_of, title_of
from salver.authoring.declaring import Step
from salver.authoring.models import Model
from salver.authoring.running import current_run, given_of
from salver.authoring.symbols import Symbol
from salver.authoring.tracing import Walk, current_walk
from salver.errors import GraphError


class FirstOf:
    """See `first_of`."""

    title = "first-of"

    def __init__(self, parts: Sequence[Model | Step[..., Any]], after_s: float) -> None:
        self._parts = parts
        self._after_s = after_s

    def __call__(self, *args: Any) -> Any:
        walk = current_walk()
        if walk is not None:
            answers = [self._recorded(walk, at, args) for at in range(len(self._parts))]
            fragment = {"combine": "fastest"}
            return Symbol(walk.record(self.title, fragment, refs_of(walk, answers, self.title)))
        failure: Exception | None = None
        for part in self._parts:
            try:
                return part(*args)
            except GraphError:
                raise
            except Exception as error:
                failure = error
        assert failure is not None
        raise failure

    def _recorded(self, walk: Walk, at: int, args: tuple[Any, ...]) -> Symbol:
        delay_s = self._after_s * at
        extra = {"delaySeconds": delay_s} if delay_s else {}
        part = self._parts[at]
        if isinstance(part, Model):
            return part.recorded(walk, args, {}, **extra)
        return part.recorded(walk, args, **extra)


def first_of(*parts: Model | Step[..., Any] | str, after_ms: float) -> FirstOf:
    """Asks the first one, after `after_ms` the next one too, and so on; the first answer counts.

    One that fails is left out. What is no longer needed is abandoned, or never asked.
    """
    found = [as_part(each) for each in parts]
    known = [each for each in found if isinstance(each, Model | Step)]
    if len(known) != len(found) or len(known) < 2:
        raise GraphError("first_of takes two or more models and steps: put those together singly")
    return FirstOf(known, after_ms / 1000)


class Cascade:
    """See `cascade`."""

    title = "cascade"

    def __init__(self, cheap: Part, expensive: Part, threshold: float, tensor: str) -> None:
        self._cheap = cheap
        self._expensive = expensive
        self._threshold = threshold
        self._tensor = tensor

    def __call__(self, *args: Any) -> Any:
        walk = current_walk()
        cheap = self._cheap(*args)
        if walk is None:
            return self._run(cheap, args)
        (ref,) = refs_of(walk, (cheap,), self.title)
        decided = walk.record(f"{title_of(self._cheap)}-confident", self._fragment(), (ref,)).record
        assert decided is not None
        end = partial(_end_of, self._expensive, args, self.title)
        parts = [(Condition(decided, "unsure"), end)]
        other = walk.group((self.title, decided), title_of(self._expensive), parts)
        return Symbol(walk.record(self.title, {"combine": "first"}, (other, ref)))

    def _fragment(self) -> dict[str, Any]:
        tensor = {"tensor": self._tensor} if self._tensor else {}
        return {"decide": "confident", "threshold": self._threshold, **tensor}

    def _run(self, cheap: Any, args: tuple[Any, ...]) -> Any:
        (given,) = given_of((cheap,), self.title)
        from salver.authoring.local import decide

        parameters = {"threshold": self._threshold, "tensor": self._tensor}
        return cheap if decide("confident", parameters, given) == 0 else self._expensive(*args)


def cascade(
    cheap: Part | str, expensive: Part | str, /, *, threshold: float, tensor: str = ""
) -> Cascade:
    """Asks the expensive one only if the cheap one is unsure: if in some row the highest value of
    its answer (of `tensor`, if it has several) is below the threshold."""
    return Cascade(as_part(cheap), as_part(expensive), float(threshold), tensor)


class Router:
    """See `router`."""

    def __init__(self, title: str, arms: Mapping[str, Part], by: Mapping[str, Any]) -> None:
        self.title = title
        self._arms = arms
        self._by = dict(by)

    def __call__(self, *args: Any) -> Any:
        if not args:
            refuse_call(f"router '{self.title}' is called with nothing: give it an answer")
        walk = current_walk()
        if walk is None:
            chosen = current_run().arm(self.title, tuple(self._arms))
            return list(self._arms.values())[chosen](*args)
        fragment = {"choose": {"branches": list(self._arms), **self._by}}
        refs = refs_of(walk, args, f"router '{self.title}'")
        router = walk.record(self.title, fragment, refs[:1]).record
        assert router is not None
        ends = [
            (Condition(router, name), partial(_end_of, arm, args, f"arm '{name}'"))
            for name, arm in self._arms.items()
        ]
        return Symbol(walk.group((self.title, router), f"{self.title}-answer", ends))


def router(
    algorithm: str,
    /,
    *,
    arms: Sequence[Part | str] | Mapping[str, Part | str],
    name: str = "router",
    weights: Sequence[float] = (),
    **parameters: Any,
) -> Router:
    """Asks one of its arms: `router("thompson", arms=["gbm", "mlp"])`.

    `algorithm` is how it learns from feedback, with its parameters; or `"weights"`, which chooses
    by chance, by the `weights` of the arms.
    """
    named = _named(arms)
    if len(named) < 2:
        raise GraphError(f"router '{name}' needs two arms or more")
    if algorithm != "weights":
        if weights:
            raise GraphError(f"router '{name}': weights are for router('weights', ...)")
        learned: dict[str, Any] = {"algorithm": algorithm}
        if parameters:
            learned["parameters"] = parameters
        return Router(name, named, {"learned": learned})
    if parameters:
        raise GraphError(f"router('weights') has no parameter '{next(iter(parameters))}'")
    shares = [float(each) for each in weights or [1] * len(named)]
    if len(shares) != len(named):
        raise GraphError(f"router '{name}' has {len(shares)} weights for {len(named)} arms")
    return Router(name, named, {"weights": shares})


def choose(decision: Any, /, *parts: Part | str) -> Callable[..., Any]:
    """Asks the part whose number the decision is: `choose(kind_of(x), a, b, c)(x)`.

    The decision is the answer of a @salver.step that returns a number from 0 on.
    """
    if len(parts) < 2:
        refuse_call("choose needs two parts or more")
    return partial(_chosen, decision, [as_part(each) for each in parts])


def _chosen(decision: Any, parts: Sequence[Part], *args: Any) -> Any:
    walk = current_walk()
    if walk is None:
        (given,) = given_of((decision,), "choose")
        from salver.authoring.local import branch_number

        number = branch_number(given)
        if not 0 <= number < len(parts):
            raise GraphError(f"choose has {len(parts)} parts, and the decision is {number}")
        return parts[number](*args)
    (ref,) = refs_of(walk, (decision,), "choose")
    if ref.record is None or ref.tensor or "python" not in ref.record.fragment:
        walk.refuse("choose goes by the answer of a @salver.step that returns a number")
    ends = [
        (Condition(ref.record, number), partial(_end_of, part, args, f"part {number}"))
        for number, part in enumerate(parts)
    ]
    return Symbol(walk.group(("choose", ref.record), f"{ref.record.title}-answer", ends))


def _end_of(part: Part, args: tuple[Any, ...], what: str) -> Ref:
    """What a part answers, while it is traced on its own."""
    walk = current_walk()
    assert walk is not None
    return result_of(walk, part(*args), what)


def _named(arms: Sequence[Part | str] | Mapping[str, Part | str]) -> dict[str, Part]:
    if isinstance(arms, Mapping):
        return {name: as_part(each) for name, each in arms.items()}
    parts = [as_part(each) for each in arms]
    found: dict[str, Part] = {}
    for part in parts:
        title = title_of(part)
        if title in found:
            raise GraphError(f"two arms are called '{title}': name them, as arms={{NAME: ...}}")
        found[title] = part
    return found
