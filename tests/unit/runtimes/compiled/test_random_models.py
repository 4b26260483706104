"""Engines on random models: what is accepted agrees on questions it has never been asked."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.random_models import FAMILIES, save_random_model
from tests.unit.runtimes.compiled.subjects import disagreements, judged, subject_of

FEW = 5 * len(FAMILIES)
MANY = 200


def _compile_and_compare(number: int, folder: Path) -> int:
    runtime, path, words = save_random_model(number, folder)
    verdicts, questions = judged(subject_of(runtime, path), seed=number)
    wrong = [each for verdict in verdicts for each in disagreements(verdict, questions)]
    assert not wrong, f"model {number}, {words}: {wrong}"
    silent = [each.report.name for each in verdicts if not each.engines and not each.report.reason]
    assert not silent
    return sum(bool(verdict.engines) for verdict in verdicts)


@pytest.mark.parametrize("family", range(len(FAMILIES)))
def test_every_accepted_engine_agrees_with_the_framework(family: int, tmp_path: Path) -> None:
    numbers = range(family, FEW, len(FAMILIES))
    accepted = [_compile_and_compare(number, tmp_path) for number in numbers]
    assert sum(accepted) >= len(numbers) // 2


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_two_hundred_models_agree_or_are_refused(tmp_path: Path) -> None:
    accepted = [_compile_and_compare(number, tmp_path) for number in range(MANY)]
    assert sum(bool(each) for each in accepted) > MANY * 0.8
