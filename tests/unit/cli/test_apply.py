import json
from pathlib import Path
from typing import Any

import pytest
from tests.admin_api import AdminApi
from tests.unit.cli.conftest import Run
from tests.unit.cli.objects import MANIFEST, condition, failed_service, service

from salver.cli.three_way import LAST_APPLIED

KEY = ("inferenceservices", "default", "iris")
TITLE = "inferenceservice.serving.kserve.io/iris"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "isvc.yaml"
    path.write_text(MANIFEST)
    return path


def test_what_is_new_is_created_then_unchanged_then_configured(
    run: Run, api: AdminApi, path: Path
) -> None:
    assert run("apply", "-f", str(path)).out == f"{TITLE} created\n"
    assert run("apply", "-f", str(path)).out == f"{TITLE} unchanged\n"
    path.write_text(MANIFEST.replace("minReplicas: 1", "minReplicas: 2"))
    assert run("apply", "-f", str(path)).out == f"{TITLE} configured\n"
    assert api.objects[KEY]["spec"]["predictor"]["minReplicas"] == 2


def test_what_others_set_stays_and_what_left_the_file_goes(
    run: Run, api: AdminApi, path: Path
) -> None:
    run("apply", "-f", str(path))
    obj = api.objects[KEY]
    obj["spec"]["predictor"]["maxReplicas"] = 5
    path.write_text(MANIFEST.replace("    minReplicas: 1\n", ""))
    run("apply", "-f", str(path))
    predictor = api.objects[KEY]["spec"]["predictor"]
    assert predictor["maxReplicas"] == 5
    assert "minReplicas" not in predictor


def test_kubectl_finds_its_annotation(run: Run, api: AdminApi, path: Path) -> None:
    run("apply", "-f", str(path))
    text = api.objects[KEY]["metadata"]["annotations"][LAST_APPLIED]
    assert text.startswith('{"apiVersion":"serving.kserve.io/v1beta1","kind":"InferenceService",')
    assert text.endswith("}\n")
    assert json.loads(text)["metadata"] == {
        "annotations": {},
        "labels": {"team": "flowers"},
        "name": "iris",
        "namespace": "default",
    }


def test_every_problem_of_every_file_is_printed_and_nothing_applied(
    run: Run, api: AdminApi, tmp_path: Path
) -> None:
    (tmp_path / "a.yaml").write_text(MANIFEST.replace("minReplicas: 1", "minReplicas: many"))
    (tmp_path / "b.yaml").write_text(MANIFEST.replace("storageUri", "storageUrl"))
    (tmp_path / "c.yaml").write_text(MANIFEST)
    done = run("apply", "-f", str(tmp_path))
    assert done.code == 1
    lines = done.err.splitlines()
    assert any(line.startswith(f"salver: {tmp_path}/a.yaml:8: ") for line in lines)
    assert any("b.yaml:11: " in line and "storageUri" in line for line in lines)
    assert api.asked == []


def test_a_dry_run_changes_nothing(run: Run, api: AdminApi, path: Path) -> None:
    assert run("apply", "-f", str(path), "--dry-run").out == f"{TITLE} created (server dry run)\n"
    assert api.objects == {}
    run("apply", "-f", str(path), "--dry-run=client")
    assert [how for how, _, _ in api.asked] == ["GET", "POST", "GET"]


def test_server_side_apply_sends_the_manifest_alone(run: Run, api: AdminApi, path: Path) -> None:
    done = run("apply", "-f", str(path), "--server-side", "--force-conflicts")
    assert done.out == f"{TITLE} serverside-applied\n"
    (method, target, body) = api.asked[-1]
    assert method == "PATCH"
    assert target.endswith("/inferenceservices/iris?fieldManager=salver&force=true")
    assert "annotations" not in body["metadata"]
    assert api.headers[-1]["Content-Type"] == "application/apply-patch+yaml"


def test_an_object_that_apply_did_not_make_is_taken_over_with_a_warning(
    run: Run, api: AdminApi, path: Path
) -> None:
    api.put(service())
    done = run("apply", "-f", str(path))
    assert done.out == f"{TITLE} configured\n"
    assert done.err == (
        f"Warning: {TITLE} was not made by apply: fields that its file does not have stay\n"
    )
    assert api.objects[KEY]["spec"]["predictor"]["maxReplicas"] == 3


def test_manifests_are_read_from_stdin(run: Run) -> None:
    assert run("apply", "-f", "-", stdin=MANIFEST).out == f"{TITLE} created\n"


def test_manifests_are_fetched_from_a_url(
    run: Run, api: AdminApi, served: tuple[AdminApi, str]
) -> None:
    api.pages["/isvc.yaml"] = ("text/yaml", MANIFEST.encode())
    assert run("apply", "-f", f"{served[1]}/isvc.yaml").out == f"{TITLE} created\n"


def test_folders_in_a_folder_are_read_only_if_asked_for(run: Run, tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "isvc.yaml").write_text(MANIFEST)
    refused = run("apply", "-f", str(tmp_path))
    assert refused.code == 1
    assert "no file that ends in .yaml or .json; -R looks into its folders too" in refused.err
    assert run("apply", "-R", "-f", str(tmp_path)).code == 0


def test_the_namespace_is_the_commands_unless_the_file_has_one(
    run: Run, api: AdminApi, tmp_path: Path
) -> None:
    run("apply", "-f", "-", "-n", "roses", stdin=MANIFEST)
    own = MANIFEST.replace("name: iris", "name: iris\n  namespace: tulips")
    run("apply", "-f", "-", stdin=own, SALVER_NAMESPACE="roses")
    assert [key[1] for key in api.objects] == ["roses", "tulips"]
    refused = run("apply", "-f", "-", "-n", "roses", stdin=own)
    assert refused.code == 1
    assert "is in namespace 'tulips' by its file and 'roses' by -n" in refused.err


def test_a_refusal_is_printed_with_all_its_causes(run: Run, api: AdminApi, path: Path) -> None:
    api.refusal = (
        422,
        {
            "kind": "Status",
            "message": "InferenceService 'iris' is invalid",
            "reason": "Invalid",
            "details": {
                "causes": [
                    {"field": "spec.predictor", "message": "needs a model"},
                    {"field": "metadata.name", "message": "is too long"},
                ]
            },
        },
    )
    done = run("apply", "-f", str(path))
    assert (done.code, done.out) == (1, "")
    assert done.err == (
        f"salver: {TITLE}: InferenceService 'iris' is invalid\n"
        "salver:   spec.predictor: needs a model\n"
        "salver:   metadata.name: is too long\n"
    )


def test_warnings_of_the_server_are_shown(run: Run, api: AdminApi, path: Path) -> None:
    api.warning = "spec.predictor.tolerations has no meaning here"
    done = run("apply", "-f", str(path), "--server-side")
    assert done.err == "Warning: spec.predictor.tolerations has no meaning here\n"


def test_waiting_ends_when_it_is_ready(run: Run, api: AdminApi) -> None:
    api.put(service())
    done = run("apply", "-f", "-", "--wait", "--server-side", stdin=MANIFEST)
    assert done.code == 0
    assert done.out.splitlines()[-1] == f"{TITLE} ready"


def test_waiting_ends_with_the_reason_when_it_failed(run: Run, api: AdminApi) -> None:
    api.put(failed_service())
    done = run("apply", "-f", "-", "--wait", "--server-side", stdin=MANIFEST)
    assert done.code == 1
    assert done.err == f"salver: {TITLE}: ModelLoadFailed: model.joblib: no such object\n"


def graph(*conditions: dict[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": "salver.dev/v1",
        "kind": "Graph",
        "metadata": {"name": "shop", "namespace": "default", "generation": 1},
        "spec": {"steps": []},
        "status": {"observedGeneration": 1, "conditions": list(conditions)},
    }


GRAPH = """\
apiVersion: salver.dev/v1
kind: Graph
metadata: {name: shop}
spec: {steps: [{name: gbm, model: gbm}]}
"""


def test_waiting_waits_for_graphs_too(run: Run, api: AdminApi) -> None:
    api.put(graph(condition("LatestDeploymentReady", "True"), condition("Ready", "True")))
    done = run("apply", "-f", "-", "--wait", "--server-side", stdin=GRAPH)
    assert (done.code, done.out.splitlines()[-1]) == (0, "graph.salver.dev/shop ready")


@pytest.mark.parametrize(
    ("reason", "told"),
    [("InvalidGraph", "InvalidGraph: why"), ("ServiceNotFound", "is not ready in time")],
)
def test_a_graph_that_only_lacks_a_service_is_waited_for(
    run: Run, api: AdminApi, reason: str, told: str
) -> None:
    failed = condition("LatestDeploymentReady", "False", reason, "why")
    api.put(graph(failed, condition("Ready", "False", reason, "why")))
    done = run("apply", "-f", "-", "--wait", "--timeout", "1s", "--server-side", stdin=GRAPH)
    assert done.code == 1
    assert done.err.splitlines()[-1].startswith(f"salver: graph.salver.dev/shop: {told}")


def test_waiting_shows_each_step_once_and_ends_at_the_deadline(run: Run, api: AdminApi) -> None:
    downloading = condition("LatestDeploymentReady", "Unknown", "Downloading", "40% of 2 MiB")
    api.put(service("iris", downloading))
    done = run("apply", "-f", "-", "--wait", "--timeout", "200ms", "--server-side", stdin=MANIFEST)
    assert done.code == 1
    assert done.err.splitlines() == [
        f"{TITLE}: downloading: ########............ 40% of 2 MiB",
        f"salver: {TITLE}: is not ready in time (downloading: ########............ 40% of 2 MiB); "
        "allow more with --timeout",
    ]


def test_nothing_to_apply_is_an_error(run: Run) -> None:
    assert "give a file or folder with -f" in run("apply").err
