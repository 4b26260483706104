"""What is shown of a revision."""

from __future__ import annotations

from salver.control.ports import UNSEEN, Observation, Phase
from salver.control.revision_status import revision_status, share_of
from salver.graphs.plan import TrafficPlan, TrafficTarget

READY = Observation(Phase.READY, "", 2, 2)


def test_a_ready_revision_has_replicas_and_a_share() -> None:
    assert revision_status(READY, 90, {}, "t1") == {
        "phase": "Ready",
        "replicas": 2,
        "traffic": 90,
        "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "t1"}],
    }


def test_the_condition_keeps_its_date_until_its_status_changes() -> None:
    old = revision_status(READY, 90, {}, "t1")
    same = revision_status(READY, 10, old, "t2")
    assert same["conditions"] == old["conditions"]
    failed = revision_status(Observation(Phase.FAILED, "no model"), 0, old, "t2")
    assert failed["conditions"] == [
        {
            "type": "Ready",
            "status": "False",
            "lastTransitionTime": "t2",
            "reason": "RevisionFailed",
            "message": "no model",
        }
    ]


def test_a_revision_that_runs_no_more_is_retired_and_one_on_its_way_unknown() -> None:
    retired = revision_status(UNSEEN, 0, {}, "t")
    assert (retired["phase"], retired["conditions"][0]["status"]) == ("Retired", "False")
    loading = revision_status(Observation(Phase.LOADING, "loading"), 0, {}, "t")
    assert (loading["phase"], loading["conditions"][0]["status"]) == ("Loading", "Unknown")


def test_a_share_is_the_sum_of_a_revision_s_targets() -> None:
    targets = (TrafficTarget("a", 60), TrafficTarget("b", 40), TrafficTarget("a", 0, "prev"))
    assert share_of("a", TrafficPlan(targets)) == 60
    assert share_of("c", TrafficPlan(targets)) == 0
    assert share_of("a", None) == 0
