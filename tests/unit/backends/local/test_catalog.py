"""Models that the control plane brings, and the pool beside those of the command line."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
import pytest
from tests.unit.backends.local.stage import OPTIONS, ORDER, AwaitedCall, SelfActingStage, until

from salver.artifacts.layout import ModelTarget
from salver.artifacts.overrides import ModelOverrides
from salver.backends.local.catalog import LocalCatalog, options_of
from salver.backends.local.environment import Environment
from salver.errors import LoadFailed, ModelNotFound
from salver.settings import ServeSettings
from salver.telemetry.registry import Registry


class Catalog(LocalCatalog):
    """A catalog whose only environment is a stage."""

    def __init__(self, stage: SelfActingStage, **settings: object) -> None:
        self.stage = stage
        self.registry = Registry()
        super().__init__(
            lambda: [],  # noqa: PIE807
            ServeSettings(**settings),  # type: ignore[arg-type]
            self.registry,
            clock=stage.clock,
        )

    def environment(self, *_: object, **__: object) -> Environment:  # type: ignore[override]
        return self.stage  # type: ignore[return-value]

    def labels(self) -> set[str]:
        """The models that have metrics."""
        return {
            dict(sample.labels).get("model", "")
            for family in self.registry.snapshot()
            for sample in family.samples
        } - {""}


def on_stage(**settings: object) -> Callable[..., Callable[[], None]]:
    def decorate(test: Callable[[Catalog], Awaitable[None]]) -> Callable[[], None]:
        async def play() -> None:
            stage = SelfActingStage()
            catalog = Catalog(stage, **settings)
            try:
                await asyncio.wait_for(test(catalog), 10)
            finally:
                catalog.close()
                await asyncio.sleep(0)
                await stage.close()

        def run() -> None:
            asyncio.run(play())

        run.__name__ = test.__name__
        return run

    return decorate


@on_stage()
async def test_an_internal_model_serves_without_being_found(catalog: Catalog) -> None:
    model = catalog.add_model("iris-predictor-00001", "1", catalog.stage, OPTIONS, order=ORDER)  # type: ignore[arg-type]
    with pytest.raises(ModelNotFound):
        catalog.find("iris-predictor-00001")
    assert catalog.statuses() == []
    call = AwaitedCall(catalog.stage.now_s)
    model.submit(call)
    assert await call.outcome == b"ok"
    assert catalog.labels() == {"iris-predictor-00001"}
    assert len(catalog.processes()) == 1


@on_stage()
async def test_a_removed_model_leaves_nothing_behind(catalog: Catalog) -> None:
    stage = catalog.stage
    model = catalog.add_model("iris", "1", stage, OPTIONS, order=ORDER, is_public=True)  # type: ignore[arg-type]
    assert catalog.find("iris") is model
    await model.wait_ready(5)
    await catalog.remove_model("iris", "1")
    await until(lambda: stage.used_bytes == 0)
    with pytest.raises(ModelNotFound):
        catalog.find("iris")
    assert (catalog.labels(), catalog.statuses()) == (set(), [])
    catalog.add_model("iris", "1", stage, OPTIONS)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="remove it first"):
        catalog.add_model("iris", "1", stage, OPTIONS)  # type: ignore[arg-type]
    await catalog.remove_model("nobody", "1")


@on_stage()
async def test_a_model_has_its_own_name_for_people(catalog: Catalog) -> None:
    model = catalog.add_model("r-1", "1", catalog.stage, OPTIONS, label="iris")  # type: ignore[arg-type]
    call = AwaitedCall(catalog.stage.now_s)
    model.submit(call)
    assert (await call.outcome)[1] == "model 'iris' is not loaded"  # type: ignore[comparison-overlap]


@on_stage(memory_budget=100 << 20)
async def test_with_a_budget_the_targets_go_to_the_pool(catalog: Catalog) -> None:
    targets = [ModelTarget("a", "1", Path("/m/a"), ""), ModelTarget("a", "2", Path("/m/a2"), "")]
    await catalog.load_all(targets)
    assert catalog.is_ready
    assert [status.reason for status in catalog.statuses()] == ["standby", "standby"]
    assert catalog.find("a").version == "2"
    assert catalog.versions("a") == ["1", "2"]
    assert catalog.models() == []
    with pytest.raises(ModelNotFound, match="has no version '3': it has 1, 2"):
        catalog.find("a", "3")
    with pytest.raises(ModelNotFound, match=r"unknown model 'b': this server has a$"):
        catalog.find("b")


def test_the_settings_of_the_command_line_are_the_options_of_its_models() -> None:
    settings = ServeSettings(workers=3, max_batch_size=7, max_queue_size=9, request_timeout=4.0)
    options = options_of(settings)
    assert (options.replicas, options.max_batch_rows, options.max_queued) == (3, 7, 9)
    assert options.request_timeout_s == 4.0
    assert msgspec.structs.replace(options, replicas=0).replicas == 0


def target(refusal: str = "") -> ModelTarget:
    return ModelTarget("iris", "1", Path("iris.txt"), "lightgbm", refusal=refusal)


def found_again(catalog: Catalog, *targets: ModelTarget) -> None:
    catalog._discover = lambda: targets


@on_stage()
async def test_what_cannot_be_read_is_listed_with_its_reason_until_it_can(catalog: Catalog) -> None:
    found_again(catalog, target("it is empty"))
    with pytest.raises(LoadFailed, match="'iris' could not be loaded: it is empty"):
        await catalog.load("iris")
    (status,) = catalog.statuses()
    assert (status.state, status.reason) == ("UNAVAILABLE", "it is empty")
    assert not catalog.processes()
    tailored = msgspec.structs.replace(target(), overrides=ModelOverrides(max_batch_rows=3))
    found_again(catalog, tailored)
    await catalog.load("iris")
    assert catalog.statuses()[0].state == "READY"
    # Nothing was known of it before: how it is served is what its files say now.
    assert catalog.models()[0].options.max_batch_rows == 3
    found_again(catalog, target("it is empty"))
    with pytest.raises(LoadFailed, match="it is empty"):
        await catalog.load("iris")
    assert catalog.statuses()[0].state == "READY", "the old one goes on"


@on_stage()
async def test_what_never_could_be_read_and_is_gone_is_told(catalog: Catalog) -> None:
    found_again(catalog, target("it is empty"))
    with pytest.raises(LoadFailed):
        await catalog.load("iris")
    found_again(catalog)
    with pytest.raises(LoadFailed, match="it is no longer among the models"):
        await catalog.load("iris")


@on_stage(memory_budget=1 << 30)
async def test_the_pool_says_why_a_model_cannot_be_read(catalog: Catalog) -> None:
    found_again(catalog, target("it is empty"))
    await catalog.load_all([target("it is empty")])
    with pytest.raises(LoadFailed, match="it is empty"):
        await catalog.load("iris")
