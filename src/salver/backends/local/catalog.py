"""All models of this machine: finds them for requests, loads and unloads them, watches them."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import msgspec

from salver.artifacts.layout import ModelTarget, discover, read_target, version_order
from salver.backends.environments.manager import PreparedEnvironment
from salver.backends.local.environment import Environment
from salver.backends.local.model import LocalModel
from salver.backends.local.model_environments import Environments, ModelEnvironments
from salver.backends.local.options import ModelOptions, load_order, pooled, tailored
from salver.backends.local.pool import ModelPool
from salver.backends.local.pooled import Prepared, Source
from salver.backends.local.queues import make_queue, rate_limiter_of
from salver.backends.local.worker_messages import LoadOrder
from salver.backends.processes.kept_logs import KeptLogs
from salver.engine.ports import ModelStatus, ServedModel
from salver.engine.queue import Clock
from salver.engine.tracing import Tap
from salver.errors import ArtifactError, LoadFailed, ModelNotFound, SalverError
from salver.inference.scheduling import Scheduling
from salver.settings import ServeSettings
from salver.telemetry.metrics import ModelMetrics
from salver.telemetry.process import ProcessRef, proportional_bytes
from salver.telemetry.registry import Registry

_CHECK_S = 0.1
_MEMORY_SHARE = 0.75
_POOL_SHARE = 0.5
"""Of the machine's memory, for the pool of many models unless a budget is given."""
_NAMED = 10
_UNUSED_S = 300.0
"""How long a fork server is kept that no model runs in: its next one then starts at once."""

Discover = Callable[[], Sequence[ModelTarget]]
LogKey = tuple[str, str]
"""Namespace and name of a log."""


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
        *,
        environments: Environments | None = None,
        logs: KeptLogs | None = None,
    ) -> None:
        """Without `environments` every model runs in the server's own."""
        self._clock = clock
        self.suiting = ModelEnvironments(environments, self.environment)
        """Decides which environment a model runs in, for all who bring models here."""
        self.logs = logs or KeptLogs()
        self.is_draining = False
        self._discover = discover
        self._settings = settings
        self._registry = registry
        self._options = options_of(settings)
        self._models: dict[tuple[str, str], LocalModel] = {}
        """What callers may name: every version, and under "" the one that answers for all."""
        self._running: dict[tuple[str, str], LocalModel] = {}
        self._awake: dict[LocalModel, None] = {}
        """Those that have something to be checked; thousands may be at rest."""
        """Every version of every model, those included that no caller may name."""
        self._refused: set[tuple[str, str]] = set()
        """Those whose files could not be read, so that nothing is known of how they are served."""
        self._pool: ModelPool | None = None
        self._limiter = rate_limiter_of(settings)
        self._environments: dict[tuple[str, str], Environment] = {}
        self._unused_since_s: dict[tuple[str, str], float] = {}
        self._log_keys: dict[LocalModel, LogKey] = {}
        self._checker: asyncio.TimerHandle | None = None
        self._tap: Callable[[str, str], Tap | None] = lambda name, version: None

    def leases_tritons_at(self, address: str) -> None:
        """Tells where workers ask for models that Triton runs, for those loaded from now on."""
        self._options = msgspec.structs.replace(self._options, triton_leases=address)

    @property
    def triton_leases(self) -> str:
        """Where workers ask for models that Triton runs."""
        return self._options.triton_leases

    def trace_with(self, tap: Callable[[str, str], Tap | None]) -> None:
        """Gives each model its tap, by name and version: those there are, and those that come."""
        self._tap = tap
        for model in self._running.values():
            model.trace_with(tap(model.name, model.version))

    def listens_at(self, url: str) -> None:
        """Tells where the server is reached, for models that are loaded from now on."""
        self._options = msgspec.structs.replace(self._options, server_url=url)

    def shares_memory(self, folder: Path) -> None:
        """Has workers take tensors from the regions of that folder's table."""
        self._options = msgspec.structs.replace(self._options, regions=str(folder))

    @property
    def server_url(self) -> str:
        """Where workers reach the server; empty until it listens."""
        return self._options.server_url

    # Before the event loop runs.

    def prepare(self, targets: Sequence[ModelTarget]) -> None:
        """Starts the fork servers that these models need; their imports take the longest.

        Of targets that have not been read, one of each suffix is: the others will be alike.
        """
        targets = [*(each for each in targets if each.runtime), *_samples(targets)]
        for runtime in sorted({target.runtime for target in targets}):
            preload = [
                module
                for target in targets
                if target.runtime == runtime
                for module in target.preload
            ]
            self.environment(runtime, preload)

    def environment(
        self,
        runtime: str,
        preload: Sequence[str] = (),
        prepared: PreparedEnvironment | None = None,
    ) -> Environment:
        """The fork server of a runtime in a Python environment, by default the server's own.

        It is started now if there is none yet. `preload` counts for the first caller alone.
        """
        key = (runtime, prepared.digest if prepared is not None else "")
        if key not in self._environments:
            threads = str(threads_of(self._settings))
            environ = {
                **(os.environ if prepared is None else prepared.environ),
                **dict.fromkeys(_THREAD_VARIABLES, threads),
                "OMP_WAIT_POLICY": "PASSIVE",
            }
            python = sys.executable if prepared is None else str(prepared.python)
            self._environments[key] = Environment(
                runtime, tuple(dict.fromkeys(preload)), python=python, environ=environ
            )
        return self._environments[key]

    @property
    def environments_in_use(self) -> set[str]:
        """The digests of the prepared environments that fork servers run in."""
        return {digest for _, digest in self._environments if digest}

    def end_unused_environments(self) -> None:
        """Ends the fork servers that no model has had for a while; to be called now and then."""
        if self.suiting.choosing:
            return
        now_s = self._clock()
        used = {id(model.environment) for model in self._running.values()}
        for key, environment in list(self._environments.items()):
            # The pool's next model may be of any of the kinds that the server itself can load.
            if id(environment) in used or (not key[1] and self._pool is not None):
                self._unused_since_s.pop(key, None)
            elif now_s - self._unused_since_s.setdefault(key, now_s) >= _UNUSED_S:
                del self._environments[key], self._unused_since_s[key]
                environment.end()

    def is_taken(self, name: str, version: str) -> bool:
        """Whether a model runs under these labels."""
        return (name, version) in self._running

    # The engine's port.

    def find(self, name: str, version: str = "") -> ServedModel:
        model = self._models.get((name, version))
        if model is not None:
            return model
        pooled = self._pool.find(name, version) if self._pool is not None else None
        if pooled is None:
            raise ModelNotFound(self._not_found(name, version))
        return pooled

    def versions(self, name: str) -> Sequence[str]:
        found = [version for model, version in self._models if model == name and version]
        if not found and self._pool is not None:
            found = self._pool.versions(name)
        if not found:
            raise ModelNotFound(self._not_found(name, ""))
        return sorted(found, key=version_order)

    def statuses(self) -> Sequence[ModelStatus]:
        own = [model.status for model in self.models()]
        if self._pool is None:
            return own
        pooled = self._pool.statuses()
        return sorted((*own, *pooled), key=_by_name_and_version) if own else pooled

    def models(self) -> list[LocalModel]:
        """Every version of every model that callers may name, by name, then version."""
        keys = sorted(
            (key for key in self._models if key[1]), key=lambda key: (key[0], version_order(key[1]))
        )
        return [self._models[key] for key in keys]

    @property
    def is_ready(self) -> bool:
        return not self.is_draining and all(
            model.is_ready for model in self.models() if model.is_wanted
        )

    async def load(self, name: str) -> None:
        targets = [target for target in await self._targets() if target.name == name]
        if self._pool is not None and (name in self._pool or self._settings.memory_budget):
            await self._load_pooled(name, targets, self._pool)
            return
        if not targets:
            model = self._find_own(name)
            reason = await asyncio.to_thread(_why_no_model, model.order.path if model.order else "")
            raise LoadFailed(f"model '{name}' cannot be loaded again: {reason}")
        await self.load_all(targets)
        versions = set(self.versions(name)) - {target.version for target in targets}
        gone = [self._models.pop((name, version)) for version in versions]
        # Others answer from now on: one that is being unloaded refuses what comes.
        self._choose_default(name)
        for model in gone:
            await model.unload(self._settings.drain_timeout)
            self._forget(model)

    async def _load_pooled(
        self, name: str, targets: Sequence[ModelTarget], pool: ModelPool
    ) -> None:
        for target in targets:
            pool.register(name, target.version, _source_of(target))
        if name not in pool:
            raise ModelNotFound(self._not_found(name, ""))
        await pool.load(name)

    async def unload(self, name: str) -> None:
        if self._pool is not None and name in self._pool:
            await self._pool.unload(name)
            return
        for version in self.versions(name):
            await self._find_own(name, version).unload(self._settings.drain_timeout)

    def _find_own(self, name: str, version: str = "") -> LocalModel:
        """A model that is in no pool. Raises `ModelNotFound`."""
        model = self._models.get((name, version))
        if model is None:
            raise ModelNotFound(self._not_found(name, version))
        return model

    async def _targets(self) -> Sequence[ModelTarget]:
        try:
            return await asyncio.to_thread(self._discover)
        except SalverError as error:
            raise LoadFailed(f"the models' source cannot be read: {error}") from error

    async def load_all(self, targets: Sequence[ModelTarget]) -> None:
        """Loads all of these side by side. Raises the first `LoadFailed` once all have ended.

        With a memory budget they only become known to the pool.
        """
        if self._settings.memory_budget:
            pool = self.pool
            for target in targets:
                pool.register(target.name, target.version, _source_of(target))
            return
        loads = [self._load_one(target) for target in targets]
        results = await asyncio.gather(*loads, return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result

    async def _load_one(self, target: ModelTarget) -> None:
        key = (target.name, target.version)
        if key in self._refused:
            self._refused.discard(key)
            self._forget(self._models.pop(key))
        if key not in self._models:
            options = tailored(self._options, target.overrides)
            self._models[key] = self.new_model(target.name, target.version, options)
        self._choose_default(target.name)
        model = self._models[key]
        try:
            _check_refusal(target)
            suited = await self.suiting.suited(target)
        except SalverError as error:
            if target.refusal and model.order is None:
                self._refused.add(key)
            if not model.replicas:
                model.fail_start(str(error))
            raise LoadFailed(f"model '{target.name}' could not be loaded: {error}") from error
        await model.load(load_order(target, model.options, suited.caveat), suited.environment)
        self._choose_default(target.name)

    # The pool of many models, and what it asks of its host.

    @property
    def pool(self) -> ModelPool:
        """The shared pool, made when it is first asked for."""
        if self._pool is None:
            cores = len(os.sched_getaffinity(0))
            self._pool = ModelPool(
                self._settings.memory_budget or int(machine_memory_bytes() * _POOL_SHARE),
                msgspec.structs.replace(self._options, replicas=0),
                host=self,
                registry=self._registry,
                clock=self._clock,
                max_loads=max(2, cores),
            )
        return self._pool

    async def prepare_target(self, target: ModelTarget) -> Prepared:
        """What a worker is told to load this, and the environment it runs in."""
        _check_refusal(target)
        if not target.runtime or not target.preload:
            target = await asyncio.to_thread(read_target, target)
        suited = await self.suiting.suited(target)
        options = pooled(tailored(self._options, target.overrides))
        return load_order(target, options, suited.caveat), suited.environment

    def _choose_default(self, name: str) -> None:
        """The highest version that is ready answers requests that name none."""
        versions = self.versions(name)
        ready = [version for version in versions if self._models[name, version].is_ready]
        self._models[name, ""] = self._models[name, (ready or versions)[-1]]

    # Models that others than the command line bring.

    def add_model(
        self,
        name: str,
        version: str,
        environment: Environment,
        options: ModelOptions,
        *,
        order: LoadOrder | None = None,
        label: str = "",
        is_public: bool = False,
        on_wanted: Callable[[], object] | None = None,
        log: LogKey | None = None,
    ) -> LocalModel:
        """A model watched over from now on: in standby with an order, else until its `load`.

        One that is not public is found, listed and counted in readiness by nobody but the
        caller; name and version are the labels of its metrics either way, and `label` is what
        people know it by, `log` what its log is kept as. `on_wanted` is called in place of
        starting a worker when a call finds none.
        """
        model = self.new_model(name, version, options, on_wanted, label, log)
        if order is not None:
            model.stand_by(order, environment)
        if is_public:
            self._models[name, version] = model
            self._choose_default(name)
        return model

    async def remove_model(self, name: str, version: str) -> None:
        """Answers the calls that wait, ends the workers, forgets the model and its metrics."""
        model = self._running.get((name, version))
        if model is None:
            return
        await model.unload(model.options.drain_timeout_s)
        if self._models.get((name, version)) is model:
            del self._models[name, version]
            if any(other == name and each for other, each in self._models):
                self._choose_default(name)
            else:
                self._models.pop((name, ""), None)
        self._forget(model)

    def new_model(
        self,
        name: str,
        version: str,
        options: ModelOptions,
        on_wanted: Callable[[], object] | None = None,
        label: str = "",
        log: LogKey | None = None,
    ) -> LocalModel:
        """A model that nobody can name yet, watched over from now on."""
        if (name, version) in self._running:
            raise ValueError(f"model '{name}' version {version} is there already: remove it first")
        queue, claim = make_queue(
            f"model '{label or name}'" + (f" version {version}" if version != "1" else ""),
            options,
            self._limiter,
            metrics=ModelMetrics(self._registry, name, version),
            scheduler=asyncio.get_running_loop(),
            clock=self._clock,
        )
        log = log or log_key(name, version)
        model = LocalModel(
            name,
            version,
            queue,
            options,
            clock=self._clock,
            on_wanted=on_wanted,
            output=self.logs.open(*log),
            claim=claim,
        )
        model.trace_with(self._tap(name, version))
        self._running[name, version] = model
        model.on_awake = self._wake
        self._wake(model)
        self._log_keys[model] = log
        return model

    def own_models(self) -> Iterator[tuple[LocalModel, LogKey]]:
        """The command line's models and the pool's that are open, with what their logs are."""
        for model in list(self._running.values()):
            key = self._log_keys[model]
            if key == log_key(model.name, model.version):
                yield model, key

    def forget_model(self, model: LocalModel) -> None:
        """Ends what is left of it; its metrics stay."""
        model.close()
        self._running.pop((model.name, model.version), None)
        self._awake.pop(model, None)
        self._log_keys.pop(model, None)
        model.output.close()

    def _forget(self, model: LocalModel) -> None:
        """Keeps nothing of a model that has been unloaded."""
        self.forget_model(model)
        self._registry.discard(model=model.name, version=model.version)

    def _not_found(self, name: str, version: str) -> str:
        own = {model for model, _ in self._models}
        if name in own or (self._pool is not None and name in self._pool):
            versions = ", ".join(self.versions(name))
            return f"model '{name}' has no version '{version}': it has {versions}"
        pooled = islice(self._pool.names(), _NAMED) if self._pool is not None else ()
        known = sorted({*own, *pooled})
        count = len(own) + (len(self._pool) if self._pool is not None else 0)
        shown = ", ".join(known[:_NAMED]) + (", ..." if count > _NAMED else "")
        return f"unknown model '{name}': this server has {shown or 'none'}"

    # Supervision.

    def _wake(self, model: LocalModel) -> None:
        self._awake[model] = None

    def start_checks(self) -> None:
        """Watches over deadlines from now on."""
        loop = asyncio.get_running_loop()
        now_s = self._clock()
        # Before the checks: if one fails, those to come must not.
        self._checker = loop.call_later(_CHECK_S, self.start_checks)
        for model in list(self._awake):
            model.check(now_s)
            if model.is_at_rest and model.is_gone:
                self._awake.pop(model, None)
        if self._pool is not None:
            self._pool.check(now_s)

    def processes(self) -> list[ProcessRef]:
        """The workers that run now."""
        return [
            ProcessRef(pid, "worker", f"{model.name}/{model.version}/{index}")
            for model in self._running.values()
            for index, pid in enumerate(model.pids)
        ]

    def refresh_gauges(self) -> None:
        """Brings the gauges up to date that nobody touches on the request path."""
        for model in self._running.values():
            metrics = model.queue.metrics
            metrics.queued.value = model.queue.queued
            metrics.in_flight.value = model.queue.in_flight
            if model.memory_bytes:
                metrics.memory_bytes.value = model.memory_bytes * model.replicas
            else:
                metrics.memory_bytes.value = sum(proportional_bytes(pid) or 0 for pid in model.pids)
        if self._pool is not None:
            self._pool.refresh_gauges()

    async def drain(self, timeout_s: float) -> None:
        """Waits until no request is queued or in flight, at most so long."""
        self.is_draining = True
        deadline_s = self._clock() + timeout_s
        while self._clock() < deadline_s:
            if all(model.queue.is_empty for model in self._running.values()):
                return
            await asyncio.sleep(0.01)

    def end_workers(self) -> None:
        """All workers end, and let go of what they hold of other servers; `close` is to follow."""
        if self._checker is not None:
            self._checker.cancel()
        if self._pool is not None:
            self._pool.close()
        for model in list(self._running.values()):
            model.close()

    def close(self) -> None:
        """Ends all workers and fork servers."""
        self.end_workers()
        for environment in self._environments.values():
            environment.close()
        self.logs.close()


def log_key(name: str, version: str) -> LogKey:
    """What the log of a model of the command line, or of the pool, is kept as."""
    return "default", f"{name}-{version.zfill(5) if version.isdigit() else version}"


def _by_name_and_version(status: ModelStatus) -> tuple[object, ...]:
    return status.name, version_order(status.version)


def _samples(targets: Sequence[ModelTarget]) -> list[ModelTarget]:
    """One target of each suffix among those not read yet, read; what is no model is left out."""
    unread = {
        target.path.suffix: target
        for target in targets
        if not target.runtime and not target.refusal
    }
    found = []
    for target in unread.values():
        try:
            found.append(read_target(target))
        except SalverError:
            continue  # It will say why when it is asked for.
    return found


def _check_refusal(target: ModelTarget) -> None:
    if target.refusal:
        raise ArtifactError(target.refusal)


def _source_of(target: ModelTarget) -> Source:
    """As little as it takes to find the model again: there may be tens of thousands."""
    is_plain = not (target.runtime or target.attribute or target.refusal)
    return str(target.path) if is_plain else target


def _why_no_model(path: str) -> str:
    """Why what once was a model is none any more; `path` is empty for one that never was loaded."""
    try:
        if path:
            discover(path)
    except SalverError as error:
        return str(error)
    return f"{path or 'it'} is no longer among the models that this server was started with"


_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def options_of(settings: ServeSettings) -> ModelOptions:
    """The options of the command line's models, and the defaults of all others."""
    return ModelOptions(
        replicas=settings.workers,
        max_batch_rows=settings.max_batch_size,
        max_batch_delay_s=settings.max_batch_delay,
        max_queued=settings.max_queue_size,
        scheduling=Scheduling(settings.priority_levels, settings.priority_levels),
        threads=threads_of(settings),
        memory_bytes=settings.worker_memory or int(machine_memory_bytes() * _MEMORY_SHARE),
        request_timeout_s=settings.request_timeout,
        load_timeout_s=settings.load_timeout,
        drain_timeout_s=settings.drain_timeout,
        max_body_bytes=settings.max_body_size,
        compile=settings.compile,
        verdicts=str(settings.state_dir / "compiled"),
        log_format=settings.log_format,
        log_level=settings.log_level,
    )


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
