"""An InferenceService's `status`, made from what is wanted and what is seen. Pure.

The shape, the names of the conditions and the reasons are KServe's, so that its clients
(`kubectl wait`, `KServeClient.wait_isvc_ready`) understand them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from salver.control.conditions import Condition, dated
from salver.control.ports import Observation, Phase
from salver.graphs.plan import Component, TrafficPlan

_TITLES: Mapping[str, str] = {
    "predictor": "Predictor",
    "transformer": "Transformer",
    "explainer": "Explainer",
}
_TARGET_STATES: Mapping[Phase, str] = {
    Phase.UNKNOWN: "Pending",
    Phase.PENDING: "Pending",
    Phase.DOWNLOADING: "Loading",
    Phase.BUILDING: "Loading",
    Phase.LOADING: "Loading",
    Phase.READY: "Loaded",
    Phase.FAILED: "FailedToLoad",
}


class ComponentView(msgspec.Struct, frozen=True):
    """One component as the status shows it. Revisions by name, empty if there is none."""

    component: Component
    latest_created: str
    latest_ready: str
    latest_rolled_out: str
    previous_rolled_out: str
    traffic: TrafficPlan | None
    target: Observation
    url: str
    serves: bool = False
    """Some revision gets its requests now; `traffic` may be what is to be resumed."""
    blocked: str = ""
    """Why the newest revision does not get what the manifest says; empty while it loads."""
    is_pinned: bool = False
    """Somebody has chosen the revision that serves, whatever becomes of the newest."""

    @property
    def is_settled(self) -> bool:
        """The newest revision is ready."""
        return bool(self.latest_created) and self.latest_ready == self.latest_created


class ServiceView(msgspec.Struct, frozen=True):
    """One service as the status shows it. `problem`: (reason, message) of a plan that failed."""

    generation: int
    url: str
    components: Sequence[ComponentView] = ()
    problem: tuple[str, str] | None = None
    stopped: bool = False
    notes: Sequence[str] = ()


def inference_status(view: ServiceView, old: Mapping[str, Any], now: str) -> dict[str, Any]:
    """The new `status`; `now` (RFC 3339) dates the conditions that have changed since `old`."""
    status: dict[str, Any] = {"observedGeneration": view.generation, "deploymentMode": "Standard"}
    is_pool = not view.components and view.problem is None and not view.stopped
    if is_pool or (view.components and all(each.serves for each in view.components)):
        status["url"] = view.url
        status["address"] = {"url": view.url}
    status["components"] = {each.component: _component(each) for each in view.components}
    if not view.components:
        status["components"] = _remembered(old.get("components") or {})
    status["conditions"] = dated(_conditions(view), old.get("conditions", []), now)
    status["modelStatus"] = _model_status(view, old.get("modelStatus", {}), now)
    if view.notes:
        status["notes"] = list(view.notes)
    return status


def _remembered(components: Mapping[str, Any]) -> dict[str, Any]:
    """What is known of the revisions while none runs: what it takes to go on where it was."""
    return {
        name: {key: value for key, value in each.items() if key not in ("url", "address")}
        for name, each in components.items()
    }


def _component(view: ComponentView) -> dict[str, Any]:
    answer: dict[str, Any] = {"url": view.url, "address": {"url": view.url}}
    for name, value in (
        ("latestCreatedRevision", view.latest_created),
        ("latestReadyRevision", view.latest_ready),
        ("latestRolledoutRevision", view.latest_rolled_out),
        ("previousRolledoutRevision", view.previous_rolled_out),
    ):
        if value:
            answer[name] = value
    if view.traffic is not None:
        answer["traffic"] = [
            {
                "revisionName": target.revision,
                "percent": target.percent,
                "latestRevision": target.revision == view.latest_created,
                **({"tag": target.tag} if target.tag else {}),
            }
            for target in view.traffic.targets
        ]
        if view.traffic.shadow:
            answer["shadow"] = {
                "revisionName": view.traffic.shadow,
                "percent": view.traffic.shadow_percent,
            }
    return answer


def _conditions(view: ServiceView) -> list[Condition]:
    if view.stopped:
        return [
            Condition("Ready", False, "Stopped", "serving.kserve.io/stop is true"),
            Condition("Stopped", True),
        ]
    if view.problem is not None and not view.components:
        reason, message = view.problem
        return [
            Condition("PredictorReady", False, reason, message),
            Condition("Ready", False, reason, message),
            Condition("Stopped", False, severity="Info"),
        ]
    conditions = [_component_condition(each) for each in view.components]
    serves = all(each.serves for each in view.components)
    settled = all(each.is_settled for each in view.components) and view.problem is None
    routes = Condition("RoutesReady", serves, *(() if serves else ("NoReadyRevision",)))
    latest = Condition("LatestDeploymentReady", settled, *_why_unsettled(view))
    ready = next((each for each in conditions if not each.status), None)
    return [
        Condition("IngressReady", serves, "" if serves else "NoReadyRevision"),
        latest,
        *conditions,
        Condition("Ready", True)
        if ready is None
        else Condition("Ready", ready.status, ready.reason, ready.message),
        routes,
        Condition("Stopped", False, severity="Info"),
    ]


def _component_condition(view: ComponentView) -> Condition:
    """Ready as long as something serves, as Knative's; a newest revision that failed says so."""
    name = _TITLES[view.component] + "Ready"
    if view.serves and (view.is_pinned or view.target.phase is not Phase.FAILED):
        return Condition(name, True)
    if view.target.phase is Phase.FAILED:
        return Condition(name, False, "RevisionFailed", view.target.detail)
    return Condition(name, None, view.target.phase.value, view.target.detail)


def _why_unsettled(view: ServiceView) -> tuple[str, str]:
    if view.problem is not None:
        return view.problem
    for each in view.components:
        if not each.is_settled:
            return each.target.phase.value, each.blocked or each.target.detail
    return "", ""


def _model_status(view: ServiceView, old: Mapping[str, Any], now: str) -> dict[str, Any]:
    if view.problem is not None:
        reason, message = view.problem
        return {
            "transitionStatus": "BlockedByFailedLoad"
            if reason == "ModelLoadFailed"
            else "InvalidSpec",
            "states": {
                "activeModelState": old.get("states", {}).get("activeModelState", ""),
                "targetModelState": "FailedToLoad",
            },
            "lastFailureInfo": _failure(reason, message, "", old, now),
        }
    predictor = next((each for each in view.components if each.component == "predictor"), None)
    if predictor is None:
        return {"transitionStatus": "UpToDate"}
    target = predictor.target
    failed = target.phase is Phase.FAILED
    settled = predictor.is_settled and not failed
    status: dict[str, Any] = {
        "transitionStatus": "BlockedByFailedLoad"
        if failed
        else ("UpToDate" if settled else "InProgress"),
        "states": {
            "activeModelState": "Loaded" if predictor.serves else "",
            "targetModelState": _TARGET_STATES[target.phase]
            if target.replicas or target.phase is not Phase.READY
            else "Standby",
        },
        "copies": {"failedCopies": target.failed_replicas, "totalCopies": target.replicas},
    }
    if failed:
        status["lastFailureInfo"] = _failure(
            "ModelLoadFailed", target.detail, predictor.latest_created, old, now
        )
    return status


def _failure(
    reason: str, message: str, revision: str, old: Mapping[str, Any], now: str
) -> dict[str, Any]:
    former = old.get("lastFailureInfo", {})
    is_same = former.get("reason") == reason and former.get("message") == message
    answer = {
        "reason": reason,
        "message": message,
        "time": former.get("time", now) if is_same else now,
    }
    if revision:
        answer["modelRevisionName"] = revision
    return answer
