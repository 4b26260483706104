"""The services that are declared, as the start page shows them. Pure.

Read from the objects' `status`: one that is not ready yet has no model to show, but a reason.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any
from urllib.parse import quote

import msgspec

ListServices = Callable[[], Sequence[Mapping[str, Any]]]
_MOST_SERVICES = 100
_GRAPHS = (
    *("InferenceGraph", "SeldonDeployment", "Graph"),
    *("Model", "Pipeline", "Experiment"),
)
"""Kinds that have a page of their own."""


def no_services() -> Sequence[Mapping[str, Any]]:
    """A server on which nothing can be declared."""
    return ()


class ServiceRow(msgspec.Struct, frozen=True):
    """One service. `why` says what it waits for, or what is wrong."""

    kind: str
    namespace: str
    name: str
    is_ready: bool
    url: str = ""
    why: str = ""


def service_row(obj: Mapping[str, Any]) -> ServiceRow:
    """The row of one object."""
    meta, status = obj["metadata"], obj.get("status") or {}
    conditions = {each.get("type"): each for each in status.get("conditions") or []}
    ready = conditions.get("Ready") or {}
    is_ready = ready.get("status") == "True"
    why = " ".join(str(ready.get("message") or ready.get("reason") or "").split())
    return ServiceRow(
        str(obj.get("kind", "")),
        str(meta.get("namespace", "")),
        str(meta["name"]),
        is_ready,
        str(status.get("url") or status.get("httpEndpoint") or ""),
        "" if is_ready else why or "waiting for the control loop",
    )


def service_summary(rows: Sequence[ServiceRow]) -> str:
    """How many services are ready, behind what is said of the models; nothing without any."""
    if not rows:
        return ""
    ready = sum(row.is_ready for row in rows)
    noun = "service" if len(rows) == 1 else "services"
    return f", {ready:,} of {len(rows):,} {noun} ready"


def service_table(rows: Sequence[ServiceRow]) -> str:
    """The table as HTML; nothing if there are no services."""
    if not rows:
        return ""
    head = "<tr><th>service</th><th>namespace</th><th></th><th>address</th></tr>"
    body = "".join(map(_row, rows[:_MOST_SERVICES]))
    if len(rows) > _MOST_SERVICES:
        body += '<tr><td colspan="4" class="why">and more: salver get lists all</td></tr>'
    return f'<table class="services">{head}{body}</table>'


def _row(row: ServiceRow) -> str:
    state = ("ready", "good") if row.is_ready else ("not ready", "warn")
    pill = f'<span class="pill {state[1]}">{state[0]}</span>'
    where = escape(row.url) if row.is_ready else f'<span class="why">{escape(row.why)}</span>'
    name = escape(row.name)
    if row.kind in _GRAPHS:
        name = f'<a href="/graphs/{quote(row.namespace)}/{quote(row.name)}">{name}</a>'
    return (
        f"<tr><td>{name}</td><td>{escape(row.namespace)}</td><td>{pill}</td><td>{where}</td></tr>"
    )
