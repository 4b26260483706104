"""What revisions have in common when they come and go: variables, artifacts, who runs them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from salver.backends.local.bring_up import BringUp
from salver.control.ports import Phase, RevisionOrder
from salver.errors import LoadFailed
from salver.graphs.plan import (
    CommandRunner,
    ComponentPlan,
    EnvReference,
    ModelRunner,
    RemoteRunner,
    Runner,
)
from salver.graphs.pooled import PooledPlan
from salver.storage.ports import FetchedArtifact, FetchOrder

MODEL = ModelRunner("gs://b/iris", storage_key="minio", service_account="sa")


class FakeArtifacts:
    """Implements `Artifacts`: every fetch is another artifact."""

    def __init__(self) -> None:
        self.orders: list[FetchOrder] = []
        self.pinned: list[str] = []

    async def fetch(
        self, order: FetchOrder, on_progress: Callable[[int, int | None], None] = lambda *_: None
    ) -> FetchedArtifact:
        self.orders.append(order)
        on_progress(1 << 20, 2 << 20)
        digest = f"digest-{len(self.orders)}"
        self.pinned.append(digest)
        return FetchedArtifact(Path("/cache") / digest, order.uri, digest, 1, False)

    def release(self, artifact: FetchedArtifact) -> None:
        self.pinned.remove(artifact.digest)


class Closable:
    """A model that runs elsewhere, as far as it is brought down."""

    is_closed = False

    def close(self) -> None:
        self.is_closed = True


class FakeRunners:
    """`OwnWorkers` and `Elsewhere` in one: remembers what it is told, or raises `error`."""

    def __init__(self) -> None:
        self.told: list[tuple[str, Any]] = []
        self.error: Exception | None = None

    def label(self, order: RevisionOrder) -> tuple[str, str]:
        return order.service, str(order.number)

    async def _made(self, how: str, *facts: Any) -> Any:
        self.told.append((how, facts))
        if self.error is not None:
            raise self.error
        return Closable()

    async def bring_up(self, order: RevisionOrder, runner: Any, path: Path, *_: Any) -> Any:
        return await self._made("worker", runner.env, path)

    async def prepare(self, name: str, plan: Any, runner: Any, path: Path, _: Any) -> Any:
        return await self._made("prepared", name, path)

    async def start(self, order: Any, runner: Any, label: Any, path: Any, *_: Any) -> Any:
        return await self._made("process", runner.command, path)

    async def connect(self, order: Any, runner: RemoteRunner, *_: Any) -> Any:
        return await self._made("remote", runner.url)


class World:
    def __init__(self) -> None:
        self.artifacts, self.runners = FakeArtifacts(), FakeRunners()
        secrets = {("secrets", "team", "tokens"): {"hub": "abc"}}
        self.bring_up = BringUp(
            self.artifacts,
            self.runners,  # type: ignore[arg-type]
            self.runners,  # type: ignore[arg-type]
            look_up=lambda *key: secrets.get(key),
        )
        self.reports: list[tuple[Phase, str]] = []

    async def up(self, runner: Runner) -> Any:
        plan = ComponentPlan("predictor", runner)
        order = RevisionOrder("iris-predictor-00001", "team", "iris", 1, plan)
        return await self.bring_up.bring_up(
            order, "http://p", lambda *said: self.reports.append(said)
        )


def test_an_artifact_is_kept_until_its_revision_is_down() -> None:
    async def scenario() -> None:
        world = World()
        model = await world.up(MODEL)
        assert world.runners.told == [("worker", ((), Path("/cache/digest-1")))]
        assert world.artifacts.orders == [FetchOrder("gs://b/iris", "team", "minio", (), "sa")]
        assert world.reports[1] == (Phase.DOWNLOADING, "1.0 of 2.0 MiB of gs://b/iris")
        assert world.artifacts.pinned == ["digest-1"]
        await world.bring_up.bring_down(model)
        assert (world.artifacts.pinned, model.is_closed) == ([], True)

    asyncio.run(scenario())


def test_an_artifact_of_a_failed_attempt_is_let_go() -> None:
    async def scenario() -> None:
        world = World()
        world.runners.error = LoadFailed("no")
        with pytest.raises(LoadFailed):
            await world.up(MODEL)
        assert world.artifacts.pinned == []

    asyncio.run(scenario())


def test_what_has_no_artifact_fetches_none() -> None:
    async def scenario() -> None:
        world = World()
        await world.up(CommandRunner(("serve",)))
        await world.bring_up.bring_down(await world.up(RemoteRunner("http://h")))
        assert world.runners.told == [("process", (("serve",), None)), ("remote", ("http://h",))]
        assert world.artifacts.orders == []

    asyncio.run(scenario())


def test_variables_are_looked_up_and_the_runner_s_own_win() -> None:
    async def scenario() -> None:
        world = World()
        token = EnvReference("TOKEN", "secrets", "tokens", "hub")
        runner = msgspec.structs.replace(MODEL, env=(("A", "b"),), env_from=(token,))
        await world.up(runner)
        assert world.runners.told[0][1][0] == (("TOKEN", "abc"), ("A", "b"))
        absent = EnvReference("TOKEN", "secrets", "gone", "hub")
        with pytest.raises(LoadFailed, match="Secret team/gone is not there"):
            await world.up(msgspec.structs.replace(MODEL, env_from=(absent,)))
        optional = msgspec.structs.replace(absent, optional=True)
        await world.up(msgspec.structs.replace(MODEL, env_from=(optional,)))
        assert world.runners.told[1][1][0] == ()

    asyncio.run(scenario())


def test_a_pooled_model_keeps_its_newest_artifact_until_it_is_forgotten() -> None:
    async def scenario() -> None:
        world = World()
        plan = PooledPlan("team", "rose", MODEL)
        for newest in ("digest-1", "digest-2"):
            await world.bring_up.prepare_pooled(plan)
            assert world.artifacts.pinned == [newest]
        world.runners.error = LoadFailed("no")
        with pytest.raises(LoadFailed):
            await world.bring_up.prepare_pooled(plan)
        assert world.artifacts.pinned == ["digest-2"]
        world.bring_up.forget_pooled("rose")
        assert world.artifacts.pinned == []

    asyncio.run(scenario())
