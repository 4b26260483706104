"""A revision in workers of our own: the model that its artifact holds, its environment, its load.

Fetches nothing: it is told where the artifact lies.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec

from salver.artifacts.layout import ModelTarget, discover
from salver.artifacts.triton_layout import is_triton_model
from salver.backends.local.catalog import LocalCatalog
from salver.backends.local.model import LocalModel
from salver.backends.local.model_environments import Suited
from salver.backends.local.options import ModelOptions, first_scale, load_order, pooled, tailored
from salver.backends.local.pooled import Prepared
from salver.control.ports import Phase, Report, RevisionOrder
from salver.engine.instance_batcher import instance_limits
from salver.errors import LoadFailed
from salver.graphs.plan import ComponentPlan, ModelRunner
from salver.spec.triton_url import is_triton_url

STEPS = "steps"
"""The runtime of a graph's functions."""
LOADS_AT_ONCE = 8
"""Revisions that load at the same time; the others wait."""


class OwnWorkers:
    """Brings up models in the catalog's workers."""

    def __init__(self, catalog: LocalCatalog, defaults: ModelOptions) -> None:
        self._catalog = catalog
        self._defaults = defaults
        self._loads = asyncio.Semaphore(LOADS_AT_ONCE)

    async def bring_up(
        self, order: RevisionOrder, runner: ModelRunner, path: Path, url: str, report: Report
    ) -> LocalModel:
        """The model, loaded and ready. `url` is the predictor's. Raises `ArtifactError`."""
        report(Phase.LOADING, f"reading {path}")
        target = await asyncio.to_thread(target_of, order.service, path, runner)
        suited = await self._suited(target, runner, report)
        options = tailored(
            model_options(self._defaults, order.plan, runner),
            msgspec.structs.replace(target.overrides, workers=0),
        )
        name, version = self.label(order)
        options = msgspec.structs.replace(
            options,
            server_url=self._catalog.server_url,
            triton_leases=self._catalog.triton_leases,
        )
        load = load_order(target, options, suited.caveat)
        load = msgspec.structs.replace(
            load,
            name=order.service,
            version=str(order.number),
            predictor_url=url or load.predictor_url,
        )
        environment = suited.environment
        model = self._catalog.add_model(
            name,
            version,
            environment,
            options,
            label=order.service,
            log=(order.namespace, order.name),
        )
        if order.is_proven and not order.plan.scaling.min_replicas:
            model.stand_by(load, environment)
            return model
        report(Phase.LOADING, "loading")
        try:
            # Thousands may be declared at once: each load has descriptors and memory of its own.
            async with self._loads:
                await model.load(load, environment)
        except BaseException:
            await self._catalog.remove_model(name, version)
            raise
        return model

    async def bring_down(self, model: LocalModel) -> None:
        """Ends it once its requests are answered."""
        await self._catalog.remove_model(model.name, model.version)

    async def prepare(
        self, name: str, plan: ComponentPlan, runner: ModelRunner, path: Path, report: Report
    ) -> Prepared:
        """What a worker is told that is to load the artifact, its environment made."""
        target = await asyncio.to_thread(target_of, name, path, runner)
        suited = await self._suited(target, runner, report)
        options = pooled(model_options(self._defaults, plan, runner))
        options = msgspec.structs.replace(options, triton_leases=self._catalog.triton_leases)
        return load_order(target, options, suited.caveat), suited.environment

    def label(self, order: RevisionOrder) -> tuple[str, str]:
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

    async def _suited(self, target: ModelTarget, runner: ModelRunner, report: Report) -> Suited:
        if runner.runtime == STEPS and not runner.uri and not runner.requirements.is_needed:
            # No artifact: nothing lies beside it that could say what it needs.
            return Suited(self._catalog.environment(target.runtime, target.preload))
        return await self._catalog.suiting.suited(
            target,
            runtime_version=runner.runtime_version,
            declared=runner.requirements,
            on_progress=lambda text: report(Phase.BUILDING, text),
        )


def model_options(defaults: ModelOptions, plan: ComponentPlan, runner: ModelRunner) -> ModelOptions:
    """The server's defaults with what the plan says."""
    limits = instance_limits(plan.batching) if plan.batching is not None else None
    return msgspec.structs.replace(
        defaults,
        replicas=first_scale(plan.scaling),
        concurrency=plan.scaling.container_concurrency,
        max_batch_rows=limits.max_rows if limits else defaults.max_batch_rows,
        timeout_s=plan.timeout_s or (limits.timeout_s if limits else 0.0),
        threads=plan.threads or defaults.threads,
        env=runner.env,
    )


def target_of(name: str, path: Path, runner: ModelRunner) -> ModelTarget:
    """The model that an artifact holds: the newest, if it has versions.

    A graph's functions are no model: their artifact is a folder or file for them to be found in,
    or nothing. Raises `ArtifactError`.
    """
    if runner.runtime == STEPS:
        target = ModelTarget(name, "1", path, STEPS)
    else:
        where = _one_of(path, runner.model)
        text = f"{where}:{runner.attribute}" if runner.attribute else str(where)
        if is_triton_url(runner.uri):
            text = runner.uri
        found = discover(text, name, runner.runtime)
        if not found:
            raise LoadFailed(f"{path} holds no model")
        target = found[-1]
    return _with_options(target, runner)


def _one_of(path: Path, model: str) -> Path:
    """The folder of that model in a Triton repository; the path as it is if it is none."""
    one = path / model
    is_one = bool(model) and not is_triton_model(path) and is_triton_model(one)
    return one if is_one else path


def _with_options(target: ModelTarget, runner: ModelRunner) -> ModelTarget:
    """The target with the runner's arguments for its runtime. Raises `LoadFailed`."""
    if not runner.options:
        return target
    try:
        options = msgspec.json.decode(runner.options, type=dict[str, Any])
    except msgspec.MsgspecError as error:
        raise LoadFailed(
            f"the options of '{target.name}' are no JSON object: {error}; correct them"
        ) from error
    overrides = msgspec.structs.replace(
        target.overrides, parameters={**target.overrides.parameters, **options}
    )
    return msgspec.structs.replace(target, overrides=overrides)
