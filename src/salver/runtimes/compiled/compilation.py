"""One model on its way through building engines, probing and measuring them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
import numpy as np

from salver.inference.compilation import (
    NATIVE,
    CompileReport,
    EngineChoice,
    EngineReport,
)
from salver.inference.tensor import Array, InferRequest
from salver.runtimes.compiled.agreement import typical_sizes
from salver.runtimes.compiled.choosing import SIZES, ChoiceTable, Times, choice_table
from salver.runtimes.compiled.engines import Engine, candidates_for
from salver.runtimes.compiled.landmarks import Landmarks, landmarks_of
from salver.runtimes.compiled.measuring import measured
from salver.runtimes.compiled.model import Assembly, LiveCheck
from salver.runtimes.compiled.pace import Pace
from salver.runtimes.compiled.ports import Candidate, Compute, NotCompiled, Subject
from salver.runtimes.compiled.probes import Probe, ProbeMaker
from salver.runtimes.compiled.sample import sample_probes
from salver.runtimes.compiled.settings import TOLERANCES, CompileSettings
from salver.runtimes.compiled.verdicts import KeptVerdict
from salver.runtimes.compiled.verifying import Asked, Verdict, asked, verdict

_PROBING_SHARE = 0.6
"""Of the budget: what is left is for measuring."""


class Compilation:
    """One model on its way through building, probing and measuring."""

    def __init__(self, subject: Subject, settings: CompileSettings, pace: Pace) -> None:
        self._subject = subject
        self._settings = settings
        self._clock = pace
        self._started_s = pace()
        self._verdicts: list[Verdict] = []
        self._skipped: list[str] = []

    def assembly(self) -> tuple[Assembly, KeptVerdict]:
        """The engines, none if none was accepted and quicker; and what is worth keeping of it."""
        candidates, reason = candidates_for(self._subject, self._settings.tiers)
        if not candidates:
            return self._native_only(reason)
        maker = self.maker(np.random.default_rng(0))
        if self._skipped:
            # Rows drawn blindly would hardly ever meet what float32 gets wrong.
            candidates = [each for each in candidates if each.tier == "exact"]
        questions = asked(self._subject, [*self._sample(), *maker.probes()], self._clock.pause)
        verdicts = self.judged(candidates, questions)
        engines = engines_by_kind(self._subject, verdicts)
        if not engines:
            return self._native_only(reason or "no engine was accepted", questions)
        times = self._times(maker, engines)
        return self._chosen(engines, times, questions)

    def maker(self, generator: np.random.Generator) -> ProbeMaker:
        """Makes probes from the model's own thresholds, as far as they can be read."""
        landmarks = self._landmarks() or Landmarks.none(self._subject.width)
        return ProbeMaker(self._subject, landmarks, generator)

    def judged(
        self, candidates: Sequence[Candidate], questions: Sequence[Asked]
    ) -> Sequence[Verdict]:
        """What came of each candidate that there was time for."""
        deadline_s = self._started_s + self._settings.budget_s * _PROBING_SHARE
        for candidate in candidates:
            self._clock.pause()
            if self._clock() >= deadline_s:
                self._skipped.append(candidate.name)
                continue
            started_s = self._clock()
            found = self._verdict(candidate, questions)
            took_s = self._clock() - started_s
            report = msgspec.structs.replace(found.report, build_s=took_s)
            self._verdicts.append(msgspec.structs.replace(found, report=report))
        return self._verdicts

    def _verdict(self, candidate: Candidate, questions: Sequence[Asked]) -> Verdict:
        try:
            built = candidate.build(self._subject)
        except NotCompiled as error:
            return _refused(candidate, str(error))
        except ModuleNotFoundError as error:
            return _refused(candidate, f"{error.name} is not installed: salver[compile] brings it")
        except MemoryError:
            raise
        except Exception as error:
            text = " ".join(str(error).split())[:200]
            return _refused(candidate, f"it cannot hold the model: {type(error).__name__}: {text}")
        outputs = outputs_of(self._subject, built)
        if not outputs:
            return _refused(candidate, "it gives none of the model's outputs")
        return verdict(candidate, outputs, self._subject, questions, self._clock.pause)

    def _times(self, maker: ProbeMaker, engines: Mapping[str, Mapping[str, Engine]]) -> Times:
        """Measured on the kind that models are mostly asked with; an engine that does not take
        it is measured on none, and so is not chosen."""
        kind = maker.timing_kind(list(engines))
        askers = {NATIVE: self._subject.native.predict} | {
            name: engine.predict for name, engine in engines[kind].items()
        }
        first_last = (SIZES[0], SIZES[-1], *SIZES[1:-1])
        requests = {
            rows: InferRequest(maker.timing_request(rows, kind).inputs) for rows in first_last
        }
        deadline_s = self._started_s + self._settings.budget_s
        times = measured(
            askers,
            requests,
            clock=self._clock,
            deadline_s=deadline_s,
            pause=self._clock.pause,
        )
        self._skipped += [
            f"measuring {rows} rows" for rows in sorted(requests) if rows not in times[NATIVE]
        ]
        return times

    def _chosen(
        self,
        engines: Mapping[str, Mapping[str, Engine]],
        times: Times,
        questions: Sequence[Asked],
    ) -> tuple[Assembly, KeptVerdict]:
        tables = {kind: choice_table(times, list(each)) for kind, each in engines.items()}
        main = max(tables, key=lambda kind: len(engines[kind]))
        choices = tuple(_choice(rows, tables[main], times) for rows in sorted(times[NATIVE]))
        report = self._report(_note(choices), questions, choices)
        typical = _typical(questions)
        check = live_check(self._settings, report, typical)
        kept = KeptVerdict(
            report,
            tables,
            {each.report.name: dict(each.guards) for each in self._verdicts if each.guards},
            {name: sizes.tolist() for name, sizes in typical.items()},
        )
        return Assembly(engines, tables, report, check), kept

    def _native_only(
        self, reason: str, questions: Sequence[Asked] = ()
    ) -> tuple[Assembly, KeptVerdict]:
        report = self._report(f"the framework answers: {reason}", questions)
        return Assembly.of_report(report), KeptVerdict(report)

    def _report(
        self, note: str, questions: Sequence[Asked], choices: tuple[EngineChoice, ...] = ()
    ) -> CompileReport:
        return CompileReport(
            mode=self._settings.mode,
            note=note,
            engines=tuple(each.report for each in self._verdicts),
            choices=choices,
            probe_rows=sum(each.probe.rows for each in questions),
            took_s=self._clock() - self._started_s,
            skipped=tuple(self._skipped),
        )

    def _landmarks(self) -> Landmarks | None:
        subject = self._subject
        try:
            return landmarks_of(subject.family, subject.artifact, subject.width, subject.names)
        except (AttributeError, ValueError, TypeError, IndexError, KeyError, NotCompiled) as error:
            self._skipped.append(
                f"the fast tier: the model's thresholds cannot be read ({error!r})"
            )
            return None

    def _sample(self) -> list[Probe]:
        sample = self._settings.sample
        return [] if sample is None else sample_probes(self._subject, sample)


def engines_by_kind(subject: Subject, verdicts: Sequence[Verdict]) -> dict[str, dict[str, Engine]]:
    """By kind of input and name: the engines that passed."""
    found: dict[str, dict[str, Engine]] = {}
    for each in verdicts:
        for kind, engine in each.engines.items():
            found.setdefault(kind, {})[engine.name] = engine
    if "d" in found and subject.form != "columns" and subject.names:
        found["columns"] = found["d"]
    return found


def outputs_of(subject: Subject, built: Mapping[str, Compute]) -> dict[str, Compute]:
    """What an engine computes of the model's outputs."""
    return {name: built[name] for name in built if name in subject.outputs}


def live_check(
    settings: CompileSettings, report: CompileReport, typical: Mapping[str, Array]
) -> LiveCheck:
    """How live answers are to be checked."""
    tolerances = {each.name: TOLERANCES[each.tier] for each in report.engines}
    return LiveCheck(LiveCheck.stride_of(settings.check_fraction), tolerances, typical)


def _refused(candidate: Candidate, reason: str) -> Verdict:
    report = EngineReport(candidate.name, candidate.tier, reason=reason, difference=None)
    return Verdict(report, {})


def _typical(questions: Sequence[Asked]) -> dict[str, Array]:
    for question in questions:
        if question.probe.group == "ordinary" and question.answers is not None:
            return {
                name: size
                for answer in question.answers.values()
                for name, size in typical_sizes(answer).items()
            }
    return {}


def _choice(rows: int, table: ChoiceTable, times: Times) -> EngineChoice:
    engine = table.engine_for(rows)
    return EngineChoice(rows, engine, times[NATIVE][rows] * 1e6, times[engine][rows] * 1e6)


def _note(choices: Sequence[EngineChoice]) -> str:
    won = [each for each in choices if each.engine != NATIVE]
    if not won:
        return "the framework answers: no engine is clearly quicker"
    parts = [f"{each.engine} {each.speed_up:.1f}x at {each.rows}" for each in won]
    return f"compiled: {', '.join(parts)} rows"
