"""Models on their way through compilation, for its tests."""

from __future__ import annotations

import time
import warnings
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest

from salver.inference.tensor import InferRequest
from salver.runtimes import lightgbm, sklearn, xgboost
from salver.runtimes.compiled.agreement import difference_of, typical_sizes
from salver.runtimes.compiled.compilation import Compilation
from salver.runtimes.compiled.engines import candidates_for
from salver.runtimes.compiled.pace import Pace
from salver.runtimes.compiled.ports import Declined, Subject
from salver.runtimes.compiled.settings import TOLERANCES, CompileSettings
from salver.runtimes.compiled.verifying import Asked, Verdict, asked
from salver.runtimes.ports import ModelSource
from salver.runtimes.registry import runtime_named


def subject_of(runtime: str, path: Path) -> Subject:
    """The model as compilers see it, loaded by its own runtime."""
    found: list[Any] = []

    def keep(native: Any, source: ModelSource, subject: Any) -> Any:
        found.append(subject(native))
        return native

    with pytest.MonkeyPatch.context() as patch:
        for module in (sklearn, xgboost, lightgbm):
            patch.setattr(module, "compiled", keep)
        runtime_named(runtime).load(ModelSource(path.stem, path, runtime))
    (subject,) = found
    assert isinstance(subject, Subject)
    return subject


def sklearn_subject(model: Any, folder: Path) -> Subject:
    joblib.dump(model, folder / "model.joblib")
    return subject_of("sklearn", folder / "model.joblib")


def judged(subject: Subject, *, seed: int = 0) -> tuple[list[Verdict], list[Asked]]:
    """What came of every engine of both tiers; and questions that none of them has seen."""
    settings = CompileSettings(mode="fast", budget_s=600.0)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        compilation = Compilation(subject, settings, Pace(time.perf_counter))
        candidates, _ = candidates_for(subject, settings.tiers)
        probes = compilation.maker(np.random.default_rng(seed)).probes()
        verdicts = list(compilation.judged(candidates, asked(subject, probes)))
        unseen = compilation.maker(np.random.default_rng(seed + 1000)).probes()
        return verdicts, asked(subject, unseen)


def disagreements(verdict: Verdict, questions: list[Asked]) -> list[str]:
    """Where an accepted engine answers otherwise than the framework."""
    found = []
    for question in questions:
        engine = verdict.engines.get(question.probe.kind)
        if engine is None:
            continue
        first = next(each for each in questions if each.probe.kind == question.probe.kind)
        for name in question.answers or {}:
            assert question.answers is not None and first.answers is not None
            typical = typical_sizes(first.answers[name])
            try:
                with warnings.catch_warnings(), np.errstate(all="ignore"):
                    warnings.simplefilter("ignore")
                    given = engine.predict(InferRequest(question.probe.request.inputs, (name,)))
            except Declined:
                continue
            difference = difference_of(question.answers[name], given, typical)
            allowed = TOLERANCES[verdict.report.tier]
            if not isinstance(difference, float) or difference > allowed:
                where = f"{question.probe.kind} {question.probe.group}"
                found.append(f"{engine.name} {name} ({where}): {difference}")
    return found
