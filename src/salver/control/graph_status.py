"""The `status` of a graph in its dialect's own form, from what is wanted and what is seen. Pure.

KServe's InferenceGraph, Seldon's SeldonDeployment, Model, Pipeline and Experiment, and Salver's
Graph: each has its peer's fields and conditions. All have `Ready` and, as InferenceServices do,
`LatestDeploymentReady`: the first says that the graph answers, the second that it does so as its
present manifest has it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from salver.control.conditions import Condition, dated
from salver.control.ports import Observation, Phase
from salver.graphs.flow import GraphDesire, Service
from salver.spec.kinds import KSERVE, MLOPS, SALVER, SELDON

Json = dict[str, Any]


class UnitView(msgspec.Struct, frozen=True):
    """A unit of the present manifest: the revision that it is, and what is seen of that."""

    name: str
    revision: str
    seen: Observation


class Missing(msgspec.Struct, frozen=True):
    """A service that the graph asks and that does not answer. `exists`: it may come up yet."""

    service: Service
    exists: bool = False

    @property
    def message(self) -> str:
        """For people: what is missing, and what to do."""
        name = f"{self.service.namespace}/{self.service.name}"
        if self.exists:
            return f"service {name} is not ready yet"
        return f"service {name} is not there: apply it, or name another"


class GraphView(msgspec.Struct, frozen=True):
    """One graph as the status shows it.

    `problem`: (reason, message) of a manifest that cannot be carried out. `serves`: some form of
    the graph answers now; `is_current`: it is the present manifest's.
    """

    resource: tuple[str, str]
    generation: int
    url: str
    desire: GraphDesire | None = None
    units: Sequence[UnitView] = ()
    missing: Sequence[Missing] = ()
    problem: tuple[str, str] | None = None
    serves: bool = False
    is_current: bool = False
    stopped: bool = False
    notes: Sequence[str] = ()


def graph_status(view: GraphView, old: Mapping[str, Any], now: str) -> Json:
    """The new `status`; `now` (RFC 3339) dates the conditions that have changed since `old`."""
    ready, latest = _ready(view), _latest(view)
    own, conditions = _FORMS[view.resource](view, ready)
    shared = [ready, latest, Condition("Stopped", view.stopped, severity="Info")]
    status: Json = {"observedGeneration": view.generation, **own}
    if view.serves:
        status["url"] = view.url
    if view.units:
        status["units"] = {each.name: _unit(each) for each in view.units}
    status["conditions"] = dated([*conditions, *shared], old.get("conditions", []), now)
    if view.notes:
        status["notes"] = list(view.notes)
    return status


def failure_of(view: GraphView) -> tuple[str, str] | None:
    """What keeps the present manifest from being served, if time alone will not help."""
    if view.problem is not None:
        return view.problem
    for each in view.units:
        if each.seen.phase is Phase.FAILED:
            return (
                "RevisionFailed",
                f"unit {each.name}: {each.seen.detail or 'no reason was given'}",
            )
    gone = next((each for each in view.missing if not each.exists), None)
    return None if gone is None else ("ServiceNotFound", gone.message)


def _ready(view: GraphView) -> Condition:
    if view.stopped:
        return Condition("Ready", False, "Stopped", "serving.kserve.io/stop is true")
    failure = failure_of(view)
    if failure is not None and not (view.serves and view.problem is not None):
        return Condition("Ready", False, *failure)
    if view.missing:
        return Condition("Ready", None, "ServiceNotReady", view.missing[0].message)
    return Condition("Ready", True) if view.serves else Condition("Ready", None, *_step(view))


def _latest(view: GraphView) -> Condition:
    name = "LatestDeploymentReady"
    if view.stopped:
        return Condition(name, False, "Stopped")
    failure = failure_of(view)
    if failure is not None:
        return Condition(name, False, *failure)
    if view.missing:
        return Condition(name, None, "ServiceNotReady", view.missing[0].message)
    return Condition(name, True) if view.is_current else Condition(name, None, *_step(view))


def _step(view: GraphView) -> tuple[str, str]:
    """What goes on: the first unit that is not there yet."""
    for each in view.units:
        if each.seen.phase is not Phase.READY:
            detail = f": {each.seen.detail}" if each.seen.detail else ""
            return each.seen.phase.value, f"unit {each.name}{detail}"
    return "Pending", ""


def _unit(view: UnitView) -> Json:
    seen = view.seen
    answer: Json = {"revision": view.revision, "phase": seen.phase.value}
    answer |= {"replicas": seen.wanted_replicas, "availableReplicas": seen.replicas}
    return answer | ({"message": seen.detail} if seen.detail else {})


# The dialects: fields of their own, and conditions besides those that all have.

_Form = tuple[Json, Sequence[Condition]]


def _inference_graph(view: GraphView, ready: Condition) -> _Form:
    return {"deploymentMode": "Standard"}, [_as("RoutesReady", ready)]


def _seldon_deployment(view: GraphView, ready: Condition) -> _Form:
    is_up = view.is_current and ready.status is True
    is_failed = ready.status is False and not view.stopped
    failure = failure_of(view)
    status: Json = {
        "state": "Available" if is_up else "Failed" if is_failed or failure else "Creating",
        "replicas": sum(each.seen.wanted_replicas for each in view.units),
        "deploymentStatus": {
            each.revision: {
                "replicas": each.seen.wanted_replicas,
                "availableReplicas": each.seen.replicas,
            }
            for each in view.units
        },
    }
    if failure is not None:
        status["description"] = failure[1]
    if view.serves:
        status["address"] = {"url": view.url}
    units = _units_ready(view, "DeploymentsReady")
    return status, [units, _as("ServicesReady", ready)]


def _model(view: GraphView, ready: Condition) -> _Form:
    model = _as("ModelReady", ready)
    if ready.status:
        model = msgspec.structs.replace(model, reason="ModelAvailable")
    wanted = sum(each.seen.wanted_replicas for each in view.units)
    available = sum(each.seen.replicas for each in view.units)
    return {"replicas": wanted, "availableReplicas": available}, [model]


def _pipeline(view: GraphView, ready: Condition) -> _Form:
    models = _services_ready("ModelsReady", view.missing) or _units_ready(view, "ModelsReady")
    return {}, [models, _as("PipelineReady", ready)]


def _experiment(view: GraphView, ready: Condition) -> _Form:
    shadow = view.desire.shadow if view.desire is not None else None
    steps = shadow.flow.steps if shadow is not None else ()
    mirrored = {step.action for step in steps}
    mirror = [each for each in view.missing if each.service in mirrored]
    others = [each for each in view.missing if each.service not in mirrored]
    return {}, [
        _services_ready("CandidatesReady", others) or Condition("CandidatesReady", True),
        _services_ready("MirrorReady", mirror) or Condition("MirrorReady", True),
        _as("ExperimentReady", ready),
    ]


def _graph(view: GraphView, ready: Condition) -> _Form:
    return {"address": {"url": view.url}} if view.serves else {}, [_as("RoutesReady", ready)]


_FORMS: Mapping[tuple[str, str], Callable[[GraphView, Condition], _Form]] = {
    (KSERVE, "inferencegraphs"): _inference_graph,
    (SELDON, "seldondeployments"): _seldon_deployment,
    (MLOPS, "models"): _model,
    (MLOPS, "pipelines"): _pipeline,
    (MLOPS, "experiments"): _experiment,
    (SALVER, "graphs"): _graph,
}


def _as(name: str, condition: Condition) -> Condition:
    return msgspec.structs.replace(condition, type=name)


def _units_ready(view: GraphView, name: str) -> Condition:
    if view.stopped or view.problem is not None:
        return Condition(name, False, *(view.problem or ("Stopped", "")))
    for each in view.units:
        if each.seen.phase is Phase.FAILED:
            return Condition(name, False, "RevisionFailed", f"unit {each.name}: {each.seen.detail}")
    if all(each.seen.phase is Phase.READY for each in view.units):
        return Condition(name, True)
    return Condition(name, None, *_step(view))


def _services_ready(name: str, missing: Sequence[Missing]) -> Condition | None:
    """The condition if something is missing."""
    for each in missing:
        reason = "ServiceNotReady" if each.exists else "ServiceNotFound"
        return Condition(name, None if each.exists else False, reason, each.message)
    return None
