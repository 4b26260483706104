"""The one composition root: builds the parts and wires them to each other.

Order matters for the start: fork servers go first, since their imports take longest; the
listeners open while they import; then models load, and only then is anything ready.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import uvloop

from salver import __version__
from salver.artifacts.layout import ModelTarget, discover
from salver.backends.local.catalog import LocalCatalog
from salver.errors import LoadFailed, StartupError
from salver.server.http.listener import HttpListener
from salver.server.http.observe import RequestObserver
from salver.settings import ServeSettings
from salver.telemetry import logs
from salver.telemetry.process import ProcessRef, process_families, read_usages
from salver.telemetry.registry import Registry
from salver.telemetry.snapshot import merge, render

if TYPE_CHECKING:
    from salver.telemetry.otlp import SpanSink

logger = logging.getLogger("salver.server")

_SPAN_FLUSH_S = 5.0

Announce = Callable[["Running"], None]


@dataclass(frozen=True)
class Running:
    """A server that is up, for whoever announces it. `grpc_port` is -1 if gRPC is off."""

    catalog: LocalCatalog
    settings: ServeSettings
    http_port: int
    grpc_port: int


def serve(targets: Sequence[str], settings: ServeSettings, announce: Announce) -> int:
    """Serves the targets until told to stop (SIGINT, SIGTERM); returns the exit code.

    Raises `ArtifactError` and `StartupError` before anything is served, and `LoadFailed` if
    not a single model loads.
    """
    logs.configure(settings.log_level, settings.log_format)

    def find_targets() -> list[ModelTarget]:
        return find_models(targets, settings)

    found = find_targets()
    registry = Registry()
    catalog = LocalCatalog(find_targets, settings, registry)
    try:
        catalog.prepare(found)
        return uvloop.run(_serve(catalog, found, settings, registry, announce))
    finally:
        catalog.close()


def find_models(targets: Sequence[str], settings: ServeSettings) -> list[ModelTarget]:
    """The models of all targets. Raises `ArtifactError`, also if two claim one name."""
    found: dict[tuple[str, str], ModelTarget] = {}
    for text in targets:
        for target in discover(text, settings.name, settings.runtime):
            key = (target.name, target.version)
            if key in found:
                raise StartupError(
                    f"{target.path} and {found[key].path} are both called '{target.name}': "
                    "rename one of them"
                )
            found[key] = target
    return list(found.values())


async def _serve(
    catalog: LocalCatalog,
    found: Sequence[ModelTarget],
    settings: ServeSettings,
    registry: Registry,
    announce: Announce,
) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signum in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(signum, _stop_or_exit, stop)
    catalog.start_checks()
    spans = _span_sink(settings)
    http = await _start_http(catalog, settings, registry, spans)
    grpc = await _start_grpc(catalog, settings, registry)
    stopping = loop.create_task(stop.wait())
    loading = loop.create_task(_load(catalog, found))
    await asyncio.wait({stopping, loading}, return_when=asyncio.FIRST_COMPLETED)
    if loading.done():
        loading.result()
        ports = (http.port, grpc.port if grpc is not None else -1)
        announce(Running(catalog, settings, *ports))
        await stopping
    loading.cancel()
    logger.info("draining: no new requests, open ones have %g s", settings.drain_timeout)
    drain_started_s = time.monotonic()
    drains: list[Any] = [http.drain(settings.drain_timeout)]
    if grpc is not None:
        drains.append(grpc.drain(settings.drain_timeout))
    await asyncio.gather(catalog.drain(settings.drain_timeout), *drains)
    if grpc is not None:
        await grpc.stop()
    if spans is not None:
        await loop.run_in_executor(None, spans.close, _SPAN_FLUSH_S)
    logger.info("stopped after %.1f s", time.monotonic() - drain_started_s)
    return 0


def _stop_or_exit(stop: asyncio.Event) -> None:
    """The first signal drains, the second one does not wait for it."""
    if stop.is_set():
        os._exit(130)
    stop.set()


async def _load(catalog: LocalCatalog, found: Sequence[ModelTarget]) -> None:
    """Loads all models; some may fail as long as one is served."""
    try:
        await catalog.load_all(found)
    except LoadFailed:
        failed = [status for status in catalog.statuses() if status.state != "READY"]
        if len(failed) == len(catalog.statuses()):
            raise
        for status in failed:
            logger.error("model '%s' could not be loaded: %s", status.name, status.reason)


async def _start_http(
    catalog: LocalCatalog, settings: ServeSettings, registry: Registry, spans: SpanSink | None
) -> HttpListener:
    from salver.server.rest.app import build_app

    def render_metrics() -> bytes:
        catalog.refresh_gauges()
        if spans is not None:
            registry.counter(
                "salver_spans_dropped_total", "Spans that did not reach the collector."
            ).value = spans.dropped
        processes = [ProcessRef(os.getpid(), "gateway", "gateway"), *catalog.processes()]
        return render(merge([registry.snapshot(), process_families(read_usages(processes))]))

    def count_status(status: int) -> None:
        registry.counter(
            "salver_http_responses_total",
            "HTTP responses that are no answer of a model, by status.",
            status=str(status),
        ).value += 1

    app = build_app(catalog, settings, render_metrics=render_metrics)
    listener = HttpListener(
        catalog, app, settings, count_status=count_status, observer=_observer(settings, spans)
    )
    await listener.start()
    return listener


def _span_sink(settings: ServeSettings) -> SpanSink | None:
    if not settings.otlp_endpoint:
        return None
    from salver.telemetry.otlp import SpanSink, otlp_exporter

    sink = SpanSink(otlp_exporter(settings.otlp_endpoint, service="salver", version=__version__))
    sink.start()
    return sink


def _observer(settings: ServeSettings, spans: SpanSink | None) -> RequestObserver | None:
    """None, and with it no cost at all, unless requests are to be logged or traced."""
    if not settings.log_requests and spans is None:
        return None
    return RequestObserver(
        access_log=logging.getLogger(logs.ACCESS_LOGGER) if settings.log_requests else None,
        spans=spans,
        sample=settings.trace_sample,
        random_bits=random.SystemRandom().getrandbits,
        now_ns=time.time_ns,
    )


async def _start_grpc(catalog: LocalCatalog, settings: ServeSettings, registry: Registry) -> Any:
    if settings.grpc_port < 0:
        return None
    from salver.server.grpc.listener import serve_grpc

    def on_refused(protocol: str, reason: str) -> None:
        registry.counter(
            "salver_grpc_refused_total",
            "gRPC calls refused before they reached a model, by reason.",
            protocol=protocol,
            reason=reason,
        ).value += 1

    return await serve_grpc(catalog, settings, on_refused=on_refused)
