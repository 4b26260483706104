"""Revisions end when no call is on its way to them, and the machine's clock does not stop."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from tests.calls import RecordingCall
from tests.fakes import FakeCatalog, FakeModel
from tests.graph_tools import graph_tools

from salver.backends.local.graph_wiring import GraphWiring
from salver.backends.local.machine import LocalMachine
from salver.backends.local.wiring import Wiring
from salver.control.ports import Phase, RevisionOrder
from salver.engine.directory import ModelDirectory
from salver.engine.payload_log import EventQueue, LoggedModel, LogSubject
from salver.engine.ports import ServedModel
from salver.graphs.plan import (
    Component,
    ComponentDesire,
    ComponentPlan,
    LogPolicy,
    ModelRunner,
    ServiceDesire,
    TrafficPlan,
    TrafficTarget,
)
from salver.inference.metadata import ModelMetadata
from salver.telemetry.registry import Registry

STEPS = ModelMetadata(
    platform="python", inputs=(), outputs=(), operations=("preprocess", "postprocess")
)


class Endpoint(FakeModel):
    """A revision's model, as far as the machine looks at it; answers when told to."""

    def __init__(self, name: str) -> None:
        super().__init__(name, metadata=STEPS if "transformer" in name else FakeModel("x").metadata)
        self.answer = lambda call: None
        self.is_down = False
        self.wanted_replicas = self.ready_replicas = 1
        self.pids: list[int] = []


class FakeBringUp:
    """Implements what the machine asks of `BringUp`."""

    async def bring_up(self, order: RevisionOrder, url: str, report: Any) -> Endpoint:
        return Endpoint(order.name)

    async def bring_down(self, model: Endpoint) -> None:
        model.is_down = True


def logged(model: ServedModel, policy: LogPolicy, *_: object) -> ServedModel:
    return LoggedModel(
        model,
        LogSubject("iris"),
        policy,
        EventQueue(Registry(), policy.url),
        clock=lambda: 1.0,
        now_text=str,
        new_id=str,
    )


def unshadowed(*_: object) -> ServedModel:
    raise AssertionError("nothing here has a shadow")


class FailingPods:
    """Fails, and counts how often it was asked."""

    shown = 0

    def show(self, replicas: Any) -> None:
        self.shown += 1
        raise OSError("database is locked")


class Bench:
    def __init__(self) -> None:
        self.now_s = 0.0
        self.is_logged = False
        self.pods = FailingPods()
        self.directory = ModelDirectory(FakeCatalog())
        self.machine = LocalMachine(
            FakeBringUp(),  # type: ignore[arg-type]
            self.directory,
            Wiring(clock=lambda: 1.0, logged=logged, shadowed=unshadowed, domain="example.com"),
            lambda: GraphWiring(graph_tools(self.directory)),
            url_of=lambda namespace, name: "",
            on_change=lambda namespace, name: None,
            pods=self.pods,
            clock=lambda: self.now_s,
        )

    async def start(self, *names: str) -> list[Endpoint]:
        for number, name in enumerate(names):
            plan = ComponentPlan("predictor", ModelRunner(f"gs://b/{name}"))
            self.machine.start(RevisionOrder(name, "ns", "iris", number, plan))
        while any(self.machine.observe("ns", name).phase is not Phase.READY for name in names):
            await asyncio.sleep(0)
        return [self.machine._revisions["ns", name].model for name in names]  # type: ignore[misc]

    def expose(self, transformer: str, predictor: str) -> None:
        log = LogPolicy("http://sink", "request") if self.is_logged else None
        runner = ModelRunner("gs://b/iris")
        kinds: tuple[Component, ...] = ("transformer", "predictor")
        desire = ServiceDesire(
            "ns",
            "iris",
            tuple(ComponentDesire(ComponentPlan(kind, runner, logging=log)) for kind in kinds),
        )
        plans = (TrafficPlan((TrafficTarget(name, 100),)) for name in (transformer, predictor))
        self.machine.expose(desire, dict(zip(kinds, plans, strict=True)), "")

    def ask(self) -> RecordingCall:
        call = RecordingCall(b"x")
        self.directory.find("iris").submit(call)
        return call


def on_bench(test: Callable[[Bench], Awaitable[None]]) -> Callable[[], None]:
    def run() -> None:
        async def play() -> None:
            bench = Bench()
            bench.machine._watch = lambda key, revision: None  # type: ignore[method-assign]
            async with asyncio.timeout(5):
                await test(bench)
                await bench.machine.close()

        asyncio.run(play())

    run.__name__ = test.__name__
    return run


async def some_turns() -> None:
    await asyncio.sleep(0.05)


@on_bench
async def test_a_revision_is_kept_for_the_calls_whose_next_step_it_is(bench: Bench) -> None:
    for bench.is_logged in (False, True):
        names = [f"{name}-{bench.is_logged}" for name in ("transformer", "old", "new")]
        transformer, old, _ = await bench.start(*names)
        bench.expose(names[0], names[1])
        call = bench.ask()
        bench.expose(names[0], names[2])
        bench.machine.retire("ns", names[1])
        await some_turns()
        assert not old.is_down
        transformer.calls.pop().deliver(b"y", 0)
        old.calls.pop().deliver(b"z", 0)
        transformer.calls.pop().deliver(b"answer", 0)
        assert call.text == "answer"
        await some_turns()
        assert old.is_down


@on_bench
async def test_a_client_that_leaves_keeps_no_revision(bench: Bench) -> None:
    transformer, old, _ = await bench.start("transformer", "old", "new")
    bench.expose("transformer", "old")
    bench.ask()
    bench.machine.withdraw("ns", "iris")
    bench.machine.retire("ns", "old")
    await some_turns()
    assert not old.is_down
    transformer.calls.clear()  # As a queue does with what is abandoned.
    await some_turns()
    assert old.is_down


@on_bench
async def test_a_revision_does_not_wait_for_ever(bench: Bench) -> None:
    _, old, _ = await bench.start("transformer", "old", "new")
    bench.expose("transformer", "old")
    bench.ask()
    bench.expose("transformer", "new")
    bench.machine.retire("ns", "old")
    await some_turns()
    assert not old.is_down
    bench.now_s += 61.0
    await some_turns()
    assert old.is_down


@on_bench
async def test_a_turn_that_fails_is_not_the_last(bench: Bench) -> None:
    running = asyncio.ensure_future(bench.machine.run())
    while bench.pods.shown < 2:
        bench.now_s += 1.0
        await asyncio.sleep(0.05)
    running.cancel()
