"""Verdicts on compiling that outlive the worker: kept, taken up, redone, given up."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from sklearn.datasets import make_classification
from sklearn.ensemble import RandomForestClassifier
from tests.unit.runtimes.requests import matrix, only

from salver.errors import LoadFailed
from salver.inference.compilation import CompileReport
from salver.runtimes.compiled.model import CompiledModel
from salver.runtimes.compiled.settings import settings_of
from salver.runtimes.compiled.verdict_keys import verdict_key
from salver.runtimes.compiled.verdicts import (
    ENDED_WORKERS,
    MOST_BEGUN,
    KeptVerdict,
    VerdictFolder,
)
from salver.runtimes.ports import ModelSource
from salver.runtimes.registry import runtime_named

ROWS, CLASSES = make_classification(300, 5, random_state=0)
FOREST = RandomForestClassifier(10, random_state=0).fit(ROWS, CLASSES)
BUDGET: dict[str, Any] = {"compile_budget_s": 600}


def _source(folder: Path, *, later: bool = False, **parameters: Any) -> ModelSource:
    path = folder / "forest.joblib"
    if not path.exists():
        joblib.dump(FOREST, path)
    return ModelSource(
        "forest",
        path,
        "sklearn",
        parameters=BUDGET | parameters,
        verdicts=folder / "verdicts",
        compiles_later=later,
    )


def _loaded(source: ModelSource) -> CompiledModel:
    model = runtime_named("sklearn").load(source)
    assert isinstance(model, CompiledModel)
    return model


def _key(source: ModelSource) -> str:
    return verdict_key(source, settings_of(source), lambda: None)


def test_a_second_load_takes_the_verdict_and_builds_only_what_was_chosen(tmp_path: Path) -> None:
    first = _loaded(_source(tmp_path)).compile_report
    model = _loaded(_source(tmp_path))
    second = model.compile_report
    assert not first.is_reused and second.is_reused
    assert second.choices == first.choices and second.engines == first.engines
    assert second.is_compiled and second.took_s < first.took_s
    assert np.array_equal(only(model.predict(matrix(ROWS))), FOREST.predict(ROWS))
    assert model.counts.answered == 1


def test_a_model_that_compiles_later_answers_by_its_framework_until_then(tmp_path: Path) -> None:
    model = _loaded(_source(tmp_path, later=True))
    assert model.compile_report.is_pending
    expected = only(model.predict(matrix(ROWS[:1])))
    assert model.counts.answered == 0

    answers = []
    assert model.compile_on(lambda: answers.append(only(model.predict(matrix(ROWS[:1])))))
    assert len(answers) > 20  # It lets others have the thread again and again.
    assert all(np.array_equal(each, expected) for each in answers)
    assert not model.compile_report.is_pending and model.compile_report.is_compiled
    assert np.array_equal(only(model.predict(matrix(ROWS[:1]))), expected)
    assert model.counts.answered == 1


def test_time_that_others_use_meanwhile_is_not_the_compilers(tmp_path: Path) -> None:
    model = _loaded(_source(tmp_path, later=True))
    ticks: list[float] = []

    def meanwhile() -> None:
        ticks.append(1.0)

    assert model.compile_on(meanwhile)
    assert model.compile_report.skipped == ()
    assert ticks


def test_other_content_settings_or_threads_have_verdicts_of_their_own(tmp_path: Path) -> None:
    keys = {_key(_source(tmp_path)), _key(_source(tmp_path, compile="fast"))}
    keys.add(_key(_source(tmp_path, methods=["predict"])))
    joblib.dump(FOREST.set_params(random_state=1), tmp_path / "forest.joblib")
    keys.add(_key(_source(tmp_path)))
    assert len(keys) == 4
    assert _key(_source(tmp_path)) == _key(_source(tmp_path, compile_check=0.5))


@pytest.mark.parametrize("content", [b"", b"{", b'{"report": 1}', b"\xff" * 100])
def test_a_verdict_that_cannot_be_read_is_none(tmp_path: Path, content: bytes) -> None:
    source = _source(tmp_path)
    (tmp_path / "verdicts").mkdir()
    (tmp_path / "verdicts" / f"{_key(source)}.json").write_bytes(content)
    report = _loaded(source).compile_report
    assert report.is_compiled and not report.is_reused


def test_a_verdict_that_does_not_hold_any_more_is_made_again(tmp_path: Path) -> None:
    source = _source(tmp_path)
    _loaded(source)
    folder = VerdictFolder(tmp_path / "verdicts")
    kept = folder.read(_key(source))
    assert kept is not None
    text = (tmp_path / "verdicts" / f"{_key(source)}.json").read_text()
    for engine in kept.guards:
        text = text.replace(f'"{engine}"', '"an engine of long ago"')
    (tmp_path / "verdicts" / f"{_key(source)}.json").write_text(text)
    report = _loaded(source).compile_report
    assert report.is_compiled and not report.is_reused


def test_what_was_skipped_for_lack_of_time_is_tried_again_but_not_for_ever(tmp_path: Path) -> None:
    reports = [
        _loaded(_source(tmp_path, compile_budget_s=0)).compile_report.is_reused for _ in range(5)
    ]
    assert reports == [False, False, False, True, True]


def test_a_model_that_ends_its_worker_again_and_again_is_left_alone(tmp_path: Path) -> None:
    source = _source(tmp_path)
    key = _key(source)
    script = (
        "import os, sys; from pathlib import Path\n"
        "from salver.runtimes.compiled.verdicts import VerdictFolder\n"
        f"with VerdictFolder(Path({str(tmp_path / 'verdicts')!r})).turn({key!r}) as turn:\n"
        "    turn.begin(); os._exit(9)\n"
    )
    for _ in range(MOST_BEGUN):
        assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 9
    report = _loaded(source).compile_report
    assert not report.is_compiled and ENDED_WORKERS in report.note
    assert _loaded(source).compile_report.note == report.note


def test_one_process_compiles_at_a_time(tmp_path: Path) -> None:
    source = _source(tmp_path, later=True, compile_budget_s=0.05)
    folder = VerdictFolder(tmp_path / "verdicts")
    with folder.turn(_key(source)) as turn:
        assert turn is not None
        model = _loaded(source)
        assert not model.compile_on(lambda: None)
        assert model.compile_report.is_pending
    assert model.compile_on(lambda: None)
    assert list((tmp_path / "verdicts").glob("*.lock")) == []


def test_verdicts_are_dropped_before_they_are_too_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("salver.runtimes.compiled.verdicts._MOST", 5)
    monkeypatch.setattr("salver.runtimes.compiled.verdicts._PRUNED_TO", 3)
    folder = VerdictFolder(tmp_path)
    for index in range(6):
        folder.write(f"key{index}", KeptVerdict(CompileReport("auto", "")))
        os.utime(tmp_path / f"key{index}.json", (index, index))
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "key3.json",
        "key4.json",
        "key5.json",
    ]


def test_a_folder_that_cannot_be_written_costs_only_the_memory(tmp_path: Path) -> None:
    (tmp_path / "verdicts").write_text("a file")
    assert _loaded(_source(tmp_path)).compile_report.is_compiled


def test_a_sample_that_cannot_be_read_fails_the_load_also_later(tmp_path: Path) -> None:
    with pytest.raises(LoadFailed, match="nowhere"):
        runtime_named("sklearn").load(_source(tmp_path, later=True, sample="nowhere.json"))
