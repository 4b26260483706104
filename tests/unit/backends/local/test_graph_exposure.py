"""Graphs on this machine: composed, exposed in one step, ended when their last requests are."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest
from tests.calls import RecordingCall
from tests.fakes import FakeCatalog, FakeModel
from tests.graph_tools import graph_tools

from salver.backends.local.graph_wiring import GraphWiring, whole
from salver.backends.local.machine import LocalMachine
from salver.backends.local.wiring import Wiring
from salver.control.ports import Phase, RevisionOrder
from salver.engine.directory import ModelDirectory
from salver.engine.executor import GraphModel
from salver.engine.traffic import TrafficSplit
from salver.errors import ModelNotFound
from salver.graphs.flow import Edge, Flow, GraphDesire, GraphUnit, Service, Step, Unit, Variant
from salver.graphs.plan import ComponentPlan, LogPolicy, ModelRunner

GRAPHS = ("salver.dev", "graphs")
PLAN = ComponentPlan("predictor", ModelRunner("gs://b/x"))
BODY = b'{"inputs":[]}'
DONE = b'{"outputs":[]}'


def chain(*units: str, name: str = "main") -> Variant:
    """Units, one after another."""
    steps = [
        Step(unit, Unit(unit), (Edge(units[number - 1] if number else ""),))
        for number, unit in enumerate(units)
    ]
    return Variant(name, Flow("g", tuple(steps), (Edge(units[-1]),)))


def desire(*variants: Variant, **more: Any) -> GraphDesire:
    names = {
        step.action.unit
        for variant in variants
        for step in variant.flow.steps
        if isinstance(step.action, Unit)
    }
    units = tuple(GraphUnit(name, PLAN) for name in sorted(names))
    return GraphDesire(GRAPHS, "ns", "g", variants, units=units, **more)


class Endpoint(FakeModel):
    """A unit's model; keeps its calls until told to answer."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
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


class NoPods:
    def show(self, replicas: Any) -> None: ...


class Bench:
    def __init__(self) -> None:
        self.forgotten: list[str] = []
        self.directory = ModelDirectory(FakeCatalog())
        tools = graph_tools(
            self.directory, forget=lambda namespace, name: self.forgotten.append(name)
        )

        def unexpected(*_: object) -> Any:
            raise AssertionError("nothing here is a service")

        self.machine = LocalMachine(
            FakeBringUp(),  # type: ignore[arg-type]
            self.directory,
            Wiring(clock=lambda: 1.0, logged=unexpected, shadowed=unexpected, domain="x"),
            lambda: GraphWiring(tools),
            url_of=lambda namespace, name: "",
            on_change=lambda namespace, name: None,
            pods=NoPods(),
            clock=lambda: 1.0,
        )
        self.machine._watch = lambda key, revision: None  # type: ignore[method-assign]

    async def start(self, *names: str) -> list[Endpoint]:
        for name in names:
            self.machine.start(RevisionOrder(name, "ns", f"g-{name[0]}", 1, PLAN, graph="g"))
        while any(self.machine.observe("ns", name).phase is not Phase.READY for name in names):
            await asyncio.sleep(0)
        return [self.machine.model_of("ns", name) for name in names]  # type: ignore[misc]

    def ask(self) -> RecordingCall:
        call = RecordingCall(BODY)
        self.directory.find("g").submit(call)
        return call


def on_bench(test: Callable[[Bench], Awaitable[None]]) -> Callable[[], None]:
    def run() -> None:
        async def play() -> None:
            async with asyncio.timeout(5):
                await test(Bench())

        asyncio.run(play())

    run.__name__ = test.__name__
    return run


@on_bench
async def test_a_graph_is_a_flow_over_its_units(bench: Bench) -> None:
    a, b = await bench.start("a1", "b1")
    bench.machine.expose_graph(desire(chain("a", "b")), {"a": "a1", "b": "b1"}, "")
    call = bench.ask()
    assert (len(a.calls), len(b.calls)) == (1, 0)
    a.calls[0].deliver(DONE, 0)
    b.calls[0].deliver(DONE, 0)
    assert call.answer is not None
    assert bench.machine.replicas() == []
    assert bench.directory.find_in("ns/g", "g") is bench.directory.find("g")


@on_bench
async def test_a_unit_that_is_replaced_ends_after_the_requests_amid_their_steps(
    bench: Bench,
) -> None:
    a, b, c = await bench.start("a1", "b1", "b2")
    bench.machine.expose_graph(desire(chain("a", "b")), {"a": "a1", "b": "b1"}, "")
    first = bench.ask()
    bench.machine.expose_graph(desire(chain("a", "b")), {"a": "a1", "b": "b2"}, "")
    bench.machine.retire("ns", "b1")
    second = bench.ask()
    await asyncio.sleep(0.05)
    assert not b.is_down
    for call in list(a.calls):
        call.deliver(DONE, 0)
    assert (len(b.calls), len(c.calls)) == (1, 1)
    b.calls.pop().deliver(DONE, 0)
    c.calls.pop().deliver(DONE, 0)
    assert first.answer is not None and second.answer is not None
    a.calls.clear()
    while not b.is_down:
        await asyncio.sleep(0.01)
    assert not a.is_down


@on_bench
async def test_a_graph_that_is_withdrawn_answers_those_it_has(bench: Bench) -> None:
    a, b = await bench.start("a1", "b1")
    bench.machine.expose_graph(desire(chain("a", "b")), {"a": "a1", "b": "b1"}, "")
    call = bench.ask()
    bench.machine.withdraw_graph("ns", "g")
    bench.machine.retire("ns", "a1")
    bench.machine.retire("ns", "b1")
    with pytest.raises(ModelNotFound):
        bench.directory.find("g")
    a.calls.pop().deliver(DONE, 0)
    await asyncio.sleep(0.05)
    assert not b.is_down
    b.calls.pop().deliver(DONE, 0)
    assert call.answer is not None
    while not (a.is_down and b.is_down):
        await asyncio.sleep(0.01)
    assert bench.forgotten == ["g"]


@on_bench
async def test_a_service_that_has_taken_the_name_keeps_it(bench: Bench) -> None:
    (a,) = await bench.start("a1")
    bench.machine.expose_graph(desire(chain("a")), {"a": "a1"}, "")
    entry = bench.directory.service("ns", "g")
    assert entry is not None
    bench.machine.withdraw("ns", "g")
    assert bench.directory.service("ns", "g") is entry
    other = msgspec.structs.replace(entry, entry=a)
    bench.directory.expose(other)
    bench.machine.withdraw_graph("ns", "g")
    assert bench.directory.service("ns", "g") is other


def wired(of: GraphDesire, **more: Any) -> Any:
    units = {each.name: Endpoint(each.name) for each in of.units}
    tools = graph_tools(ModelDirectory(FakeCatalog()), **more)
    return GraphWiring(tools).entry(of, units).entry


def test_a_graph_of_one_variant_is_its_flow_alone() -> None:
    entry = wired(desire(chain("a")))
    assert isinstance(entry.entry, GraphModel)
    assert entry.is_graph
    assert entry.hosts == ("g-ns.example.com", "g.ns.example.com")


def test_a_graph_that_is_nothing_but_a_unit_is_that_units_queue() -> None:
    assert isinstance(wired(desire(chain("a"), exposes_unit="a")).entry, Endpoint)


def test_variants_share_by_percents_that_need_not_be_whole() -> None:
    thirds = [msgspec.structs.replace(chain(each, name=each), percent=1.0) for each in "abc"]
    entry = wired(desire(*thirds)).entry
    assert isinstance(entry, TrafficSplit)
    assert entry.choose(RecordingCall()).version == "b"
    assert sum(whole(thirds)) == pytest.approx(100)


def test_variants_without_any_share_are_equal() -> None:
    nothing = [msgspec.structs.replace(chain(each, name=each), percent=0.0) for each in "ab"]
    assert whole(nothing) == [50.0, 50.0]


def test_a_shadow_gets_copies_and_a_log_is_around_all() -> None:
    seen: list[str] = []

    def shadowed(model: Any, shadow: Any, fraction: float, name: str) -> Any:
        seen.append(f"{name} {model.version} {shadow.version} {fraction}")
        return model

    def logged(model: Any, policy: LogPolicy, namespace: str, name: str) -> Any:
        seen.append(f"{policy.url} {namespace}/{name}")
        return model

    wired(
        desire(
            chain("a"),
            shadow=chain("a", name="mirror"),
            shadow_percent=20.0,
            logging=LogPolicy("http://sink"),
        ),
        shadowed=shadowed,
        logged=logged,
    )
    assert seen == ["g 1 mirror 0.2", "http://sink ns/g"]


def test_the_parts_of_a_graph_may_be_asked_by_themselves() -> None:
    entry = wired(desire(chain("a", "b")))
    assert sorted(entry.nodes) == ["a", "b"]


def test_a_graph_asks_services_by_what_the_directory_has_then() -> None:
    flow = Flow("g", (Step("iris", Service("ns", "iris")),), (Edge("iris"),))
    model = wired(desire(Variant("main", flow))).entry
    call = RecordingCall(BODY)
    model.submit(call)
    assert call.error is not None and "ns/iris" in call.error[1]
