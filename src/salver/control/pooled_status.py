"""The `status` of a TrainedModel, in KServe's shape, and of a Predictor, in ModelMesh's. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

READY = "Ready"


class Problem(NamedTuple):
    """What keeps a model from being served: a reason for programs, a message for people."""

    reason: str
    message: str


_CONDITIONS: Mapping[str, tuple[str, ...]] = {
    "FrameworkSupported": ("NoSupportingRuntime",),
    "InferenceServiceReady": ("InferenceServiceNotFound",),
    "IsMMSPredictor": ("NotMultiModel",),
}
"""The conditions of a TrainedModel besides Ready, and the reasons for which they are false."""


def trained_model_status(
    url: str, problem: Problem | None, old: Mapping[str, Any], now: str
) -> dict[str, Any]:
    """The new status; `now` (RFC 3339) dates the conditions that have changed since `old`."""
    conditions = [
        _condition(name, problem if problem and problem.reason in reasons else None, old, now)
        for name, reasons in _CONDITIONS.items()
    ]
    status: dict[str, Any] = {"conditions": [*conditions, _condition(READY, problem, old, now)]}
    if problem is None:
        status["url"] = url
        status["address"] = {"url": url}
    return status


def predictor_status(
    url: str, problem: Problem | None, old: Mapping[str, Any], now: str
) -> dict[str, Any]:
    """The new status. A model that is not in memory is available: its first request loads it."""
    status: dict[str, Any] = {
        "available": problem is None,
        "activeModelState": "Standby" if problem is None else "FailedToLoad",
        "targetModelState": "",
        "transitionStatus": "UpToDate" if problem is None else "BlockedByFailedLoad",
        "conditions": [_condition(READY, problem, old, now)],
    }
    if problem is None:
        status["httpEndpoint"] = url
    else:
        status["lastFailureInfo"] = {"reason": problem.reason, "message": problem.message}
    return status


def _condition(
    name: str, problem: Problem | None, old: Mapping[str, Any], now: str
) -> dict[str, Any]:
    text = "True" if problem is None else "False"
    nothing: Mapping[str, Any] = {}
    conditions: list[Mapping[str, Any]] = old.get("conditions", [])
    former = next((each for each in conditions if each.get("type") == name), nothing)
    is_same = former.get("status") == text
    condition = {
        "type": name,
        "status": text,
        "lastTransitionTime": former.get("lastTransitionTime", now) if is_same else now,
    }
    if problem is not None:
        condition["reason"], condition["message"] = problem
    return condition
