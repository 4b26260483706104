"""Who waits for whom in a `Graph`: cycles, and steps that nobody waits for. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from salver.spec.graph import (
    REQUEST,
    STEP_NAME,
    GraphSpec,
    GraphStep,
    outputs_of,
    sources_of,
)
from salver.spec.problems import Finding, nearest, quoted
from salver.spec.steps import way_text

_MOST_SLIPS = 20


def check_cycle(spec: GraphSpec, steps: Mapping[str, GraphStep]) -> Iterator[Finding]:
    """The first cycle, with all its steps."""
    done: set[str] = set()
    for index, step in enumerate(spec.steps):
        cycle = _cycle_from(step.name, steps, done)
        if cycle:
            message = f"waits for itself: {way_text(cycle)}; take one of these inputs away"
            yield ("spec", "steps", index, "inputs"), message
            return


def _cycle_from(start: str, steps: Mapping[str, GraphStep], done: set[str]) -> list[str]:
    """The first cycle found on the way from a step against its inputs, as data flows."""
    trail: list[str] = []
    todo: list[tuple[str, bool]] = [(start, False)]
    while todo:
        name, is_left = todo.pop()
        if is_left:
            done.add(name)
            trail.pop()
        elif name in trail:
            return [name, *reversed(trail[trail.index(name) :])]
        elif name in steps and name not in done:
            trail.append(name)
            todo.append((name, True))
            todo += [(each, False) for each in needs_of(steps[name])]
    return []


def needs_of(step: GraphStep) -> list[str]:
    """The steps that a step waits for."""
    needed = [source.step for source in sources_of(step) if source.step != REQUEST]
    return [*needed, step.when.step] if step.when is not None else needed


def check_use(spec: GraphSpec, steps: Mapping[str, GraphStep]) -> Iterator[Finding]:
    """Steps of which nothing gets into the answer, a slip in a name left out of account."""
    used: set[str] = set()
    todo = list(outputs_of(spec))
    slips = 0
    while todo:
        name = todo.pop()
        if name not in steps:
            slips += 1
            name = nearest(name, steps) if slips <= _MOST_SLIPS else ""
        if name in steps and name not in used:
            used.add(name)
            todo += needs_of(steps[name])
    if slips > _MOST_SLIPS:
        return
    for index, step in enumerate(spec.steps):
        is_named = steps[step.name] is step and STEP_NAME.fullmatch(step.name) is not None
        if step.name not in used and is_named and step.name != REQUEST:
            message = (
                f"nothing of {quoted(step.name)} gets into the answer: name it in the inputs of "
                "another step, or in spec.output"
            )
            yield ("spec", "steps", index), message
