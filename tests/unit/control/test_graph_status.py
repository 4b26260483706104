"""The status of each dialect's graphs, as its peer's clients know it."""

from __future__ import annotations

from typing import Any

import pytest

from salver.control.graph_status import GraphView, Missing, UnitView, graph_status
from salver.control.ports import Observation, Phase
from salver.graphs.flow import Edge, Flow, GraphDesire, Service, Step, Variant
from salver.spec.kinds import KSERVE, MLOPS, SALVER, SELDON

Json = dict[str, Any]
URL = "http://here/serving/default/g"
READY = UnitView("a", "g-a-11111111", Observation(Phase.READY, "", 2, 2))
LOADING = UnitView("b", "g-b-22222222", Observation(Phase.LOADING, "loading", 0, 1))
FAILED = UnitView("c", "g-c-33333333", Observation(Phase.FAILED, "no such file", 0, 1))
KINDS = {
    "ig": (KSERVE, "inferencegraphs"),
    "sdep": (SELDON, "seldondeployments"),
    "model": (MLOPS, "models"),
    "pipeline": (MLOPS, "pipelines"),
    "experiment": (MLOPS, "experiments"),
    "graph": (SALVER, "graphs"),
}


def status(kind: str, *units: UnitView, old: Json | None = None, **more: Any) -> Json:
    view = GraphView(KINDS[kind], 3, URL, units=units, **more)
    return graph_status(view, old or {}, "2026-01-02T03:04:05Z")


def conditions(status: Json) -> dict[str, str]:
    """Each condition as `STATUS reason: message`."""
    return {
        each["type"]: " ".join(
            filter(None, [each["status"], each.get("reason", ""), each.get("message", "")])
        )
        for each in status["conditions"]
    }


def served(kind: str, *units: UnitView, **more: Any) -> Json:
    return status(kind, *units, serves=True, is_current=True, **more)


def test_an_inference_graph_that_serves_has_kserves_fields() -> None:
    found = served("ig")
    assert found["url"] == URL
    assert found["deploymentMode"] == "Standard"
    assert found["observedGeneration"] == 3
    assert conditions(found) == {
        "LatestDeploymentReady": "True",
        "Ready": "True",
        "RoutesReady": "True",
        "Stopped": "False",
    }


def test_a_seldon_deployment_goes_from_creating_to_available() -> None:
    creating = status("sdep", READY, LOADING)
    assert creating["state"] == "Creating"
    assert "address" not in creating
    assert conditions(creating)["DeploymentsReady"] == "Unknown Loading unit b: loading"
    available = served("sdep", READY)
    assert (available["state"], available["replicas"]) == ("Available", 2)
    assert available["address"] == {"url": URL}
    assert available["deploymentStatus"] == {
        "g-a-11111111": {"replicas": 2, "availableReplicas": 2}
    }
    assert conditions(available)["ServicesReady"] == "True"


def test_a_seldon_deployment_that_failed_says_why() -> None:
    found = status("sdep", READY, FAILED)
    assert found["state"] == "Failed"
    assert found["description"] == "unit c: no such file"


def test_a_seldon_deployment_being_changed_is_creating_while_the_old_one_answers() -> None:
    found = status("sdep", LOADING, serves=True)
    assert found["state"] == "Creating"
    assert conditions(found)["Ready"] == "True"
    assert conditions(found)["LatestDeploymentReady"] == "Unknown Loading unit b: loading"


def test_a_model_counts_its_replicas() -> None:
    found = served("model", READY)
    assert (found["replicas"], found["availableReplicas"]) == (2, 2)
    assert conditions(found)["ModelReady"] == "True ModelAvailable"
    assert conditions(status("model", FAILED))["ModelReady"] == (
        "False RevisionFailed unit c: no such file"
    )


def test_a_pipeline_tells_models_from_itself() -> None:
    missing = [Missing(Service("default", "iris"))]
    found = conditions(status("pipeline", missing=missing))
    text = "False ServiceNotFound service default/iris is not there: apply it, or name another"
    assert found["ModelsReady"] == found["PipelineReady"] == found["Ready"] == text


def test_an_experiment_tells_candidates_from_the_mirror() -> None:
    def variant(name: str) -> Variant:
        step = Step(name, Service("default", name))
        return Variant(name, Flow(name, (step,), (Edge(name),)))

    desire = GraphDesire(
        KINDS["experiment"], "default", "g", (variant("a"),), shadow=variant("mirror")
    )
    missing = [Missing(Service("default", "mirror"), exists=True)]
    found = conditions(status("experiment", desire=desire, missing=missing))
    assert found["CandidatesReady"] == "True"
    assert found["MirrorReady"] == "Unknown ServiceNotReady service default/mirror is not ready yet"
    assert found["ExperimentReady"].startswith("Unknown")


def test_a_graph_of_our_own_has_an_address() -> None:
    assert served("graph", READY)["address"] == {"url": URL}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_says_that_it_is_stopped(kind: str) -> None:
    found = conditions(status(kind, stopped=True))
    assert found["Ready"] == "False Stopped serving.kserve.io/stop is true"
    assert found["Stopped"] == "True"


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_the_reason_of_a_manifest_that_cannot_be_carried_out(kind: str) -> None:
    found = conditions(status(kind, problem=("InvalidGraph", "no such node")))
    assert found["Ready"] == found["LatestDeploymentReady"] == "False InvalidGraph no such node"


def test_what_serves_stays_ready_while_its_new_manifest_is_wrong() -> None:
    found = status("graph", serves=True, problem=("InvalidGraph", "no such node"))
    assert conditions(found)["Ready"] == "True"
    assert conditions(found)["LatestDeploymentReady"] == "False InvalidGraph no such node"
    assert found["url"] == URL


def test_a_unit_shows_its_revision_and_how_far_it_is() -> None:
    assert status("graph", LOADING)["units"] == {
        "b": {
            "revision": "g-b-22222222",
            "phase": "Loading",
            "replicas": 1,
            "availableReplicas": 0,
            "message": "loading",
        }
    }


def test_a_condition_keeps_its_date_while_its_status_stays() -> None:
    old = served("graph")
    for each in old["conditions"]:
        each["lastTransitionTime"] = "2025-01-01T00:00:00Z"
    now = {
        each["type"]: each for each in status("graph", LOADING, old=old, serves=True)["conditions"]
    }
    assert now["Ready"]["lastTransitionTime"] == "2025-01-01T00:00:00Z"
    assert now["LatestDeploymentReady"]["lastTransitionTime"] == "2026-01-02T03:04:05Z"


def test_notes_are_for_people() -> None:
    assert served("graph", notes=("spec.x: has no meaning here",))["notes"] == [
        "spec.x: has no meaning here"
    ]
