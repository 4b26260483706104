"""Times as people read them: `5m12s`, `3d`; and the durations that they type. Pure."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from salver.errors import CommandFailed

_PARTS = re.compile(r"(\d+(?:\.\d+)?)(ms|h|m|s)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def parse_time(text: object) -> float | None:
    """The seconds since the epoch of an RFC 3339 time; None if it is none."""
    if not isinstance(text, str) or not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def age(text: object, now_s: float) -> str:
    """How long ago a time was; `<unknown>` if it is no time."""
    then_s = parse_time(text)
    return "<unknown>" if then_s is None else span(now_s - then_s)


def span(seconds: float) -> str:
    """A span as kubectl writes it: the finer the shorter it is."""
    whole = max(0, int(seconds))
    if whole < 120:
        return f"{whole}s"
    minutes, hours, days = whole // 60, whole // 3600, whole // 86400
    if minutes < 10:
        return _two(minutes, "m", whole % 60, "s")
    if minutes < 180:
        return f"{minutes}m"
    if hours < 8:
        return _two(hours, "h", minutes % 60, "m")
    if hours < 48:
        return f"{hours}h"
    if days < 8:
        return _two(days, "d", hours % 24, "h")
    if days < 365 * 2:
        return f"{days}d"
    return _two(days // 365, "y", days % 365, "d") if days < 365 * 8 else f"{days // 365}y"


def _two(large: int, large_unit: str, small: int, small_unit: str) -> str:
    return f"{large}{large_unit}{small}{small_unit}" if small else f"{large}{large_unit}"


def duration(text: str, flag: str) -> float:
    """The seconds of `90s`, `1m30s`, `500ms` or `5`. Raises `CommandFailed`."""
    stripped = text.strip()
    try:
        return float(stripped)
    except ValueError:
        pass
    parts = _PARTS.findall(stripped)
    if not parts or "".join(number + unit for number, unit in parts) != stripped:
        raise CommandFailed(f"{flag}: '{text}' is not a duration; give such as 30s, 1m30s, 500ms")
    return sum(float(number) * _SECONDS[unit] for number, unit in parts)
