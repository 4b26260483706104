"""Graphs that are declared, changed and deleted with kubectl and the CLI, on a running server.

Through the changes, connections ask without a pause, and not one request may fail.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.declared import Flowers, apply, sklearn_service
from tests.e2e.load import ask, post, under_load
from tests.e2e.server import Server, command, environment, serving, wait_until
from tests.e2e.test_kubectl import Kubectl

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

FIRST = "gs://kfserving-examples/models/sklearn/1.0/model"
SECOND = "gs://kfserving-examples/models/sklearn/1.0/model-2"
ROW = json.dumps({"instances": [[5.1, 3.5, 1.4, 0.2]]}).encode()
OF_FIRST = b'{"predictions":[0]}'
OF_SECOND = b'{"predictions":[10]}'


def deployment(name: str, *uris: str, shares: tuple[int, ...] = (100,)) -> dict[str, Any]:
    """A SeldonDeployment with one predictor for each model."""
    predictors = [
        {
            "name": f"p{number}",
            "traffic": share,
            "graph": {
                "name": "clf",
                "implementation": "SKLEARN_SERVER",
                "modelUri": uri,
                "parameters": [{"name": "method", "type": "STRING", "value": "predict"}],
            },
        }
        for number, (uri, share) in enumerate(zip(uris, shares, strict=True))
    ]
    return {
        "apiVersion": "machinelearning.seldon.io/v1",
        "kind": "SeldonDeployment",
        "metadata": {"name": name},
        "spec": {"predictors": predictors},
    }


def ensemble(name: str, *services: str) -> dict[str, Any]:
    steps = [{"serviceName": each, "name": each} for each in services]
    return {
        "apiVersion": "serving.kserve.io/v1alpha1",
        "kind": "InferenceGraph",
        "metadata": {"name": name},
        "spec": {"nodes": {"root": {"routerType": "Ensemble", "steps": steps}}},
    }


def request_to(name: str) -> bytes:
    return post(f"/v1/models/{name}:predict", ROW)


def put(kubectl: Kubectl, *objects: dict[str, Any]) -> None:
    """Applies objects with kubectl."""
    listed = {"apiVersion": "v1", "kind": "List", "items": list(objects)}
    done = kubectl.run("apply", "-f", "-", stdin=json.dumps(listed))
    assert done.returncode == 0, done.stderr


def wait_latest(kubectl: Kubectl, name: str) -> None:
    """Until the newest manifest serves."""
    kubectl("wait", "--for=condition=LatestDeploymentReady", name, "--timeout=60s")


def salver(server: Server, *words: str) -> str:
    done = subprocess.run(
        command(*words, "--server", server.url),
        capture_output=True,
        text=True,
        timeout=60,
        env=environment(),
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def flowers(tmp_path_factory: pytest.TempPathFactory) -> Flowers:
    return Flowers(tmp_path_factory.mktemp("flowers"))


@pytest.fixture(scope="module")
def server(flowers: Flowers) -> Iterator[Server]:
    with serving("--state-dir", str(flowers.folder / "state"), *flowers.maps) as running:
        yield running


@pytest.fixture
def kubectl(server: Server, tmp_path: Path) -> Kubectl:
    return Kubectl(server.url, tmp_path)


def test_a_unit_is_replaced_under_load_and_no_request_fails(
    server: Server, kubectl: Kubectl
) -> None:
    put(kubectl, deployment("swap", FIRST))
    wait_latest(kubectl, "sdep/swap")
    assert kubectl("get", "sdep", "swap", "-o", "jsonpath={.status.state}") == "Available"
    before = set(server.workers())
    with under_load(server.port, request_to("swap")) as load:
        put(kubectl, deployment("swap", SECOND))
        wait_latest(kubectl, "sdep/swap")
    assert load.failures == []
    assert set(load.answers) == {OF_FIRST, OF_SECOND}
    assert ask(server.port, request_to("swap"), 100).answers == {OF_SECOND: 100}
    wait_until(lambda: before - set(server.workers()), 30)
    kubectl("delete", "sdep", "swap")
    wait_until(lambda: server.get("/v1/models/swap").status_code == 404)


def test_a_change_of_shares_keeps_the_workers(server: Server, kubectl: Kubectl) -> None:
    put(kubectl, deployment("shares", FIRST, SECOND, shares=(100, 0)))
    wait_latest(kubectl, "sdep/shares")
    assert ask(server.port, request_to("shares"), 200).answers == {OF_FIRST: 200}
    before = set(server.workers())
    with under_load(server.port, request_to("shares")) as load:
        put(kubectl, deployment("shares", FIRST, SECOND, shares=(0, 100)))
        wait_latest(kubectl, "sdep/shares")
    assert load.failures == []
    assert ask(server.port, request_to("shares"), 200).answers == {OF_SECOND: 200}
    assert set(server.workers()) == before
    kubectl("delete", "sdep", "shares")


def test_a_graph_waits_for_its_services_and_lives_through_their_rollouts(
    server: Server, kubectl: Kubectl
) -> None:
    put(kubectl, ensemble("both", "one", "two"))
    text = "jsonpath={.status.conditions[?(@.type=='Ready')].message}"
    wait_until(lambda: "default/one is not there" in kubectl("get", "ig", "both", "-o", text))
    for name in ("one", "two"):
        apply(server, sklearn_service(name, FIRST))
    kubectl("wait", "--for=condition=Ready", "ig/both", "--timeout=60s")
    first = b'{"one":{"predictions":[0]},"two":{"predictions":[0]}}'
    second = b'{"one":{"predictions":[10]},"two":{"predictions":[0]}}'
    assert ask(server.port, request_to("both"), 50).answers == {first: 50}
    with under_load(server.port, request_to("both")) as load:
        apply(server, sklearn_service("one", SECOND))
        wait_until(lambda: second in load.answers, 60)
    assert load.failures == []
    assert set(load.answers) == {first, second}
    shown = salver(server, "graph", "show", "both")
    assert "service one" in shown and "p99" in shown
    kubectl("delete", "isvc", "one")
    wait_until(lambda: "default/one is not there" in kubectl("get", "ig", "both", "-o", text), 20)
    kubectl("delete", "ig", "both")
    kubectl("delete", "isvc", "two")


def test_a_wrong_manifest_changes_nothing_that_serves(server: Server, kubectl: Kubectl) -> None:
    put(kubectl, deployment("kept", FIRST))
    wait_latest(kubectl, "sdep/kept")
    with under_load(server.port, request_to("kept")) as load:
        put(kubectl, deployment("kept", "gs://kfserving-examples/models/sklearn/1.0/none"))
        text = "jsonpath={.status.description}"
        wait_until(lambda: "unit" in kubectl("get", "sdep", "kept", "-o", text), 60)
        assert kubectl("get", "sdep", "kept", "-o", "jsonpath={.status.state}") == "Failed"
    assert load.failures == []
    assert set(load.answers) == {OF_FIRST}
    kubectl("delete", "sdep", "kept")


def test_a_graph_comes_back_after_a_kill(flowers: Flowers, tmp_path: Path) -> None:
    options = ["--state-dir", str(tmp_path / "state"), *flowers.maps]
    with serving(*options) as running:
        kubectl = Kubectl(running.url, tmp_path)
        put(kubectl, deployment("lasting", FIRST), ensemble("outer", "lasting"))
        wait_latest(kubectl, "ig/outer")
        running.process.kill()
        running.process.wait()
    with serving(*options) as again:
        kubectl = Kubectl(again.url, tmp_path)
        wait_until(lambda: again.get("/v1/models/outer").status_code == 200, 60)
        answer = b'{"lasting":{"predictions":[0]}}'
        assert ask(again.port, request_to("outer"), 20).answers == {answer: 20}
        assert "lasting" in salver(again, "get", "sdep")


def test_the_tools_know_all_kinds(server: Server, kubectl: Kubectl, tmp_path: Path) -> None:
    model = {
        "apiVersion": "mlops.seldon.io/v1alpha1",
        "kind": "Model",
        "metadata": {"name": "flower"},
        "spec": {"storageUri": FIRST, "requirements": ["sklearn"]},
    }
    pipeline = {
        "apiVersion": "mlops.seldon.io/v1alpha1",
        "kind": "Pipeline",
        "metadata": {"name": "flowers"},
        "spec": {"steps": [{"name": "flower"}], "output": {"steps": ["flower"]}},
    }
    file = tmp_path / "all.json"
    file.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": [model, pipeline]}))
    salver(server, "apply", "-f", str(file))
    salver(server, "wait", "mlp/flowers", "--for=condition=Ready", "--timeout=60s")
    kubectl("wait", "--for=condition=PipelineReady", "mlp/flowers", "--timeout=10s")
    head, row = kubectl("get", "mlm").splitlines()
    assert head.split() == ["NAME", "READY", "DESIRED", "REPLICAS", "AVAILABLE", "REPLICAS", "AGE"]
    assert row.split()[:4] == ["flower", "True", "1", "1"]
    assert "PipelineReady" in salver(server, "describe", "mlp", "flowers")
    assert "storageUri" in salver(server, "explain", "model.spec")
    assert "storageUri" in kubectl(
        "explain", "models.spec", "--api-version=mlops.seldon.io/v1alpha1"
    )
    assert salver(server, "diff", "-f", str(file)) == ""
    assert "flower-" in kubectl("get", "pods")
    salver(server, "logs", "mlm/flower")
    salver(server, "delete", "-f", str(file))
    wait_until(lambda: server.get("/v1/models/flower").status_code == 404)
