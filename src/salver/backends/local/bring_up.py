"""How a revision comes up on this machine, and goes: what all kinds of runners have in common.

Its variables are looked up, its artifact is fetched, and kept in the cache for as long as it
runs. Who runs it is decided by its runner: `own_workers.py` or `elsewhere.py`. Progress goes
to `report`, failures are raised as `SalverError` with the reason.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import msgspec

from salver.backends.local.elsewhere import Elsewhere
from salver.backends.local.model import LocalModel
from salver.backends.local.own_workers import OwnWorkers
from salver.backends.local.pooled import Prepared
from salver.backends.processes.service import ProcessService
from salver.backends.remote.model import RemoteModel
from salver.control.ports import Phase, Report, RevisionOrder
from salver.control.variables import LookUp, with_variables
from salver.graphs.plan import (
    CommandRunner,
    ComponentPlan,
    ContainerRunner,
    ModelRunner,
    RemoteRunner,
)
from salver.graphs.pooled import PooledPlan
from salver.spec.triton_url import is_triton_url
from salver.storage.ports import FetchedArtifact, FetchOrder

Running = LocalModel | ProcessService | RemoteModel
"""A revision that is up."""

_MIB = 1 << 20


class Artifacts(Protocol):
    """Where models come from. A fetched one is kept until it is released."""

    async def fetch(
        self, order: FetchOrder, on_progress: Callable[[int, int | None], None] = ...
    ) -> FetchedArtifact: ...

    def release(self, artifact: FetchedArtifact) -> None: ...


def _ignore(phase: Phase, detail: str) -> None:
    """The `Report` for those whom nobody follows."""


class BringUp:
    """Brings revisions and pooled models up and down."""

    def __init__(
        self, artifacts: Artifacts, workers: OwnWorkers, elsewhere: Elsewhere, *, look_up: LookUp
    ) -> None:
        self._artifacts = artifacts
        self._workers = workers
        self._elsewhere = elsewhere
        self._look_up = look_up
        self._kept: dict[Running, FetchedArtifact] = {}
        self._pooled: dict[str, FetchedArtifact] = {}

    async def bring_up(self, order: RevisionOrder, predictor_url: str, report: Report) -> Running:
        """The revision's model, loaded and ready. Raises `SalverError`."""
        order = with_variables(order, self._look_up)
        runner = order.plan.runner
        if isinstance(runner, RemoteRunner):
            return await self._elsewhere.connect(order, runner, self._workers.label(order), report)
        if not runner.uri or is_triton_url(runner.uri):
            return await self._run(order, None, predictor_url, report)
        artifact = await self._fetched(order, runner, report)
        try:
            model = await self._run(order, artifact.path, predictor_url, report)
        except BaseException:
            self._artifacts.release(artifact)
            raise
        self._kept[model] = artifact
        return model

    async def _run(
        self, order: RevisionOrder, path: Path | None, predictor_url: str, report: Report
    ) -> LocalModel | ProcessService:
        runner = order.plan.runner
        assert not isinstance(runner, RemoteRunner), "it is connected to, not run"
        if isinstance(runner, ModelRunner):
            path = path or Path()
            return await self._workers.bring_up(order, runner, path, predictor_url, report)
        label = self._workers.label(order)
        return await self._elsewhere.start(order, runner, label, path, predictor_url, report)

    async def bring_down(self, model: Running) -> None:
        """Ends it once its requests are answered; the cache may then drop its artifact."""
        try:
            if isinstance(model, LocalModel):
                await self._workers.bring_down(model)
            elif isinstance(model, ProcessService):
                await model.close()
            else:
                model.close()
        finally:
            artifact = self._kept.pop(model, None)
            if artifact is not None:
                self._artifacts.release(artifact)

    async def prepare_pooled(self, plan: PooledPlan) -> Prepared:
        """What a worker of a pooled model is told, its artifact fetched and its environment made.

        The artifact is kept until the model is prepared anew or forgotten. Raises `SalverError`.
        """
        component = ComponentPlan("predictor", plan.runner)
        order = RevisionOrder(plan.name, plan.namespace, plan.name, 1, component)
        order = with_variables(order, self._look_up)
        runner = order.plan.runner
        assert isinstance(runner, ModelRunner)
        artifact = await self._fetched(order, runner, _ignore)
        try:
            prepared = await self._workers.prepare(
                plan.name, order.plan, runner, artifact.path, _ignore
            )
        except BaseException:
            self._artifacts.release(artifact)
            raise
        self.forget_pooled(plan.name)
        self._pooled[plan.name] = artifact
        return prepared

    def forget_pooled(self, name: str) -> None:
        """The cache may drop the pooled model's artifact."""
        artifact = self._pooled.pop(name, None)
        if artifact is not None:
            self._artifacts.release(artifact)

    async def _fetched(
        self,
        order: RevisionOrder,
        runner: ModelRunner | CommandRunner | ContainerRunner,
        report: Report,
    ) -> FetchedArtifact:
        """The runner's artifact, on this machine and pinned."""

        def on_progress(done: int, total: int | None) -> None:
            of = f" of {total / _MIB:.1f}" if total else ""
            report(Phase.DOWNLOADING, f"{done / _MIB:.1f}{of} MiB of {runner.uri}")

        report(Phase.DOWNLOADING, runner.uri)
        wanted = FetchOrder(
            runner.uri, namespace=order.namespace, service_account=runner.service_account
        )
        if isinstance(runner, ModelRunner):
            wanted = msgspec.structs.replace(
                wanted,
                storage_key=runner.storage_key,
                storage_parameters=runner.storage_parameters,
            )
        return await self._artifacts.fetch(wanted, on_progress)
