"""delete, scale, rollout, wait, logs."""

import threading
import time
from collections.abc import Callable

import pytest
from tests.admin_api import AdminApi
from tests.unit.cli.conftest import Run
from tests.unit.cli.objects import MANIFEST, condition, failed_service, revision, service

from salver.cli.rollout import promotion
from salver.errors import CommandFailed

KEY = ("inferenceservices", "default", "iris")
TITLE = "inferenceservice.serving.kserve.io/iris"
Golden = Callable[[str, str], None]


def test_what_is_named_is_deleted(run: Run, api: AdminApi) -> None:
    api.put(service())
    done = run("delete", "isvc", "iris")
    assert done.out == (
        'inferenceservice.serving.kserve.io "iris" deleted from default namespace\n'
    )
    assert api.objects == {}
    assert run("delete", "isvc", "iris").code == 1
    assert run("delete", "isvc", "iris", "--ignore-not-found").code == 0


def test_what_files_name_is_deleted(run: Run, api: AdminApi) -> None:
    api.put(service())
    assert run("delete", "-f", "-", stdin=MANIFEST).code == 0
    assert api.objects == {}


def test_a_type_alone_deletes_nothing_unless_all_are_meant(run: Run, api: AdminApi) -> None:
    api.put(service())
    api.put(service("rose"))
    refused = run("delete", "isvc")
    assert "which inferenceservices? give names, -l SELECTOR, or --all" in refused.err
    assert len(api.objects) == 2
    assert run("delete", "isvc", "--all", "--dry-run").out.count("(dry run)") == 2
    assert len(api.objects) == 2
    assert run("delete", "isvc", "--all").code == 0
    assert api.objects == {}


def test_replicas_are_set_through_the_sub_resource(run: Run, api: AdminApi) -> None:
    api.put(service())
    assert run("scale", "isvc", "iris", "--replicas", "4").out == f"{TITLE} scaled\n"
    assert api.asked[-1][1].endswith("/inferenceservices/iris/scale")
    assert api.bodies("PATCH") == [{"spec": {"replicas": 4}}]
    assert "give 0 or more" in run("scale", "iris", "--replicas", "-1").err
    assert "have no replicas to set" in run("scale", "rev/a", "--replicas", "1").err


def test_waiting_for_a_condition(run: Run, api: AdminApi) -> None:
    api.put(service("iris", condition("Ready", "Unknown")))

    def become_ready() -> None:
        while not any("watch=1" in path for _, path, _ in api.asked):
            time.sleep(0.005)
        api.put(service())

    thread = threading.Thread(target=become_ready)
    thread.start()
    done = run("wait", "isvc/iris", "--for=condition=Ready", "--timeout=5s")
    thread.join()
    assert (done.code, done.out) == (0, f"{TITLE} condition met\n")


def test_an_old_status_does_not_count(run: Run, api: AdminApi) -> None:
    obj = service()
    obj["metadata"]["generation"] = 3
    api.put(obj)
    done = run("wait", "isvc/iris", "--for=condition=Ready", "--timeout=100ms")
    assert (done.code, done.err) == (1, f"salver: timed out after 100ms waiting for {TITLE}\n")


@pytest.mark.parametrize(
    ("what", "code"),
    [
        ("condition=ready=True", 0),
        ("condition=Ready=False", 1),
        ("create", 0),
        ("delete", 1),
        ("jsonpath={.spec.predictor.maxReplicas}=3", 0),
        ("jsonpath=.spec.predictor.maxReplicas=3", 0),
        ("jsonpath={.status.url}", 0),
        ("jsonpath={.status.nothing}", 1),
        ("Ready", 1),
    ],
)
def test_what_can_be_waited_for(run: Run, api: AdminApi, what: str, code: int) -> None:
    api.put(service())
    assert run("wait", "isvc", "iris", f"--for={what}", "--timeout=50ms").code == code


def test_what_is_gone_already_is_deleted_but_never_ready(run: Run) -> None:
    assert run("wait", "isvc/iris", "--for=delete").code == 0
    assert "is not there; check its name" in run("wait", "isvc/iris", "--for=condition=Ready").err


def test_a_rollout_that_is_done_says_how_traffic_is_split(run: Run, api: AdminApi) -> None:
    api.put(service())
    assert run("rollout", "status", "iris").out == (
        'inferenceservice "iris" successfully rolled out: '
        "10% iris-predictor-00002, 90% iris-predictor-00001\n"
    )


def test_a_rollout_that_failed_says_why(run: Run, api: AdminApi) -> None:
    api.put(failed_service())
    done = run("rollout", "status", "isvc/iris")
    assert done.code == 1
    assert done.err == (
        'salver: inferenceservice "iris" failed to roll out: '
        "ModelLoadFailed: model.joblib: no such object\n"
    )


def test_the_history_lists_revisions(run: Run, api: AdminApi, golden: Golden) -> None:
    api.put(service())
    api.put(revision("iris", 1, "gs://kfserving-examples/models/sklearn/0.9/model"))
    api.put(revision("iris", 2, "gs://kfserving-examples/models/sklearn/1.0/model"))
    api.put(revision("rose", 1, "gs://other"))
    golden("rollout-history.txt", run("rollout", "history", "iris").out)


def test_undo_goes_back_to_the_manifest_of_the_revision_before(run: Run, api: AdminApi) -> None:
    api.put(service())
    old = {"model": {"modelFormat": {"name": "sklearn"}, "storageUri": "gs://old"}}
    api.put(revision("iris", 1, "gs://old", template=old))
    api.put(revision("iris", 2, "gs://new"))
    done = run("rollout", "undo", "iris")
    assert done.out == f"{TITLE} rolled back to iris-predictor-00001\n"
    assert api.objects[KEY]["spec"]["predictor"] == old


def test_undo_pins_a_revision_that_keeps_no_manifest_and_promote_ends_that(
    run: Run, api: AdminApi
) -> None:
    api.put(service())
    api.put(revision("iris", 1, "gs://old"))
    api.put(revision("iris", 2, "gs://new"))
    done = run("rollout", "undo", "iris", "--to-revision", "1")
    assert "it stays there until: salver rollout promote iris" in done.out
    annotations = api.objects[KEY]["metadata"]["annotations"]
    assert annotations == {"salver.dev/pinned": "iris-predictor-00001"}
    assert run("rollout", "promote", "iris").out == f"{TITLE} promoted\n"
    assert api.objects[KEY]["metadata"]["annotations"] == {}
    assert "canaryTrafficPercent" not in api.objects[KEY]["spec"]["predictor"]
    assert "gets all traffic already" in run("rollout", "promote", "iris").err


def test_undo_without_an_older_revision_says_what_there_is(run: Run, api: AdminApi) -> None:
    api.put(service())
    api.put(revision("iris", 2, "gs://new"))
    assert "no revision before the present one; there are 2" in run("rollout", "undo", "iris").err
    refused = run("rollout", "undo", "iris", "--to-revision", "9")
    assert "--to-revision 9: there is no such revision; there are 2" in refused.err


def test_a_rollout_is_paused_and_resumed(run: Run, api: AdminApi) -> None:
    api.put(service())
    assert run("rollout", "pause", "iris").out == f"{TITLE} paused\n"
    assert api.objects[KEY]["metadata"]["annotations"] == {"salver.dev/paused": "true"}
    assert "is paused already" in run("rollout", "pause", "iris").err
    assert run("rollout", "resume", "iris").out == f"{TITLE} resumed\n"
    assert api.objects[KEY]["metadata"]["annotations"] == {}


def test_promoting_one_of_several_canaries_makes_it_the_predictor() -> None:
    obj = {
        "spec": {
            "predictor": {"name": "a", "minReplicas": 1},
            "canary": [
                {"predictor": {"name": "b", "maxReplicas": 2}, "trafficPercent": 10},
                {"predictor": {"name": "c"}, "trafficPercent": 20},
            ],
        }
    }
    with pytest.raises(CommandFailed, match="say which canary with --canary: b, c"):
        promotion(obj, "predictor", "")
    assert promotion(obj, "predictor", "b") == {
        "predictor": {"name": "b", "maxReplicas": 2, "minReplicas": None},
        "canary": [{"predictor": {"name": "c"}, "trafficPercent": 20}],
    }


def _pod(name: str, component: str) -> dict[str, object]:
    labels = {"salver.dev/service": "iris", "salver.dev/component": component}
    metadata = {"name": name, "namespace": "default", "labels": labels}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata}


@pytest.mark.parametrize("follow", [(), ("-f",)])
def test_the_logs_of_several_pods_begin_with_their_names(
    run: Run, api: AdminApi, follow: tuple[str, ...]
) -> None:
    for name, component in (("iris-1", "predictor"), ("iris-t-1", "transformer")):
        api.put(_pod(name, component))
        path = f"/api/v1/namespaces/default/pods/{name}/log"
        api.pages[path] = ("text/plain", f"{component} starts\n".encode())
    done = run("logs", "iris", "--tail", "5", *follow)
    assert sorted(done.out.splitlines()) == [
        "iris-1   | predictor starts",
        "iris-t-1 | transformer starts",
    ]
    assert any(path.endswith("tailLines=5") for _, path, _ in api.asked)
    assert run("logs", "iris", "-c", "transformer").out == "transformer starts\n"
    assert run("logs", "pod/iris-1").out == "predictor starts\n"
    assert (
        "has no explainer that runs; it has predictor, tr"
        in run("logs", "iris", "-c", "explainer").err
    )


def test_a_service_without_workers_says_where_the_reason_is(run: Run, api: AdminApi) -> None:
    api.put(service())
    assert "has no worker now" in run("logs", "iris").err
    assert "not found" in run("logs", "rose").err
