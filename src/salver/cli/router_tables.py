"""Routers that learn as tables for people. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from salver.cli.ages import span
from salver.cli.terminal import columns

Json = dict[str, Any]

_MODES = {
    "learning": "learning",
    "best": "frozen: the best arm",
    "shares": "frozen: fixed shares",
    "promoted": "promoted",
}


def list_lines(routers: Sequence[Json]) -> list[str]:
    """A line for each router."""
    header = ["NAMESPACE", "GRAPH", "STEP", "ALGORITHM", "MODE", "ARMS", "CHOICES", "REWARDS"]
    rows = [
        [
            router["namespace"],
            router["graph"],
            router["step"],
            router["algorithm"],
            _MODES.get(router["mode"], router["mode"]),
            str(len(router["arms"])),
            str(sum(arm["choices"] for arm in router["arms"])),
            str(sum(arm["rewards"] for arm in router["arms"])),
        ]
        for router in routers
    ]
    return columns([header, *rows], right=frozenset({5, 6, 7}))


def status_lines(router: Json, now_s: float) -> list[str]:
    """All about one router."""
    facts = [["Router:", router["name"]], ["Algorithm:", _algorithm(router)]]
    mode = str(_MODES.get(router["mode"], router["mode"]))
    since_s = router.get("mode_since_s") or 0.0
    if since_s:
        mode += f" (since {span(now_s - since_s)})"
    facts += [["Mode:", mode], ["Feedback:", _feedback(router["feedback"])]]
    facts.append(["Regret:", _regret(router)])
    header = ["ARM", "SHARE", "CHOICES", "REWARDS", "MEAN", "95% INTERVAL", "POSTERIOR"]
    rows = [_arm_row(arm) for arm in router["arms"]]
    return [*columns(facts), "", *columns([header, *rows], right=frozenset({1, 2, 3, 4}))]


def _algorithm(router: Json) -> str:
    given = ", ".join(f"{key} {value}" for key, value in router["parameters"].items())
    return f"{router['algorithm']} ({given})" if given else str(router["algorithm"])


def _feedback(counts: Json) -> str:
    return ", ".join(f"{count} {what}" for what, count in counts.items())


def _regret(router: Json) -> str:
    regret = router.get("regret")
    if regret is None:
        return "unknown until two arms have rewards"
    return (
        f"about {regret['total']:.4g} in {regret['choices']} choices "
        f"({regret['per_choice']:.3g} each)"
    )


def _arm_row(arm: Json) -> list[str]:
    low, high = arm.get("low"), arm.get("high")
    posterior = arm.get("posterior") or {}
    shown = [f"{key} {value:.4g}" for key, value in list(posterior.items())[:4]]
    if len(posterior) > len(shown):
        shown.append(f"... {len(posterior)} in all")
    return [
        arm["name"],
        f"{100 * arm['share']:.1f}%",
        str(arm["choices"]),
        str(arm["rewards"]),
        "-" if arm.get("mean") is None else f"{arm['mean']:.4g}",
        "-" if low is None or high is None else f"{low:.4g} to {high:.4g}",
        ", ".join(shown) or "-",
    ]


def evaluation_lines(found: Json) -> list[str]:
    """An evaluation: what was earned, and what would have been."""
    logged = found["logged"]
    rows = [["POLICY", "METHOD", "REWARD", "STD ERROR", "95% INTERVAL"]]
    rows.append(["(as logged)", "mean", *_numbers(logged)])
    rows += [[found["policy"], each["method"], *_numbers(each)] for each in found["estimates"]]
    return [
        f"{found['choices']} choices of {found['source']}, worth {found['effective']:.0f} of "
        f"{found['policy']}'s own; largest weight {found['largest_weight']:.3g}",
        "",
        *columns(rows, right=frozenset({2, 3})),
        *[f"Warning: {each}" for each in found["warnings"]],
    ]


def _numbers(estimate: Json) -> list[str]:
    return [
        f"{estimate['value']:.4g}",
        f"{estimate['error']:.2g}",
        f"{estimate['low']:.4g} to {estimate['high']:.4g}",
    ]
