"""Whether an engine answers all probes as the framework does, and with which guard.

The framework is asked each probe once. An engine that errs only on missing, infinite or extreme
values may still be used for all others: it is tried again behind a guard that declines those.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import msgspec

from salver.errors import RequestError
from salver.inference.compilation import EngineReport
from salver.inference.tensor import Array, InferRequest, InferResponse
from salver.runtimes.compiled.agreement import Disagreement, difference_of, typical_sizes
from salver.runtimes.compiled.engines import Engine
from salver.runtimes.compiled.entry import GUARDS, KINDS, Guard, entry_of
from salver.runtimes.compiled.ports import Candidate, Compute, Declined, Subject
from salver.runtimes.compiled.probes import Probe
from salver.runtimes.compiled.settings import TOLERANCES

Pause = Callable[[], object]
"""Called between two pieces of work."""


def _no_pause() -> None:
    """Nobody waits."""


_ALWAYS_ASKED = frozenset({"ordinary", "sample", "limits", "unseen"})
"""Groups that no guard keeps away: an engine that errs here is refused at once."""


class Asked(msgspec.Struct, frozen=True):
    """A probe with the framework's answer, by output; None: it refuses the request."""

    probe: Probe
    answers: Mapping[str, InferResponse] | None


class Verdict(msgspec.Struct, frozen=True):
    """`engines` holds the engine for each kind of input that it may answer."""

    report: EngineReport
    engines: Mapping[str, Engine]
    guards: Mapping[str, int] = {}
    """By kind: which of `GUARDS` it is behind."""


def asked(subject: Subject, probes: Sequence[Probe], pause: Pause = _no_pause) -> list[Asked]:
    """The framework's answers to all probes."""
    return [Asked(probe, _answers(subject, probe.request, pause)) for probe in probes]


def _answers(
    subject: Subject, request: InferRequest, pause: Pause
) -> Mapping[str, InferResponse] | None:
    found = {}
    for name in subject.outputs:
        pause()
        try:
            found[name] = subject.native.predict(InferRequest(request.inputs, (name,)))
        except RequestError:
            return None
    return found


def verdict(
    candidate: Candidate,
    computations: Mapping[str, Compute],
    subject: Subject,
    questions: Sequence[Asked],
    pause: Pause = _no_pause,
) -> Verdict:
    """Asks the engine all questions, kind by kind."""
    engines: dict[str, Engine] = {}
    guards: dict[str, int] = {}
    differences: list[float | None] = []
    reasons: list[str] = []
    declines: set[str] = set()
    for kind in dict.fromkeys(each.probe.kind for each in questions):
        of_kind = [each for each in questions if each.probe.kind == kind]
        guard, found = _guarded(candidate, computations, subject, of_kind, pause)
        if isinstance(found, Disagreement):
            reasons.append(f"{KINDS[kind]}: {found.reason}")
            differences.append(found.difference)
        else:
            entry = entry_of(subject, guard)
            guards[kind] = GUARDS.index(guard)
            engines[kind] = Engine(candidate.name, computations, entry, subject.defaults)
            differences.append(found)
            declines.add(guard.declines)
    report = EngineReport(
        candidate.name,
        candidate.tier,
        accepts=tuple(KINDS[kind] for kind in engines),
        reason="; ".join(reasons),
        difference=None if None in differences else max(each or 0.0 for each in differences),
        declines="; ".join(sorted(declines - {""})),
    )
    return Verdict(report, engines, guards)


def _guarded(
    candidate: Candidate,
    computations: Mapping[str, Compute],
    subject: Subject,
    questions: Sequence[Asked],
    pause: Pause,
) -> tuple[Guard, float | Disagreement]:
    """The weakest guard that lets the engine pass, and what it then differs by."""
    result: float | Disagreement = 0.0
    for guard in GUARDS:
        engine = Engine(candidate.name, computations, entry_of(subject, guard), subject.defaults)
        group, result = _largest_difference(engine, computations, questions, candidate, pause)
        if not isinstance(result, Disagreement) or group in _ALWAYS_ASKED:
            return guard, result
    return guard, result


def _largest_difference(
    engine: Engine,
    outputs: Mapping[str, Compute],
    questions: Sequence[Asked],
    candidate: Candidate,
    pause: Pause,
) -> tuple[str, float | Disagreement]:
    largest, answered = 0.0, 0
    tolerance = TOLERANCES[candidate.tier]
    typical = _typical(questions)
    for question in questions:
        for name in outputs:
            pause()
            found = _compared(engine, name, question, typical)
            if found is None:
                continue
            answered += 1
            if isinstance(found, float) and found > tolerance:
                found = Disagreement(
                    f"output '{name}' differs by {found:.3g} on {question.probe.group} values, "
                    f"{tolerance:g} is allowed",
                    found,
                )
            if isinstance(found, Disagreement):
                return question.probe.group, found
            largest = max(largest, found)
    if not answered:
        return "ordinary", Disagreement("it takes none of these inputs")
    return "", largest


def _typical(questions: Sequence[Asked]) -> dict[str, Array]:
    for question in questions:
        if question.probe.group == "ordinary" and question.answers is not None:
            sizes: dict[str, Array] = {}
            for answer in question.answers.values():
                sizes.update(typical_sizes(answer))
            return sizes
    return {}


def _compared(
    engine: Engine, name: str, question: Asked, typical: Mapping[str, Array]
) -> float | Disagreement | None:
    """None if the engine leaves the request to the framework."""
    group = question.probe.group
    expected = question.answers.get(name) if question.answers is not None else None
    try:
        given = engine.predict(InferRequest(question.probe.request.inputs, (name,)))
    except Declined:
        return None
    except Exception as error:
        return Disagreement(f"it failed on {group} values: {type(error).__name__}: {error}"[:300])
    if question.answers is None:
        return Disagreement(f"it answers {group} values, which the framework refuses")
    if expected is None:
        return Disagreement(f"the framework has no output '{name}'")
    found = difference_of(expected, given, typical)
    if isinstance(found, Disagreement):
        return Disagreement(f"{found.reason} ({group} values)", found.difference)
    return found
