"""The control loop of graphs on a store in memory, and a machine that is as the test says."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from itertools import count
from typing import Any

import msgspec
import pytest
from tests.fake_machine import FakeMachine

from salver.backends.state.sqlite import SqliteResourceStore
from salver.control.graph_reconciler import GraphReconciler
from salver.control.ports import Phase
from salver.control.resources import JsonObject, ObjectRef
from salver.errors import InvalidInput
from salver.graphs.flow import Edge, Flow, GraphDesire, GraphUnit, Service, Step, Unit, Variant
from salver.graphs.plan import ComponentPlan, ModelRunner
from salver.graphs.selection import PlanError
from salver.spec.kinds import KSERVE, MLOPS, SALVER, SELDON

Json = dict[str, Any]
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
GRAPHS = (SALVER, "graphs")
SERVICES = (KSERVE, "inferenceservices")


def desire_of(obj: JsonObject) -> GraphDesire:
    """A test's own dialect: `units` name files, `asks` name services, one step after another."""
    spec, meta = obj["spec"], obj["metadata"]
    if "wrong" in spec:
        raise PlanError("InvalidGraph", spec["wrong"])
    units = spec.get("units", {})
    actions = [Unit(name) for name in units] + [
        Service(meta["namespace"], name) for name in spec.get("asks", [])
    ]
    steps: list[Step] = []
    for number, action in enumerate(actions):
        edge = Edge(steps[-1].name) if steps else Edge()
        steps.append(Step(f"s{number}", action, (edge,)))
    flow = Flow(meta["name"], tuple(steps), (Edge(steps[-1].name if steps else ""),))
    plural = {"Graph": (SALVER, "graphs"), "Pipeline": (MLOPS, "pipelines")}[obj["kind"]]
    return GraphDesire(
        plural,
        meta["namespace"],
        meta["name"],
        (Variant("main", flow, spec.get("percent", 100.0)),),
        units=tuple(
            GraphUnit(name, ComponentPlan("predictor", ModelRunner(uri)))
            for name, uri in units.items()
        ),
        stopped=spec.get("stopped", False),
    )


class World:
    """A store, a machine, and the loop between them; `restart` keeps only the store."""

    def __init__(self) -> None:
        uids = count(1)
        self.store = SqliteResourceStore(None, now=lambda: NOW, new_uid=lambda: f"uid-{next(uids)}")
        self.answering: set[str] = set()
        self.misfit = ""
        self.restart()

    def restart(self) -> None:
        """As after a kill: what was in memory is lost."""
        self.machine = FakeMachine()
        self.events: list[str] = []
        self.loop = GraphReconciler(
            self.store,
            self.machine,
            desire_of,
            now=lambda: "2026-01-02T03:04:05Z",
            address_of=lambda desire: f"http://here/{desire.namespace}/{desire.name}",
            on_event=lambda _, kind, reason, text: self.events.append(f"{kind} {reason}: {text}"),
            answers=lambda namespace, name: (
                name in self.answering or (namespace, name) in self.machine.graphs
            ),
            mismatch=lambda desire, revisions: self.misfit,
        )

    def apply(self, name: str, *, type: tuple[str, str] = GRAPHS, **spec: Any) -> None:
        ref = ObjectRef(*type, "default", name)
        kind = {"graphs": "Graph", "pipelines": "Pipeline"}.get(ref.plural, "InferenceService")
        obj = {"apiVersion": "salver.dev/v1", "kind": kind, "metadata": {}, "spec": spec}
        if any(each["metadata"]["name"] == name for each in self.store.list(*type)[0]):
            self.store.update(ref, obj)
        else:
            self.store.create(ref, obj)
        self.settle()

    def delete(self, name: str, type: tuple[str, str] = GRAPHS) -> None:
        self.store.delete(ObjectRef(*type, "default", name))
        self.settle()

    def settle(self) -> None:
        """Passes over what is due until nothing is, as the loop makes them."""
        for _ in range(30):
            dirty = dict(self.loop._passes._dirty)
            self.loop._passes._dirty.clear()
            if not dirty:
                return
            for ref in dirty:
                self.loop.reconcile(ref)
        raise AssertionError("it does not settle")

    def ready(self, *units: str) -> None:
        self.become(Phase.READY, *units)

    def become(self, phase: Phase, *units: str, detail: str = "") -> None:
        """The newest revisions of these services are so far."""
        for unit in units:
            order = [each for each in self.machine.orders.values() if each.service == unit][-1]
            self.machine.become(order.name, phase, detail)
            self.loop.touch_service("default", unit)
        self.settle()

    def said(self) -> list[str]:
        """What the machine was told since the last look, with the digests cut off."""
        found = [_plain(each) for each in self.machine.said]
        self.machine.said.clear()
        return found

    def status(self, name: str, type: tuple[str, str] = GRAPHS) -> Json:
        status: Json = self.store.get(ObjectRef(*type, "default", name)).get("status") or {}
        return status

    def ready_is(self, name: str, type: tuple[str, str] = GRAPHS) -> tuple[str, str, str]:
        return condition(self.status(name, type), "Ready")


def condition(status: Json, type: str) -> tuple[str, str, str]:
    found = next(each for each in status["conditions"] if each["type"] == type)
    return found["status"], found.get("reason", ""), found.get("message", "")


def _plain(text: str) -> str:
    words = []
    for word in text.replace(",", " , ").split(" "):
        stem, _, digits = word.rpartition("-")
        is_digest = len(digits) == 8 and all(each in "0123456789abcdef" for each in digits)
        words.append(stem if is_digest else word)
    return " ".join(words).replace(" , ", ",")


def test_a_graph_is_exposed_when_all_its_units_are_ready() -> None:
    world = World()
    world.apply("g", units={"a": "a.pkl", "b": "b.pkl"})
    assert world.said() == ["start g-a", "start g-b"]
    world.ready("g-a")
    assert world.said() == []
    assert world.ready_is("g")[0] == "Unknown"
    world.ready("g-b")
    assert world.said() == ["expose g main=100 of g-a,g-b"]
    assert world.ready_is("g") == ("True", "", "")
    assert world.status("g")["url"] == "http://here/default/g"
    assert world.events == ["Normal GraphReady: the graph is ready"]


def test_a_change_of_weights_alone_keeps_the_units() -> None:
    world = World()
    world.apply("g", units={"a": "a.pkl"})
    world.ready("g-a")
    world.said()
    world.apply("g", units={"a": "a.pkl"}, percent=50.0)
    assert world.said() == ["expose g main=50 of g-a"]


def test_the_old_flow_serves_until_the_new_unit_is_ready_and_then_its_unit_ends() -> None:
    world = World()
    world.apply("g", units={"a": "a.pkl"})
    world.ready("g-a")
    world.said()
    world.apply("g", units={"a": "other.pkl"})
    assert world.said() == ["start g-a"]
    assert world.ready_is("g")[0] == "True"
    assert condition(world.status("g"), "LatestDeploymentReady")[0] == "Unknown"
    world.ready("g-a")
    assert world.said() == ["expose g main=100 of g-a", "retire g-a"]
    assert [each.number for each in world.machine.orders.values()] == [1, 2]


def test_a_unit_that_fails_is_named_and_the_old_flow_goes_on() -> None:
    world = World()
    world.apply("g", units={"a": "a.pkl"})
    world.ready("g-a")
    world.said()
    world.apply("g", units={"a": "broken.pkl"})
    world.become(Phase.FAILED, "g-a", detail="no such file")
    assert world.said() == ["start g-a"]
    assert world.ready_is("g") == ("False", "RevisionFailed", "unit a: no such file")
    assert world.status("g")["url"]
    assert "Warning RevisionFailed: unit a: no such file" in world.events


def test_a_manifest_that_cannot_be_carried_out_changes_nothing_but_the_status() -> None:
    world = World()
    world.apply("g", units={"a": "a.pkl"})
    world.ready("g-a")
    world.said()
    world.apply("g", wrong="spec.steps[0]: is no step")
    assert world.said() == []
    assert world.ready_is("g")[0] == "True"
    latest = condition(world.status("g"), "LatestDeploymentReady")
    assert latest == ("False", "InvalidGraph", "spec.steps[0]: is no step")


def test_after_a_restart_units_come_up_again_from_the_manifest() -> None:
    world = World()
    world.apply("g", units={"a": "a.pkl"})
    world.ready("g-a")
    world.restart()
    world.settle()
    assert world.said() == ["start g-a"]
    assert [each.is_proven for each in world.machine.orders.values()] == [True]
    world.ready("g-a")
    assert world.said() == ["expose g main=100 of g-a"]


def test_after_a_restart_what_served_serves_again_if_the_manifest_cannot_be_carried_out() -> None:
    world = World()
    world.apply("g", units={"a": "a.pkl"})
    world.ready("g-a")
    world.apply("g", wrong="spec: no")
    world.restart()
    world.settle()
    assert world.said() == ["start g-a"]
    world.ready("g-a")
    assert world.said() == ["expose g main=100 of g-a"]
    assert condition(world.status("g"), "LatestDeploymentReady")[1] == "InvalidGraph"


def test_after_a_restart_amid_an_update_the_former_flow_is_resumed_first() -> None:
    world = World()
    world.apply("g", units={"a": "a.pkl"})
    world.ready("g-a")
    old = world.machine.graphs["default", "g"][1]["a"]
    world.apply("g", units={"a": "new.pkl"})
    world.restart()
    world.settle()
    assert world.said() == ["start g-a", "start g-a"]
    world.machine.become(old, Phase.READY)
    world.loop.touch_service("default", "g-a")
    world.settle()
    assert world.said() == ["expose g main=100 of g-a"]
    assert world.machine.graphs["default", "g"][1] == {"a": old}
    world.ready("g-a")
    assert world.said() == ["expose g main=100 of g-a", "retire g-a"]
    numbers = {each.plan.runner.uri: each.number for each in world.machine.orders.values()}  # type: ignore[union-attr]
    assert numbers == {"a.pkl": 1, "new.pkl": 2}


def test_a_graph_whose_service_is_missing_says_which_and_becomes_ready_when_it_comes() -> None:
    world = World()
    world.apply("g", asks=["iris"])
    reason = "service default/iris is not there: apply it, or name another"
    assert world.ready_is("g") == ("False", "ServiceNotFound", reason)
    world.apply("iris", type=SERVICES)
    assert world.ready_is("g") == (
        "Unknown",
        "ServiceNotReady",
        "service default/iris is not ready yet",
    )
    world.answering.add("iris")
    world.loop.touch_service("default", "iris")
    world.settle()
    assert world.said() == ["expose g main=100 of none"]
    assert world.ready_is("g")[0] == "True"


def test_a_graph_whose_service_goes_stays_exposed_and_is_not_ready() -> None:
    world = World()
    world.answering.add("iris")
    world.apply("g", asks=["iris"])
    world.said()
    world.answering.clear()
    asyncio.run(world.loop._passes._touch_changed())
    world.settle()
    assert world.said() == []
    assert world.ready_is("g")[:2] == ("False", "ServiceNotFound")


def test_a_graph_of_graphs_comes_up_in_any_order() -> None:
    world = World()
    world.apply("outer", asks=["inner"])
    world.apply("inner", units={"a": "a.pkl"})
    world.ready("inner-a")
    assert world.ready_is("outer")[0] == "True"
    world.delete("inner")
    assert world.ready_is("outer")[:2] == ("False", "ServiceNotFound")


def test_graphs_that_would_ask_each_other_in_a_circle_are_refused_with_the_way() -> None:
    world = World()
    world.apply("a", asks=["b"])
    world.apply("b", asks=["c"])
    world.apply("c", asks=["a"])
    status, reason, text = world.ready_is("c")
    assert (status, reason) == ("False", "GraphCycle")
    assert text == "the graph would ask itself: default/c -> default/a -> default/b -> default/c"


def test_edges_that_do_not_fit_are_refused_once_the_models_have_spoken() -> None:
    world = World()
    world.misfit = "step s1: input x is FP32, but s0 gives BYTES"
    world.apply("g", units={"a": "a.pkl", "b": "b.pkl"})
    world.ready("g-a", "g-b")
    assert not any(each.startswith("expose") for each in world.said())
    assert world.ready_is("g") == ("False", "TypeMismatch", world.misfit)


def test_deletion_withdraws_and_then_ends_the_units() -> None:
    world = World()
    world.apply("g", units={"a": "a.pkl"})
    world.ready("g-a")
    world.said()
    world.delete("g")
    assert world.said() == ["withdraw g", "retire g-a"]
    assert world.store.list(SALVER, "servedgraphs")[0] == []


def test_another_graph_of_the_name_inherits_nothing() -> None:
    world = World()
    world.apply("g", units={"a": "a.pkl"})
    world.ready("g-a")
    world.said()
    world.store.delete(ObjectRef(*GRAPHS, "default", "g"))
    world.apply("g", units={"a": "a.pkl"})
    assert world.said() == ["withdraw g", "retire g-a", "start g-a"]


def test_a_stopped_graph_runs_nothing_and_starts_again() -> None:
    world = World()
    world.apply("g", units={"a": "a.pkl"})
    world.ready("g-a")
    world.said()
    world.apply("g", units={"a": "a.pkl"}, stopped=True)
    assert world.said() == ["withdraw g", "retire g-a"]
    assert world.ready_is("g")[:2] == ("False", "Stopped")
    world.apply("g", units={"a": "a.pkl"})
    world.ready("g-a")
    assert world.said() == ["start g-a", "expose g main=100 of g-a"]


def test_a_graph_with_the_name_of_a_service_waits_for_the_name() -> None:
    world = World()
    world.apply("g", type=SERVICES)
    world.apply("g", units={"a": "a.pkl"})
    assert world.said() == []
    assert world.ready_is("g") == (
        "False",
        "NameTaken",
        "'default/g' is the name of an InferenceService already: rename one",
    )
    world.delete("g", SERVICES)
    assert world.said() == ["start g-a"]


def test_a_pipeline_with_a_name_that_is_taken_answers_to_its_long_name() -> None:
    world = World()
    world.apply("g", units={"a": "a.pkl"})
    world.answering.add("iris")
    world.apply("g", type=(MLOPS, "pipelines"), asks=["iris"])
    assert "expose g.pipeline main=100 of none" in world.said()
    assert world.ready_is("g", (MLOPS, "pipelines"))[0] == "True"


def test_one_graph_that_the_loop_fails_on_does_not_end_it(caplog: pytest.LogCaptureFixture) -> None:
    world = World()
    world.apply("bad", units={"a": "a.pkl"})
    expose = world.machine.expose_graph

    def explode(desire: GraphDesire, *more: Any) -> None:
        if desire.name == "bad":
            raise RuntimeError("boom")
        expose(desire, *more)

    async def turn() -> None:
        world.machine.expose_graph = explode  # type: ignore[method-assign, assignment]
        world.store.create(
            ObjectRef(*GRAPHS, "default", "good"),
            {"apiVersion": "salver.dev/v1", "kind": "Graph", "metadata": {}, "spec": {}},
        )
        world.machine.become(next(iter(world.machine.orders)), Phase.READY)
        world.loop.touch(ObjectRef(*GRAPHS, "default", "bad"))
        loop = asyncio.create_task(world.loop.run())
        async with asyncio.timeout(1):
            while ("default", "good") not in world.machine.graphs or not caplog.records:
                await asyncio.sleep(0)
        assert not loop.done()
        loop.cancel()

    asyncio.run(turn())
    assert "graphs default/bad: the control loop failed on it" in caplog.text


def test_of_two_kinds_of_one_name_the_first_one_keeps_it_over_a_restart() -> None:
    world = World()
    world.apply("g", type=(MLOPS, "pipelines"), units={"a": "a.pkl"})
    world.ready("g-a")
    world.apply("g", units={"a": "a.pkl"})
    assert world.ready_is("g")[1] == "NameTaken"
    world.restart()
    world.settle()
    assert world.ready_is("g")[1] == "NameTaken"


def test_a_plan_that_another_version_wrote_is_not_resumed() -> None:
    world = World()
    world.apply("g", units={"a": "a.pkl"})
    world.ready("g-a")
    obj = world.store.list(SALVER, "servedgraphs")[0][0]
    ref = ObjectRef(SALVER, "servedgraphs", "default", obj["metadata"]["name"])
    world.store.update(ref, {**obj, "spec": {"desire": msgspec.to_builtins(SELDON)}})
    world.restart()
    world.settle()
    assert world.said() == ["start g-a"]


def test_a_flow_that_cannot_be_made_is_told_and_the_old_one_goes_on() -> None:
    world = World()
    world.apply("g", units={"a": "a.pkl"})
    world.ready("g-a")

    def refuse(*_: object) -> None:
        raise InvalidInput("step r: there is no algorithm 'x'")

    world.machine.expose_graph = refuse  # type: ignore[method-assign, assignment]
    world.apply("g", units={"a": "a.pkl"}, percent=10.0)
    latest = condition(world.status("g"), "LatestDeploymentReady")
    assert latest == ("False", "InvalidGraph", "step r: there is no algorithm 'x'")
    assert world.ready_is("g")[0] == "True"
    assert world.status("g")["url"]
