"""Conditions of a status, in the shape of the Kubernetes API. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec


class Condition(msgspec.Struct, frozen=True):
    """One condition. `status` None: unknown, as long as things are on their way."""

    type: str
    status: bool | None
    reason: str = ""
    message: str = ""
    severity: str = ""


def dated(
    conditions: Sequence[Condition], old: Sequence[Mapping[str, Any]], now: str
) -> list[dict[str, Any]]:
    """As JSON, by type; a condition keeps its date for as long as its status stays."""
    before = {each.get("type"): each for each in old}
    answers = []
    for each in sorted(conditions, key=lambda condition: condition.type):
        status = {True: "True", False: "False", None: "Unknown"}[each.status]
        former = before.get(each.type, {})
        is_same = former.get("status") == status
        answer = {
            "type": each.type,
            "status": status,
            "lastTransitionTime": former.get("lastTransitionTime", now) if is_same else now,
        }
        for name, value in (
            ("reason", each.reason),
            ("message", each.message),
            ("severity", each.severity),
        ):
            if value:
                answer[name] = value
        answers.append(answer)
    return answers
