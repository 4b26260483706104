"""The `kserve` SDK's inference clients on a running server, over V1, V2 REST and V2 gRPC."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.e2e.own_environment import own_environment
from tests.e2e.zoo import COMPARED, TOLERANCE, Zoo

pytestmark = [pytest.mark.e2e, pytest.mark.kserve, pytest.mark.timeout(600)]

REQUIREMENTS = ["kserve==0.21.0", "kubernetes<36"]
"""Its client only: no framework, and so no CUDA libraries either. Its
KServeClient breaks on the `kubernetes` client 37, which takes no models of other packages."""
SCRIPT = Path(__file__).with_name("kserve_client.py")


@pytest.fixture(scope="module")
def kserve_python() -> Path:
    """The interpreter of the SDK's environment, made under `.venvs/` when first needed."""
    return own_environment("kserve", REQUIREMENTS)


@pytest.fixture(scope="module")
def answers(kserve_python: Path, zoo: Zoo) -> dict[str, Any]:
    """What the SDK's clients got for every model, however they asked."""
    cases = []
    for model in COMPARED:
        case = zoo.cases[model]
        name = zoo.server.get(f"/v2/models/{model}").json()["inputs"][0]["name"]
        cases.append(
            {"model": model, "input": name, "datatype": case.datatype, "rows": case.rows.tolist()}
        )
    done = subprocess.run(
        [str(kserve_python), str(SCRIPT)],
        input=json.dumps({"url": zoo.url, "grpc": zoo.grpc, "cases": cases}),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    received: dict[str, Any] = json.loads(done.stdout)
    return received


@pytest.mark.parametrize("how", ["v1", "v2 json", "v2 binary", "grpc typed", "grpc raw"])
@pytest.mark.parametrize("model", COMPARED)
def test_kserve_gets_what_the_library_answers(
    zoo: Zoo, answers: dict[str, Any], model: str, how: str
) -> None:
    np.testing.assert_allclose(answers[how][model], zoo.cases[model].expected, **TOLERANCE)


def test_kserve_finds_the_server_and_its_models_ready(answers: dict[str, Any]) -> None:
    assert set(answers["ready"].values()) == {True}
    assert set(answers["grpc ready"].values()) == {True}
    assert answers["ids"] == {model: f"id-{model}" for model in COMPARED}


def test_kserve_is_told_of_an_unknown_model(answers: dict[str, Any]) -> None:
    status, message = answers["rest refusal"]
    assert status == 404
    assert "unknown model 'roses'" in message
    code, details = answers["grpc refusal"]
    assert code == "NOT_FOUND"
    assert "unknown model 'roses'" in details


def test_a_transformer_written_for_the_sdk_works_unchanged(kserve_python: Path) -> None:
    where = "import sysconfig; print(sysconfig.get_paths()['purelib'])"
    packages = subprocess.run(
        [str(kserve_python), "-c", where], capture_output=True, text=True, check=True
    )
    script = Path(__file__).with_name("kserve_steps.py")
    done = subprocess.run(
        [sys.executable, str(script), packages.stdout.strip()],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["v1 request"] == {"instances": [[2.0, 4.0]]}
    assert found["v1 response"] == {"predictions": [107]}
    assert found["v2 request"]["id"] == "a"
    assert found["v2 request"]["inputs"][0]["data"] == [2, 4]
    assert found["v2 response"]["outputs"][0]["data"] == [107]
    assert (found["grpc request"], found["grpc id"]) == ([2, 4], "g")
    assert found["grpc response"] == [107]
