"""How far a service has come, on a terminal one line that moves, else a line for each step.

What is shown is read from the object's `status`; nothing here asks the server.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, TextIO

from salver.cli.terminal import Style, is_terminal

_PERCENT = re.compile(r"(\d+(?:\.\d+)?) ?%")
_SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
_MAY_PASS = ("Stopped", "ServiceNotFound")
"""Why a graph does not serve, though its manifest may be right: what it asks may come yet."""


class ProgressLines:
    """Shows the newest step of each of several things that go on."""

    def __init__(self, stream: TextIO, style: Style) -> None:
        self._stream = stream
        self._style = style
        self._moves = is_terminal(stream)
        self._shown: dict[str, str] = {}
        self._ticks = 0
        self._has_line = False

    def show(self, name: str, step: str) -> None:
        """The step that a thing is at now; the same step again is not repeated."""
        if self._moves:
            self._ticks += 1
            mark = _SPINNER[self._ticks % len(_SPINNER)]
            self._stream.write(f"\r\x1b[K{self._style.paint(mark, 'cyan')} {name}: {step}")
            self._has_line = True
        elif self._shown.get(name) != step:
            self._stream.write(f"{name}: {step}\n")
        self._shown[name] = step
        self._stream.flush()

    def clear(self) -> None:
        """Takes the moving line away, before something else is written."""
        if self._has_line:
            self._stream.write("\r\x1b[K")
            self._stream.flush()
            self._has_line = False


def condition(obj: Mapping[str, Any], type: str) -> Mapping[str, Any]:
    """The condition of that type, whatever its case; empty if there is none."""
    for each in (obj.get("status") or {}).get("conditions") or []:
        if str(each.get("type", "")).lower() == type.lower():
            return dict(each)
    return {}


def is_current(obj: Mapping[str, Any]) -> bool:
    """Whether the status speaks of the present spec, not of an older one."""
    observed = (obj.get("status") or {}).get("observedGeneration")
    generation = (obj.get("metadata") or {}).get("generation")
    return observed is None or generation is None or observed >= generation


def failure_of(obj: Mapping[str, Any]) -> str:
    """Why the newest spec cannot be served; empty as long as it still may be."""
    if not is_current(obj):
        return ""
    status = obj.get("status") or {}
    model = status.get("modelStatus") or {}
    if model.get("transitionStatus") in ("BlockedByFailedLoad", "InvalidSpec"):
        failure = model.get("lastFailureInfo") or {}
        reason = failure.get("reason") or model["transitionStatus"]
        return f"{reason}: {failure.get('message') or 'no message'}"
    for each in status.get("conditions") or []:
        if each.get("status") == "False" and each.get("reason") == "RevisionFailed":
            return f"{each['type']}: {each.get('message') or 'no message'}"
    latest = condition(obj, "LatestDeploymentReady")
    reason = str(latest.get("reason") or "")
    is_graph = obj.get("kind") != "InferenceService"
    if is_graph and latest.get("status") == "False" and reason not in _MAY_PASS:
        return f"{reason}: {latest.get('message') or 'no message'}"
    return ""


def is_rolled_out(obj: Mapping[str, Any]) -> bool:
    """Whether the newest spec is served as far as it asks to be."""
    if not is_current(obj) or condition(obj, "Ready").get("status") != "True":
        return False
    latest = condition(obj, "LatestDeploymentReady")
    return not latest or latest.get("status") == "True"


def step_of(obj: Mapping[str, Any], style: Style) -> str:
    """What goes on, in one line: the reason and message of what is not ready yet."""
    if not (obj.get("status") or {}).get("conditions"):
        return "waiting for the control loop"
    if is_rolled_out(obj):
        return "ready"
    for type in ("LatestDeploymentReady", "PredictorReady", "Ready"):
        found = condition(obj, type)
        if found and found.get("status") != "True":
            reason = _spaced(str(found.get("reason") or "waiting"))
            message = " ".join(str(found.get("message") or "").split())
            percent = _PERCENT.search(message)
            bar = style.bar(float(percent[1])) + " " if percent else ""
            return f"{reason}: {bar}{message}" if message not in ("", reason) else reason
    return "waiting for the newest spec"


def _spaced(word: str) -> str:
    """`BuildingEnvironment` as people write it."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", word).lower()
