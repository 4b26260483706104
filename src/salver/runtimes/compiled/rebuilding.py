"""Engines from a verdict of a former load: only those that were chosen are built.

Trusts the verdict for what it says of agreement and speed, but not blindly: each engine answers a
few rows beside the framework before it answers anybody else.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

import msgspec
import numpy as np

from salver.errors import RequestError
from salver.inference.compilation import NATIVE
from salver.inference.tensor import InferRequest
from salver.runtimes.compiled.agreement import difference_of
from salver.runtimes.compiled.compilation import engines_by_kind, live_check, outputs_of
from salver.runtimes.compiled.engines import Engine, candidates_for
from salver.runtimes.compiled.entry import GUARDS, entry_of
from salver.runtimes.compiled.landmarks import Landmarks
from salver.runtimes.compiled.model import Assembly
from salver.runtimes.compiled.pace import Pace
from salver.runtimes.compiled.ports import Candidate, Compute, Declined, Subject
from salver.runtimes.compiled.probes import ProbeMaker
from salver.runtimes.compiled.settings import TOLERANCES, CompileSettings
from salver.runtimes.compiled.verdicts import KeptVerdict
from salver.runtimes.compiled.verifying import Verdict

logger = logging.getLogger("salver.compiled")
_PROBE_ROWS = 16


def rebuilt(
    subject: Subject, settings: CompileSettings, kept: KeptVerdict, pace: Pace
) -> Assembly | None:
    """The engines that the verdict names. None if it does not hold: compile anew."""
    started_s = pace()
    wanted = {name for table in kept.tables.values() for name in table.engines} - {NATIVE}
    candidates = {each.name: each for each in candidates_for(subject, settings.tiers)[0]}
    verdicts = []
    for name in sorted(wanted):
        pace.pause()
        try:
            verdicts.append(_verdict(candidates[name], subject, kept))
        except Exception as error:
            # Whatever it was: what is built anew is probed as if nothing were known of it.
            logger.debug("model '%s': %s is not as it was: %r", subject.name, name, error)
            return None
    typical = {name: np.asarray(sizes) for name, sizes in kept.typical.items()}
    report = msgspec.structs.replace(kept.report, took_s=pace() - started_s, is_reused=True)
    return Assembly(
        engines_by_kind(subject, verdicts),
        kept.tables,
        report,
        live_check(settings, report, typical),
    )


def _verdict(candidate: Candidate, subject: Subject, kept: KeptVerdict) -> Verdict:
    outputs = outputs_of(subject, candidate.build(subject))
    engines = {
        kind: Engine(candidate.name, outputs, entry_of(subject, GUARDS[guard]), subject.defaults)
        for kind, guard in kept.guards[candidate.name].items()
    }
    typical = {name: np.asarray(sizes) for name, sizes in kept.typical.items()}
    for kind, engine in engines.items():
        _probe(engine, outputs, kind, subject, TOLERANCES[candidate.tier], typical)
    report = next(each for each in kept.report.engines if each.name == candidate.name)
    return Verdict(report, engines, kept.guards[candidate.name])


def _probe(
    engine: Engine,
    outputs: Mapping[str, Compute],
    kind: str,
    subject: Subject,
    tolerance: float,
    typical: Mapping[str, np.ndarray],
) -> None:
    """Raises `ValueError` if the engine answers otherwise than the framework."""
    maker = ProbeMaker(subject, Landmarks.none(subject.width), np.random.default_rng(0))
    inputs = maker.timing_request(_PROBE_ROWS, kind).inputs
    for name in outputs:
        request = InferRequest(inputs, (name,))
        try:
            given, expected = engine.predict(request), subject.native.predict(request)
        except (Declined, RequestError):
            continue
        found = difference_of(expected, given, typical)
        if not isinstance(found, float) or found > tolerance:
            raise ValueError(f"output '{name}' differs: {found}")
