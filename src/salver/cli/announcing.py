"""Says what `salver serve` serves, once that is settled; and what it waits for until then.

On a terminal one line moves, else each step is a line; with JSON logs the facts are log lines,
the first as soon as the command line's models are up.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from salver.cli.banner import (
    ModelFacts,
    PoolFacts,
    ServerFacts,
    ServiceFacts,
    as_text,
    http_url,
    log_fields,
    service_fields,
)
from salver.cli.progress import ProgressLines, condition, failure_of, is_rolled_out, step_of
from salver.cli.terminal import Style, style_of
from salver.errors import SalverError
from salver.inference.metadata import ModelMetadata
from salver.telemetry.logs import log_event

if TYPE_CHECKING:
    from salver.backends.local.model import LocalModel
    from salver.bootstrap import Running

logger = logging.getLogger("salver.server")

_LOOK_S = 0.2
_PATIENCE_S = 600.0
"""Services that are not settled then are announced as they are."""
_MOST_WATCHED = 50


async def announce(running: Running) -> None:
    """Prints what runs, on stdout, or logs it if the logs are JSON. Ends once all is said."""
    is_json = running.settings.log_format == "json"
    style = style_of(sys.stderr, os.environ)
    progress = ProgressLines(sys.stderr, style)
    try:
        while not running.loading.done():
            if not is_json:
                _show_loading(running, progress)
            await asyncio.wait({running.loading}, timeout=_LOOK_S)
        if running.loading.cancelled() or running.loading.exception() is not None:
            return
        progress.clear()
        if is_json:
            log_event(logger, logging.INFO, "serving", **log_fields(facts_of(running)))
        await _settled(running, None if is_json else progress, style)
    finally:
        progress.clear()
    facts = facts_of(running)
    if not is_json:
        print(as_text(facts), flush=True)
    elif facts.services:
        log_event(logger, logging.INFO, "services settled", **service_fields(facts))


def _show_loading(running: Running, progress: ProgressLines) -> None:
    """What the command line's models are at; nothing of those that load at once."""
    for name, step in list(running.catalog.suiting.steps.items()):
        progress.show(name, step)


async def _settled(running: Running, progress: ProgressLines | None, style: Style) -> None:
    """Returns when every service is ready or has failed."""
    loop = asyncio.get_running_loop()
    deadline_s = loop.time() + _PATIENCE_S
    while loop.time() < deadline_s:
        objects = running.services()
        waiting = [obj for obj in objects if not is_settled(obj)]
        if not waiting:
            return
        if progress is not None:
            for obj in waiting[:_MOST_WATCHED]:
                progress.show(str(obj["metadata"]["name"]), step_of(obj, style))
        await asyncio.sleep(_LOOK_S)


def is_settled(obj: Mapping[str, Any]) -> bool:
    """Whether the service is ready, or cannot become so by waiting alone."""
    if is_rolled_out(obj) or failure_of(obj):
        return True
    ready = condition(obj, "Ready")
    # Kinds without revisions say at once what keeps them from being served.
    has_revisions = obj.get("kind") == "InferenceService"
    return ready.get("status") == "False" and (not has_revisions or ready["reason"] == "Stopped")


def facts_of(running: Running) -> ServerFacts:
    """What the banner says of a server."""
    settings = running.settings
    facts = ServerFacts(
        models=tuple(_model_facts(model) for model in running.catalog.models()),
        host=settings.host,
        http_port=running.http_port,
        grpc_port=running.grpc_port,
        tls_cert=settings.tls_cert,
        pool=_pool_facts(running),
    )
    base = http_url(facts)
    services = tuple(_service_facts(running, obj, base) for obj in running.services())
    return msgspec.structs.replace(facts, services=services)


def _pool_facts(running: Running) -> PoolFacts:
    if not running.settings.memory_budget:
        return PoolFacts(0)
    pool = running.catalog.pool
    return PoolFacts(len(pool), next(iter(pool.names()), ""), pool.budget_bytes)


def _model_facts(model: LocalModel) -> ModelFacts:
    runtime = model.order.runtime if model.order else ""
    if model.report is None or not model.is_ready:
        return ModelFacts(model.name, model.version, runtime, None, failure=model.status.reason)
    load_s = model.report.load_s + model.report.warmup_s
    return ModelFacts(model.name, model.version, runtime, model.report.metadata, load_s)


def _service_facts(running: Running, obj: Mapping[str, Any], base: str) -> ServiceFacts:
    meta, status = obj["metadata"], obj.get("status") or {}
    name, namespace = str(meta["name"]), str(meta.get("namespace", ""))
    ready = condition(obj, "Ready")
    is_ready = ready.get("status") == "True"
    why = failure_of(obj) or str(ready.get("message") or ready.get("reason") or "")
    metadata = _metadata(running, name, namespace) if is_ready else None
    url = str(status.get("url") or status.get("httpEndpoint") or base)
    return ServiceFacts(name, namespace, is_ready, url, " ".join(why.split()), metadata)


def _metadata(running: Running, name: str, namespace: str) -> ModelMetadata | None:
    entry = running.directory.service(namespace, name)
    if entry is None or entry.is_opaque:
        return None
    try:
        metadata = entry.entry.metadata
    except SalverError:
        return None
    # A graph that begins with functions takes what they do: there is no sample of that.
    return metadata if metadata.inputs or not entry.is_graph else None
