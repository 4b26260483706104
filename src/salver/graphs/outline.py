"""Pictures of flows as people think of them: a decision is one box. Pure.

In a flow a decision may be three steps: the function that decides, one that reads its answer as a
branch, and one that sends the message there. And what goes to a chosen step comes from elsewhere,
past the choice. Here such steps are drawn together, with the figures of the one that works, and
steps that only let pass are left out. `picture.py` has every step as it is.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from salver.graphs.flow import Answered, Flow, Function, Pass
from salver.graphs.picture import Arrow, Picture, Sample, picture_of
from salver.spec.graph import DECISION_BRANCHES

_DECISIONS = {
    "salver.is_true": DECISION_BRANCHES["true"],
    "salver.confident": DECISION_BRANCHES["confident"],
}
"""Functions of Salver's own that decide, and what their branches are called."""


def outline_of(flow: Flow, sample: Sample | None = None) -> Picture:
    """The picture, with figures if there are any."""
    drawing = _Drawing(picture_of(flow, sample), flow)
    for step in flow.steps:
        if isinstance(step.action, Answered):
            drawing.join_decision(step.name)
    drawing.straighten()
    for step in flow.steps:
        if isinstance(step.action, Pass) and not step.action.merges:
            drawing.leave_out(step.name)
    return drawing.picture()


class _Drawing:
    """A picture while it is changed."""

    def __init__(self, picture: Picture, flow: Flow) -> None:
        self._title = picture.title
        self._boxes = {box.key: box for box in picture.boxes}
        self._arrows = list(picture.arrows)
        self._functions = {
            step.name: step.action.function
            for step in flow.steps
            if isinstance(step.action, Function)
        }

    def picture(self) -> Picture:
        """What has become of it; arrows that have become the same are one."""
        unique = {(each.key, each.is_trigger): each for each in reversed(self._arrows)}
        arrows = tuple(reversed(unique.values()))
        return Picture(self._title, tuple(self._boxes.values()), arrows)

    def _into(self, key: str) -> list[Arrow]:
        return [each for each in self._arrows if each.target == key]

    def _out_of(self, key: str) -> list[Arrow]:
        return [each for each in self._arrows if each.source == key]

    # A function, and the step that does as it says.

    def join_decision(self, key: str) -> None:
        """Draws those who decide together with the step that does as it is told."""
        told = [each.source for each in self._into(key) if each.is_trigger]
        if len(told) != 1 or not self._leads_only_to(told[0], key):
            return
        decision = self._decision(told[0])
        names = _DECISIONS.get(decision, ())
        chain = [*self._asked(told[0], decision), told[0]]
        if all(each.is_trigger for each in self._out_of(key)):
            # Nobody is given the message that is sent on.
            self._drop(each for each in self._into(key) if not each.is_trigger)
        self._drop([each for each in self._arrows if each.source in chain])
        self._arrows = [
            msgspec.structs.replace(each, target=key)
            if each.target == chain[0]
            else _renamed(each, names)
            if each.source == key
            else each
            for each in self._arrows
        ]
        works = self._boxes[chain[0]]
        merged = [self._boxes[each] for each in (*chain, key)]
        figures = next((each for each in merged if each.is_failing), works)
        self._boxes[key] = msgspec.structs.replace(
            self._boxes[key],
            what=works.what if len(chain) > 1 or not names else f"{names[0]} or {names[1]}",
            facts=figures.facts,
            is_failing=figures.is_failing,
        )
        for each in chain:
            del self._boxes[each]

    def _asked(self, key: str, decision: str) -> list[str]:
        """The user's function whose answer a decision of Salver's own is about."""
        sources = [each.source for each in self._into(key)]
        if decision and len(sources) == 1 and self._leads_only_to(sources[0], key):
            return sources
        return []

    def _decision(self, key: str) -> str:
        function = self._functions[key]
        return next((each for each in _DECISIONS if function.startswith(each)), "")

    def _leads_only_to(self, key: str, target: str) -> bool:
        is_function = key in self._functions and key in self._boxes
        return is_function and all(each.target == target for each in self._out_of(key))

    # What goes past a choice.

    def straighten(self) -> None:
        """Draws what a chosen step is given through the choice, if that was given it too."""
        choices = [box.key for box in self._boxes.values() if box.shape == "choice"]
        for key in choices:
            given = {each.source for each in self._into(key) if not each.is_trigger}
            for arrow in [each for each in self._out_of(key) if each.is_trigger]:
                past = [
                    each
                    for each in self._into(arrow.target)
                    if each.source in given and not each.is_trigger
                ]
                if past:
                    self._drop(past)
                    here = self._arrows.index(arrow)
                    self._arrows[here] = msgspec.structs.replace(arrow, is_trigger=False)

    # Steps that only let pass.

    def leave_out(self, key: str) -> None:
        """Draws what comes to the step to where it goes."""
        before, after = self._into(key), self._out_of(key)
        if len(after) != 1 or not before or any(each.is_trigger for each in before):
            return
        (onward,) = after
        if onward.is_trigger or onward.is_back:
            return
        here = self._arrows.index(onward)
        self._arrows[here : here + 1] = [
            msgspec.structs.replace(
                each,
                target=onward.target,
                label=", ".join(filter(None, (each.label, onward.label))),
            )
            for each in before
        ]
        self._drop(before)
        gone, target = self._boxes.pop(key), self._boxes[onward.target]
        if not target.what:
            self._boxes[target.key] = msgspec.structs.replace(target, what=gone.what)

    def _drop(self, arrows: Iterable[Arrow]) -> None:
        gone = set(map(id, arrows))
        self._arrows = [each for each in self._arrows if id(each) not in gone]


def _renamed(arrow: Arrow, names: tuple[str, ...]) -> Arrow:
    """With the branch's name in place of its number."""
    number = arrow.label.removeprefix("branch ")
    if not number.isdigit() or int(number) >= len(names):
        return arrow
    return msgspec.structs.replace(arrow, label=names[int(number)])
