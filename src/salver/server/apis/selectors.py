"""Label and field selectors: parsed once, then a predicate on objects. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable

from salver.control.resources import JsonObject
from salver.server.apis.status import Refusal

Matches = Callable[[JsonObject], bool]

_SET = re.compile(r"^(?P<key>\S+)\s+(?P<how>in|notin)\s+\((?P<values>[^()]*)\)$")
_EQUAL = re.compile(r"^(?P<key>[^=!\s]+)\s*(?P<how>==|=|!=)\s*(?P<value>[^=!\s]*)$")
_NAME = re.compile(r"^!?[\w./-]+$")
_FIELDS = ("metadata.", "involvedObject.", "reason", "type", "status.phase", "source")


def matcher(label_selector: str, field_selector: str) -> Matches | None:
    """Both selectors as one predicate, None where there are none. Raises `Refusal`."""
    tests = [_label_test(each) for each in _requirements(label_selector)]
    tests += [_field_test(each) for each in _requirements(field_selector)]
    if not tests:
        return None
    return lambda obj: all(test(obj) for test in tests)


def _requirements(selector: str) -> list[str]:
    # Commas within the brackets of a set separate values, not requirements.
    return [part.strip() for part in re.split(r",(?![^(]*\))", selector) if part.strip()]


def _label_test(requirement: str) -> Matches:
    match = _SET.match(requirement) or _EQUAL.match(requirement)
    if match is None:
        if not _NAME.match(requirement):
            raise Refusal(
                400, f"cannot read the labelSelector '{requirement}': write key=value or key in (a)"
            )
        key = requirement.lstrip("!")
        return lambda obj: (key in _labels(obj)) != requirement.startswith("!")
    key, how = match["key"], match["how"]
    if how in ("in", "notin"):
        values = {value.strip() for value in match["values"].split(",")}
    else:
        values = {match["value"]}
    if how in ("notin", "!="):
        return lambda obj: _labels(obj).get(key) not in values
    return lambda obj: _labels(obj).get(key) in values


def _labels(obj: JsonObject) -> dict[str, str]:
    return obj["metadata"].get("labels") or {}


def _field_test(requirement: str) -> Matches:
    match = _EQUAL.match(requirement)
    if match is None or not match["key"].startswith(_FIELDS):
        raise Refusal(
            400,
            f"field label not supported: '{requirement}'; select by metadata.name, "
            "metadata.namespace or, for events, involvedObject.*",
        )
    path = match["key"].split(".")
    value, is_wanted = match["value"], match["how"] != "!="
    return lambda obj: (_text_at(obj, path) == value) == is_wanted


def _text_at(obj: JsonObject, path: list[str]) -> str:
    value: object = obj
    for part in path:
        value = value.get(part) if isinstance(value, dict) else None
    return "" if value is None else str(value)
