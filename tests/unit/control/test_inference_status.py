"""The status of a service by what is wanted and seen: KServe's shape, reasons and dates."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from salver.control.inference_status import ComponentView, ServiceView, inference_status
from salver.control.ports import Observation, Phase
from salver.graphs.plan import TrafficPlan, TrafficTarget

READY = Observation(Phase.READY, replicas=2, wanted_replicas=2)
VIEW = ComponentView(
    "predictor",
    latest_created="iris-predictor-00002",
    latest_ready="iris-predictor-00002",
    latest_rolled_out="iris-predictor-00002",
    previous_rolled_out="iris-predictor-00001",
    traffic=TrafficPlan((TrafficTarget("iris-predictor-00002", 100, "latest"),)),
    target=READY,
    url="http://here/iris-predictor",
    serves=True,
)


def component(**changes: Any) -> ComponentView:
    return msgspec.structs.replace(VIEW, **changes)


def status(
    *views: ComponentView, old: dict[str, Any] | None = None, now: str = "now", **more: Any
) -> dict[str, Any]:
    return inference_status(ServiceView(3, "http://here/iris", views, **more), old or {}, now)


def conditions(found: dict[str, Any]) -> dict[str, str]:
    return {each["type"]: each["status"] for each in found["conditions"]}


def test_a_service_that_serves_its_newest_revision_is_ready_in_every_way() -> None:
    found = status(VIEW)
    assert found["observedGeneration"] == 3
    assert found["url"] == found["address"]["url"] == "http://here/iris"
    assert conditions(found) == {
        "IngressReady": "True",
        "LatestDeploymentReady": "True",
        "PredictorReady": "True",
        "Ready": "True",
        "RoutesReady": "True",
        "Stopped": "False",
    }
    assert found["modelStatus"] == {
        "transitionStatus": "UpToDate",
        "states": {"activeModelState": "Loaded", "targetModelState": "Loaded"},
        "copies": {"failedCopies": 0, "totalCopies": 2},
    }
    assert found["components"]["predictor"] == {
        "url": "http://here/iris-predictor",
        "address": {"url": "http://here/iris-predictor"},
        "latestCreatedRevision": "iris-predictor-00002",
        "latestReadyRevision": "iris-predictor-00002",
        "latestRolledoutRevision": "iris-predictor-00002",
        "previousRolledoutRevision": "iris-predictor-00001",
        "traffic": [
            {
                "revisionName": "iris-predictor-00002",
                "percent": 100,
                "latestRevision": True,
                "tag": "latest",
            }
        ],
    }


def test_conditions_come_in_the_order_of_their_types() -> None:
    types = [each["type"] for each in status(VIEW)["conditions"]]
    assert types == sorted(types)


@pytest.mark.parametrize(
    ("phase", "target_state"),
    [
        (Phase.UNKNOWN, "Pending"),
        (Phase.PENDING, "Pending"),
        (Phase.DOWNLOADING, "Loading"),
        (Phase.BUILDING, "Loading"),
        (Phase.LOADING, "Loading"),
    ],
)
def test_what_has_not_loaded_yet_is_neither_ready_nor_failed(
    phase: Phase, target_state: str
) -> None:
    seen = Observation(phase, "so far")
    found = status(
        component(latest_ready="", latest_rolled_out="", traffic=None, target=seen, serves=False)
    )
    assert conditions(found)["Ready"] == "Unknown"
    assert conditions(found)["RoutesReady"] == "False"
    ready = next(each for each in found["conditions"] if each["type"] == "Ready")
    assert (ready["reason"], ready["message"]) == (phase.value, "so far")
    assert "url" not in found
    assert "traffic" not in found["components"]["predictor"]
    assert found["modelStatus"]["transitionStatus"] == "InProgress"
    assert found["modelStatus"]["states"] == {
        "activeModelState": "",
        "targetModelState": target_state,
    }


def test_a_newer_revision_on_its_way_leaves_the_service_ready() -> None:
    loading = Observation(Phase.LOADING, "reading")
    found = status(component(latest_created="iris-predictor-00003", target=loading))
    assert conditions(found)["Ready"] == "True"
    latest = next(each for each in found["conditions"] if each["type"] == "LatestDeploymentReady")
    assert latest == {
        "type": "LatestDeploymentReady",
        "status": "False",
        "lastTransitionTime": "now",
        "reason": "Loading",
        "message": "reading",
    }
    assert found["components"]["predictor"]["traffic"][0]["latestRevision"] is False


def test_a_newest_revision_that_failed_says_why_though_the_former_serves() -> None:
    failed = Observation(Phase.FAILED, "no such file", failed_replicas=1)
    view = component(latest_created="iris-predictor-00003", target=failed, blocked="it failed")
    found = status(view)
    assert conditions(found)["PredictorReady"] == conditions(found)["Ready"] == "False"
    assert conditions(found)["RoutesReady"] == "True"
    assert found["modelStatus"]["transitionStatus"] == "BlockedByFailedLoad"
    assert found["modelStatus"]["lastFailureInfo"] == {
        "reason": "ModelLoadFailed",
        "message": "no such file",
        "time": "now",
        "modelRevisionName": "iris-predictor-00003",
    }
    latest = next(each for each in found["conditions"] if each["type"] == "LatestDeploymentReady")
    assert latest["message"] == "it failed"


def test_a_failure_of_the_newest_does_not_count_while_another_is_pinned() -> None:
    failed = Observation(Phase.FAILED, "no such file")
    found = status(component(latest_created="x", target=failed, is_pinned=True))
    assert conditions(found)["Ready"] == "True"


def test_a_service_that_sleeps_at_zero_is_ready_on_standby() -> None:
    found = status(component(target=Observation(Phase.READY)))
    assert conditions(found)["Ready"] == "True"
    assert found["modelStatus"]["states"]["targetModelState"] == "Standby"


def test_the_service_is_as_ready_as_its_least_ready_component() -> None:
    loading = Observation(Phase.LOADING)
    transformer = component(
        component="transformer", latest_ready="", traffic=None, target=loading, serves=False
    )
    found = status(VIEW, transformer)
    assert conditions(found)["PredictorReady"] == "True"
    assert conditions(found)["TransformerReady"] == "Unknown"
    assert conditions(found)["Ready"] == "Unknown"
    assert "url" not in found
    assert found["components"].keys() == {"predictor", "transformer"}


def test_a_shadow_is_shown_beside_the_traffic() -> None:
    plan = TrafficPlan((TrafficTarget("a", 100),), shadow="b", shadow_percent=30)
    found = status(component(traffic=plan))
    assert found["components"]["predictor"]["shadow"] == {"revisionName": "b", "percent": 30}


def test_a_condition_keeps_its_date_until_its_status_changes() -> None:
    first = status(VIEW, now="monday")
    second = status(VIEW, old=first, now="tuesday")
    assert second == first
    failed = Observation(Phase.FAILED, "gone")
    third = status(component(latest_created="new", target=failed), old=second, now="wednesday")
    dates = {each["type"]: each["lastTransitionTime"] for each in third["conditions"]}
    assert (dates["Ready"], dates["RoutesReady"]) == ("wednesday", "monday")
    fourth = status(component(latest_created="new", target=failed), old=third, now="thursday")
    assert fourth["modelStatus"]["lastFailureInfo"]["time"] == "wednesday"


def test_a_plan_that_failed_is_an_invalid_spec() -> None:
    problem = ("NoSupportingRuntime", "no runtime for it")
    found = status(problem=problem)
    assert conditions(found) == {"PredictorReady": "False", "Ready": "False", "Stopped": "False"}
    assert found["modelStatus"] == {
        "transitionStatus": "InvalidSpec",
        "states": {"activeModelState": "", "targetModelState": "FailedToLoad"},
        "lastFailureInfo": {
            "reason": "NoSupportingRuntime",
            "message": "no runtime for it",
            "time": "now",
        },
    }


def test_a_plan_that_failed_while_another_serves_leaves_it_ready() -> None:
    found = status(VIEW, problem=("RuntimeDisabled", "it is disabled"), old=status(VIEW))
    assert conditions(found)["Ready"] == "True"
    assert conditions(found)["LatestDeploymentReady"] == "False"
    assert found["modelStatus"]["states"]["activeModelState"] == "Loaded"
    assert found["modelStatus"]["transitionStatus"] == "InvalidSpec"


def test_a_stopped_service_remembers_its_revisions_and_has_no_address() -> None:
    found = status(stopped=True, old=status(VIEW))
    assert conditions(found) == {"Ready": "False", "Stopped": "True"}
    assert found["modelStatus"] == {"transitionStatus": "UpToDate"}
    remembered = found["components"]["predictor"]
    assert remembered["latestRolledoutRevision"] == "iris-predictor-00002"
    assert remembered["traffic"][0]["percent"] == 100
    assert "url" not in remembered
    assert "address" not in remembered


def test_notes_are_shown_if_there_are_any() -> None:
    assert "notes" not in status(VIEW)
    assert status(VIEW, notes=("nodeSelector means nothing here",))["notes"] == [
        "nodeSelector means nothing here"
    ]
