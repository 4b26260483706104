"""Manifests that are wrong, or ask for what cannot be had: it is said, and nothing else breaks."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.declared import (
    Flowers,
    apply,
    condition,
    is_settled,
    service_path,
    sklearn_service,
    traffic_of,
    wait_status,
)
from tests.e2e.load import ask, post
from tests.e2e.server import Server, command, environment, serving
from tests.e2e.storage_servers import FileServer, Reply

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

GOOD = "pvc://models/iris"
ROW = json.dumps({"instances": [[5.1, 3.5, 1.4, 0.2]]}).encode()
BROKEN = """\
apiVersion: serving.kserve.io/v1beta1
kind: InferenceService
metadata:
  name: too-much
spec:
  predictor:
    canaryTrafficPercent: 150
    model:
      modelFormat:
        name: sklearn
      storageUri: pvc://models/iris
---
apiVersion: serving.kserve.io/v1beta1
kind: InferenceServise
metadata:
  name: what
spec: {}
"""
TWICE = """\
apiVersion: serving.kserve.io/v1beta1
kind: InferenceService
metadata:
  name: twice
spec:
  predictor:
    model:
      modelFormat:
        name: sklearn
      storageUri: pvc://models/iris
"""


@pytest.fixture(scope="module")
def flowers(tmp_path_factory: pytest.TempPathFactory) -> Flowers:
    return Flowers(tmp_path_factory.mktemp("flowers"))


@pytest.fixture(scope="module")
def server(flowers: Flowers) -> Iterator[Server]:
    state = str(flowers.folder / "state")
    with serving("--state-dir", state, "--threads", "1", *flowers.maps) as running:
        yield running


@pytest.fixture(scope="module")
def web() -> Iterator[FileServer]:
    running = FileServer()
    yield running
    running.stop()


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments),
        capture_output=True,
        text=True,
        timeout=60,
        env=environment(),
        check=False,
    )


def test_serve_says_everything_that_is_wrong_with_a_folder_and_serves_nothing(
    tmp_path: Path,
) -> None:
    (tmp_path / "a.yaml").write_text(BROKEN)
    (tmp_path / "b.yaml").write_text(TWICE)
    (tmp_path / "c.yaml").write_text(TWICE)
    state = ("--state-dir", str(tmp_path / "state"), "--http-port", "0", "--grpc-port", "-1")
    done = run("serve", "-f", str(tmp_path), *state)
    assert done.returncode not in (0, None)
    assert "a.yaml:7" in done.stderr
    assert "150" in done.stderr
    assert "a.yaml:14" in done.stderr
    assert "InferenceService" in done.stderr
    assert "c.yaml:1: " in done.stderr
    assert "twice" in done.stderr
    assert "b.yaml:1" in done.stderr
    assert "Traceback" not in done.stderr


def test_what_the_admin_api_refuses_changes_nothing(server: Server) -> None:
    apply(server, sklearn_service("refused", GOOD))
    before = wait_status(server, "refused", is_settled)
    wrong = sklearn_service("refused", GOOD, canaryTrafficPercent=150)
    answer = server.put(service_path("refused"), wrong)
    assert answer.status_code == 422
    assert "canaryTrafficPercent" in answer.json()["message"]
    unknown = server.post(
        "/apis/serving.kserve.io/v1beta1/namespaces/default/inferenceservises",
        {**wrong, "kind": "InferenceServise"},
    )
    assert unknown.status_code == 404
    again = server.post(
        service_path("refused").rpartition("/")[0], sklearn_service("refused", GOOD)
    )
    assert (again.status_code, again.json()["reason"]) == (409, "AlreadyExists")
    assert wait_status(server, "refused", is_settled) == before
    assert server.get(service_path("refused")).json()["metadata"]["generation"] == 1


def absent(_: Flowers, __: FileServer) -> str:
    return "pvc://models/nothing"


def forbidden(_: Flowers, web: FileServer) -> str:
    web.replies += [Reply(401)] * 50
    return f"{web.url}/model.joblib"


def of_another_checksum(flowers: Flowers, web: FileServer) -> str:
    web.replies.clear()
    content = (flowers.folder / "pvc/iris/model.joblib").read_bytes()
    web.files["/model.joblib"] = content
    return f"{web.url}/model.joblib#sha256={hashlib.sha256(b'another').hexdigest()}"


def damaged(flowers: Flowers, _: FileServer) -> str:
    folder = flowers.folder / "pvc/damaged"
    folder.mkdir()
    content = (flowers.folder / "pvc/iris/model.joblib").read_bytes()
    (folder / "model.joblib").write_bytes(content[:200])
    return "pvc://models/damaged"


def of_impossible_packages(flowers: Flowers, _: FileServer) -> str:
    folder = flowers.folder / "pvc/impossible"
    folder.mkdir()
    content = (flowers.folder / "pvc/iris/model.joblib").read_bytes()
    (folder / "model.joblib").write_bytes(content)
    (folder / "requirements.txt").write_text("scikit-learn==1.5.2\nscikit-learn==1.4.2\n")
    return "pvc://models/impossible"


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (absent, "nothing is not there; check the path"),
        (forbidden, "refuses access (401); check the credentials"),
        (of_another_checksum, "sha256"),
        (damaged, "damaged"),
        (of_impossible_packages, "there is no solution"),
    ],
)
def test_what_cannot_be_had_leaves_the_former_revision_serving(
    server: Server, flowers: Flowers, web: FileServer, make: object, reason: str
) -> None:
    assert callable(make)
    name = make.__name__.replace("_", "-")
    apply(server, sklearn_service(name, GOOD))
    wait_status(server, name, is_settled)
    apply(server, sklearn_service(name, make(flowers, web)))
    status = wait_status(server, name, lambda each: "lastFailureInfo" in each["modelStatus"])
    failure = status["modelStatus"]["lastFailureInfo"]
    assert failure["reason"] == "ModelLoadFailed"
    assert reason in failure["message"]
    assert "\n" not in failure["message"]
    assert condition(status, "PredictorReady")["message"] == failure["message"]
    assert traffic_of(status) == {"1": 100}
    load = ask(server.port, post(f"/v1/models/{name}:predict", ROW), 50)
    assert (load.failures, load.answers) == ([], {b'{"predictions":[0]}': 50})
    events = server.get("/api/v1/namespaces/default/events").json()["items"]
    mine = [each for each in events if each["involvedObject"]["name"] == name]
    assert failure["message"] in [each["message"] for each in mine if each["type"] == "Warning"]


def test_a_manifest_that_names_what_is_not_there_says_what_is(server: Server) -> None:
    obj = sklearn_service("unplanned", GOOD)
    obj["spec"]["predictor"]["model"]["runtime"] = "my-server"
    apply(server, obj)
    status = wait_status(server, "unplanned", lambda each: bool(condition(each)))
    assert condition(status)["reason"] == "RuntimeNotRecognized"
    assert "there is no runtime 'my-server'" in condition(status)["message"]
    assert status["modelStatus"]["transitionStatus"] == "InvalidSpec"
    runtime = {
        "apiVersion": "serving.kserve.io/v1alpha1",
        "kind": "ServingRuntime",
        "metadata": {"name": "my-server"},
        "spec": {
            "supportedModelFormats": [{"name": "sklearn"}],
            "containers": [{"name": "kserve-container", "image": "kserve/sklearnserver:latest"}],
        },
    }
    path = "/apis/serving.kserve.io/v1alpha1/namespaces/default/servingruntimes"
    assert server.post(path, runtime).status_code == 201
    wait_status(server, "unplanned", is_settled)
