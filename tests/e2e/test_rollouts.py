"""Revisions, canaries, roll-backs, failures and scaling on a running server, under load.

Through all of it, 32 connections ask without a pause, and not one request may fail.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.declared import (
    Flowers,
    Json,
    apply,
    condition,
    is_settled,
    service_path,
    sklearn_service,
    status_of,
    traffic_of,
    wait_status,
)
from tests.e2e.load import Load, ask, post, under_load
from tests.e2e.server import Server, serving, wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

FIRST = "gs://kfserving-examples/models/sklearn/1.0/model"
SECOND = "gs://kfserving-examples/models/sklearn/1.0/model-2"
ABSENT = "gs://kfserving-examples/models/sklearn/1.0/model-3"
ROW = json.dumps({"instances": [[5.1, 3.5, 1.4, 0.2]]}).encode()
OF_FIRST = b'{"predictions":[0]}'
OF_SECOND = b'{"predictions":[10]}'
Z_99_9 = 3.2905
"""Standard deviations to either side that hold 99.9% of a normal distribution."""


@pytest.fixture(scope="module")
def flowers(tmp_path_factory: pytest.TempPathFactory) -> Flowers:
    return Flowers(tmp_path_factory.mktemp("flowers"))


@pytest.fixture(scope="module")
def server(flowers: Flowers) -> Iterator[Server]:
    state = str(flowers.folder / "state")
    with serving("--state-dir", state, "--threads", "1", *flowers.maps) as running:
        yield running


def request_to(name: str, **headers: Any) -> bytes:
    return post(f"/v1/models/{name}:predict", ROW, **headers)


def begin(server: Server, name: str, **predictor: Any) -> Json:
    """A service with one revision, of the first model, settled; its manifest."""
    obj = sklearn_service(name, FIRST, **predictor)
    apply(server, obj)
    wait_status(server, name, is_settled)
    return obj


def change(obj: Json, uri: str, **predictor: Any) -> Json:
    return sklearn_service(
        obj["metadata"]["name"], uri, obj["metadata"].get("annotations"), **predictor
    )


def assert_no_failure(load: Load) -> None:
    assert load.failures == []
    assert set(load.answers) <= {OF_FIRST, OF_SECOND}


def is_within(count: int, of: int, share: float) -> bool:
    """The count lies in the 99.9% interval of that many draws."""
    return abs(count - of * share) <= Z_99_9 * math.sqrt(of * share * (1 - share))


def test_a_canary_gets_its_share_then_everything_and_no_request_fails(server: Server) -> None:
    obj = begin(server, "promoted")
    request = request_to("promoted")
    with under_load(server.port, request) as load:
        apply(server, change(obj, SECOND, canaryTrafficPercent=10))
        status = wait_status(
            server, "promoted", lambda each: traffic_of(each) == {"1": 90, "2": 10}
        )
        assert is_settled(status)
    assert_no_failure(load)

    load = ask(server.port, request, 10_000)
    assert_no_failure(load)
    assert load.count == 10_000
    assert is_within(load.answers[OF_SECOND], 10_000, 0.1), load.answers

    with under_load(server.port, request) as load:
        apply(server, change(obj, SECOND))
        wait_status(server, "promoted", lambda each: traffic_of(each) == {"2": 100})
    assert_no_failure(load)
    load = ask(server.port, request, 500)
    assert load.answers == {OF_SECOND: 500}
    predictor = status_of(server, "promoted")["components"]["predictor"]
    assert predictor["latestRolledoutRevision"] == "promoted-predictor-00002"
    assert predictor["previousRolledoutRevision"] == "promoted-predictor-00001"


def test_a_canary_of_0_percent_takes_the_traffic_back(server: Server) -> None:
    obj = begin(server, "back")
    request = request_to("back")
    apply(server, change(obj, SECOND, canaryTrafficPercent=50))
    wait_status(server, "back", lambda each: traffic_of(each) == {"1": 50, "2": 50})
    with under_load(server.port, request) as load:
        apply(server, change(obj, SECOND, canaryTrafficPercent=0))
        wait_status(server, "back", lambda each: traffic_of(each) == {"1": 100})
    assert_no_failure(load)
    assert ask(server.port, request, 500).answers == {OF_FIRST: 500}


def test_the_former_manifest_brings_the_former_revision_back(server: Server) -> None:
    obj = begin(server, "undone")
    request = request_to("undone")
    with under_load(server.port, request) as load:
        apply(server, change(obj, SECOND))
        wait_status(server, "undone", lambda each: traffic_of(each) == {"2": 100})
        apply(server, obj)
        wait_status(server, "undone", lambda each: traffic_of(each) == {"1": 100})
    assert_no_failure(load)
    assert ask(server.port, request, 500).answers == {OF_FIRST: 500}
    assert condition(status_of(server, "undone"), "LatestDeploymentReady")["status"] == "True"


def test_a_new_revision_that_fails_leaves_the_traffic_where_it_is(server: Server) -> None:
    obj = begin(server, "failing")
    request = request_to("failing")
    with under_load(server.port, request) as load:
        apply(server, change(obj, ABSENT))
        status = wait_status(server, "failing", lambda each: not is_settled(each))
        status = wait_status(
            server, "failing", lambda each: "lastFailureInfo" in each.get("modelStatus", {})
        )
    assert_no_failure(load)
    assert traffic_of(status) == {"1": 100}
    assert status["modelStatus"]["transitionStatus"] == "BlockedByFailedLoad"
    assert status["modelStatus"]["states"]["activeModelState"] == "Loaded"
    failure = status["modelStatus"]["lastFailureInfo"]
    assert failure["reason"] == "ModelLoadFailed"
    assert "model-3 is not there" in failure["message"]
    assert failure["modelRevisionName"] == "failing-predictor-00002"
    for kind in ("Ready", "PredictorReady", "LatestDeploymentReady"):
        assert condition(status, kind)["status"] == "False", kind
        assert "model-3 is not there" in condition(status, kind)["message"]
    assert condition(status, "RoutesReady")["status"] == "True"
    assert ask(server.port, request, 500).answers == {OF_FIRST: 500}

    with under_load(server.port, request) as load:
        apply(server, change(obj, SECOND))
        wait_status(server, "failing", lambda each: traffic_of(each) == {"3": 100})
    assert_no_failure(load)
    assert is_settled(status_of(server, "failing"))


def test_many_changes_in_a_row_fail_no_request(server: Server) -> None:
    obj = begin(server, "restless")
    with under_load(server.port, request_to("restless")) as load:
        for step in range(6):
            newer = change(obj, (FIRST, SECOND)[step % 2], timeout=10 + step)
            apply(server, newer)
            if step % 2:
                wait_status(server, "restless", is_settled)
        wait_status(server, "restless", is_settled)
    assert_no_failure(load)
    assert ask(server.port, request_to("restless"), 300).answers == {OF_SECOND: 300}


def test_a_transformer_that_comes_and_goes_fails_no_request(
    server: Server, flowers: Flowers
) -> None:
    path = flowers.folder / "same.py"
    path.write_text(
        "class Same:\n    def preprocess(self, payload: dict) -> dict:\n        return payload\n"
    )
    obj = begin(server, "dressed")
    dressed = change(obj, SECOND)
    dressed["spec"]["transformer"] = {
        "annotations": {"salver.dev/class": f"{path}:Same"},
        "containers": [{"name": "kserve-container", "image": "example.com/none:1"}],
    }
    with under_load(server.port, request_to("dressed")) as load:
        apply(server, dressed)
        wait_status(server, "dressed", lambda each: "transformer" in each["components"])
        wait_status(server, "dressed", is_settled)
        apply(server, obj)
        wait_status(server, "dressed", lambda each: "transformer" not in each["components"])
        wait_status(server, "dressed", is_settled)
    assert load.failures == []
    assert ask(server.port, request_to("dressed"), 300).answers == {OF_FIRST: 300}


def copies(status: Json) -> int:
    found: int = status["modelStatus"].get("copies", {}).get("totalCopies", -1)
    return found


def test_replicas_from_1_to_4_to_1_under_load(server: Server) -> None:
    obj = begin(server, "scaled")
    with under_load(server.port, request_to("scaled")) as load:
        for replicas in (4, 1):
            answer = server.put(
                f"{service_path('scaled')}/scale",
                {
                    "apiVersion": "autoscaling/v1",
                    "kind": "Scale",
                    "metadata": {"name": "scaled", "namespace": "default"},
                    "spec": {"replicas": replicas},
                },
            )
            assert answer.is_success, answer.text
            wait_status(
                server,
                "scaled",
                lambda each, replicas=replicas: is_settled(each) and copies(each) == replicas,  # type: ignore[misc]
            )
    assert_no_failure(load)
    assert obj["spec"]["predictor"]["model"]["storageUri"] == FIRST


def test_the_autoscaler_follows_the_load_down_to_zero_and_back(server: Server) -> None:
    obj = sklearn_service(
        "breathing",
        FIRST,
        {
            "autoscaling.knative.dev/window": "6s",
            "autoscaling.knative.dev/target": "4",
            "salver.dev/scale-to-zero-grace-period": "0s",
        },
        minReplicas=0,
        maxReplicas=4,
    )
    apply(server, obj)
    wait_status(server, "breathing", is_settled)
    request = request_to("breathing")
    with under_load(server.port, request) as load:
        wait_status(server, "breathing", lambda each: copies(each) == 4)
    assert_no_failure(load)
    wait_status(server, "breathing", lambda each: copies(each) == 0, timeout_s=40)
    assert is_settled(status_of(server, "breathing"))
    started_s = time.monotonic()
    with under_load(server.port, request) as load:
        assert time.monotonic() - started_s < 5
    assert_no_failure(load)


def test_a_deleted_service_is_gone_and_another_of_its_name_begins_anew(server: Server) -> None:
    obj = begin(server, "reborn")
    apply(server, change(obj, SECOND))
    wait_status(server, "reborn", lambda each: traffic_of(each) == {"2": 100})
    answer = server.delete(service_path("reborn"))
    assert answer.is_success, answer.text
    apply(server, obj)
    status = wait_status(server, "reborn", is_settled)
    assert traffic_of(status) == {"1": 100}
    assert ask(server.port, request_to("reborn"), 100).answers == {OF_FIRST: 100}
    revisions = "/apis/salver.dev/v1/namespaces/default/revisions"
    names = [each["metadata"]["name"] for each in server.get(revisions).json()["items"]]
    assert [name for name in names if name.startswith("reborn-")] == ["reborn-predictor-00001"]
    server.delete(service_path("reborn"))
    wait_until(lambda: server.post("/v1/models/reborn:predict", json.loads(ROW)).status_code == 404)


def test_tags_ask_for_the_newest_and_the_former_revision(server: Server) -> None:
    obj = begin(server, "tagged")
    newer = change(obj, SECOND, canaryTrafficPercent=0)
    newer["metadata"]["annotations"] = {"serving.kserve.io/enable-tag-routing": "true"}
    apply(server, newer)
    wait_status(
        server,
        "tagged",
        lambda each: "latest" in json.dumps(each["components"]) and is_settled(each),
    )
    port = server.port
    assert ask(port, request_to("tagged"), 100).answers == {OF_FIRST: 100}
    assert ask(port, request_to("tagged", salver_tag="latest"), 100).answers == {OF_SECOND: 100}
    assert ask(port, request_to("tagged", salver_tag="prev"), 100).answers == {OF_FIRST: 100}


def test_a_manifest_that_cannot_be_carried_out_changes_nothing_not_even_after_a_restart(
    flowers: Flowers, tmp_path: Path
) -> None:
    arguments = ("--state-dir", str(tmp_path), "--threads", "1", *flowers.maps)
    with serving(*arguments) as server:
        obj = begin(server, "kept")
        apply(server, change(obj, SECOND, canaryTrafficPercent=30))
        wait_status(server, "kept", lambda each: traffic_of(each) == {"1": 70, "2": 30})
        broken = change(obj, SECOND)
        broken["spec"]["predictor"]["model"]["modelFormat"]["name"] = "sklearns"
        apply(server, broken)
        status = wait_status(
            server, "kept", lambda each: each["modelStatus"]["transitionStatus"] == "InvalidSpec"
        )
        assert status["modelStatus"]["lastFailureInfo"]["reason"] == "NoSupportingRuntime"
        assert traffic_of(status) == {"1": 70, "2": 30}
        load = ask(server.port, request_to("kept"), 1000)
        assert_no_failure(load)
        assert is_within(load.answers[OF_SECOND], 1000, 0.3)
    with serving(*arguments) as server:
        wait_until(lambda: server.get("/v1/models/kept").status_code == 200, 60)
        load = ask(server.port, request_to("kept"), 1000)
        assert_no_failure(load)
        assert is_within(load.answers[OF_SECOND], 1000, 0.3)
        status = status_of(server, "kept")
        assert traffic_of(status) == {"1": 70, "2": 30}
        assert status["modelStatus"]["lastFailureInfo"]["reason"] == "NoSupportingRuntime"
