"""What callers may change of the server while it runs: which requests are traced, what is logged.

Ports and values for the routes of HTTP and gRPC; the wiring is the composition's. Anybody may look;
to change them is for those who may use the admin API, since traces put payloads on disk.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import msgspec

from salver.engine.model_facts import facts_of
from salver.engine.ports import ModelCatalog
from salver.errors import SalverError
from salver.server.apis.access import why_refused
from salver.telemetry.log_settings import LogSettings
from salver.telemetry.trace_settings import Wanted


class NotAllowedError(SalverError):
    """A caller who may change nothing; `needs_key`: with the key, it may."""

    def __init__(self, message: str, *, needs_key: bool) -> None:
        super().__init__(message)
        self.needs_key = needs_key


class TraceControl(Protocol):
    """See `engine/tracing.py`."""

    def shown(self, model: str = "") -> dict[str, tuple[str, ...]]: ...

    def update(self, wanted: Wanted, model: str = "") -> None: ...


class LogSettingsControl(Protocol):
    """See `telemetry/log_settings.py`."""

    @property
    def settings(self) -> LogSettings: ...

    def update(self, wanted: Mapping[str, Any]) -> LogSettings: ...


class ServerControls(msgspec.Struct, frozen=True):
    """Both. `admin_key` is what a change needs; empty: it is for this machine's own programs."""

    tracing: TraceControl
    logs: LogSettingsControl
    admin_key: str = ""

    def check_change(self, client: str, headers: Mapping[str, str]) -> None:
        """`client` is the caller's address. Raises `NotAllowedError`, as the admin API refuses."""
        what = "changing the settings of traces and logs"
        reason = why_refused(client, headers, self.admin_key, what)
        if reason:
            raise NotAllowedError(reason, needs_key=bool(self.admin_key))


def traced_settings(
    controls: ServerControls, catalog: ModelCatalog, model: str, wanted: Wanted | None
) -> dict[str, tuple[str, ...]]:
    """The trace settings of a model, or those of all, after an update if one is wanted.

    Of a name that stands for several models of this machine, all are updated. Raises
    `ModelNotFound`, and as the update does.
    """
    names = _local_names(catalog, model) if model else [""]
    if wanted is not None:
        for name in names:
            controls.tracing.update(wanted, name)
    return controls.tracing.shown(names[0])


def _local_names(catalog: ModelCatalog, model: str) -> list[str]:
    """What the models are called here that answer to a name: a service's has its namespace."""
    found = facts_of(catalog.find(model))
    return list(dict.fromkeys(facts.name for facts in found)) or [model]
