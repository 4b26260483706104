"""The `kserve` SDK's KServeClient, and the `kubernetes` client below it, on a real server."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.declared import Flowers
from tests.e2e.own_environment import own_environment
from tests.e2e.server import serving
from tests.e2e.test_clients_kserve import REQUIREMENTS

pytestmark = [pytest.mark.e2e, pytest.mark.kserve, pytest.mark.timeout(600)]

MODELS = [f"gs://kfserving-examples/models/sklearn/1.0/{name}" for name in ("model", "model-2")]
SCRIPT = Path(__file__).with_name("kserve_control.py")


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the clients got."""
    python = own_environment("kserve", REQUIREMENTS)
    place = tmp_path_factory.mktemp("control")
    maps = Flowers(place / "flowers").maps
    with serving("--state-dir", str(place / "state"), *maps) as server:
        done = subprocess.run(
            [str(python), str(SCRIPT)],
            input=json.dumps({"url": server.url, "models": MODELS}),
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    received: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return received


def test_kserve_creates_and_waits_until_it_answers(answers: dict[str, Any]) -> None:
    created = answers["created"]
    assert created["metadata"]["generation"] == 1
    assert created["spec"]["predictor"]["model"]["storageUri"] == MODELS[0]
    assert answers["ready before"] is False
    assert answers["first"]["status"]["url"].endswith("/serving/default/iris")
    assert answers["first answers"] == [0]


def test_kserve_changes_what_is_served(answers: dict[str, Any]) -> None:
    assert answers["patched"]["spec"]["predictor"]["model"]["storageUri"] == MODELS[1]
    assert answers["patched"]["metadata"]["generation"] == 2
    assert answers["second answers"] == [10]
    assert answers["replaced"]["metadata"]["generation"] == 3
    assert answers["third answers"] == [0]


def test_kserve_deletes(answers: dict[str, Any]) -> None:
    assert answers["deleted"]["status"] == "Success"
    assert "(404)" in answers["after"]


def test_the_kubernetes_client_sees_every_change(answers: dict[str, Any]) -> None:
    got = answers["kubernetes"]
    assert got["watched"] == ["ADDED rose", "MODIFIED rose", "DELETED rose"]
    assert got["selected"] == ["rose"]
    assert got["secret"] == {"k": "YWJj"}
    assert got["version"].startswith("v1.")


def test_the_kubernetes_client_is_told_what_is_wrong(answers: dict[str, Any]) -> None:
    refused = answers["kubernetes"]["refused"]
    assert refused["reason"] == "Invalid"
    assert refused["details"]["causes"][0]["field"] == "spec.predictor.minReplica"
