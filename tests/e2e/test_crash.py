"""kill -9 of the server in the middle of changes: what was acknowledged is there afterwards."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.crashes import Crashes

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]


def test_a_server_killed_at_any_moment_resumes_at_an_acknowledged_step(tmp_path: Path) -> None:
    crashes = Crashes(tmp_path, seed=3)
    for _ in range(8):
        crashes.kill_once()
    outcome = crashes.outcome
    assert outcome.faults == []
    assert outcome.steps > 0
    assert outcome.resumed_s
