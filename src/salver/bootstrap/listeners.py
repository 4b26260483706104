"""Wires the listeners: HTTP with its application, gRPC, request logs and spans."""

from __future__ import annotations

import logging
import os
import random
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from starlette.routing import BaseRoute

from salver import __version__
from salver.backends.local.catalog import LocalCatalog
from salver.engine.directory import ModelDirectory
from salver.engine.shared_memory import ClientRegions
from salver.server.controls import ServerControls
from salver.server.http.listener import HttpListener
from salver.server.observe import RequestObserver
from salver.server.rest.services import ListServices
from salver.settings import ServeSettings
from salver.telemetry import logs
from salver.telemetry.process import ProcessRef, process_families, read_usages
from salver.telemetry.registry import Registry
from salver.telemetry.snapshot import merge, render

if TYPE_CHECKING:
    from salver.bootstrap.topics import TopicFronts
    from salver.telemetry.otlp import SpanSink


async def start_http(
    catalog: LocalCatalog,
    directory: ModelDirectory,
    settings: ServeSettings,
    registry: Registry,
    spans: SpanSink | None,
    routes: Sequence[BaseRoute],
    list_services: ListServices,
    regions: ClientRegions | None,
    controls: ServerControls,
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

    observer = _observer(settings, spans)
    app = build_app(
        directory,
        settings,
        render_metrics=render_metrics,
        more_routes=routes,
        regions=regions,
        list_services=list_services,
        observer=observer,
        controls=controls,
    )
    listener = HttpListener(directory, app, settings, count_status=count_status, observer=observer)
    await listener.start()
    return listener


def span_sink(settings: ServeSettings) -> SpanSink | None:
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


async def start_grpc(
    directory: ModelDirectory,
    settings: ServeSettings,
    registry: Registry,
    spans: SpanSink | None,
    regions: ClientRegions | None,
    controls: ServerControls,
) -> Any:
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

    return await serve_grpc(
        directory,
        settings,
        on_refused=on_refused,
        observer=_observer(settings, spans),
        regions=regions,
        controls=controls,
    )


def start_topics(
    directory: ModelDirectory,
    settings: ServeSettings,
    registry: Registry,
    spans: SpanSink | None,
) -> TopicFronts | None:
    """The brokers, being connected to; None if none is named. Raises `StartupError`."""
    if not (settings.nats or settings.kafka):
        return None
    from salver.bootstrap.topics import topic_fronts

    fronts = topic_fronts(directory, settings, registry, _observer(settings, spans))
    fronts.start()
    return fronts
