"""Runs the tests of each heavy framework in the environment that has it."""

from __future__ import annotations

import os
import subprocess

import pytest

from tests.e2e.framework_environments import FRAMEWORKS, ROOT, framework_python, names

pytestmark = [pytest.mark.e2e, pytest.mark.frameworks, pytest.mark.timeout(1500)]
_LIMIT_S = 600


@pytest.mark.parametrize("name", names())
def test_a_framework_is_served(name: str) -> None:
    python = framework_python(name)
    command = [str(python), "-m", "pytest", str(FRAMEWORKS / name), "-q", "-p", "no:cacheprovider"]
    environ = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")}
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=environ,
        capture_output=True,
        text=True,
        timeout=_LIMIT_S,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout[-8000:]}\n{done.stderr[-2000:]}"
