"""`salver tune` on real servers."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path

import pytest

from tests.documents import ROOT
from tests.e2e.server import command, environment

TARGET = str(ROOT / "examples/iris.skops")

pytestmark = pytest.mark.alone


def _tune(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command("tune", *arguments), capture_output=True, text=True, timeout=120, env=environment()
    )


def test_it_finds_flags_within_the_time_and_the_goal() -> None:
    started_s = time.monotonic()
    done = _tune(TARGET, "--p99", "2s", "--seconds", "4", "--max-workers", "1", "-o", "json")
    assert done.returncode == 0, done.stderr
    # The start of the first server and the end of the last are not cut off.
    assert time.monotonic() - started_s < 60
    found = json.loads(done.stdout)
    assert found["best"]["p99_s"] <= 2 and found["best"]["requests_per_s"] > 0
    assert found["flags"][:2] == ["--workers", "1"]
    assert found["points"][0]["connections"] == 1


def test_a_goal_out_of_reach_is_told_with_what_came_nearest() -> None:
    done = _tune(TARGET, "--p99", "0.001ms", "--seconds", "2", "--max-workers", "1")
    assert done.returncode == 1
    assert "nothing is within 0.001ms: the least P99 is" in done.stdout
    assert f"salver serve {TARGET} --workers 1" in done.stdout


def test_a_target_that_is_no_model_says_so(tmp_path: Path) -> None:
    (tmp_path / "model.joblib").write_bytes(b"nothing")
    done = _tune(str(tmp_path / "model.joblib"), "--seconds", "2")
    assert done.returncode == 1
    assert "tune: the server has ended" in done.stderr


def test_a_request_that_the_model_refuses_is_told_at_once(tmp_path: Path) -> None:
    wrong = {"inputs": [{"name": "x", "shape": [1, 1], "datatype": "FP64", "data": [1.0]}]}
    (tmp_path / "request.json").write_text(json.dumps(wrong))
    done = _tune(TARGET, "--seconds", "2", "-f", str(tmp_path / "request.json"))
    assert done.returncode == 1
    assert "give one that it does with -f FILE" in done.stderr
