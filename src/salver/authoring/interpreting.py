"""Carries out a plan in this process, step by step: what a graph's tests hold the executor's plan
against.

Knows what the steps of `Graph` compile to; refuses cycles and URLs. One step after the other in
the order of the flow: a hedge is not asked if somebody before it has answered.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from salver.authoring.local import (
    Given,
    ask_function,
    ask_model,
    call_function,
    combine,
    decide,
    merged,
    plain,
    request_of,
)
from salver.authoring.running import Run, outside
from salver.errors import GraphError
from salver.graphs.flow import (
    REQUEST,
    Answered,
    Edge,
    Flow,
    Function,
    GraphDesire,
    Learned,
    Pass,
    Service,
    Step,
    Unit,
    Weights,
)
from salver.graphs.plan import ModelRunner

_CHOICES = (Answered, Learned, Weights)


def interpret(
    desire: GraphDesire,
    request: Any,
    *,
    functions: Mapping[str, Callable[..., Any]],
    run: Run,
) -> Any:
    """The answer of a graph's first variant, as arrays. `functions` are those of its Python files
    by their names. Raises `GraphError` for what it does not know, and what the steps raise."""
    walk = _Interpretation(desire, functions, run)
    return plain(walk.answer(request_of(request)))


class _Interpretation:
    """One request on its way: what each step gave, and which branches were chosen."""

    def __init__(
        self, desire: GraphDesire, functions: Mapping[str, Callable[..., Any]], run: Run
    ) -> None:
        self._flow: Flow = desire.variants[0].flow
        self._entries = {each.name: _entries_of(each.plan.runner) for each in desire.units}
        self._functions = functions
        self._run = run
        self._given: dict[str, Given] = {}
        self._chosen: dict[str, int] = {}
        self._failure: Exception | None = None

    def answer(self, request: Given) -> Given:
        self._given[REQUEST] = request
        for step in self._flow.steps:
            self._visit(step)
        for edge in self._flow.output:
            found = self._message(edge)
            if found is not None:
                return found
        raise self._failure or GraphError(f"graph '{self._flow.name}' came to no answer")

    def _visit(self, step: Step) -> None:
        if not all(self._is_present(edge) for edge in step.triggers):
            return
        inputs = _joined(step, [self._message(edge) for edge in step.inputs])
        if inputs is None or self._is_late(step):
            return
        try:
            self._act(step, inputs)
        except GraphError:
            raise
        except Exception as error:
            if not self._survives(step):
                raise
            self._failure = error

    def _act(self, step: Step, inputs: Sequence[Given]) -> None:
        action = step.action
        if isinstance(action, Answered):
            chosen = self._chosen[step.triggers[0].source]
            if not 0 <= chosen < action.branches:
                raise GraphError(f"step '{step.name}' has no branch {chosen}")
            self._choose(step, chosen, inputs[0])
        elif isinstance(action, Learned):
            self._choose(step, self._run.arm(step.name, action.arms), inputs[0])
        elif isinstance(action, Weights):
            arms = [str(number) for number in range(len(action.weights))]
            self._choose(step, self._run.arm(step.name, arms), inputs[0])
        elif isinstance(action, Function):
            self._call(step, action, inputs)
        elif isinstance(action, Service | Unit):
            name = action.name if isinstance(action, Service) else action.unit
            self._given[step.name] = _named(step, ask_model(self._run.model(name), name, inputs))
        elif isinstance(action, Pass):
            found = merged(inputs) if action.merges else inputs[0]
            self._given[step.name] = _named(step, found)
        else:
            raise GraphError(f"step '{step.name}' cannot be carried out without a server")

    def _choose(self, step: Step, branch: int, message: Given) -> None:
        self._chosen[step.name] = branch
        self._given[step.name] = message

    def _call(self, step: Step, action: Function, inputs: Sequence[Given]) -> None:
        entry = self._entries[action.unit][action.function]
        parameters = entry.get("parameters", {})
        is_branch = action.method == "branch"
        if "builtin" in entry and is_branch:
            self._choose(step, decide(entry["builtin"], parameters, inputs[0]), inputs[0])
        elif "builtin" in entry:
            self._given[step.name] = _named(step, combine(entry["builtin"], parameters, inputs))
        else:
            name = entry["python"].rpartition(":")[2]
            with outside():
                if is_branch:
                    branch = ask_function(self._functions[name], name, inputs)
                    self._choose(step, branch, inputs[0])
                else:
                    found = call_function(self._functions[name], name, inputs)
                    self._given[step.name] = _named(step, found)

    # Edges.

    def _is_present(self, edge: Edge) -> bool:
        if edge.source not in self._given:
            return False
        return edge.branch is None or self._chosen.get(edge.source) == edge.branch

    def _message(self, edge: Edge) -> Given | None:
        if not self._is_present(edge):
            return None
        given = self._given[edge.source]
        return given.picked(edge.tensor, edge.rename) if edge.tensor else given

    def _is_late(self, step: Step) -> bool:
        """Whether it is a hedge that is no longer needed."""
        targets = [each for each in self._flow.steps if _waits_for(each, step)]
        return step.delay_s > 0 and any(
            each.join == "any" and any(self._is_present(edge) for edge in each.inputs)
            for each in targets
        )

    def _survives(self, step: Step) -> bool:
        """Whether all that wait for it can do without it."""
        targets = [each for each in self._flow.steps if _waits_for(each, step)]
        return bool(targets) and all(each.join == "any" or each.quorum for each in targets)


def _waits_for(step: Step, source: Step) -> bool:
    return any(edge.source == source.name for edge in (*step.inputs, *step.triggers))


def _joined(step: Step, messages: Sequence[Given | None]) -> list[Given] | None:
    """The inputs that a step gets; None if it cannot run."""
    present = [each for each in messages if each is not None]
    if step.quorum:
        return present[: step.quorum] if len(present) >= step.quorum else None
    if step.join == "inner" and len(present) < len(messages):
        return None
    if not present:
        return None
    return present[:1] if step.join == "any" else present


def _named(step: Step, given: Given) -> Given:
    """The message as it goes by the name of its step."""
    return Given(step.name, given.tensors())


def _entries_of(runner: object) -> dict[str, Any]:
    if isinstance(runner, ModelRunner) and runner.runtime == "steps":
        functions: dict[str, Any] = json.loads(runner.options)["functions"]
        return functions
    return {}
