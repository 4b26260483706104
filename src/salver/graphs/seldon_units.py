"""The units of a SeldonDeployment: which nodes of a graph share a worker, how units scale. Pure.

Python functions that follow one another (a node and its only child) share a worker if they come
from the same folder with the same variables, since the executor asks it for both at once. Siblings
never do: they run at the same time.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from salver.graphs.allotments import notes_of, quantity, threads_of
from salver.graphs.flow import GraphUnit
from salver.graphs.plan import ComponentPlan, LogPolicy, ModelRunner, Runner, ScalingPolicy
from salver.graphs.seldon_runners import WIRE, InSteps, Surroundings, runner_of, variables_of
from salver.spec.kserve import ComponentExtensionSpec
from salver.spec.pods import Container
from salver.spec.seldon import PredictiveUnit, PredictorSpec, SeldonDeployment
from salver.spec.seldon_parts import HpaMetric, SeldonHpaSpec, SeldonPodSpec

APART = "salver.dev/workers-apart"
"""Annotation: `true` gives every Python class a worker of its own."""


class NodeCall(msgspec.Struct, frozen=True):
    """How the steps of a node ask for it: as a model, or, with a `function`, by its methods."""

    unit: str
    function: str = ""
    image: str = ""


class _Workplace(msgspec.Struct, frozen=True):
    """What functions in one worker must have in common."""

    steps: InSteps
    scaling: ScalingPolicy
    threads: int


class _Draft:
    """A steps worker while nodes are still being put into it."""

    def __init__(self, workplace: _Workplace) -> None:
        self.workplace = workplace
        self.functions: dict[str, Mapping[str, Any]] = {}
        self.nodes: list[tuple[PredictiveUnit, Surroundings]] = []

    @property
    def is_anywhere(self) -> bool:
        """It has functions of Salver's own only, which need no folder."""
        return not self.workplace.steps.folder


class UnitBook:
    """Collects the units of all predictors of a deployment, and notes on what has no effect."""

    def __init__(self, deployment: SeldonDeployment) -> None:
        self._deployment = deployment
        self._names: list[str] = []
        self._plans: dict[str, ComponentPlan] = {}
        self._drafts: dict[str, _Draft] = {}
        self.notes: list[str] = []

    def place(
        self, predictor: PredictorSpec, node: PredictiveUnit, where: str, near: str, is_root: bool
    ) -> NodeCall:
        """The node's unit, new or, for a function, that called `near`. Raises `PlanError`."""
        pod, container = _pod_of(predictor, node.name), container_of(predictor, node.name)
        around = Surroundings(
            self._deployment,
            predictor,
            annotations_of(self._deployment, predictor),
            container,
            node.service_account_name or (pod.spec.service_account_name if pod else ""),
            where,
        )
        runner = runner_of(node, around)
        scaling = _scaling(pod, predictor, self._deployment)
        self._note(pod, container, where)
        image = container.image if container is not None else ""
        if isinstance(runner, InSteps):
            workplace = _Workplace(_without_declaration(runner), scaling, threads_of(container))
            unit = self._seat(predictor, node, workplace, near, around)
            self._drafts[unit].functions[node.name] = runner.declaration
            self._note_logger(node, where, is_root)
            return NodeCall(unit, node.name, image or _written(runner))
        name = self._named(predictor, node)
        self._plans[name] = self._plan(
            predictor,
            runner,
            scaling,
            threads=threads_of(container),
            logging=None if is_root else log_policy(node),
        )
        shown = image or (node.implementation if isinstance(runner, ModelRunner) else "")
        speaks_seldon = not isinstance(runner, ModelRunner) and runner.protocol == "seldon"
        return NodeCall(name, node.name if speaks_seldon else "", shown)

    def units(self) -> tuple[GraphUnit, ...]:
        """All of them, in the order in which they were asked for."""
        plans = {**self._plans, **{name: self._drawn(name) for name in self._drafts}}
        return tuple(GraphUnit(name, plans[name]) for name in self._names)

    def _seat(
        self,
        predictor: PredictorSpec,
        node: PredictiveUnit,
        workplace: _Workplace,
        near: str,
        around: Surroundings,
    ) -> str:
        draft = self._drafts.get(near)
        is_apart = around.annotations.get(APART, "").lower() == "true"
        if draft is None or is_apart or not _fits(draft, workplace):
            near = self._named(predictor, node)
            draft = self._drafts[near] = _Draft(workplace)
        elif draft.is_anywhere:
            draft.workplace = workplace
        if workplace.steps.folder:
            draft.nodes.append((node, around))
        return near

    def _drawn(self, name: str) -> ComponentPlan:
        draft = self._drafts[name]
        steps, functions = draft.workplace.steps, draft.functions
        env: tuple[tuple[str, str], ...] = ()
        if draft.nodes:
            node, around = draft.nodes[0]
            env = variables_of(node if len(draft.nodes) == 1 else None, around)
        runner = ModelRunner(
            uri=steps.folder,
            runtime="steps",
            env=env,
            env_from=steps.env_from,
            service_account=steps.service_account,
            options=json.dumps({"functions": functions}, sort_keys=True),
        )
        predictor = draft.nodes[0][1].predictor if draft.nodes else None
        return self._plan(
            predictor, runner, draft.workplace.scaling, threads=draft.workplace.threads
        )

    def _plan(
        self,
        predictor: PredictorSpec | None,
        runner: Runner,
        scaling: ScalingPolicy,
        *,
        threads: int,
        logging: LogPolicy | None = None,
    ) -> ComponentPlan:
        labels = {**self._deployment.metadata.labels, **(predictor.labels if predictor else {})}
        return ComponentPlan(
            "predictor",
            runner,
            scaling=scaling,
            logging=logging,
            threads=threads,
            labels=tuple(sorted(labels.items())),
        )

    def _named(self, predictor: PredictorSpec, node: PredictiveUnit) -> str:
        """A name that can be part of a revision's, and that no other unit has."""
        plain = re.sub(r"[^a-z0-9]+", "-", f"{predictor.name}-{node.name}".lower()).strip("-")
        name, number = plain, 2
        while name in self._names:
            name, number = f"{plain}-{number}", number + 1
        self._names.append(name)
        return name

    def _note(self, pod: SeldonPodSpec | None, container: Container | None, where: str) -> None:
        if pod is None:
            return
        extension = ComponentExtensionSpec(volumes=pod.spec.volumes)
        self.notes += notes_of(where, extension, container)

    def _note_logger(self, node: PredictiveUnit, where: str, is_root: bool) -> None:
        if node.logger is not None and not is_root:
            self.notes.append(
                f"{where}.logger is not followed for a Python class within a graph: log the first "
                "node, whose requests and answers are the graph's"
            )


def annotations_of(deployment: SeldonDeployment, predictor: PredictorSpec) -> Mapping[str, str]:
    """A predictor's annotations, over those of the deployment."""
    outer = {**deployment.metadata.annotations, **deployment.spec.annotations}
    return {**outer, **predictor.annotations}


def log_policy(node: PredictiveUnit) -> LogPolicy | None:
    """What the node's logger says, if it names a sink."""
    logger = node.logger
    if logger is None or not logger.url:
        return None
    return LogPolicy(logger.url, logger.mode or "all")


def _fits(draft: _Draft, workplace: _Workplace) -> bool:
    """Functions without a folder fit everywhere; the others must have all in common."""
    if draft.workplace.scaling != workplace.scaling:
        return False
    is_anywhere = draft.is_anywhere or not workplace.steps.folder
    return is_anywhere or draft.workplace == workplace


def _without_declaration(steps: InSteps) -> InSteps:
    return msgspec.structs.replace(steps, declaration={})


def _written(steps: InSteps) -> str:
    declaration = steps.declaration
    return str(declaration.get("component") or declaration.get("builtin") or "")


def container_of(predictor: PredictorSpec, name: str) -> Container | None:
    """The container that implements the node of that name, if one does."""
    pod = _pod_of(predictor, name)
    containers = pod.spec.containers if pod is not None else ()
    return next((each for each in containers if each.name == name), None)


def _pod_of(predictor: PredictorSpec, name: str) -> SeldonPodSpec | None:
    for pod in predictor.component_specs:
        if any(each.name == name for each in pod.spec.containers):
            return pod
    return None


def _scaling(
    pod: SeldonPodSpec | None, predictor: PredictorSpec, deployment: SeldonDeployment
) -> ScalingPolicy:
    """Replicas as written, which stay so many, or those that an hpaSpec allows."""
    if pod is not None and pod.hpa_spec is not None:
        return _hpa(pod.hpa_spec)
    counts = (
        pod.replicas if pod is not None else None,
        predictor.replicas,
        deployment.spec.replicas,
    )
    count = next((each for each in counts if each is not None), 1)
    # With none, the first request starts one: what has an address answers here.
    return ScalingPolicy(min_replicas=count, max_replicas=max(1, count))


def _hpa(hpa: SeldonHpaSpec) -> ScalingPolicy:
    metrics = [each for each in (*hpa.metrics, *hpa.metricsv2) if each.resource is not None]
    least = max(1, 1 if hpa.min_replicas is None else hpa.min_replicas)
    metric, target = ("cpu", 0.0) if not metrics else _target(metrics[0])
    return ScalingPolicy(
        min_replicas=least,
        max_replicas=hpa.max_replicas,
        metric="memory" if metric == "memory" else "cpu",
        target=target,
    )


def _target(metric: HpaMetric) -> tuple[str, float]:
    resource = metric.resource
    assert resource is not None, "the caller has seen that there is one"
    utilization, amount = resource.target_average_utilization, resource.target_average_value
    if resource.target is not None:
        utilization = utilization or resource.target.average_utilization
        amount = amount or resource.target.average_value or resource.target.value
    if utilization is not None:
        return resource.name, float(utilization)
    return resource.name, quantity(amount) if amount else 0.0


def protocol_of(deployment: SeldonDeployment) -> Literal["v1", "v2", "seldon"]:
    """The protocol that the deployment speaks unless the path says otherwise."""
    wire = WIRE[deployment.spec.protocol]
    return wire if wire in ("v1", "v2") else "seldon"
