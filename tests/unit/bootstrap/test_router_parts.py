"""Routers of graphs that come, change and go in a store; what they learn is on a real folder."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

import pytest
from tests.routers import choosing

from salver.backends.state.router_folders import KEEP
from salver.backends.state.sqlite import SqliteResourceStore
from salver.bootstrap.routers import RouterParts
from salver.control.resources import ObjectRef
from salver.engine.learning import Reward
from salver.errors import ModelNotFound
from salver.graphs.flow import Edge, Flow, GraphDesire, Learned, Step, Variant
from salver.settings import ServeSettings
from salver.telemetry.registry import Registry

NOW = datetime(2026, 1, 2, tzinfo=UTC)
GRAPHS = ("salver.dev", "graphs")
SHOP = ObjectRef(*GRAPHS, "default", "shop")


def flow_of(*steps: str, algorithm: str = "thompson") -> Flow:
    action = Learned(algorithm, ("a", "b"))
    return Flow("shop", tuple(Step(step, action) for step in steps), (Edge(steps[-1]),))


def desire_of(*variants: Variant, shadow: Variant | None = None) -> GraphDesire:
    return GraphDesire(GRAPHS, "default", "shop", variants, shadow=shadow)


MAIN = Variant("main", flow_of("pick"))


class Shop:
    """A store, and the routers of one server; `restart` keeps the disk."""

    def __init__(self, folder: Path) -> None:
        uids = count(1)
        self.store = SqliteResourceStore(None, now=lambda: NOW, new_uid=lambda: f"uid-{next(uids)}")
        self.folder = folder
        self.start()

    def start(self) -> None:
        settings = ServeSettings(state_dir=self.folder)
        self.parts = RouterParts(self.store, settings, Registry(), is_kept=True)

    async def restart(self) -> None:
        await self.parts.close()
        self.start()

    def put(self, keep: str = "") -> None:
        obj = {
            "apiVersion": "salver.dev/v1",
            "kind": "Graph",
            "metadata": {"name": "shop", "annotations": {KEEP: keep} if keep else {}},
            "spec": {},
        }
        is_there = bool(self.store.list(*GRAPHS)[0])
        (self.store.update if is_there else self.store.create)(SHOP, obj)

    def serve(self, desire: GraphDesire | None = None) -> None:
        desire = desire or desire_of(MAIN)
        for variant in desire.variants:
            self.parts.choosers(desire, variant)
        self.parts.connect(desire)

    def learn(self) -> None:
        """One more reward."""
        router = self.parts.routers.find("default", "shop", "pick")
        run_id = f"run-{self.rewards}"
        router.version.choose(choosing(run_id))
        router.take([Reward(run_id, 1.0)])

    @property
    def rewards(self) -> int:
        version = self.parts.routers.find("default", "shop", "pick").version
        return sum(each.rewards for each in version.policy.beliefs(version.state))

    @property
    def segments(self) -> int:
        """How many files of records there are."""
        return len(list(self.folder.rglob("*.log")))

    def withdraw(self) -> None:
        self.parts.forget("default", "shop")


def run(tmp_path: Path, scenario: Callable[[Shop], object]) -> None:
    """A graph that has learned once, and what happens then."""

    async def main() -> None:
        shop = Shop(tmp_path)
        shop.put()
        shop.serve()
        shop.learn()
        result = scenario(shop)
        if asyncio.iscoroutine(result):
            await result
        await shop.parts.close()
        shop.store.close()

    asyncio.run(main())


def test_a_graph_that_is_away_for_a_while_goes_on_with_what_it_learned(tmp_path: Path) -> None:
    async def scenario(shop: Shop) -> None:
        shop.withdraw()
        await shop.restart()
        shop.serve()
        assert shop.rewards == 1

    run(tmp_path, scenario)


def test_a_graph_that_is_deleted_takes_along_what_it_learned(tmp_path: Path) -> None:
    def scenario(shop: Shop) -> None:
        shop.store.delete(SHOP)
        shop.withdraw()
        shop.put()
        shop.serve()
        assert shop.rewards == 0

    run(tmp_path, scenario)


def test_a_graph_that_was_told_to_keep_it_leaves_it_to_the_next_one(tmp_path: Path) -> None:
    async def scenario(shop: Shop) -> None:
        # Nothing but the annotation changes: the graph is not served anew for it.
        shop.put(keep="true")
        shop.store.delete(SHOP)
        shop.withdraw()
        await shop.restart()
        shop.put()
        shop.serve()
        assert shop.rewards == 1

    run(tmp_path, scenario)


def test_a_graph_that_is_told_to_keep_it_no_more_takes_it_along(tmp_path: Path) -> None:
    def scenario(shop: Shop) -> None:
        shop.put(keep="true")
        shop.put(keep="false")
        shop.store.delete(SHOP)
        shop.withdraw()
        shop.put()
        shop.serve()
        assert shop.rewards == 0

    run(tmp_path, scenario)


@pytest.mark.parametrize(("keep", "left"), [("", 0), ("true", 1)])
def test_a_stopped_graph_that_is_deleted_is_heard_of(tmp_path: Path, keep: str, left: int) -> None:
    async def scenario(shop: Shop) -> None:
        shop.withdraw()
        shop.put(keep=keep)
        shop.store.delete(SHOP)
        await shop.restart()
        assert shop.segments == left

    run(tmp_path, scenario)


def test_what_a_kill_left_of_a_deleted_graph_is_swept_up_at_the_start(tmp_path: Path) -> None:
    async def scenario(shop: Shop) -> None:
        await shop.parts.close()
        shop.store.delete(SHOP)
        assert shop.segments == 1
        shop.start()
        assert shop.segments == 0

    run(tmp_path, scenario)


def test_a_graph_recreated_before_the_loop_saw_it_go_inherits_nothing(tmp_path: Path) -> None:
    def scenario(shop: Shop) -> None:
        shop.store.delete(SHOP)
        shop.put()
        shop.withdraw()
        shop.serve()
        assert shop.rewards == 0

    run(tmp_path, scenario)


def test_a_step_that_the_graph_has_no_more_is_forgotten_and_found_again(tmp_path: Path) -> None:
    def scenario(shop: Shop) -> None:
        shop.serve(desire_of(Variant("main", flow_of("other"))))
        with pytest.raises(ModelNotFound, match="there are default/shop/other"):
            assert shop.rewards
        shop.serve()
        assert shop.rewards == 1

    run(tmp_path, scenario)


def test_steps_of_one_name_in_several_variants_are_routers_of_their_own(tmp_path: Path) -> None:
    def scenario(shop: Shop) -> None:
        shop.serve(desire_of(MAIN, Variant("canary", flow_of("pick"))))
        names = [each.name.step for each in shop.parts.routers.listed()]
        assert names == ["canary/pick", "pick"]

    run(tmp_path, scenario)


@pytest.mark.parametrize("algorithm", ["thompson", "lints"])
def test_a_shadow_chooses_and_is_no_router(tmp_path: Path, algorithm: str) -> None:
    def scenario(shop: Shop) -> None:
        shadow = Variant("shadow", flow_of("copy", algorithm=algorithm))
        chooser = shop.parts.choosers(desire_of(MAIN, shadow=shadow), shadow)["copy"]
        assert {chooser.choose(choosing(f"run-{index}")) for index in range(40)} == {0, 1}
        durable: list[str] = []
        chooser.reward("run-1", 1.0)
        chooser.when_durable(durable.append)
        assert durable == [""]
        assert [each.name.step for each in shop.parts.routers.listed()] == ["pick"]

    run(tmp_path, scenario)
