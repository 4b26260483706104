"""Broken manifests and all that is said of them, as golden files: read them, they are the UI.

After a change of wording, `SALVER_GOLDEN=write` rewrites them; the diff is for review.
"""

import os
from pathlib import Path

import pytest

from salver.spec.read import read_manifests

FOLDER = Path(__file__).parent / "broken"
BROKEN = sorted(FOLDER.glob("*.yaml"))


def test_there_are_thirty_of_them() -> None:
    assert len(BROKEN) >= 30


@pytest.mark.parametrize("path", BROKEN, ids=[path.stem for path in BROKEN])
def test_a_broken_manifest_is_told_all_its_problems(path: Path) -> None:
    problems = read_manifests(path.read_text(), path.name).problems
    text = "".join(f"{problem}\n" for problem in problems)
    golden = path.with_suffix(".txt")
    if os.environ.get("SALVER_GOLDEN") == "write":
        golden.write_text(text)
    assert text == golden.read_text()
    assert problems


@pytest.mark.parametrize("path", BROKEN, ids=[path.stem for path in BROKEN])
def test_every_problem_names_a_line_of_the_file(path: Path) -> None:
    lines = len(path.read_text().splitlines())
    for problem in read_manifests(path.read_text(), path.name).problems:
        assert 1 <= problem.line <= lines
        assert problem.column >= 1
        assert "\n" not in str(problem)
