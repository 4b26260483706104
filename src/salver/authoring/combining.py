"""What makes one answer of several: `average`, `weighted`, `vote`, `stack`, `quorum`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from salver.authoring.calling import Part, as_part, refs_of, refuse_call, title_of
from salver.authoring.running import Answer, given_of
from salver.authoring.symbols import Symbol
from salver.authoring.tracing import current_walk
from salver.errors import GraphError, RequestError


def average(*answers: Any) -> Any:
    """The mean of the answers, element by element."""
    return combined("average", answers)


def weighted(*answers: Any, weights: Sequence[float]) -> Any:
    """The mean of the answers by weights, one for each; they need not add up to 1."""
    if len(weights) != len(answers):
        refuse_call(f"weighted has {len(weights)} weights for {len(answers)} answers: one for each")
    return combined("weighted", answers, {"weights": [float(each) for each in weights]})


def vote(*answers: Any, soft: bool = False) -> Any:
    """The class that most answers name, row by row; `soft`: of the highest mean probability."""
    return combined("vote", answers, {"soft": True} if soft else {})


def stack(*answers: Any) -> Any:
    """The columns of the answers side by side."""
    return combined("stack", answers)


def combined(
    kind: str, answers: Sequence[Any], parameters: Mapping[str, Any] | None = None, quorum: int = 0
) -> Any:
    """One answer of several, by one of our own combiners."""
    if not answers:
        refuse_call(f"{kind} is called with nothing: give it answers")
    walk = current_walk()
    if walk is not None:
        extra = {"quorum": quorum} if quorum else {}
        fragment = {"combine": kind, **(parameters or {}), **extra}
        return Symbol(walk.record(kind, fragment, refs_of(walk, answers, kind)))
    given = given_of(answers, kind)
    from salver.authoring.local import combine

    return Answer(combine(kind, parameters or {}, given))


class Quorum:
    """See `quorum`."""

    title = "quorum"

    def __init__(self, needed: int, parts: Sequence[Part], combine: str) -> None:
        self._needed = needed
        self._parts = parts
        self._combine = combine

    def __call__(self, *args: Any) -> Any:
        walk = current_walk()
        if walk is not None:
            answers = [part(*args) for part in self._parts]
            return combined(self._combine, answers, quorum=self._needed)
        answers = []
        failures: list[str] = []
        for part in self._parts:
            try:
                answers.append(part(*args))
            except GraphError:
                raise
            except Exception as error:
                failures.append(f"{title_of(part)}: {error}")
            if len(answers) == self._needed:
                return combined(self._combine, answers)
        raise RequestError(
            f"only {len(answers)} of the {self._needed} answers needed came; {'; '.join(failures)}"
        )


def quorum(needed: int, /, *parts: Part | str, combine: Any = average) -> Quorum:
    """Asks all parts at once and goes on with the first `needed` answers; the others may fail.

    `combine` makes one of them: `average`, `vote` or `stack`.
    """
    name = str(getattr(combine, "__name__", combine))
    if name not in ("average", "vote", "stack"):
        raise GraphError(f"a quorum is combined by average, vote or stack, not by {name}")
    if not 1 <= needed <= len(parts):
        raise GraphError(f"a quorum of {needed} of {len(parts)} parts: ask for 1 to {len(parts)}")
    return Quorum(needed, [as_part(each) for each in parts], name)
