"""`salver router evaluate`: a log as text, judged by `bandits/evaluation.py`.

Lines that cannot be read are faults, with their numbers: an estimate from half a log is wrong.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Sequence

import msgspec

from salver.cli.router_tables import Json, evaluation_lines
from salver.errors import CommandFailed, InvalidInput

_FIELDS = '{"arm": "a", "propensity": 0.5, "reward": 1.0}'


class Line(msgspec.Struct):
    """One line of a log; what else is in it does not matter here."""

    arm: str
    propensity: float
    reward: float | None = None
    context: list[float] = []
    time: float = 0.0


def evaluate_log(
    text: str,
    *,
    source: str,
    arms: Sequence[str],
    policy: str,
    parameters: tuple[tuple[str, str], ...],
    missing_reward: float | None,
    learns: bool,
) -> tuple[Json, list[str]]:
    """The evaluation as JSON, and as lines for people. Raises `CommandFailed`."""
    from salver.bandits.evaluation import Logged, evaluate
    from salver.bandits.policies import make_policy

    lines = read_lines(text, source)
    kept = [each for each in lines if each.reward is not None or missing_reward is not None]
    if not kept:
        raise CommandFailed(
            f"{source}: none of {len(lines)} choices has a reward; send feedback, or count those "
            "without one with --missing-reward"
        )
    names = tuple(arms) or tuple(dict.fromkeys(sorted(each.arm for each in lines)))
    # Arms that are no more cannot be chosen by any policy.
    kept = [each for each in kept if each.arm in names]
    try:
        judged = make_policy(policy, names, parameters)
        if judged.is_contextual and not all(each.context for each in kept):
            raise CommandFailed(
                f"{source}: '{judged.algorithm}' needs a context with each choice, and the log has "
                "none; log with a contextual router"
            )
        log = [
            Logged(
                names.index(each.arm),
                each.propensity,
                each.reward if each.reward is not None else missing_reward or 0.0,
                array("d", each.context),
                each.time,
            )
            for each in kept
        ]
        for each in log:
            judged.check_reward(each.reward)
        found = evaluate(judged, log, learns=learns)
    except InvalidInput as error:
        raise CommandFailed(f"router evaluate: {error}") from error
    report: Json = {"source": source, **msgspec.to_builtins(found)}
    report["without_reward"] = len(lines) - len(kept)
    return report, evaluation_lines(report)


def read_lines(text: str, source: str) -> list[Line]:
    """The lines of a log. Raises `CommandFailed`."""
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            found.append(msgspec.convert(json.loads(line), Line))
        except (ValueError, msgspec.ValidationError) as error:
            raise CommandFailed(
                f"{source}:{number}: {error}; each line is such as {_FIELDS}"
            ) from error
    return found
