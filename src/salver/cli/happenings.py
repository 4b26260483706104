"""Events as rows, in the order in which they happened last. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from salver.cli.ages import age, parse_time


def last_seen(event: Mapping[str, Any]) -> str:
    """When it happened last, in whichever field says so."""
    series = event.get("series") or {}
    for found in (
        series.get("lastObservedTime"),
        event.get("lastTimestamp"),
        event.get("eventTime"),
        event.get("firstTimestamp"),
        (event.get("metadata") or {}).get("creationTimestamp"),
    ):
        if found:
            return str(found)
    return ""


def in_order(events: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The oldest first."""
    return sorted(events, key=lambda event: parse_time(last_seen(event)) or 0.0)


def event_rows(events: Sequence[Mapping[str, Any]], now_s: float) -> list[list[str]]:
    """LAST SEEN, TYPE, REASON, OBJECT, MESSAGE."""
    return [event_row(event, now_s) for event in in_order(events)]


def event_row(event: Mapping[str, Any], now_s: float) -> list[str]:
    """One row; how often it happened stands with when."""
    about = event.get("involvedObject") or event.get("regarding") or {}
    count = int(event.get("count") or (event.get("series") or {}).get("count") or 1)
    seen = age(last_seen(event), now_s) + (f" (x{count})" if count > 1 else "")
    message = str(event.get("message") or event.get("note") or "")
    return [
        seen,
        str(event.get("type") or ""),
        str(event.get("reason") or ""),
        f"{str(about.get('kind', '')).lower()}/{about.get('name', '')}",
        " ".join(message.split()),
    ]
