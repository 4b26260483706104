"""From the kind `Graph` to a flow. Pure; what is malformed, `spec/` has refused before.

A step of the manifest is a step of the flow under the same name. Where a step decides by its
answer, a choosing step `NAME.branch` goes by it; unless it answers the number of a branch, a
function `NAME.truth` first says whether it is true, as Python's `if` does.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from salver.graphs.flow import (
    OTHERWISE,
    REQUEST,
    Action,
    Address,
    Answered,
    Choice,
    Conditions,
    Edge,
    Flow,
    Function,
    GraphDesire,
    GraphUnit,
    Join,
    Learned,
    Pass,
    Service,
    Step,
    Unit,
    Variant,
    Weights,
)
from salver.graphs.plan import ComponentPlan, ModelRunner, ScalingPolicy, StickyPolicy
from salver.spec import graph as spec_graph
from salver.spec.graph import Choose, Graph, GraphStep, Source, branch_number, outputs_of
from salver.spec.graph_native_checks import is_numbered
from salver.spec.graph_native_choices import written
from salver.spec.graph_native_order import needs_of
from salver.spec.kinds import SALVER

STOP = "serving.kserve.io/stop"
SERVED_AS = "salver.dev/served-as"
"""Annotation: the name that the graph answers under, if Kubernetes could not call an object so."""
BUILTIN_UNIT = "builtin"
_JOINS: Mapping[str, Join] = {"first": "outer", "fastest": "any"}
_BUILTIN_DECISIONS = {"confident": "confident", "true": "is_true"}


def compile_graph(resource: Graph) -> GraphDesire:
    """What the manifest wants. The graph has passed its checks."""
    metadata = resource.metadata
    compiler = _Compiler(resource)
    flow = compiler.flow()
    return GraphDesire(
        resource=(SALVER, "graphs"),
        namespace=metadata.namespace or "default",
        name=metadata.annotations.get(SERVED_AS) or metadata.name,
        variants=(Variant("default", flow),),
        units=compiler.units(),
        stopped=metadata.annotations.get(STOP, "").lower() == "true",
    )


class _Compiler:
    """One graph's compilation: which functions its units have is known at the end."""

    def __init__(self, resource: Graph) -> None:
        self._resource = resource
        self._spec = resource.spec
        self._namespace = resource.metadata.namespace or "default"
        self._steps = {step.name: step for step in resource.spec.steps}
        self._files = _units_of_files(resource.spec.steps)
        self._functions: dict[str, dict[str, Any]] = {name: {} for name in self._files.values()}
        self._models: list[GraphUnit] = []
        self._builtin_unit = next(iter(self._files.values()), BUILTIN_UNIT)

    def flow(self) -> Flow:
        """The steps in order, each with the choosing step that goes by it."""
        indices = {step.name: at for at, step in enumerate(self._spec.steps)}
        steps: list[Step] = []
        for step in _in_order(self._spec.steps):
            path = f"spec.steps[{indices[step.name]}]"
            steps.append(self._step(step, path))
            steps += self._choice_by_answer(step, path)
        return Flow(
            self._resource.metadata.name,
            tuple(steps),
            tuple(Edge(name) for name in outputs_of(self._spec)),
            timeout_s=self._spec.timeout_seconds,
        )

    def units(self) -> tuple[GraphUnit, ...]:
        """Models of the graph's own, and a unit of functions for each file."""
        uris = {name: uri for uri, name in self._files.items()}
        functions = [
            GraphUnit(name, _functions_plan(uris.get(name, ""), found))
            for name, found in self._functions.items()
            if found
        ]
        return (*self._models, *functions)

    def _step(self, step: GraphStep, path: str) -> Step:
        return Step(
            step.name,
            self._action(step),
            inputs=tuple(self._edge(source, step) for source in spec_graph.sources_of(step)),
            join=step.join or _JOINS.get(step.combine or "", "inner"),
            triggers=self._triggers(step),
            quorum=step.quorum,
            window_s=step.window_seconds,
            delay_s=step.delay_seconds,
            timeout_s=step.timeout_seconds,
            tolerates=step.tolerate,
            as_request="mapped",
            path=path,
        )

    def _edge(self, source: Source, step: GraphStep) -> Edge:
        name = REQUEST if source.step == spec_graph.REQUEST else source.step
        branch = None
        if name != REQUEST and self._steps[name].choose is not None and step.when is not None:
            branch = self._branch(step)
        rename = source.rename or source.tensor
        return Edge(name, branch=branch, tensor=source.tensor, rename=rename)

    def _triggers(self, step: GraphStep) -> tuple[Edge, ...]:
        if step.when is None:
            return ()
        decider = self._steps[step.when.step]
        name = decider.name if decider.choose is not None else f"{decider.name}.branch"
        return (Edge(name, branch=self._branch(step)),)

    def _branch(self, step: GraphStep) -> int:
        """The number of the branch that a step belongs to."""
        assert step.when is not None
        decider = self._steps[step.when.step]
        number = branch_number(decider, step.when.branch) or 0
        choose = decider.choose
        if choose is not None and choose.conditions and number >= len(choose.conditions):
            return OTHERWISE
        return number

    def _choice_by_answer(self, step: GraphStep, path: str) -> list[Step]:
        """What chooses by the answer of a step that decides, if it does."""
        members = self._members(step)
        if step.choose is not None or not members:
            return []
        found: list[Step] = []
        deciding = step.name
        if not self._decides(step):
            deciding = f"{step.name}.truth"
            truth = self._builtin(deciding, "is_true", {}, "branch")
            found.append(Step(deciding, truth, (Edge(step.name),), path=path))
        count = max(2, *(self._branch(each) + 1 for each in members))
        choice = Answered(count)
        name = f"{step.name}.branch"
        found.append(Step(name, choice, triggers=(Edge(deciding),), path=path, title=step.name))
        return found

    def _members(self, step: GraphStep) -> list[GraphStep]:
        """The steps of its branches."""
        return [each for each in self._spec.steps if each.when and each.when.step == step.name]

    def _decides(self, step: GraphStep) -> bool:
        """Whether its answer is the number of a branch; else it is taken as true or false."""
        return step.decide is not None or (bool(step.python) and is_numbered(step, self._spec))

    # Actions.

    def _action(self, step: GraphStep) -> Action:
        if step.model:
            return Service(self._namespace, step.model)
        if step.model_uri:
            self._models.append(GraphUnit(step.name, _model_plan(step)))
            return Unit(step.name)
        if step.url:
            return Address(step.url)
        if step.python:
            return self._function(step)
        if step.choose is not None:
            return _choice(step.choose)
        if step.decide is not None:
            parameters: dict[str, Any] = {}
            if step.decide == "confident":
                parameters = {"threshold": step.threshold}
                if step.tensor:
                    parameters["tensor"] = step.tensor
            kind = _BUILTIN_DECISIONS[step.decide]
            return self._builtin(step.name, kind, parameters, "branch")
        return self._combination(step)

    def _combination(self, step: GraphStep) -> Action:
        if step.combine in ("first", "fastest", "merge"):
            return Pass(merges=step.combine == "merge")
        parameters: dict[str, Any] = {}
        if step.combine == "weighted":
            parameters["weights"] = list(step.weights)
        elif step.combine == "vote" and step.soft:
            parameters["soft"] = True
        return self._builtin(step.name, step.combine or "", parameters, "call")

    def _function(self, step: GraphStep) -> Function:
        uri, _, attribute = step.python.rpartition(":")
        unit = self._files[uri]
        where = f"{uri.rpartition('/')[2]}:{attribute}"
        self._functions[unit][attribute] = {"python": where}
        return Function(unit, attribute, "branch" if self._decides(step) else "call")

    def _builtin(self, step: str, kind: str, parameters: dict[str, Any], method: str) -> Function:
        """A function of our own, in the unit of the graph's first file, so that neighbours are
        asked as one. Its name there is no Python identifier, hence nobody else's."""
        entry: dict[str, Any] = {"builtin": kind}
        name = f"salver.{kind}"
        if parameters:
            entry["parameters"] = parameters
            name = f"salver.{kind}.{step}"
        self._functions.setdefault(self._builtin_unit, {})[name] = entry
        return Function(self._builtin_unit, name, method)


def _choice(choose: Choose) -> Choice:
    if choose.weights:
        header = choose.sticky_header
        sticky = StickyPolicy(header=header.lower()) if header else None
        return Weights(tuple(float(each) for each in choose.weights), sticky)
    if choose.conditions:
        return Conditions(choose.conditions)
    learned = choose.learned
    assert learned is not None
    parameters = sorted((name, written(value)) for name, value in learned.parameters.items())
    return Learned(learned.algorithm, choose.branches, tuple(parameters))


def _model_plan(step: GraphStep) -> ComponentPlan:
    path, colon, attribute = step.model_uri.rpartition(":")
    is_class = bool(colon) and path.endswith(".py") and attribute.isidentifier()
    runner = ModelRunner(
        uri=path if is_class else step.model_uri,
        runtime=step.runtime or ("python" if is_class else ""),
        attribute=attribute if is_class else "",
        runtime_version=step.runtime_version,
    )
    scaling = ScalingPolicy(
        min_replicas=1 if step.min_replicas is None else step.min_replicas,
        max_replicas=step.max_replicas,
    )
    return ComponentPlan("predictor", runner, scaling)


def _functions_plan(uri: str, functions: Mapping[str, Any]) -> ComponentPlan:
    options = json.dumps({"functions": functions}, sort_keys=True)
    return ComponentPlan("predictor", ModelRunner(uri=uri, runtime="steps", options=options))


def _units_of_files(steps: Iterable[GraphStep]) -> dict[str, str]:
    """For each Python file the unit of its functions, called as the file is."""
    taken = {step.name for step in steps if step.model_uri}
    found: dict[str, str] = {}
    for step in steps:
        uri = step.python.rpartition(":")[0]
        if not uri or uri in found:
            continue
        stem = uri.rpartition("/")[2].removesuffix(".py").lower()
        name = base = re.sub(r"[^a-z0-9]+", "-", stem).strip("-") or "steps"
        number = 1
        while name in taken:
            number += 1
            name = f"{base}-{number}"
        taken.add(name)
        found[uri] = name
    return found


def _in_order(steps: Iterable[GraphStep]) -> list[GraphStep]:
    """Sources before those who wait for them; else as written."""
    waiting = list(steps)
    placed: set[str] = set()
    ordered: list[GraphStep] = []
    while waiting:
        ready = next(step for step in waiting if placed.issuperset(needs_of(step)))
        waiting.remove(ready)
        placed.add(ready.name)
        ordered.append(ready)
    return ordered
