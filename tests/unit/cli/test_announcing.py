"""When a service counts as settled, so that the banner can be printed."""

from __future__ import annotations

from typing import Any

import pytest

from salver.cli.announcing import is_settled


def service(kind: str = "InferenceService", **status: Any) -> dict[str, Any]:
    return {"kind": kind, "metadata": {"name": "iris", "generation": 1}, "status": status}


def ready(status: str, reason: str = "") -> list[dict[str, str]]:
    return [{"type": "Ready", "status": status, "reason": reason}]


@pytest.mark.parametrize(
    ("obj", "expected"),
    [
        (service(), False),
        (service(conditions=ready("Unknown", "Loading")), False),
        (service(conditions=ready("False", "Loading")), False),
        (service(conditions=ready("True")), True),
        (service(conditions=ready("True"), observedGeneration=0), False),
        (service(conditions=ready("False", "Stopped")), True),
        (service(modelStatus={"transitionStatus": "BlockedByFailedLoad"}), True),
        (service("TrainedModel", conditions=ready("False", "NoSupportingRuntime")), True),
    ],
)
def test_a_service_is_settled_when_waiting_alone_changes_nothing(
    obj: dict[str, Any], expected: bool
) -> None:
    assert is_settled(obj) is expected
