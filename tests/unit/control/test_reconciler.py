"""The control loop on a store in memory and a machine that is as the test says."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import count
from typing import Any

import pytest
from tests.fake_machine import FakeMachine

from salver.backends.state.sqlite import SqliteResourceStore
from salver.control import passes
from salver.control.compiling import ObjectCompiler
from salver.control.ports import Phase
from salver.control.reconciler import MAX_HISTORY, PAUSED, PINNED, REVISIONS, SERVICES, Reconciler
from salver.control.resources import JsonObject, ObjectRef, WatchEvent
from salver.spec.kinds import KSERVE

Json = dict[str, Any]
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


class World:
    """A store, a machine, and the loop between them; `restart` keeps only the store."""

    def __init__(self) -> None:
        uids = count(1)
        self.store = SqliteResourceStore(None, now=lambda: NOW, new_uid=lambda: f"uid-{next(uids)}")
        self.restart()

    def restart(self) -> None:
        """As after a kill: what was in memory is lost."""
        self.machine = FakeMachine()
        self.events: list[str] = []
        self.loop = Reconciler(
            self.store,
            self.machine,
            ObjectCompiler(self.store),
            now=lambda: "2026-01-02T03:04:05Z",
            url_of=lambda namespace, name: f"http://here/{namespace}/{name}",
            on_event=lambda _, kind, reason, text: self.events.append(f"{kind} {reason}: {text}"),
        )

    def apply(self, predictor: Json, name: str = "iris", **annotations: str) -> None:
        """The service has this predictor, and these annotations (their names' last parts)."""
        keys = {"paused": PAUSED, "pinned": PINNED, "stop": "serving.kserve.io/stop"}
        obj = {
            "apiVersion": "serving.kserve.io/v1beta1",
            "kind": "InferenceService",
            "metadata": {"annotations": {keys[key]: each for key, each in annotations.items()}},
            "spec": {"predictor": predictor, **predictor.pop("around", {})},
        }
        ref = ObjectRef(*SERVICES, "default", name)
        objects, _ = self.store.list(*SERVICES)
        if any(each["metadata"]["name"] == name for each in objects):
            self.store.update(ref, obj)
        else:
            self.store.create(ref, obj)
        self.settle(name)

    def settle(self, name: str = "iris") -> None:
        """Passes until nothing is said any more, as the loop makes them."""
        for _ in range(10):
            before = len(self.machine.said), self.version
            self.loop.reconcile("default", name)
            if before == (len(self.machine.said), self.version):
                return
        raise AssertionError("it does not settle")

    def become(self, revision: str, phase: Phase, detail: str = "") -> None:
        self.machine.become(revision, phase, detail)
        self.settle(revision.partition("-")[0])

    def ready(self, *revisions: str) -> None:
        for each in revisions:
            self.become(each, Phase.READY)

    def said(self) -> list[str]:
        """What the machine was told since the last time."""
        said, self.machine.said = self.machine.said, []
        return said

    def status(self, name: str = "iris") -> JsonObject:
        found: JsonObject = self.store.get(ObjectRef(*SERVICES, "default", name)).get("status", {})
        return found

    def condition(self, kind: str = "Ready") -> JsonObject:
        return next(each for each in self.status()["conditions"] if each["type"] == kind)

    def revisions(self) -> list[str]:
        return [each["metadata"]["name"] for each in self.store.list(*REVISIONS)[0]]

    @property
    def version(self) -> int:
        return self.store.list(*SERVICES)[1]


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    yield made
    made.loop.close()
    made.store.close()


def model(uri: str = "gs://m/1", **more: Any) -> Json:
    return {"model": {"modelFormat": {"name": "sklearn"}, "storageUri": uri}, **more}


def step(**more: Any) -> Json:
    container = {"name": "kserve-container", "image": "x", "command": ["serve"]}
    return {"containers": [container], **more}


def p(number: int) -> str:
    return f"iris-predictor-{number:05d}"


# The first revision.


def test_a_new_service_gets_a_revision_and_is_exposed_once_that_is_ready(world: World) -> None:
    world.apply(model())
    assert world.said() == [f"start {p(1)}"]
    assert world.condition()["status"] == "Unknown"
    assert "url" not in world.status()
    order = world.machine.orders[p(1)]
    assert (order.service, order.number, order.component) == ("iris", 1, "predictor")
    world.become(p(1), Phase.LOADING, "reading")
    assert world.said() == []
    assert world.condition()["reason"] == "Loading"
    world.ready(p(1))
    assert world.said() == [f"expose iris {p(1)}=100"]
    assert world.condition()["status"] == "True"
    assert world.status()["url"] == "http://here/default/iris"
    component = world.status()["components"]["predictor"]
    assert component["url"] == "http://here/default/iris-predictor"
    assert world.events == [
        f"Normal RevisionCreated: created revision {p(1)}",
        "Normal InferenceServiceReady: the service is ready",
    ]


def test_a_pass_that_changes_nothing_writes_and_says_nothing(world: World) -> None:
    world.apply(model())
    world.ready(p(1))
    world.said()
    version = world.version
    world.loop.reconcile("default", "iris")
    assert (world.said(), world.version) == ([], version)


def test_the_revision_is_kept_before_it_is_started(world: World) -> None:
    class Forgetful(FakeMachine):
        def start(self, order: Any) -> None:
            raise RuntimeError("the power fails here")

    world.machine = Forgetful()
    world.loop = Reconciler(
        world.store,
        world.machine,
        ObjectCompiler(world.store),
        now=lambda: "",
        url_of=lambda *_: "",
        on_event=lambda *_: None,
    )
    with pytest.raises(RuntimeError):
        world.apply(model())
    assert world.revisions() == [p(1)]
    world.restart()
    world.settle()
    assert world.said() == [f"start {p(1)}"]
    assert world.revisions() == [p(1)]


# Changes.


def test_a_change_loads_beside_what_serves_then_moves_the_traffic(world: World) -> None:
    world.apply(model())
    world.ready(p(1))
    world.said()
    world.apply(model("gs://m/2"))
    assert world.said() == [f"start {p(2)}", f"expose iris {p(1)}=100"]
    assert world.condition()["status"] == "True"
    assert world.condition("LatestDeploymentReady")["status"] == "False"
    world.ready(p(2))
    assert world.said() == [f"expose iris {p(2)}=100"]
    assert world.status()["components"]["predictor"]["previousRolledoutRevision"] == p(1)


def test_only_the_revision_before_stands_by_the_older_ones_end(world: World) -> None:
    for number in (1, 2, 3):
        world.apply(model(f"gs://m/{number}"))
        world.ready(p(number))
    assert world.said()[-1] == f"retire {p(1)}"
    assert set(world.machine.seen) == {("default", p(2)), ("default", p(3))}


def test_a_newest_revision_that_fails_leaves_the_traffic(world: World) -> None:
    world.apply(model())
    world.ready(p(1))
    world.apply(model("gs://m/2"))
    world.said()
    world.become(p(2), Phase.FAILED, "gs://m/2 is not there")
    assert world.said() == []
    assert world.condition()["message"] == "gs://m/2 is not there"
    assert world.condition("RoutesReady")["status"] == "True"
    assert world.status()["modelStatus"]["transitionStatus"] == "BlockedByFailedLoad"
    assert world.events[-1] == "Warning ModelLoadFailed: gs://m/2 is not there"
    world.apply(model())
    assert world.said() == [f"expose iris {p(1)}=100", f"retire {p(2)}"]
    assert world.condition()["status"] == "True"
    assert world.revisions() == [p(1), p(2)]


def test_old_revisions_are_forgotten_beyond_the_history(world: World) -> None:
    last = MAX_HISTORY + 4
    for number in range(1, last + 1):
        world.apply(model(f"gs://m/{number}"))
        world.ready(p(number))
    assert world.revisions() == [p(number) for number in range(last - MAX_HISTORY + 1, last + 1)]


def test_a_revision_that_somebody_deleted_already_is_forgotten_too(world: World) -> None:
    for number in range(1, MAX_HISTORY + 1):
        world.apply(model(f"gs://m/{number}"))
        world.ready(p(number))
    world.store.delete(ObjectRef(*REVISIONS, "default", p(1)))
    world.apply(model("gs://m/more"))
    world.ready(p(MAX_HISTORY + 1))
    assert world.revisions()[0] == p(2)


def test_paused_changes_nothing_and_pinned_serves_that_one(world: World) -> None:
    world.apply(model())
    world.ready(p(1))
    world.apply(model("gs://m/2"), paused="true")
    world.said()
    world.settle()
    assert world.said() == []
    assert "paused" in world.condition("LatestDeploymentReady")["message"]
    world.apply(model("gs://m/2"))
    world.ready(p(2))
    world.said()
    world.apply(model("gs://m/2"), pinned=p(1))
    assert world.said() == [f"expose iris {p(1)}=100"]


def test_a_pin_is_for_the_component_whose_revision_it_names(world: World) -> None:
    around = {"transformer": step()}
    world.apply(model(around=around))
    transformer = "iris-transformer-00001"
    world.ready(p(1), transformer)
    world.apply(model(around={"transformer": step()}), pinned=p(1))
    assert world.condition("LatestDeploymentReady")["status"] == "True"
    world.apply(model(around={"transformer": step()}), pinned="somebody-else")
    assert (
        "somebody-else is unknown" in world.condition("LatestDeploymentReady").get("message", "")
        or world.condition()["status"] == "True"
    )
    world.apply(model(around={"transformer": step(timeout=3)}), pinned=p(1))
    world.ready("iris-transformer-00002")
    assert "iris-transformer-00002=100" in world.said()[-1]


# Several components.


def test_nothing_moves_until_every_component_is_ready(world: World) -> None:
    world.apply(model())
    world.ready(p(1))
    world.said()
    world.apply(model("gs://m/2", around={"transformer": step()}))
    world.ready(p(2))
    assert world.said() == [f"start {p(2)}", "start iris-transformer-00001"]
    world.ready("iris-transformer-00001")
    assert world.said() == [f"expose iris {p(2)}=100 iris-transformer-00001=100"]


def test_what_gets_requests_is_not_ended_while_another_component_holds_the_rest_up(
    world: World,
) -> None:
    world.apply(model())
    world.ready(p(1))
    for number in (2, 3, 4):
        world.apply(model(f"gs://m/{number}", around={"transformer": step()}))
        world.ready(p(number))
    assert ("default", p(1)) in world.machine.seen
    assert f"retire {p(1)}" not in world.said()
    world.ready("iris-transformer-00001")
    assert f"retire {p(1)}" in world.said()


def test_a_component_that_is_left_out_ends_after_requests_go_past_it(world: World) -> None:
    world.apply(model(around={"transformer": step()}))
    world.ready(p(1), "iris-transformer-00001")
    world.said()
    world.apply(model())
    assert world.said() == [f"expose iris {p(1)}=100", "retire iris-transformer-00001"]


def test_a_shadow_with_traffic_is_not_ended(world: World) -> None:
    obj = {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"annotations": {"salver.dev/shadow": "next"}},
        "spec": {
            "predictor": model(),
            "canary": [{"predictor": {"name": "next", **model("gs://m/2")}}],
        },
    }
    world.store.create(ObjectRef(*SERVICES, "default", "iris"), obj)
    world.settle()
    world.ready(p(1), p(2))
    assert world.machine.exposed["default", "iris"]["predictor"].shadow == p(2)
    assert set(world.machine.seen) == {("default", p(1)), ("default", p(2))}
    assert world.status()["components"]["predictor"]["shadow"]["revisionName"] == p(2)


# After a restart.


def test_after_a_restart_traffic_is_as_it_was_before_anything_else(world: World) -> None:
    world.apply(model())
    world.ready(p(1))
    world.apply(model("gs://m/2", canaryTrafficPercent=10))
    world.ready(p(2))
    before = world.status()
    world.restart()
    world.settle()
    assert sorted(world.said()) == [f"start {p(1)}", f"start {p(2)}"]
    world.ready(p(2))
    assert world.said() == [], "a canary that loads faster gets nothing"
    traffic = world.status()["components"]["predictor"]["traffic"]
    assert [each["percent"] for each in traffic] == [10, 90]
    world.ready(p(1))
    assert world.said() == [f"expose iris {p(2)}=10 {p(1)}=90"]
    assert world.status()["components"] == before["components"]


def test_a_change_made_just_before_the_kill_is_carried_out_after_it(world: World) -> None:
    world.apply(model())
    world.ready(p(1))
    ref = ObjectRef(*SERVICES, "default", "iris")
    world.store.update(ref, {**world.store.get(ref), "spec": {"predictor": model("gs://m/2")}})
    world.restart()
    world.settle()
    assert sorted(world.said()) == [f"start {p(1)}", f"start {p(2)}"]
    world.ready(p(1))
    assert world.said() == [f"expose iris {p(1)}=100"]
    world.ready(p(2))
    assert world.said() == [f"expose iris {p(2)}=100"]


def test_who_served_and_cannot_any_more_holds_nobody_up(world: World) -> None:
    world.apply(model())
    world.ready(p(1))
    world.apply(model("gs://m/2"))
    world.restart()
    world.settle()
    world.ready(p(2))
    world.become(p(1), Phase.FAILED, "the file is gone")
    assert world.said()[-2:] == [f"expose iris {p(2)}=100", f"retire {p(1)}"]


def test_a_revision_that_is_kept_nowhere_holds_nobody_up(world: World) -> None:
    world.apply(model())
    world.ready(p(1))
    world.store.delete(ObjectRef(*REVISIONS, "default", p(1)))
    world.apply(model("gs://m/2"))
    world.restart()
    world.settle()
    world.ready(world.revisions()[-1])
    assert world.condition()["status"] == "True"


# What cannot be carried out.


def broken() -> Json:
    return {"model": {"modelFormat": {"name": "sklearns"}, "storageUri": "gs://m/1"}}


def test_a_manifest_without_a_runtime_says_so(world: World) -> None:
    world.apply(broken())
    assert world.said() == []
    assert world.condition()["reason"] == "NoSupportingRuntime"
    assert world.status()["modelStatus"]["transitionStatus"] == "InvalidSpec"
    assert world.events[0].startswith("Warning NoSupportingRuntime: no runtime supports")


def test_a_stored_object_that_is_no_service_any_more_says_why(world: World) -> None:
    world.apply({"model": {"modelFormat": {}}})
    assert world.condition()["reason"] == "InvalidPredictorSpec"
    assert "modelFormat.name" in world.condition()["message"]


@pytest.mark.parametrize("restarted", [False, True])
def test_a_manifest_that_cannot_be_carried_out_keeps_the_former_serving(
    world: World, restarted: bool
) -> None:
    world.apply(model())
    world.ready(p(1))
    world.apply(model("gs://m/2", canaryTrafficPercent=20))
    world.ready(p(2))
    world.said()
    world.apply(broken())
    assert world.said() == []
    if restarted:
        world.restart()
        world.settle()
        world.ready(p(1), p(2))
        assert world.said()[-1] == f"expose iris {p(2)}=20 {p(1)}=80"
    assert world.condition()["status"] == "True"
    assert world.condition("LatestDeploymentReady")["reason"] == "NoSupportingRuntime"
    states = world.status()["modelStatus"]["states"]
    assert states == {"activeModelState": "Loaded", "targetModelState": "FailedToLoad"}
    world.apply(model("gs://m/3", canaryTrafficPercent=20))
    world.ready(p(3))
    assert world.said()[-1] == f"expose iris {p(3)}=20 {p(1)}=80"


def test_a_broken_service_that_never_served_has_nothing_to_resume(world: World) -> None:
    world.apply(model())
    world.apply(broken())
    world.restart()
    world.settle()
    assert world.said() == []
    assert world.condition()["reason"] == "NoSupportingRuntime"


# Stop, deletion.


def test_a_stopped_service_runs_nothing_and_goes_on_where_it_was(world: World) -> None:
    world.apply(model())
    world.ready(p(1))
    world.apply(model("gs://m/2", canaryTrafficPercent=10))
    world.ready(p(2))
    world.said()
    world.apply(model("gs://m/2", canaryTrafficPercent=10), stop="true")
    assert sorted(world.said()) == [f"retire {p(1)}", f"retire {p(2)}", "withdraw iris"]
    assert world.condition()["reason"] == "Stopped"
    assert world.condition("Stopped")["status"] == "True"
    world.apply(model("gs://m/2", canaryTrafficPercent=10))
    world.ready(p(2), p(1))
    assert world.said()[-1] == f"expose iris {p(2)}=10 {p(1)}=90"


def test_a_deleted_service_ends_whole(world: World) -> None:
    world.apply(model())
    world.ready(p(1))
    world.said()
    world.store.delete(ObjectRef(*SERVICES, "default", "iris"))
    world.settle()
    assert world.said() == ["withdraw iris", f"retire {p(1)}"]
    assert world.revisions() == []


def test_a_service_made_again_before_the_loop_looks_inherits_nothing(world: World) -> None:
    world.apply(model())
    world.ready(p(1))
    world.apply(model("gs://m/2"))
    world.ready(p(2))
    world.said()
    world.store.delete(ObjectRef(*SERVICES, "default", "iris"))
    world.apply(model("gs://m/2"))
    assert world.said()[-1] == f"start {p(1)}"
    assert world.revisions() == [p(1)]
    assert world.machine.orders[p(1)].plan.runner.uri == "gs://m/2"


def test_a_status_for_a_service_deleted_meanwhile_is_not_written(world: World) -> None:
    ref = ObjectRef(*SERVICES, "default", "iris")

    class Deleting(FakeMachine):
        def start(self, order: Any) -> None:
            super().start(order)
            world.store.delete(ref)

    world.machine = Deleting()
    world.loop = Reconciler(
        world.store,
        world.machine,
        ObjectCompiler(world.store),
        now=lambda: "",
        url_of=lambda *_: "",
        on_event=lambda *_: None,
    )
    world.apply(model())
    assert world.machine.seen == {}


# The loop itself.


def run_for(world: World, work: Any, *, most_s: float = 2.0) -> None:
    """Runs the loop until the work is done."""

    async def run() -> None:
        task = asyncio.create_task(world.loop.run())
        async with asyncio.timeout(most_s):
            await work()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(run())


def test_the_loop_passes_over_what_changes(world: World) -> None:
    async def work() -> None:
        ref = ObjectRef(*SERVICES, "default", "iris")
        obj = {"apiVersion": "serving.kserve.io/v1beta1", "kind": "InferenceService"}
        world.store.create(ref, {**obj, "metadata": {}, "spec": {"predictor": model()}})
        while not world.machine.seen:
            await asyncio.sleep(0)
        world.machine.become(p(1), Phase.READY)
        world.loop.touch("default", "iris")
        while not world.machine.exposed:
            await asyncio.sleep(0)

    run_for(world, work)
    assert world.condition()["status"] == "True"


def test_what_the_machine_does_not_announce_is_seen_at_the_next_look(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(passes, "_RESYNC_S", 0.001)
    world.apply(model())
    world.ready(p(1))
    made: list[tuple[str, str]] = []
    original = world.loop.reconcile

    def counted(namespace: str, name: str) -> None:
        made.append((namespace, name))
        original(namespace, name)

    monkeypatch.setattr(world.loop, "reconcile", counted)

    async def work() -> None:
        await asyncio.sleep(0.02)
        quiet = len(made)
        assert quiet <= 2, "what has not changed is not looked at"
        world.machine.become(p(1), Phase.READY, replicas=3)
        while world.status()["modelStatus"]["copies"]["totalCopies"] != 3:
            await asyncio.sleep(0.001)

    run_for(world, work)


def test_a_runtime_that_comes_makes_every_running_service_look_again(world: World) -> None:
    world.apply(model())
    world.apply(broken(), "other")

    async def work() -> None:
        while world.loop._passes._dirty:
            await asyncio.sleep(0)
        runtime = {
            "apiVersion": "serving.kserve.io/v1alpha1",
            "kind": "ClusterServingRuntime",
            "metadata": {"name": "mine"},
            "spec": {
                "supportedModelFormats": [{"name": "sklearns", "autoSelect": True}],
                "containers": [{"name": "kserve-container", "image": "x", "command": ["serve"]}],
            },
        }
        world.store.create(ObjectRef(KSERVE, "clusterservingruntimes", "", "mine"), runtime)
        while ("default", "other-predictor-00001") not in world.machine.seen:
            await asyncio.sleep(0)

    run_for(world, work)


def test_trouble_with_one_service_does_not_end_the_loop(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(passes, "_RETRY_S", 0.001)
    world.apply(model(), "first")
    world.apply(model(), "second")
    original = world.loop.reconcile
    troubles = ["once"]

    def troubled(namespace: str, name: str) -> None:
        if name == "first" and troubles:
            raise RuntimeError(troubles.pop())
        original(namespace, name)

    monkeypatch.setattr(world.loop, "reconcile", troubled)

    async def work() -> None:
        for name in ("first", "second"):
            world.machine.become(f"{name}-predictor-00001", Phase.READY)
            world.loop.touch("default", name)
        while len(world.machine.exposed) < 2:
            await asyncio.sleep(0.001)

    run_for(world, work)


def test_events_of_other_groups_are_none_of_its_business(world: World) -> None:
    world.apply(model())
    event = WatchEvent("ADDED", ObjectRef("", "secrets", "default", "x"), {}, 1)
    world.loop._on_change(event)
    assert world.loop._passes._dirty.keys() <= {("default", "iris")}
