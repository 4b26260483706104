"""How a revision comes up on this machine, by what runs it: fetch, environment, process, load.

Each kind of runner ends as a `ServedModel` that can be scaled. Progress goes to `report`,
failures are raised as `ArtifactError` with the reason.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import msgspec

from salver.artifacts.layout import ModelTarget, discover
from salver.artifacts.requirements import requirements_of
from salver.backends.environments.manager import PreparedEnvironment
from salver.backends.local.catalog import LocalCatalog
from salver.backends.local.environment import Environment
from salver.backends.local.model import LocalModel
from salver.backends.local.options import ModelOptions, load_order
from salver.backends.local.pooled import Prepared
from salver.backends.processes.arguments import (
    controller_args,
    process_args,
    process_env,
)
from salver.backends.processes.containers import (
    container_launch,
    container_name,
    find_engine,
    no_engine,
)
from salver.backends.processes.output import OutputLog
from salver.backends.processes.process import Launch
from salver.backends.processes.service import ProcessOptions, ProcessService
from salver.backends.remote.http_client import origin_of
from salver.backends.remote.model import RemoteModel, RemoteOptions
from salver.control.ports import Phase, RevisionOrder
from salver.engine.instance_batcher import instance_limits
from salver.engine.ports import ServedModel
from salver.engine.queue import Clock
from salver.errors import LoadFailed
from salver.graph.plan import (
    CommandRunner,
    ComponentPlan,
    ContainerRunner,
    EnvReference,
    ModelRunner,
    RemoteRunner,
    Requirements,
    ScalingPolicy,
)
from salver.graph.pooled import PooledPlan
from salver.storage.ports import FetchedArtifact, FetchOrder
from salver.telemetry.metrics import ModelMetrics
from salver.telemetry.registry import Registry

LookUp = Callable[[str, str, str], Mapping[str, str] | None]
"""The values in a Secret or ConfigMap by kind (`secrets`), namespace and name."""
Report = Callable[[Phase, str], None]
"""Takes how far it has come, and a detail for people."""

_MIB = 1 << 20


class Artifacts(Protocol):
    """Where models come from."""

    async def fetch(
        self, order: FetchOrder, on_progress: Callable[[int, int | None], None] = ...
    ) -> FetchedArtifact: ...


class Environments(Protocol):
    """Where Python environments come from."""

    async def ensure(
        self, requirements: Requirements, on_progress: Callable[[str], None] = ...
    ) -> PreparedEnvironment: ...


class Scalable(ServedModel, Protocol):
    """A model whose replicas can be told."""

    @property
    def wanted_replicas(self) -> int: ...

    @property
    def ready_replicas(self) -> int: ...


def _ignore(phase: Phase, detail: str) -> None:
    """The `Report` for those whom nobody follows."""


class BringUp:
    """Brings up revisions, with what they all need."""

    def __init__(
        self,
        catalog: LocalCatalog,
        artifacts: Artifacts,
        environments: Environments,
        registry: Registry,
        defaults: ModelOptions,
        *,
        look_up: LookUp,
        logs_dir: Path | None,
        clock: Clock,
    ) -> None:
        self._catalog = catalog
        self._artifacts = artifacts
        self._environments = environments
        self._registry = registry
        self._defaults = defaults
        self._look_up = look_up
        self._logs_dir = logs_dir
        self._clock = clock

    async def bring_up(
        self, order: RevisionOrder, predictor_url: str, report: Report
    ) -> LocalModel | ProcessService | RemoteModel:
        """The revision's model, loaded and ready. Raises `ArtifactError`."""
        runner = order.plan.runner
        if not isinstance(runner, RemoteRunner) and runner.env_from:
            runner = msgspec.structs.replace(
                runner,
                env=(*resolved(runner.env_from, order.namespace, self._look_up), *runner.env),
            )
            order = msgspec.structs.replace(
                order, plan=msgspec.structs.replace(order.plan, runner=runner)
            )
        if isinstance(runner, ModelRunner):
            return await self._model(order, runner, predictor_url, report)
        if isinstance(runner, RemoteRunner):
            return await self._remote(order, runner, report)
        return await self._process(order, runner, predictor_url, report)

    # A model in workers of our own.

    async def _model(
        self, order: RevisionOrder, runner: ModelRunner, predictor_url: str, report: Report
    ) -> LocalModel:
        path = await self._fetched(order, runner, report)
        report(Phase.LOADING, f"reading {path}")
        target = await asyncio.to_thread(target_of, order.service, path, runner)
        environment = await self._environment(target, runner, report)
        options = self._options(order)
        name, version = self._label(order)
        load = msgspec.structs.replace(
            load_order(target, options),
            name=order.service,
            version=str(order.number),
            predictor_url=predictor_url,
        )
        model = self._catalog.add_model(name, version, environment, options, label=order.service)
        report(Phase.LOADING, "loading")
        try:
            await model.load(load, environment)
        except BaseException:
            await self._catalog.remove_model(name, version)
            raise
        return model

    async def prepare_pooled(self, plan: PooledPlan) -> Prepared:
        """What a worker of a pooled model is told, its artifact fetched and its environment made.

        Raises `ArtifactError`.
        """
        order = RevisionOrder(
            plan.name, plan.namespace, plan.name, 1, ComponentPlan("predictor", plan.runner)
        )
        path = await self._fetched(order, plan.runner, _ignore)
        target = await asyncio.to_thread(target_of, plan.name, path, plan.runner)
        environment = await self._environment(target, plan.runner, _ignore)
        return load_order(target, self._options(order)), environment

    async def _environment(
        self, target: ModelTarget, runner: ModelRunner, report: Report
    ) -> Environment:
        """The fork server of the packages that the model needs, made if it is not there."""

        def on_progress(text: str) -> None:
            report(Phase.BUILDING, text)

        needed = await asyncio.to_thread(
            requirements_of,
            target.path,
            target.runtime,
            runtime_version=runner.runtime_version,
            declared=runner.requirements,
        )
        prepared = None
        if needed.is_needed:
            report(Phase.BUILDING, f"{len(needed.packages)} packages, {needed.origin}")
            prepared = await self._environments.ensure(needed, on_progress)
        return self._catalog.environment(target.runtime, target.preload, prepared)

    async def _fetched(
        self,
        order: RevisionOrder,
        runner: ModelRunner | CommandRunner | ContainerRunner,
        report: Report,
    ) -> Path:
        """Where the runner's artifact lies on this machine."""

        def on_progress(done: int, total: int | None) -> None:
            of = f" of {total / _MIB:.1f}" if total else ""
            report(Phase.DOWNLOADING, f"{done / _MIB:.1f}{of} MiB of {runner.uri}")

        report(Phase.DOWNLOADING, runner.uri)
        wanted = FetchOrder(
            runner.uri,
            namespace=order.namespace,
            service_account=runner.service_account,
        )
        if isinstance(runner, ModelRunner):
            wanted = msgspec.structs.replace(
                wanted,
                storage_key=runner.storage_key,
                storage_parameters=runner.storage_parameters,
            )
        return (await self._artifacts.fetch(wanted, on_progress)).path

    def _options(self, order: RevisionOrder) -> ModelOptions:
        """The server's defaults with what the plan says."""
        plan, runner = order.plan, order.plan.runner
        limits = instance_limits(plan.batching) if plan.batching is not None else None
        return msgspec.structs.replace(
            self._defaults,
            replicas=first_scale(plan.scaling),
            concurrency=plan.scaling.container_concurrency,
            max_batch_rows=limits.max_rows if limits else self._defaults.max_batch_rows,
            timeout_s=plan.timeout_s or (limits.timeout_s if limits else 0.0),
            env=runner.env if not isinstance(runner, RemoteRunner) else (),
        )

    def _label(self, order: RevisionOrder) -> tuple[str, str]:
        """What metrics call the revision: the service, if no other model is called that."""
        version = str(order.number)
        name = order.service
        if order.component != "predictor":
            name = f"{name}-{order.component}"
        if order.namespace != "default":
            name = f"{order.namespace}/{name}"
        if self._catalog.is_taken(name, version):
            name = f"{order.namespace}/{order.name}"
        return name, version

    # What runs elsewhere, or as a process of its own.

    async def _remote(
        self, order: RevisionOrder, runner: RemoteRunner, report: Report
    ) -> RemoteModel:
        report(Phase.LOADING, f"asking {runner.url}")
        model = self._remote_model(order, protocol=runner.protocol, is_external=True)
        model.add(origin_of(runner.url))
        try:
            await model.wait_ready(self._defaults.load_timeout_s)
        except BaseException:
            model.close()
            raise
        return model

    async def _process(
        self,
        order: RevisionOrder,
        runner: CommandRunner | ContainerRunner,
        predictor_url: str,
        report: Report,
    ) -> ProcessService:
        path = str(await self._fetched(order, runner, report)) if runner.uri else ""
        remote = self._remote_model(
            order,
            protocol=runner.protocol,
            is_external=False,
            readiness_path=runner.readiness_path,
        )
        launch_of = self._launches(order, runner, path, predictor_url)
        log = self._logs_dir / f"{order.namespace}.{order.name}.log" if self._logs_dir else None
        service = ProcessService(
            remote,
            launch_of,
            ProcessOptions(
                replicas=first_scale(order.plan.scaling),
                load_timeout_s=self._defaults.load_timeout_s,
                grace_s=self._defaults.drain_timeout_s,
            ),
            OutputLog(log),
            clock=self._clock,
        )
        report(Phase.LOADING, "starting")
        await service.start()
        return service

    def _remote_model(
        self, order: RevisionOrder, *, protocol: str, is_external: bool, readiness_path: str = ""
    ) -> RemoteModel:
        defaults = self._defaults
        name, version = self._label(order)
        return RemoteModel(
            order.service,
            version,
            RemoteOptions(
                protocol=protocol,
                remote_name=order.service,
                readiness_path=readiness_path,
                is_external=is_external,
                concurrency=order.plan.scaling.container_concurrency,
                max_queued=defaults.max_queued,
                request_timeout_s=order.plan.timeout_s or defaults.request_timeout_s,
                holds_while_starting=not is_external,
            ),
            ModelMetrics(self._registry, name, version),
            clock=self._clock,
        )

    def _launches(
        self,
        order: RevisionOrder,
        runner: CommandRunner | ContainerRunner,
        path: str,
        predictor_url: str,
    ) -> Callable[[int, int], Launch]:
        name = order.service
        if isinstance(runner, ContainerRunner):
            engine = find_engine()
            if engine is None:
                raise no_engine(runner.image)

            def container(number: int, port: int) -> Launch:
                return container_launch(
                    engine,
                    runner,
                    container=container_name([order.namespace, order.name, str(number)]),
                    name=name,
                    port=port,
                    model_path=path,
                    env=dict(os.environ),
                )

            return container
        inherited: Mapping[str, str] = {**os.environ, "PREDICTOR_URL": predictor_url}

        def command(_number: int, port: int) -> Launch:
            env = process_env(
                inherited, runner.env, name=name, port=port, uri=runner.uri, model_path=path
            )
            words = process_args(runner.command, env, path)
            if order.component != "predictor":
                host = predictor_url.partition("://")[2]
                words = controller_args(words, name=name, predictor_host=host, port=port)
            return Launch(words, env, port, working_dir=runner.working_dir)

        return command


def resolved(
    references: Sequence[EnvReference], namespace: str, look_up: LookUp
) -> list[tuple[str, str]]:
    """The variables that lie in Secrets and ConfigMaps. Raises `LoadFailed` if one is missing."""
    found: list[tuple[str, str]] = []
    for each in references:
        what = f"{'Secret' if each.kind == 'secrets' else 'ConfigMap'} {namespace}/{each.resource}"
        values = look_up(each.kind, namespace, each.resource)
        if values is None:
            if each.optional:
                continue
            raise LoadFailed(f"{what} is not there, but variables come from it: apply it")
        if not each.key:
            found += [(each.name + key, value) for key, value in values.items()]
        elif each.key in values:
            found.append((each.name, values[each.key]))
        elif not each.optional:
            raise LoadFailed(f"{what} has no key '{each.key}' for the variable {each.name}")
    return found


def first_scale(policy: ScalingPolicy) -> int:
    """Replicas to begin with: a revision proves itself with at least one."""
    initial = policy.initial_scale if policy.initial_scale > 0 else max(1, policy.min_replicas)
    return min(initial, policy.max_replicas) if policy.max_replicas else initial


def target_of(name: str, path: Path, runner: ModelRunner) -> ModelTarget:
    """The model that an artifact holds: the newest, if it has versions.

    Raises `ArtifactError`.
    """
    text = f"{path}:{runner.attribute}" if runner.attribute else str(path)
    found = discover(text, name, runner.runtime)
    if not found:
        raise LoadFailed(f"{path} holds no model")
    return found[-1]
