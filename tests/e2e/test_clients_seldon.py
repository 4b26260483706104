"""The documented Python client of Seldon Core gets what the library answers, however it asks."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests import models
from tests.e2e.seldon_environment import seldon_python
from tests.e2e.server import serving

pytestmark = [pytest.mark.e2e, pytest.mark.seldon, pytest.mark.timeout(300)]

SCRIPT = Path(__file__).with_name("seldon_client.py")
ROWS = [[5.1, 3.5, 1.4, 0.2], [6.7, 3.0, 5.2, 2.3]]


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    python = seldon_python()
    path = tmp_path_factory.mktemp("iris") / "iris.joblib"
    predict = models.save_sklearn_lr(path)
    with serving(str(path)) as server:
        asked = {
            "name": "iris",
            "namespace": "default",
            "http": server.url.removeprefix("http://"),
            "grpc": server.grpc,
            "rows": ROWS,
        }
        done = subprocess.run(
            [str(python), str(SCRIPT)],
            input=json.dumps(asked),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return {**found, "expected": np.asarray(predict(np.array(ROWS))).tolist()}


@pytest.mark.parametrize("transport", ["rest", "grpc"])
@pytest.mark.parametrize(("how", "kind"), [("tensor", "tensor"), ("ndarray", "ndarray")])
def test_the_client_gets_the_librarys_answer(
    answers: dict[str, Any], transport: str, how: str, kind: str
) -> None:
    got = answers[f"{transport} {how}"]
    assert got == {
        "success": True,
        "names": ["predict"],
        "kind": kind,
        "data": answers["expected"],
    }


@pytest.mark.parametrize("transport", ["rest", "grpc"])
def test_the_client_sends_raw_messages_and_feedback(
    answers: dict[str, Any], transport: str
) -> None:
    raw = answers[f"{transport} raw"]
    assert (raw["data"], raw["puid"]) == (answers["expected"], "mine")
    assert answers[f"{transport} feedback"] == {"success": True, "msg": ""}


@pytest.mark.parametrize("transport", ["rest", "grpc"])
def test_the_client_sees_what_was_wrong(answers: dict[str, Any], transport: str) -> None:
    wrong = answers[f"{transport} wrong"]
    assert wrong["success"] is False
    if transport == "rest":
        assert wrong["msg"] == "400:Bad Request"
        assert (wrong["status"], "send 4 values a row" in wrong["info"]) == (1, True)
    else:
        assert "send 4 values a row" in wrong["msg"]


@pytest.mark.parametrize("transport", ["rest", "grpc"])
def test_the_client_asks_a_single_component(answers: dict[str, Any], transport: str) -> None:
    got = answers[f"microservice {transport}"]
    assert (got["success"], got.get("data")) == (True, answers["expected"])
