"""Wires what callers may change of a running server: which requests are traced, what is logged."""

from __future__ import annotations

import logging
import os
import time
from pathlib import Path

from salver.backends.local.catalog import LocalCatalog
from salver.engine.tracing import RequestTracing
from salver.server.controls import ServerControls
from salver.settings import ServeSettings
from salver.telemetry.log_settings import log_control
from salver.telemetry.registry import Registry
from salver.telemetry.trace_file import TraceFiles
from salver.telemetry.trace_settings import TraceBook


def trace_files(settings: ServeSettings, registry: Registry) -> TraceFiles:
    """Where traces go. Nothing is made before the first one."""
    # Of this process alone: several servers may have one state folder.
    own = settings.state_dir / "traces" / f"trace-{os.getpid()}.json"
    path = Path(settings.trace_file) if settings.trace_file else own
    dropped = registry.counter(
        "salver_traces_dropped_total", "Traces of requests that were not written to their file."
    )
    return TraceFiles(path.absolute(), dropped=dropped)


def server_controls(
    settings: ServeSettings, catalog: LocalCatalog, traces: TraceFiles, handler: logging.Handler
) -> ServerControls:
    """The controls over the catalog's models and over what the handler writes."""
    tracing = RequestTracing(TraceBook(str(traces.path)), traces, time.monotonic_ns)
    tracing.on_changed = lambda: catalog.trace_with(tracing.tap)
    logs = log_control(settings.log_level, settings.log_format, handler)
    return ServerControls(tracing, logs, settings.admin_key)
