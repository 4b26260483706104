"""All models of this machine: finds them for requests, loads and unloads them, watches them."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from salver.artifacts.layout import ModelTarget, discover
from salver.backends.local.environment import Environment
from salver.backends.local.model import LocalModel
from salver.backends.local.worker_messages import LoadOrder
from salver.engine.batching import BatchLimits
from salver.engine.ports import ModelStatus
from salver.engine.queue import Clock, ModelQueue
from salver.errors import LoadFailed, ModelNotFound, SalverError
from salver.settings import ServeSettings
from salver.telemetry.metrics import ModelMetrics
from salver.telemetry.process import ProcessRef, proportional_bytes
from salver.telemetry.registry import Registry

_CHECK_S = 0.1
_DEFAULT_MAX_REQUESTS = 128
_MEMORY_SHARE = 0.75

Discover = Callable[[], Sequence[ModelTarget]]


class LocalCatalog:
    """Implements the engine's `ModelCatalog`; the supervisor of all workers.

    `discover` lists anew what the command line's targets hold, so that a load can find a
    version or a model that has come since.
    """

    def __init__(
        self,
        discover: Discover,
        settings: ServeSettings,
        registry: Registry,
        clock: Clock = time.monotonic,
    ) -> None:
        self._clock = clock
        self.is_draining = False
        self._discover = discover
        self._settings = settings
        self._registry = registry
        self._models: dict[tuple[str, str], LocalModel] = {}
        self._environments: dict[str, Environment] = {}
        self._checker: asyncio.TimerHandle | None = None

    # Before the event loop runs.

    def prepare(self, targets: Sequence[ModelTarget]) -> None:
        """Starts the fork servers that these models need; their imports take the longest."""
        for runtime in sorted({target.runtime for target in targets}):
            preload = [
                module
                for target in targets
                if target.runtime == runtime
                for module in target.preload
            ]
            self._environment(runtime, preload)

    def _environment(self, runtime: str, preload: Sequence[str] = ()) -> Environment:
        if runtime not in self._environments:
            threads = str(threads_of(self._settings))
            environ = {
                **os.environ,
                **dict.fromkeys(_THREAD_VARIABLES, threads),
                "OMP_WAIT_POLICY": "PASSIVE",
            }
            self._environments[runtime] = Environment(
                runtime, tuple(dict.fromkeys(preload)), environ=environ
            )
        return self._environments[runtime]

    # The engine's port.

    def find(self, name: str, version: str = "") -> LocalModel:
        model = self._models.get((name, version))
        if model is None:
            raise ModelNotFound(self._not_found(name, version))
        return model

    def versions(self, name: str) -> Sequence[str]:
        found = [version for model, version in self._models if model == name and version]
        if not found:
            raise ModelNotFound(self._not_found(name, ""))
        return sorted(found, key=int)

    def statuses(self) -> Sequence[ModelStatus]:
        return [model.status for model in self.models()]

    def models(self) -> list[LocalModel]:
        """Every version of every model, by name, then version."""
        keys = sorted(
            (key for key in self._models if key[1]), key=lambda key: (key[0], int(key[1]))
        )
        return [self._models[key] for key in keys]

    @property
    def is_ready(self) -> bool:
        return not self.is_draining and all(
            model.is_ready for model in self.models() if model.is_wanted
        )

    async def load(self, name: str) -> None:
        targets = [target for target in await self._targets() if target.name == name]
        if not targets:
            model = self.find(name)
            reason = await asyncio.to_thread(_why_no_model, model.order.path if model.order else "")
            raise LoadFailed(f"model '{name}' cannot be loaded again: {reason}")
        await self.load_all(targets)
        gone = set(self.versions(name)) - {target.version for target in targets}
        for version in gone:
            await self._models.pop((name, version)).unload(self._settings.drain_timeout)
        self._choose_default(name)

    async def unload(self, name: str) -> None:
        for version in self.versions(name):
            await self.find(name, version).unload(self._settings.drain_timeout)

    async def _targets(self) -> Sequence[ModelTarget]:
        try:
            return await asyncio.to_thread(self._discover)
        except SalverError as error:
            raise LoadFailed(f"the models' source cannot be read: {error}") from error

    async def load_all(self, targets: Sequence[ModelTarget]) -> None:
        """Loads all of these side by side. Raises the first `LoadFailed` once all have ended."""
        loads = [self._load_one(target) for target in targets]
        results = await asyncio.gather(*loads, return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result

    async def _load_one(self, target: ModelTarget) -> None:
        key = (target.name, target.version)
        if key not in self._models:
            self._models[key] = self._new_model(target)
        self._choose_default(target.name)
        await self._models[key].load(self._order(target), self._environment(target.runtime))
        self._choose_default(target.name)

    def _choose_default(self, name: str) -> None:
        """The highest version that is ready answers requests that name none."""
        versions = self.versions(name)
        ready = [version for version in versions if self._models[name, version].is_ready]
        self._models[name, ""] = self._models[name, (ready or versions)[-1]]

    def _new_model(self, target: ModelTarget) -> LocalModel:
        settings = self._settings
        label = f"model '{target.name}'"
        if target.version != "1":
            label += f" version {target.version}"
        limits = BatchLimits(
            max_requests=settings.max_batch_size or _DEFAULT_MAX_REQUESTS,
            max_delay_s=settings.max_batch_delay,
        )
        queue = ModelQueue(
            label,
            limits,
            max_queued=settings.max_queue_size,
            metrics=ModelMetrics(self._registry, target.name, target.version),
            scheduler=asyncio.get_running_loop(),
            clock=self._clock,
        )
        return LocalModel(
            target.name, target.version, queue, replicas=settings.workers, clock=self._clock
        )

    def _order(self, target: ModelTarget) -> LoadOrder:
        settings = self._settings
        return LoadOrder(
            name=target.name,
            version=target.version,
            path=str(target.path),
            runtime=target.runtime,
            attribute=target.attribute,
            threads=threads_of(settings),
            max_rows=settings.max_batch_size,
            batch_requested=settings.max_batch_size > 1,
            memory_bytes=settings.worker_memory or int(machine_memory_bytes() * _MEMORY_SHARE),
            max_body_bytes=settings.max_body_size,
            log_format=settings.log_format,
            log_level=settings.log_level,
        )

    def _not_found(self, name: str, version: str) -> str:
        known = sorted({model for model, _ in self._models})
        if name in known:
            versions = ", ".join(self.versions(name))
            return f"model '{name}' has no version '{version}': it has {versions}"
        shown = ", ".join(known[:10]) + (", ..." if len(known) > 10 else "")
        return f"unknown model '{name}': this server has {shown or 'none'}"

    # Supervision.

    def start_checks(self) -> None:
        """Watches over deadlines from now on."""
        loop = asyncio.get_running_loop()
        now_s = self._clock()
        for model in self.models():
            model.check(
                now_s,
                request_timeout_s=self._settings.request_timeout,
                load_timeout_s=self._settings.load_timeout,
            )
        self._checker = loop.call_later(_CHECK_S, self.start_checks)

    def processes(self) -> list[ProcessRef]:
        """The workers that run now."""
        return [
            ProcessRef(pid, "worker", f"{model.name}/{model.version}/{index}")
            for model in self.models()
            for index, pid in enumerate(model.pids)
        ]

    def refresh_gauges(self) -> None:
        """Brings the gauges up to date that nobody touches on the request path."""
        for model in self.models():
            metrics = model.queue.metrics
            metrics.queued.value = model.queue.queued
            metrics.in_flight.value = model.queue.in_flight
            metrics.memory_bytes.value = sum(proportional_bytes(pid) or 0 for pid in model.pids)

    async def drain(self, timeout_s: float) -> None:
        """Waits until no request is queued or in flight, at most so long."""
        self.is_draining = True
        deadline_s = self._clock() + timeout_s
        while self._clock() < deadline_s:
            if all(model.queue.is_empty for model in self.models()):
                return
            await asyncio.sleep(0.01)

    def close(self) -> None:
        """Ends all workers and fork servers."""
        if self._checker is not None:
            self._checker.cancel()
        for model in self.models():
            model.close()
        for environment in self._environments.values():
            environment.close()


def _why_no_model(path: str) -> str:
    """Why what once was a model is none any more."""
    try:
        discover(path)
    except SalverError as error:
        return str(error)
    return f"{path} is no longer among the models that this server was started with"


_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def threads_of(settings: ServeSettings) -> int:
    """Threads for one prediction: all cores but the gateway's, shared by a model's workers."""
    if settings.threads:
        return settings.threads
    cores = len(os.sched_getaffinity(0))
    return max(1, (cores - 1) // settings.workers)


def machine_memory_bytes() -> int:
    """The memory that this process may count on: the machine's, or its control group's limit."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text().strip()
    except OSError:
        return total
    return min(total, int(limit)) if limit.isdigit() else total
