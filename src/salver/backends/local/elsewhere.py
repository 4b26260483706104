"""A revision that is no worker of ours: a command, a container, a URL.

Owns what such a program is told: its launch, its addresses, how it is asked. How many of it run
and when one is started again is `processes/`'s, requests are `remote/`'s.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping
from pathlib import Path

from salver.backends.local.options import ModelOptions, first_scale
from salver.backends.processes.arguments import (
    controller_args,
    is_kserve_program,
    process_args,
    process_env,
    served_args,
)
from salver.backends.processes.containers import (
    ContainerEngine,
    container_launch,
    container_name,
    find_engine,
    no_engine,
    seen_from_within,
)
from salver.backends.processes.kept_logs import KeptLogs
from salver.backends.processes.process import Launch, free_port
from salver.backends.processes.service import ProcessOptions, ProcessService
from salver.backends.remote.http_client import origin_of
from salver.backends.remote.model import RemoteModel, RemoteOptions
from salver.backends.remote.seldon_component import SeldonComponent
from salver.control.ports import Phase, Report, RevisionOrder
from salver.engine.queue import Clock
from salver.errors import ModelNotReady
from salver.graphs.plan import CommandRunner, ContainerRunner, RemoteRunner, WireProtocol
from salver.telemetry.metrics import ModelMetrics
from salver.telemetry.registry import Registry

_CONNECT_S = 10.0
"""How long a service elsewhere may be unreachable before the attempt counts as failed."""
_LOOK_S = 0.5

LaunchOf = Callable[[int, int], Launch]
Label = tuple[str, str]
"""Model and version, as metrics call them."""


class Elsewhere:
    """Starts commands and containers, and connects to URLs."""

    def __init__(
        self,
        registry: Registry,
        defaults: ModelOptions,
        *,
        logs: KeptLogs,
        clock: Clock,
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        self._registry = registry
        self._defaults = defaults
        self._logs = logs
        self._clock = clock
        self._environ = environ

    async def connect(
        self, order: RevisionOrder, runner: RemoteRunner, label: Label, report: Report
    ) -> RemoteModel:
        """The service behind the URL, once it is ready. Raises `SalverError`."""
        origin = origin_of(runner.url)
        report(Phase.LOADING, f"asking {runner.url}")
        model = self._remote_model(
            order, label, runner.protocol, is_external=True, remote_name=runner.model
        )
        model.add(origin)
        try:
            await self._wait_connected(model, report)
        except BaseException:
            model.close()
            raise
        return model

    async def _wait_connected(self, model: RemoteModel, report: Report) -> None:
        deadline_s = self._clock() + min(_CONNECT_S, self._defaults.load_timeout_s)
        while True:
            try:
                await model.wait_ready(min(_LOOK_S, max(0.0, deadline_s - self._clock())))
                return
            except ModelNotReady as error:
                if self._clock() >= deadline_s:
                    raise
                report(Phase.LOADING, str(error))

    async def start(
        self,
        order: RevisionOrder,
        runner: CommandRunner | ContainerRunner,
        label: Label,
        path: Path | None,
        predictor_url: str,
        report: Report,
    ) -> ProcessService:
        """The command or container, once its first process is ready. Raises `SalverError`."""
        launch_of = await self._launches(order, runner, str(path or ""), predictor_url)
        remote = self._remote_model(
            order,
            label,
            runner.protocol,
            is_external=False,
            readiness_path=runner.readiness_path,
            remote_name=runner.model,
        )
        service = ProcessService(
            remote,
            launch_of,
            ProcessOptions(
                replicas=first_scale(order.plan.scaling),
                load_timeout_s=self._defaults.load_timeout_s,
                grace_s=self._defaults.drain_timeout_s,
            ),
            self._logs.open(order.namespace, order.name),
            clock=self._clock,
        )
        report(Phase.LOADING, "starting")
        await service.start()
        return service

    def _remote_model(
        self,
        order: RevisionOrder,
        label: Label,
        protocol: WireProtocol,
        *,
        is_external: bool,
        readiness_path: str = "",
        remote_name: str = "",
    ) -> RemoteModel:
        defaults = self._defaults
        kind = SeldonComponent if protocol == "seldon" else RemoteModel
        return kind(
            order.service,
            str(order.number),
            RemoteOptions(
                protocol=protocol,
                remote_name=remote_name or order.service,
                readiness_path=readiness_path,
                is_external=is_external,
                concurrency=order.plan.scaling.container_concurrency,
                max_queued=defaults.max_queued,
                request_timeout_s=order.plan.timeout_s or defaults.request_timeout_s,
                holds_while_starting=not is_external,
            ),
            ModelMetrics(self._registry, *label),
            clock=self._clock,
        )

    async def _launches(
        self,
        order: RevisionOrder,
        runner: CommandRunner | ContainerRunner,
        path: str,
        predictor_url: str,
    ) -> LaunchOf:
        url = predictor_url if order.component != "predictor" else ""
        if isinstance(runner, CommandRunner):
            words = (runner.command, runner.working_dir)
            is_kserve = await asyncio.to_thread(is_kserve_program, *words)
            return self._commands(order, runner, path, url, is_kserve)
        engine = find_engine(self._environ)
        if engine is None:
            raise no_engine(runner.image)
        return self._containers(order, runner, path, url, engine)

    def _commands(
        self, order: RevisionOrder, runner: CommandRunner, path: str, url: str, is_kserve: bool
    ) -> LaunchOf:
        name = runner.model or order.service
        inherited = {**self._environ, **({"PREDICTOR_URL": url} if url else {})}

        def launch(_number: int, port: int) -> Launch:
            env = process_env(
                inherited, runner.env, name=name, port=port, uri=runner.uri, model_path=path
            )
            words = process_args(runner.command, env, path)
            if url:
                words = controller_args(words, name=name, predictor_host=host_of(url), port=port)
            if is_kserve:
                words = served_args(words, port=port, grpc_port=free_port())
            return Launch(words, env, port, working_dir=runner.working_dir)

        return launch

    def _containers(
        self,
        order: RevisionOrder,
        runner: ContainerRunner,
        path: str,
        url: str,
        engine: ContainerEngine,
    ) -> LaunchOf:
        def launch(number: int, port: int) -> Launch:
            return container_launch(
                engine,
                runner,
                container=container_name([order.namespace, order.name, str(number)]),
                name=runner.model or order.service,
                port=port,
                model_path=path,
                env=dict(self._environ),
                predictor_url=seen_from_within(engine, url),
            )

        return launch


def host_of(url: str) -> str:
    """What `--predictor_host` takes: the URL without its scheme."""
    return url.partition("://")[2]
