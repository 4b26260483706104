"""The one composition root: builds the parts and wires them to each other.

Order matters for the start: fork servers go first, since their imports take longest; the
listeners open while they import; then models load, and only then is anything ready.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import uvloop

from salver.artifacts.layout import ModelTarget, discover
from salver.backends.environments.manager import PythonEnvironments
from salver.backends.local.catalog import LocalCatalog
from salver.backends.local.region_table import RegionTable
from salver.backends.processes.kept_logs import KeptLogs
from salver.bootstrap.controls import server_controls, trace_files
from salver.bootstrap.run_folder import RunFolder, new_run_folder
from salver.control.resources import JsonObject
from salver.engine.directory import ModelDirectory
from salver.errors import ArtifactError, LoadFailed, StartupError
from salver.server.controls import ServerControls
from salver.settings import ServeSettings
from salver.telemetry import logs
from salver.telemetry.registry import Registry

if TYPE_CHECKING:
    from salver.bootstrap.control_plane import ControlPlane
    from salver.telemetry.otlp import SpanSink

logger = logging.getLogger("salver.server")

_SPAN_FLUSH_S = 5.0
_MIDDLE_BEFORE_FULL = 1000
_ECHO_S = 1.0
_TRACES_S = 5.0

Announce = Callable[["Running"], Coroutine[Any, Any, None]]


@dataclass(frozen=True)
class Running:
    """A server that listens, for whoever announces it. `grpc_port` is -1 if gRPC is off.

    `loading` ends when the command line's models have loaded, or failed to; `services` gives
    the objects of the services that are declared, as they are now.
    """

    catalog: LocalCatalog
    directory: ModelDirectory
    settings: ServeSettings
    http_port: int
    grpc_port: int
    loading: asyncio.Future[None]
    services: Callable[[], Sequence[JsonObject]]


def serve(
    targets: Sequence[str],
    settings: ServeSettings,
    announce: Announce,
    manifests: Sequence[JsonObject] = (),
    *,
    graphs: Sequence[JsonObject] = (),
) -> int:
    """Serves the targets until told to stop (SIGINT, SIGTERM); returns the exit code.

    `manifests` are resources to apply at the start, `graphs` those of targets that are graphs.
    With manifests, or without targets, what is declared is kept in the state directory; else it
    ends with the process.

    Raises `ArtifactError` and `StartupError` before anything is served, and `LoadFailed` if
    not a single model loads.
    """
    log_handler = logs.configure(settings.log_level, settings.log_format)

    def find_again() -> list[ModelTarget]:
        return find_models(targets, settings, again=True)

    found = find_models(targets, settings)
    for note in dict.fromkeys(note for target in found for note in target.notes):
        logger.warning("%s", note)
    registry = Registry()
    is_kept = bool(manifests) or not (found or graphs)
    echo = logs.Echo(settings.log_format)
    environments = PythonEnvironments(
        settings.state_dir / "environments",
        offline=settings.offline,
        timeout_s=settings.environment_timeout,
        cache_limit_bytes=settings.environment_cache_size,
    )
    catalog = LocalCatalog(
        find_again,
        settings,
        registry,
        environments=environments,
        logs=KeptLogs(settings.state_dir / "logs" if is_kept else None, echo=echo),
    )
    folder = new_run_folder()
    regions = _client_regions(settings, catalog, folder)
    traces = trace_files(settings, registry)
    controls = server_controls(settings, catalog, traces, log_handler)
    try:
        catalog.prepare(found)
        applied = (*manifests, *graphs)
        server = _Server(
            catalog,
            settings,
            registry,
            environments,
            found,
            applied,
            is_kept,
            folder,
            regions,
            controls,
        )
        return uvloop.run(server.run(announce))
    finally:
        catalog.close()
        if regions is not None:
            regions.close()
        folder.close()
        traces.close(_TRACES_S)
        echo.close(_ECHO_S)


def _client_regions(
    settings: ServeSettings, catalog: LocalCatalog, run: RunFolder
) -> RegionTable | None:
    """What clients share with the models of this catalog; None if none is to be taken."""
    if settings.client_shared_memory == "off":
        return None
    folder = run.made("regions")
    catalog.shares_memory(folder)
    return RegionTable(folder)


def find_models(
    targets: Sequence[str], settings: ServeSettings, *, again: bool = False
) -> list[ModelTarget]:
    """The models of all targets; of a folder of models those too that cannot be served.

    Raises `ArtifactError` for a target without a model that can be, and if two claim one name.
    `again`: a target that has become wrong since is passed over, for the sake of all others.
    """
    found: dict[tuple[str, str], ModelTarget] = {}
    for text in targets:
        for target in _models_of(text, settings, again=again):
            key = (target.name, target.version)
            if key in found:
                raise StartupError(
                    f"{target.path} and {found[key].path} are both called '{target.name}': "
                    "rename one of them"
                )
            found[key] = target
    return list(found.values())


def _models_of(text: str, settings: ServeSettings, *, again: bool) -> list[ModelTarget]:
    reads = not settings.memory_budget
    try:
        models = discover(text, settings.name, settings.runtime, reads=reads, lists_refused=True)
    except ArtifactError:
        if again:
            return []  # Who asks for one of its models is told why there is none.
        raise
    if models and not again and all(each.refusal for each in models):
        raise ArtifactError(models[0].refusal)
    return models


class _Server:
    """One run: what it is made of, in the order in which it starts and ends."""

    def __init__(
        self,
        catalog: LocalCatalog,
        settings: ServeSettings,
        registry: Registry,
        environments: PythonEnvironments,
        found: list[ModelTarget],
        manifests: Sequence[JsonObject],
        is_kept: bool,
        folder: RunFolder,
        regions: RegionTable | None,
        controls: ServerControls,
    ) -> None:
        self._catalog = catalog
        self._settings = settings
        self._registry = registry
        self._found = found
        self._manifests = manifests
        self._environments = environments
        self._is_kept = is_kept
        self._folder = folder
        self._regions = regions
        self._controls = controls
        self._directory = ModelDirectory(catalog)

    async def run(self, announce: Announce) -> int:
        """Until a signal comes; returns the exit code."""
        # Imported while the fork servers import their frameworks, which takes longer.
        from salver.bootstrap.control_plane import ControlPlane
        from salver.bootstrap.listeners import span_sink
        from salver.bootstrap.tritons import triton_leases

        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for signum in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(signum, _stop_or_exit, stop)
        self._catalog.start_checks()
        spans = span_sink(self._settings)
        tritons = await triton_leases(self._catalog, self._settings, self._folder.made("tritons"))
        control = ControlPlane(
            self._catalog,
            self._directory,
            self._settings,
            self._registry,
            environments=self._environments,
            is_kept=self._is_kept,
            spans=spans,
        )
        try:
            await self._run(control, announce, stop, spans)
        finally:
            await control.close()
            # A Triton waits for whoever is connected to it.
            self._catalog.end_workers()
            await tritons.close()
            await self._environments.close()
        return 0

    async def _run(
        self,
        control: ControlPlane,
        announce: Announce,
        stop: asyncio.Event,
        spans: SpanSink | None,
    ) -> None:
        from salver.bootstrap.listeners import start_grpc, start_http, start_topics

        catalog, settings = self._catalog, self._settings
        loop = asyncio.get_running_loop()
        http = await start_http(
            catalog,
            self._directory,
            settings,
            self._registry,
            spans,
            control.routes(),
            control.services,
            self._regions,
            self._controls,
        )
        grpc = await start_grpc(
            self._directory, settings, self._registry, spans, self._regions, self._controls
        )
        topics = start_topics(self._directory, settings, self._registry, spans)
        catalog.listens_at(base_url(settings, http.port))
        control.start(base_url(settings, http.port))
        _spare_collections()
        for ref, outcome in await control.apply(self._manifests):
            logger.info("%s %s/%s %s", ref.plural, ref.namespace, ref.name, outcome)
        stopping = loop.create_task(stop.wait())
        loading = loop.create_task(_load(catalog, self._found))
        names = {target.name for target in self._found}
        loading.add_done_callback(lambda _: control.look_again(names))
        # A catalog with a memory budget has them all by now, in less memory.
        loading.add_done_callback(lambda _: self._found.clear())
        ports = (http.port, grpc.port if grpc is not None else -1)
        running = Running(catalog, self._directory, settings, *ports, loading, control.services)
        announcing = loop.create_task(announce(running))
        announcing.add_done_callback(_report_bug)
        await asyncio.wait({stopping, loading}, return_when=asyncio.FIRST_COMPLETED)
        if loading.done():
            loading.result()
            await stopping
        announcing.cancel()
        loading.cancel()
        logger.info("draining: no new requests, open ones have %g s", settings.drain_timeout)
        drain_started_s = time.monotonic()
        drains: list[Any] = [http.drain(settings.drain_timeout)]
        if grpc is not None:
            drains.append(grpc.drain(settings.drain_timeout))
        if topics is not None:
            drains.append(topics.drain(settings.drain_timeout))
        await asyncio.gather(catalog.drain(settings.drain_timeout), *drains)
        if grpc is not None:
            await grpc.stop()
        if spans is not None:
            await loop.run_in_executor(None, spans.close, _SPAN_FLUSH_S)
        logger.info("stopped after %.1f s", time.monotonic() - drain_started_s)


def base_url(settings: ServeSettings, port: int) -> str:
    """Where this machine's callers reach the server."""
    scheme = "https" if settings.tls_cert else "http"
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]", "": "127.0.0.1"}.get(
        settings.host, settings.host
    )
    return f"{scheme}://{host}:{port}"


def _report_bug(announcing: asyncio.Task[None]) -> None:
    if not announcing.cancelled() and announcing.exception() is not None:
        logger.error("what runs could not be announced", exc_info=announcing.exception())


def _spare_collections() -> None:
    """A full garbage collection stops the event loop for a tenth of a second and more where
    thousands of services are declared: it leaves out what is here for good, and comes rarely.
    What dies young is collected as ever.
    """
    gc.collect()
    gc.freeze()
    young, middle, _ = gc.get_threshold()
    gc.set_threshold(young, middle, _MIDDLE_BEFORE_FULL)


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
